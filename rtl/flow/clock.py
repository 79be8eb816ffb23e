"""The clock that a design is built for, as people write it."""

from __future__ import annotations

import math
import re

from hwsim.errors import HwsimError

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
