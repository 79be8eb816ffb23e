"""Histograms to look at: plain values, a line of text, and what is odd about calibration data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hwsim.compress.calibration.histogram import Histogram

COLUMNS = 32
LEVELS = " ▁▂▃▄▅▆▇█"
"""By the logarithm of a count: nothing for none, the highest for the most of them."""

LISTED = 6
"""Constant channels that are named, at most."""


def histogram_facts(
    seen: Histogram, low: float | None = None, high: float | None = None, *, columns: int = COLUMNS
) -> dict[str, Any]:
    """What there is to show of a tensor, as plain values; `low` and `high` are what codes hold.

    `counts` are of equal columns from the least to the most that was seen, and add up to `numbers`;
    `beyond` is the share of the numbers outside of what codes hold, to a bin's width.
    """
    centres, counts = seen.centres(), seen.counts
    filled = np.flatnonzero(counts)
    held = np.clip(centres[filled], seen.least, seen.most)
    width = (seen.most - seen.least) / columns
    places = np.zeros(len(filled), np.int64)
    if width > 0:
        places = np.clip(np.floor((held - seen.least) / width), 0, columns - 1).astype(np.int64)
    shown = np.zeros(columns, np.int64)
    np.add.at(shown, places, counts[filled])
    facts: dict[str, Any] = {
        "name": seen.name,
        "numbers": seen.total,
        "least": seen.least,
        "most": seen.most,
        "zeros": seen.zeros,
        "counts": shown.tolist(),
        "channels": seen.channels,
        "constant": {str(channel): value for channel, value in seen.constant().items()},
    }
    if low is not None and high is not None:
        outside = int(counts[filled][(held < low) | (held > high)].sum())
        facts |= {"held": [low, high], "beyond": outside / max(seen.total, 1)}
    return facts


def bars(counts: Sequence[int]) -> str:
    """A character a count, as high as its logarithm."""
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
