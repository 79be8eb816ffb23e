"""Warnings that point at the line of the user that asked, whatever lies between."""

from __future__ import annotations

import sys
import warnings

from hwsim.extras import HOME

OWN = tuple(str(HOME / package) + "/" for package in ("hwsim", "rtl", "gpu"))


def warn(text: str, category: type[Warning]) -> None:
    """Warn, from the nearest caller outside of this project's packages."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OWN):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)
