"""What is likely meant where an array has another shape than a model takes."""

from __future__ import annotations

import math

from hwsim.graph import Layout

Shape = tuple[int, ...]


def shape_hint(wanted: Shape, given: Shape, layout: Layout) -> str:
    """A clause for the end of a refusal, or nothing; `wanted` is without the batch axis."""
    if given == wanted:
        return "; a single sample needs a batch axis: x[None]"
    if len(wanted) > 1:
        first, last = (0, len(wanted), *range(1, len(wanted))), (0, *range(2, len(wanted) + 1), 1)
        moved, names = (first, "NHWC") if layout is Layout.CHANNELS_FIRST else (last, "NCHW")
        axes = ", ".join(map(str, moved))
        if len(given) == len(moved) and tuple(given[n] for n in moved)[1:] == wanted:
            return f"; this looks like {names}, which x.transpose({axes}) brings into order"
        if tuple(given[n - 1] for n in moved[1:] if len(given) == len(wanted)) == wanted:
            return f"; this looks like one sample in {names}: x[None].transpose({axes})"
        if len(given) == len(wanted) and 1 in wanted:
            place = wanted.index(1)
            if given[1:] == wanted[:place] + wanted[place + 1 :]:
                colons = ", ".join([":"] * (place + 1))
                return f"; the axis of one channel is missing: x[{colons}, None]"
    if len(given) > 1 and math.prod(given[1:]) == math.prod(wanted):
        sizes = ", ".join(map(str, (-1, *wanted)))
        return f"; x.reshape({sizes}) has it, if the elements are in that order"
    if len(given) == 1 and given[0] == math.prod(wanted):
        sizes = ", ".join(map(str, (1, *wanted)))
        return f"; a single sample needs a batch axis: x.reshape({sizes})"
    return ""
