"""The command that stores weights as powers of two, sums of them or places in a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hwsim.cli.console import Progress, console, print_json
from hwsim.cli.options import Json, Like, Model
from hwsim.cli.targets import expect_target
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.ops import Weighted


def encode(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The .hwsim file to write.")
    ],
    weights: Annotated[
        str,
        typer.Option(
            metavar="SET",
            help="Of all layers: ternary, pot2 to pot8, apot3 to apot8, codebook1 to codebook8, or "
            "plain, as they are.",
        ),
    ],
    layers: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="NODE=SET", help="Of some; NODE may be a pattern, fc*."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="FLOAT", help="The float model it was quantized from."),
    ] = None,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Store weights as powers of two, sums of them or places in a table.

    Each weight becomes the nearest of its layer's set; all else stays. Memories
    of weights get narrower, and powers of two need no multiplier.
    """
    from hwsim.frontends import load
    from hwsim.verbs import encode as encode_graph

    expect_target(out, (".hwsim",), read=(model, start))
    with Progress(f"encoding {model}"):
        graph = load(model, like=like)
        found = encode_graph(graph, weights, layers=dict(map(_pair, layers or ())), start=start)
        found.save(out)
    facts = _facts(graph, found)
    if as_json:
        print_json({"model": str(model), "out": str(out), **facts})
        return
    _show(facts)


def _pair(text: str) -> tuple[str, str]:
    name, equals, chosen = text.rpartition("=")
    if not (name and equals):
        raise HwsimError(f"--layer must be NODE=SET, not {text!r}")
    return name, chosen


def _facts(before: Graph, after: Graph) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {}
    totals = [0, 0]
    for node in after.nodes:
        old, new = before.node(node.name).op, node.op
        if isinstance(old, Weighted) and isinstance(new, Weighted):
            rows[node.name] = {
                "weights": new.weights.size,
                "bits": [old.weight_bits, new.weight_bits],
                "stored": new.encoding.text if new.encoding else "codes",
            }
            totals = [totals[0] + old.total_bits, totals[1] + new.total_bits]
    return {"layers": rows, "weight_bits": totals, "hash": after.hash()}


def _show(facts: Mapping[str, Any]) -> None:
    from hwsim.cli.sheet import table

    rows = [
        (name, one["stored"], f"{one['weights']:,}", " → ".join(map(str, one["bits"])))
        for name, one in facts["layers"].items()
    ]
    heads = ("node", "stored as", "weights", "bits of each")
    console().print(table("", heads, rows, ("weights", "bits of each")))
    before, after = facts["weight_bits"]
    console().print(f"weights: {before:,} bits before, {after:,} now", markup=False)
