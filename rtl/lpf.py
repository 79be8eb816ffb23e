"""Lattice preference files (LPF): which pin a port is on, and how fast the clock must run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hwsim.errors import HwsimError
from rtl.yosys import Port

_LOCATE = re.compile(r'^\s*LOCATE\s+COMP\s+"([^"]+)"\s+SITE\s+"([^"]+)"', re.MULTILINE)
_LIMIT = 1 << 20  # bytes; board files have some thousands


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
    """Return an LPF text: the user's `pins`, then the frequency of the port `clock`.

    Raises HwsimError where `clock` is no input of one bit, or `pins` leave a port unlocated.
    """
    if not any(port.name == clock and port.is_input and port.width == 1 for port in ports):
        raise HwsimError(f"the clock must be an input of one bit, not {clock!r}")
    lines = [f'FREQUENCY PORT "{clock}" {clock_mhz:.12g} MHZ;']
    if pins is None:
        lines.insert(0, '# Pins are the tools\' choice. Give yours: LOCATE COMP "clk" SITE "G2";')
    else:
        sites = dict(_LOCATE.findall(pins))
        bits = [bit for port in ports for bit in port.bits]
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
        lines.insert(0, pins.rstrip())
    return "\n".join(lines) + "\n"
