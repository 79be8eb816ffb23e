"""Histograms of calibration data in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hwsim.cli.console import console
from hwsim.cli.sheet import table
from hwsim.compress.calibration.shown import bars

DIGITS = str.maketrans(" ▁▂▃▄▅▆▇█", " 12345678")
"""Bars where the terminal has no such signs."""


def show_histograms(found: Sequence[Mapping[str, Any]]) -> None:
    """A row for each tensor: what was seen, what its codes hold, and how the numbers lie."""
    out = console()
    rows = [
        (
            one["name"],
            f"{one['least']:.4g}",
            f"{one['most']:.4g}",
            f"{100 * one['zeros'] / one['numbers']:.1f} %",
            " to ".join(f"{end:.4g}" for end in one["held"]),
            f"{100 * one['beyond']:.3f} %",
            bars(one["histogram"]["counts"]).translate(DIGITS if out.options.ascii_only else {}),
        )
        for one in found
    ]
    flat = ("node", "least", "most", "zeros", "codes hold", "beyond", "least to most, by logarithm")
    out.print(table("histograms of the calibration data", flat, rows, flat[1:6]))
