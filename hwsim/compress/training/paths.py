"""Tables of a layer's sums as thresholds and a table of what lies between them, to be trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hwsim.compress.training.layers import LearnedLayer
from hwsim.fixed import Format
from hwsim.graph import Graph, Node
from hwsim.ops import Table, Thresholds, Weighted
from hwsim.ops.elementwise import MOST_ENTRIES


def with_paths(graph: Graph) -> Graph:
    """The same graph, with no table that has too few entries for the sums that training may make.

    Such a table is of a function that turns (SiLU, GELU). Its codes are the same: thresholds count
    how often it changes, and a second table says to what; beyond its ends its last codes stay.
    """
    wide = {node.outputs[0] for node in graph.nodes if _is_wide(graph, node)}
    nodes = tuple(part for node in graph.nodes for part in _parted(node, wide))
    return graph if len(nodes) == len(graph.nodes) else replace(graph, nodes=nodes)


def _is_wide(graph: Graph, node: Node) -> bool:
    """Whether a layer's sums may become more than a table holds."""
    if not isinstance(node.op, Weighted):
        return False
    out = LearnedLayer(node.op, graph.input_types(node)[0], {}, narrow=True).out
    return out.hi - out.lo >= MOST_ENTRIES


def _parted(node: Node, wide: set[str]) -> Iterator[Node]:
    op = node.op
    if not isinstance(op, Table) or op.first is None or node.inputs[0] not in wide:
        yield node
        return
    changes = np.flatnonzero(np.diff(op.values)) + 1
    if not changes.size:
        yield node
        return
    count = Thresholds(
        values=(op.first + changes)[None],
        base=np.array([0]),
        step=np.array([1]),
        out=Format.holding(0, changes.size),
    )
    between = f"{node.outputs[0]}.changes"
    yield Node(f"{node.name}.changes", count, node.inputs, (between,))
    held = replace(op, values=op.values[[0, *changes]], first=0)
    yield Node(node.name, held, (between,), node.outputs)
