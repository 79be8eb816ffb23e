"""Zeros around a map, as a layer of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwsim.hls4ml_project.draft import Draft
from hwsim.hls4ml_project.precision import Assigned

AXES = ("height", "width")
SIDES = ("top", "left", "bottom", "right")


def add_padding(
    draft: Draft, edge: str, source: str, ends: Sequence[tuple[int, int]]
) -> tuple[int, ...]:
    """A layer that gives `edge`: zeros before and after each axis of `source` but the channels.

    Gives the shape that it makes.
    """
    shape, rank = draft.kind(source).shape, len(ends)
    made = (*(n + sum(two) for n, two in zip(shape, ends, strict=False)), shape[-1])
    fields: dict[str, Any] = {"n_chan": shape[-1]}
    sides = ((SIDES[0], SIDES[2]), (SIDES[1], SIDES[3]))[-rank:]
    for axis, (name, side, two) in enumerate(zip(AXES[-rank:], sides, ends, strict=True)):
        fields[f"in_{name}"], fields[f"out_{name}"] = shape[axis], made[axis]
        fields |= {f"pad_{at}": count for at, count in zip(side, two, strict=True)}
    draft.add(
        f"ZeroPadding{rank}D",
        edge,
        Assigned(draft.types[source].format),
        [draft.names[source]],
        data_format="channels_last",
        **fields,
    )
    return made
