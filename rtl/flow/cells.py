"""What the cells of a netlist take of a device: look-up tables, flip-flops, DSPs, memories."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from rtl.targets import Family

Counts = dict[str, int]


def count(cells: Mapping[str, int], family: Family) -> tuple[Counts, Counts]:
    """Return (`lut`, `ff`, `dsp`, `bram` that the cells take, the cells that are none of these).

    Halves of a block RAM are rounded up.
    """
    totals: dict[str, int | Fraction] = {"lut": 0, "ff": 0, "dsp": 0, "bram": 0}
    other: Counts = {}
    for kind, number in sorted(cells.items()):
        cost = family.cells.get(kind)
        if cost is None:
            other[kind] = number
            continue
        for resource, each in cost.items():
            totals[resource] += number * each
    return {name: math.ceil(total) for name, total in totals.items()}, other
