"""What the rungs made of labelled samples: accuracies, and some samples with their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwsim.reporting.markup import bar, esc, picture

Score = tuple[str, float | None, float | None]
"""A rung's name, and what share of its first and of its five best answers holds the label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A labelled sample and what each rung takes it for; labels are numbers or names.

    `pixels` are reals 0 to 1, (height, width) or (height, width, 1 or 3), or None for a sample
    that is no image; `index` is its place among the samples.
    """

    pixels: Any
    label: int | str
    predictions: Mapping[str, int | str]
    index: int | None = None


def accuracy_section(scores: Sequence[Score], samples: Sequence[Sample], note: str) -> str:
    """A bar for each rung and a card for each sample."""
    bars = "".join(_score(*score) for score in scores)
    parts = [f'<div class="scores">{bars}</div>'] if bars else []
    if note:
        parts.append(f'<p class="note">{esc(note)}</p>')
    if samples:
        cards = "".join(_card(number, one) for number, one in enumerate(samples))
        style = "samples" if any(s.pixels is not None for s in samples) else "samples plain"
        parts.append(f'<div class="{style}">{cards}</div>')
    return "".join(parts)


def _score(name: str, top1: float | None, top5: float | None) -> str:
    text = f"{100 * (top1 or 0):.2f} % right"
    if top5 is not None:
        text += f", {100 * top5:.2f} % among its first five"
    return bar(name, top1 or 0.0, 1.0, text)


def _card(number: int, one: Sample) -> str:
    place = number if one.index is None else one.index
    rows = "".join(
        f'<div class="{"right" if got == one.label else "wrong"}"><dt>{esc(name)}</dt>'
        f"<dd>{esc(got)} {'✓' if got == one.label else '✗'}</dd></div>"
        for name, got in one.predictions.items()
    )
    shown = ""
    if one.pixels is not None:
        shown = picture(one.pixels, f"sample {place}, labelled {one.label}")
    return (
        f"<figure>{shown}<figcaption>label {esc(one.label)}"
        f" <small>sample {place:,}</small></figcaption><dl>{rows}</dl></figure>"
    )
