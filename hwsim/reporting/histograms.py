"""A histogram as a picture: what a tensor held on real data, and where its codes end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hwsim.reporting.markup import esc

WIDTH, HEIGHT, FOOT = 320, 96, 18
STYLE = (
    ".held{fill:currentColor;opacity:.55}.out{fill:#b4540a}.end{stroke:#0f766e;stroke-width:1.5;"
    "stroke-dasharray:4 3}.base{stroke:currentColor;opacity:.3}text{font:11px system-ui,sans-serif;"
    "fill:currentColor}"
)


def draw(bins: Mapping[str, Any], ends: Sequence[float], label: str) -> str:
    """An `<svg>` of counts in equal bins, as tall as their square root, with what codes hold.

    `bins` are those of `hwsim.compress.calibration.shown.binned`, `ends` the least and the largest
    real that codes hold; `label` is read out.
    """
    counts, low, high = bins["counts"], bins["low"], bins["high"]
    left, right = min(low, ends[0]), max(high, ends[1])
    wide = (right - left) or 1.0
    most = max(counts, default=0) or 1

    def at(real: float) -> float:
        return float(round((real - left) / wide * WIDTH, 2))

    step = (high - low) / len(counts) if counts else 0.0
    bars = []
    for place, count in enumerate(counts):
        if not count:
            continue
        start, end = low + place * step, low + (place + 1) * step
        style = "out" if end <= ends[0] or start >= ends[1] else "held"
        tall = max(round(HEIGHT * (count / most) ** 0.5, 2), 1.0)
        bars.append(
            f'<rect class="{style}" x="{at(start)}" y="{round(HEIGHT - tall, 2)}" '
            f'width="{max(round(at(end) - at(start), 2), 0.5)}" height="{tall}"/>'
        )
    lines = "".join(f'<path class="end" d="M{at(one)} 0V{HEIGHT}"/>' for one in ends)
    return (
        f'<svg role="img" aria-label="{esc(label)}" viewBox="0 0 {WIDTH} {HEIGHT + FOOT}" '
        f'width="100%"><style>{STYLE}</style>{"".join(bars)}{lines}'
        f'<path class="base" d="M0 {HEIGHT}H{WIDTH}"/>'
        f'<text x="0" y="{HEIGHT + FOOT - 4}">{left:.4g}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + FOOT - 4}" text-anchor="end">{right:.4g}</text></svg>'
    )
