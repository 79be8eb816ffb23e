"""Histograms to look at: plain values, a line of text, and what is odd about calibration data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hwsim.compress.calibration.histogram import Histogram

COLUMNS, TERMINAL = 64, 32
LEVELS = " ▁▂▃▄▅▆▇█"
"""By the logarithm of a count: nothing for none, the highest for the most of them."""

LISTED = 6
"""Constant channels that are named, at most."""


def binned(histogram: Histogram, columns: int = COLUMNS) -> dict[str, Any]:
    """So many equal bins at most, from the first to the last one that holds a number."""
    counts = histogram.counts
    held = np.flatnonzero(counts)
    if not held.size:
        return {"low": 0.0, "high": 0.0, "counts": []}
    first, last = int(held[0]), int(held[-1]) + 1
    wide = -(-(last - first) // columns)
    bins = -(-(last - first) // wide)
    padded = np.zeros(bins * wide, np.int64)
    padded[: last - first] = counts[first:last]
    width = 2 * histogram.reach / counts.size
    low = first * width - histogram.reach
    return {
        "low": low,
        "high": low + bins * wide * width,
        "counts": padded.reshape(bins, wide).sum(axis=1).tolist(),
    }


def histogram_facts(seen: Histogram, low: float, high: float) -> dict[str, Any]:
    """What there is to show of a tensor, as plain values; `low` and `high` are what codes hold.

    `beyond` is the share of the numbers outside of that, to a bin's width.
    """
    centres = np.clip(seen.centres(), seen.least, seen.most)
    outside = int(seen.counts[(centres < low) | (centres > high)].sum())
    return {
        "name": seen.name,
        "numbers": seen.total,
        "least": seen.least,
        "most": seen.most,
        "zeros": seen.zeros,
        "histogram": binned(seen),
        "channels": seen.channels,
        "constant": {str(channel): value for channel, value in seen.constant().items()},
        "held": [low, high],
        "beyond": outside / max(seen.total, 1),
    }


def bars(counts: Sequence[int]) -> str:
    """A character a count, or for several together, as high as the logarithm; 32 at most."""
    wide = -(-len(counts) // TERMINAL) or 1
    counts = [sum(counts[at : at + wide]) for at in range(0, len(counts), wide)]
    most = np.log2(1 + max(counts, default=0))
    top = len(LEVELS) - 2
    return "".join(
        LEVELS[0] if not count else LEVELS[1 + round(top * float(np.log2(1 + count) / most))]
        for count in counts
    )


def remarks(seen: Mapping[str, Histogram], inputs: Iterable[str]) -> tuple[str, ...]:
    """Sentences on calibration data: tensors and channels that always hold one number.

    Whether numbers have the range of the training data nobody can know: what inputs hold is shown.
    """
    given = set(inputs)
    found = []
    for name, histogram in seen.items():
        what = f"{'input' if name in given else 'tensor'} {name!r}"
        constant = histogram.constant()
        if histogram.least == histogram.most:
            found.append(f"{what} is {histogram.least:g} everywhere on the calibration data")
        elif constant:
            few = ", ".join(f"{n} ({value:g})" for n, value in list(constant.items())[:LISTED])
            more = f" and {len(constant) - LISTED} more" if len(constant) > LISTED else ""
            found.append(
                f"{what}: of its {histogram.channels} channels {len(constant)} never "
                f"change{'s' if len(constant) == 1 else ''} on the calibration data: {few}{more}"
            )
    return tuple(found)
