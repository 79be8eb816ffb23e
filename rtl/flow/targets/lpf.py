"""Lattice preference files (LPF): which pin a port is on, and how fast the clock must run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hwsim.errors import HwsimError
from rtl.flow.yosys import Port

_LOCATE = re.compile(r'^\s*LOCATE\s+COMP\s+"([^"]+)"\s+SITE\s+"([^"]+)"', re.MULTILINE)
_LIMIT = 1 << 20  # bytes; board files have some thousands

# Pins of CABGA381 that LFE5U-25F and -85F both bond, around the package from bank 6 to bank 3
# (Project Trellis, iodb.json); bank 8 is left out, for configuration needs it. nextpnr itself also
# takes pads of the 85F that this package does not bond.
_CLOCK_PIN = "G2"  # PCLKT6_1, which feeds a global clock network directly
_FREE_PINS = tuple(
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
)


def read_pins(path: Path) -> str:
    """Return the text of an LPF file; HwsimError for one that cannot be read or locates nothing."""
    try:
        with path.open("rb") as handle:
            text = handle.read(_LIMIT + 1).decode("utf-8")
    except OSError as error:
        raise HwsimError(
            f"the pins file {str(path)!r} must be readable: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise HwsimError(f"the pins file {str(path)!r} must be text, not binary") from error
    if len(text) > _LIMIT or not _LOCATE.search(text):
        raise HwsimError(
            f"the pins file {str(path)!r} must hold lines such as"
            ' LOCATE COMP "clk" SITE "G2"; and has none'
        )
    return text


def write(ports: Sequence[Port], clock: str, clock_mhz: float, pins: str | None = None) -> str:
    """Return an LPF text: where each port is, then the frequency of the port `clock`.

    `pins` is the text of a user's LPF file; without it the ports take free pins of the package in
    turn, at 3.3 V, or none where it has too few. Raises HwsimError where `clock` is no input of one
    bit, or `pins` leave a port without a pin of its own.
    """
    if not any(port.name == clock and port.is_input and port.width == 1 for port in ports):
        raise HwsimError(f"the clock must be an input of one bit, not {clock!r}")
    bits = [bit for port in ports for bit in port.bits]
    if pins is None:
        pins = _assign(bits, clock)
    else:
        _check(bits, dict(_LOCATE.findall(pins)))
    return f'{pins.rstrip()}\nFREQUENCY PORT "{clock}" {clock_mhz:.12g} MHZ;\n'


def _assign(bits: Sequence[str], clock: str) -> str:
    others = [bit for bit in bits if bit != clock]
    if len(others) > len(_FREE_PINS):
        return f"# The package has too few pins for {len(bits)} bits of ports, so none is located."
    lines = [
        "# WARNING: nobody chose these pins. On a board they may drive against what is soldered",
        "# to them. Give those of your board in a file like this one (--pins FILE).",
    ]
    for bit, site in [(clock, _CLOCK_PIN), *zip(others, _FREE_PINS, strict=False)]:
        lines.append(f'LOCATE COMP "{bit}" SITE "{site}";')
        lines.append(f'IOBUF PORT "{bit}" IO_TYPE=LVCMOS33;')
    return "\n".join(lines)


def _check(bits: Sequence[str], sites: dict[str, str]) -> None:
    missing = [bit for bit in bits if bit not in sites]
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise HwsimError(
            "the pins file must locate every port, and lacks " + ", ".join(missing[:8]) + more
        )
    taken: dict[str, str] = {}
    for bit in bits:
        if (other := taken.setdefault(sites[bit], bit)) != bit:
            raise HwsimError(
                f"the pins file must give each port its own pin, not {sites[bit]}"
                f" to both {other} and {bit}"
            )
