"""Xilinx 7 series and UltraScale+: counts of Yosys alone, a clock for the vendor's tools."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from types import MappingProxyType

from rtl.targets.base import Constraints, Cost, Family, Port, Target

# LUT6s, as Vivado's utilization report counts them; a block RAM tile is 36 kbit.
_CELLS: dict[str, Cost] = {
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


def constraints(
    ports: Sequence[Port], clock: str, clock_mhz: float, pins: str | None = None
) -> str:
    """An XDC text: how fast the clock must run."""
    return f"create_clock -name {clock} -period {1000 / clock_mhz:.4g} [get_ports {clock}]\n"


def _family(name: str, title: str) -> Target:
    family = Family(
        name=name,
        title=title,
        # The design is a block here: neither pads nor clock buffers are counted.
        synthesis=f"synth_xilinx -family {name} -flatten -noiopad -noclkbuf",
        cells=_CELLS,
        constraints=Constraints(suffix=".xdc", write=constraints),
    )
    return Target(name, family, title, MappingProxyType({}))


TARGETS = (_family("xc7", "Xilinx 7 series"), _family("xcup", "Xilinx UltraScale+"))
