"""What the cells of a netlist take of a device: look-up tables, flip-flops, DSPs, memories."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from rtl.flow.targets.base import Family

Counts = dict[str, int]

# LUT4s of one cell, as nextpnr-ecp5 packs it: a carry cell is two, a 16x4 memory four and its
# write port two more.  PFUMX and L6MUX21 join LUTs and take none.
_ECP5 = {
    "LUT4": {"lut": 1},
    "CCU2C": {"lut": 2},
    "TRELLIS_DPR16X4": {"lut": 6},
    "TRELLIS_FF": {"ff": 1},
    "MULT18X18D": {"dsp": 1},
    "DP16KD": {"bram": 1},
    "PDPW16KD": {"bram": 1},
}

# LUT6s, as Vivado's utilization report counts them; a block RAM tile is 36 kbit.
_XILINX: dict[str, dict[str, int | Fraction]] = {
    **{f"LUT{inputs}": {"lut": 1} for inputs in range(1, 7)},
    "INV": {"lut": 0},
    **{cell: {"lut": 1} for cell in ("SRL16E", "SRLC16E", "SRLC32E")},
    **{cell: {"lut": 2} for cell in ("RAM16X1D", "RAM32X1D", "RAM64X1D")},
    **{cell: {"lut": 4} for cell in ("RAM32M", "RAM64M", "RAM128X1D")},
    **{cell: {"lut": 8} for cell in ("RAM32M16", "RAM64M8", "RAM256X1D")},
    **{f"RAM{depth}X1S": {"lut": max(1, depth // 64)} for depth in (16, 32, 64, 128, 256, 512)},
    **{cell: {"ff": 1} for cell in ("FDRE", "FDSE", "FDCE", "FDPE", "LDCE", "LDPE")},
    **{cell: {"dsp": 1} for cell in ("DSP48E1", "DSP48E2")},
    **{cell: {"bram": 1} for cell in ("RAMB36E1", "RAMB36E2")},
    **{cell: {"bram": Fraction(1, 2)} for cell in ("RAMB18E1", "RAMB18E2")},
}

_COSTS: Mapping[Family, Mapping[str, Mapping[str, int | Fraction]]] = {
    Family.ECP5: _ECP5,
    Family.XC7: _XILINX,
    Family.XCUP: _XILINX,
}


def count(cells: Mapping[str, int], family: Family) -> tuple[Counts, Counts]:
    """Return (`lut`, `ff`, `dsp`, `bram` that the cells take, the cells that are none of these).

    Halves of a block RAM are rounded up.
    """
    totals: dict[str, int | Fraction] = {"lut": 0, "ff": 0, "dsp": 0, "bram": 0}
    other: Counts = {}
    for kind, number in sorted(cells.items()):
        cost = _COSTS[family].get(kind)
        if cost is None:
            other[kind] = number
            continue
        for resource, each in cost.items():
            totals[resource] += number * each
    return {name: math.ceil(total) for name, total in totals.items()}, other
