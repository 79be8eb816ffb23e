"""Functions of one code, by tables of all codes of a type."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.fixed import Format
from hwsim.graph import Node
from hwsim.hls4ml_project.draft import Draft, require
from hwsim.hls4ml_project.precision import Assigned, decimals, units

MOST_ENTRIES = 1 << 16
"""Of a table in a project."""


def write_table(draft: Draft, node: Node) -> None:
    """What a node gives for every code that it can read."""
    kind, made = draft.kind(node.inputs[0]), draft.kind(node.output)
    check_entries(draft, node.inputs[0])
    shaped = kind.with_shape((1,))
    carrier = node.op.carriers([shaped])[-1]
    k = node.op.prepare([shaped], carrier)
    codes = np.arange(kind.lo, kind.hi + 1).astype(carrier.value)
    found = np.asarray(node.op.run(np, [codes[:, None]], k)).ravel()
    values, out = found.astype(np.int64) - made.zero_point, draft.reals(node.output)
    lookup(draft, node.output, node.inputs[0], values, f"node {node.name!r}'s table", out)


def check_entries(draft: Draft, source: str) -> None:
    """HwsimError for an edge of too many codes for a table, or of codes that differ in worth."""
    held = draft.types[source].format
    require(
        1 << held.width <= MOST_ENTRIES,
        f"a table must have at most {MOST_ENTRIES} entries, and codes of {held} ask for "
        f"{1 << held.width}",
    )
    require(len(units(draft.kind(source))) == 1, "a table must read codes of one scale")


def lookup(draft: Draft, edge: str, source: str, values: Any, what: str, out: Format) -> None:
    """A layer that gives `edge`: hls4ml's table of one variable, whose index is a code's bits.

    `values` belong to the codes of `source` from its least to its greatest, as codes of `out`.
    """
    check_entries(draft, source)
    kind, held = draft.kind(source), draft.types[source].format
    entries = 1 << held.width
    bits = np.arange(entries)
    codes = np.where(held.signed & (bits >= entries // 2), bits - entries, bits)
    # The type may have more fraction bits than the codes.
    codes = codes >> held.frac_bits - units(kind)[0]
    codes = np.clip(codes + kind.zero_point, kind.lo, kind.hi)
    table = decimals(np.asarray(values)[codes - kind.lo], out.frac_bits, what, format=out)
    draft.add(
        "UnaryLUT",
        edge,
        Assigned(out),
        [draft.names[source]],
        precision={"table": table.type},
        activation="unary_lut",  # what the C++ of its configuration is called after
        n_in=kind.size,
        table_data=table.values,
    )
