"""Lattice preference files (LPF): which pin a port is on, and how fast the clock must run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import HwsimError
from rtl.targets.base import Port

_LOCATE = re.compile(r'^\s*LOCATE\s+COMP\s+"([^"]+)"\s+SITE\s+"([^"]+)"', re.MULTILINE)
_LIMIT = 1 << 20  # bytes; board files have some thousands


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A pin that feeds the clock network, and free ones in the order in which ports take them."""

    clock: str
    free: tuple[str, ...]


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


def write(
    ports: Sequence[Port], clock: str, clock_mhz: float, pins: str | None, *, package: Package
) -> str:
    """Return an LPF text: where each port is, then the frequency of the port `clock`.

    `pins` is the text of a user's LPF file; without it the ports take free pins of `package` in
    turn, at 3.3 V, or none where it has too few. Raises HwsimError where `clock` is no input of one
    bit, or `pins` leave a port without a pin of its own.
    """
    if not any(port.name == clock and port.is_input and port.width == 1 for port in ports):
        raise HwsimError(f"the clock must be an input of one bit, not {clock!r}")
    bits = [bit for port in ports for bit in port.bits]
    if pins is None:
        pins = _assign(bits, clock, package)
    else:
        _check(bits, dict(_LOCATE.findall(pins)))
    return f'{pins.rstrip()}\nFREQUENCY PORT "{clock}" {clock_mhz:.12g} MHZ;\n'


def _assign(bits: Sequence[str], clock: str, package: Package) -> str:
    others = [bit for bit in bits if bit != clock]
    if len(others) > len(package.free):
        return f"# The package has too few pins for {len(bits)} bits of ports, so none is located."
    lines = [
        "# WARNING: nobody chose these pins. On a board they may drive against what is soldered",
        "# to them. Give those of your board in a file like this one (--pins FILE).",
    ]
    for bit, site in [(clock, package.clock), *zip(others, package.free, strict=False)]:
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
