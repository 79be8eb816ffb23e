"""What a QONNX file's own note says of its layers: bits of weights by output channel.

QONNX's Quant has one number of bits, the most of a layer's channels. `hwsim quantize` notes those
of each channel in the model's metadata, which other tools pass over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.ops import Op, Weighted


def note_of(bits: Mapping[str, Sequence[int]]) -> str:
    """The note for bits by channel of layers by name."""
    return json.dumps({name: list(each) for name, each in bits.items()}, separators=(",", ":"))


def with_note(graph: Graph, note: str | None) -> Graph:
    """The graph with the bits by channel that a note tells of its layers.

    They only say how much of a weight's format is needed, so that what does not belong to the
    graph, as where another tool has changed the weights since, is passed over.
    """
    try:
        told = json.loads(note or "{}")
    except (ValueError, RecursionError):
        return graph
    if not isinstance(told, dict):
        return graph
    made: dict[str, Op] = {}
    for node in graph.nodes:
        bits = told.get(node.name)
        if not isinstance(node.op, Weighted) or not isinstance(bits, list):
            continue
        if not all(type(n) is int for n in bits):
            continue
        try:
            made[node.name] = replace(node.op, channel_bits=tuple(bits))
        except HwsimError:
            continue
    if not made:
        return graph
    return replace(
        graph,
        nodes=tuple(replace(n, op=made[n.name]) if n.name in made else n for n in graph.nodes),
    )
