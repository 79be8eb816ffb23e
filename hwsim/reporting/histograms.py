"""A histogram as a picture: what a tensor held on real data, and where its codes end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hwsim.reporting.markup import esc

WIDTH, HEIGHT, FOOT = 260, 84, 18

STYLE = """
svg.histogram text { font: 11px system-ui, sans-serif; fill: currentColor; }
svg.histogram rect { fill: currentColor; fill-opacity: .55; }
svg.histogram .end { stroke: currentColor; stroke-dasharray: 3 3; }
"""


def draw(facts: Mapping[str, Any]) -> str:
    """An `<svg>` of `histogram_facts`: bars by the logarithm of counts, dashed lines at the ends.

    The picture reaches over all that was seen and all that codes hold.
    """
    least, most, counts = facts["least"], facts["most"], facts["counts"]
    held = facts.get("held", [least, most])
    low, high = min(least, held[0]), max(most, held[1])
    span = (high - low) or 1.0
    tallest = math.log2(1 + max(counts))
    floor = HEIGHT - FOOT

    def at(real: float) -> float:
        return round(float((real - low) / span) * (WIDTH - 2) + 1, 1)

    width = (most - least) / len(counts)
    parts = []
    for place, count in enumerate(counts):
        if count:
            tall = math.log2(1 + count) / tallest * (floor - 2)
            x, wide = at(least + place * width), max(at(least + width) - at(least), 1)
            parts.append(
                f'<rect x="{x}" y="{floor - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}"/>'
            )
    for end in facts.get("held", ()):
        parts.append(f'<path class="end" d="M{at(end)} 0V{floor}"/>')
    text = f"{facts['name']}: {facts['numbers']:,} numbers from {least:.4g} to {most:.4g}"
    if "held" in facts:
        text += f"; codes hold {held[0]:.4g} to {held[1]:.4g}"
    return (
        f'<svg class="histogram" role="img" aria-label="{esc(text)}" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' width="{WIDTH}" height="{HEIGHT}"><style>{STYLE}</style><title>{esc(text)}</title>'
        f"{''.join(parts)}"
        f'<text x="1" y="{HEIGHT - 5}">{low:.4g}</text>'
        f'<text x="{WIDTH - 1}" y="{HEIGHT - 5}" text-anchor="end">{high:.4g}</text></svg>'
    )
