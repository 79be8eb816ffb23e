"""What can be had, as a picture and a table: frames per second, multipliers and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwsim.reporting.facts import rate_text
from hwsim.reporting.markup import esc, table

Facts = Mapping[str, Any]
WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 66, 18, 30, 52
SMALLEST, LARGEST = 4.0, 13.0  # radii of dots

STYLE = """
svg.tradeoff text { font: 12px system-ui, sans-serif; fill: currentColor; }
svg.tradeoff .grid { stroke: currentColor; stroke-opacity: .15; }
svg.tradeoff .limit { stroke: currentColor; stroke-dasharray: 5 4; stroke-opacity: .7; }
svg.tradeoff .way { fill: none; stroke: currentColor; stroke-opacity: .35; }
svg.tradeoff circle { stroke: currentColor; fill: currentColor; fill-opacity: .75; }
svg.tradeoff circle.over { fill-opacity: .08; }
svg.tradeoff .default { font-weight: 600; }
"""


@dataclass(frozen=True, slots=True, repr=False)
class Plans:
    """Plans of one network; a notebook shows them as a picture and a table.

    `facts` are plain values, as `hwsim plan --json` has them.
    """

    facts: Facts

    @property
    def options(self) -> list[Facts]:
        """Each plan's numbers, the smallest plan first."""
        return list(self.facts["options"])

    @property
    def fastest(self) -> Facts | None:
        """The fastest that the target has room for; None where there is none, or for a family."""
        return next((option for option in reversed(self.options) if option["fits"]), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.facts, "fastest": self.fastest}

    def __repr__(self) -> str:
        lines = [f"Plans for {self.facts['target']} at {self.facts['clock_mhz']:g} MHz:"]
        for o in self.options:
            room = "" if not o["over"] else f"; too few {', '.join(o['over'])}"
            lines.append(
                f"  {rate_text(o['fps'])} frames/s on {o['multipliers']:,} multipliers, bounded by "
                f"{o['bottleneck']}{room}{'; default' if o['default'] else ''}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        columns = ("frames per second", "cycles", "multipliers", "kbit", "bounded by", "")
        rows = [
            (
                rate_text(o["fps"]),
                f"{o['cycles']:,}",
                f"{o['multipliers']:,}",
                f"{o['memory_bits'] / 1000:,.0f}",
                esc(o["bottleneck"]),
                esc(f"too few {', '.join(o['over'])}" if o["over"] else ""),
            )
            for o in self.options
        ]
        caption = f"Plans for {self.facts['target']} at {self.facts['clock_mhz']:g} MHz"
        shown = table(columns, rows, caption=caption, numbers=columns[:4])
        return f"<div>{draw(self.facts)}{shown}</div>"


def draw(facts: Facts, *, alone: bool = False) -> str:
    """An `<svg>` of `rtl.plan.explore.Options.to_dict()`; `alone` makes it a file of its own.

    Both axes are logarithmic. Full dots fit the target, hollow ones do not.
    """
    options = facts["options"]
    x = _Axis([o["fps"] for o in options], LEFT, WIDTH - RIGHT)
    limit = facts["available"].get("dsp")
    y = _Axis(
        [max(o["multipliers"], 1) for o in options] + ([limit] if limit else []),
        HEIGHT - BOTTOM,
        TOP,
    )
    parts = [*_grid(x, y), *_limit(facts, y, limit), _way(options, x, y)]
    most = max(o["memory_bits"] for o in options) or 1
    parts += [_dot(o, x, y, most) for o in options]
    space = ' xmlns="http://www.w3.org/2000/svg" color="#222" style="background:#fff"'
    return (
        f'<svg class="tradeoff" role="img" aria-label="Frames per second against multipliers of '
        f'{len(options)} plans for {esc(facts["target"])}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}"{space if alone else ""}><style>{STYLE}</style>'
        f"{''.join(parts)}</svg>"
    )


class _Axis:
    """Positive numbers to pixels, by their logarithm, with a tenth of room at both ends."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        low, high = math.log10(min(values)), math.log10(max(values))
        room = max((high - low) * 0.06, 0.15)
        self.low, self.high, self.start, self.end = low - room, high + room, start, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Powers of ten inside, or 1, 2 and 5 of each where they are few."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        inside = [(k, m) for k in powers for m in (1, 2, 5)]
        found = [m * 10.0**k for k, m in inside if self.low <= math.log10(m * 10.0**k) <= self.high]
        tens = [value for value in found if round(math.log10(value), 9).is_integer()]
        return tens if len(tens) > 2 else found


def _grid(x: _Axis, y: _Axis) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in x.ticks():
        at = x(value)
        parts.append(f'<path class="grid" d="M{at} {TOP}V{bottom}"/>')
        parts.append(
            f'<text x="{at}" y="{bottom + 18}" text-anchor="middle">{_short(value)}</text>'
        )
    for value in y.ticks():
        at = y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {at}H{right}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4}" text-anchor="end">{_short(value)}</text>')
    middle = (LEFT + right) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">frames per second</text>'
    )
    parts.append(f'<text x="{LEFT - 54}" y="{TOP - 12}">multipliers</text>')
    return parts


def _limit(facts: Facts, y: _Axis, limit: int | None) -> list[str]:
    if not limit:
        return []
    at, right = y(limit), WIDTH - RIGHT
    text = esc(f"{facts['target']} has {limit:,}")
    return [
        f'<path class="limit" d="M{LEFT} {at}H{right}"/>',
        f'<text x="{LEFT + 6}" y="{at - 6}">{text}</text>',
    ]


def _way(options: list[Facts], x: _Axis, y: _Axis) -> str:
    points = " ".join(f"{x(o['fps'])},{y(max(o['multipliers'], 1))}" for o in options)
    return f'<polyline class="way" points="{points}"/>'


def _dot(option: Facts, x: _Axis, y: _Axis, most: int) -> str:
    radius = SMALLEST + (LARGEST - SMALLEST) * math.sqrt(option["memory_bits"] / most)
    style = "over" if option["fits"] is False else "fits"
    at = x(option["fps"]), y(max(option["multipliers"], 1))
    text = esc(
        f"{rate_text(option['fps'])} frames per second, {option['multipliers']:,} multipliers, "
        f"{option['memory_bits']:,} bits of memory; bounded by {option['bottleneck']}"
    )
    label = ""
    if option["default"]:
        label = (
            f'<text class="default" text-anchor="middle" x="{at[0]}" '
            f'y="{at[1] + radius + 14:.1f}">default</text>'
        )
    return (
        f'<g><title>{text}</title><circle class="{style}" cx="{at[0]}" cy="{at[1]}" '
        f'r="{radius:.1f}"/></g>{label}'
    )


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
