"""The devices that a design can be built or counted for, and the clock that it is built at."""

from __future__ import annotations

import difflib
import enum
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hwsim.errors import HwsimError


class Family(enum.Enum):
    """What the tools call a family of devices."""

    ECP5 = "ecp5"
    XC7 = "xc7"
    XCUP = "xcup"


@dataclass(frozen=True, slots=True)
class Target:
    """One device, and what it has.

    `part` is the vendor's name of the device in its package. `available` counts `lut` (4-input),
    `ff`, `dsp` (MULT18X18D), `bram` (DP16KD, 18 kbit) and `io` (package pins that configuration
    does not need); it is empty for a family, where no device is chosen. `place` holds nextpnr's
    arguments and is empty where there is no bitstream.
    """

    name: str
    family: Family
    part: str
    available: Mapping[str, int]
    place: tuple[str, ...] = ()

    @property
    def estimate(self) -> bool:
        """Whether counts are only Yosys's, with neither placement, timing nor a bitstream."""
        return not self.place


def _ecp5(size: str, part: str, **available: int) -> Target:
    place = (f"--{size}", "--package", "CABGA381", "--speed", "6")
    return Target(f"ecp5-{size}", Family.ECP5, part, MappingProxyType(available), place)


# Available counts are those of nextpnr-ecp5 0.11's device database.
TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            _ecp5("25k", "LFE5U-25F-6BG381", lut=24288, ff=24288, dsp=28, bram=56, io=184),
            _ecp5("85k", "LFE5U-85F-6BG381", lut=83640, ff=83640, dsp=156, bram=208, io=184),
            Target("xc7", Family.XC7, "Xilinx 7 series", MappingProxyType({})),
            Target("xcup", Family.XCUP, "Xilinx UltraScale+", MappingProxyType({})),
        )
    }
)


def find_target(name: str) -> Target:
    """Return the target of that name; HwsimError names the known ones, and the nearest."""
    target = TARGETS.get(name)
    if target is not None:
        return target

    def likeness(known: str) -> float:
        return difflib.SequenceMatcher(None, str(name).lower(), known).ratio()

    nearest = max(TARGETS, key=likeness)
    hint = f" (did you mean {nearest}?)" if likeness(nearest) >= 0.5 else ""
    raise HwsimError(f"target must be one of {', '.join(TARGETS)}, not {name!r}{hint}")


_HERTZ = {"": 1.0, "hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9}
_SECONDS = {"ps": 1e-12, "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6}
_CLOCK = re.compile(r"\s*(\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+)\s*([a-zµμ]*)\s*", re.IGNORECASE)
_CLOCK_RANGE_MHZ = (0.01, 1000.0)


def parse_clock(text: str) -> float:
    """Return MHz of a frequency ("50MHz", "12.5 MHz", "80e6" in hertz) or a period ("20ns").

    Raises HwsimError for anything else, and outside 0.01 to 1000 MHz.
    """
    match = _CLOCK.fullmatch(text) if isinstance(text, str) else None  # 50 alone has no unit
    number, unit = (float(match[1]), match[2].lower()) if match else (math.nan, "")
    if unit in _HERTZ:
        mhz = number * _HERTZ[unit] / 1e6
    elif unit in _SECONDS and number > 0:
        mhz = 1e-6 / (number * _SECONDS[unit])
    else:
        mhz = math.nan
    # A period such as 20ns must give 50 and not 50.00000000000001.
    mhz = float(f"{mhz:.12g}")
    return check_clock(mhz, shown=text)


def check_clock(mhz: float, shown: str | None = None) -> float:
    """Return `mhz` if it is from 0.01 to 1000; HwsimError shows it, or `shown`, otherwise."""
    low, high = _CLOCK_RANGE_MHZ
    if not low <= mhz <= high:
        raise HwsimError(
            "clock must be a frequency such as 50MHz or a period such as 20ns,"
            f" from {low:g} to {high:g} MHz, not {mhz if shown is None else shown!r}"
        )
    return mhz
