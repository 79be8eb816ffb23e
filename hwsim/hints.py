"""What is likely meant where an array has another shape than a model takes."""

from __future__ import annotations

import math

from hwsim.ports import Axes, channels_first, order_text

Shape = tuple[int, ...]


def shape_hint(wanted: Shape, given: Shape, order: Axes | None) -> str:
    """A clause for the end of a refusal, or nothing; `wanted` is without the batch axis.

    `order` is the port's. What is given instead is likely in the edge's own order, or where that is
    what is wanted with the channels in front.
    """
    if given == wanted:
        return "; a single sample needs a batch axis: x[None]"
    if len(wanted) > 1:
        own = tuple(range(len(wanted)))
        other = own if order is not None and len(order) == len(own) else channels_first(len(own))
        assert other is not None
        here = own if order is None or other is not own else order
        moved, names = (0, *(other.index(axis) + 1 for axis in here)), order_text(other)
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


def time_hint(wanted: Shape, given: Shape) -> str:
    """A clause for the end of a refusal, or nothing; `wanted` is the shape of one step."""
    if given[1:] == wanted:
        return (
            f"; the model has state: x[None] is one sequence of {given[0]} steps, x[:, None] one "
            f"step of {given[0]} sequences"
        )
    if given == wanted:
        return "; the model has state: x[None, None] is one step of one sequence"
    return ""
