"""A factor and an offset a channel, at full precision before they are assigned."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

from hwsim.hls4ml_project.draft import Draft
from hwsim.hls4ml_project.precision import Assigned, common, decimals

Value = TypeVar("Value")


def affine_layer(
    draft: Draft,
    edge: str,
    result: Assigned,
    source: str,
    scale: list[Fraction],
    bias: list[Fraction],
) -> None:
    """A layer: a factor and an offset a channel; an assignment where they change nothing."""
    x, what = draft.kind(source), f"edge {edge!r}"
    draft.like(edge, source)
    if all(s == 1 for s in scale) and not any(bias):  # hls4ml would take it out, cast and all
        draft.cast(edge, result, source)
        return
    factors, offsets = (
        decimals(*common(values), f"{what}'s {name}")
        for values, name in ((scale, "factors"), (bias, "offsets"))
    )
    draft.add(
        "BatchNormalization",  # an ApplyAlpha would be moved behind sums, whatever its type
        edge,
        result,
        [draft.names[source]],
        precision={"scale": factors.type, "bias": offsets.type},
        n_in=x.size,
        n_out=x.size,
        n_filt=x.channels if len(x.shape) > 1 else -1,
        use_gamma=True,
        use_beta=True,
        scale_data=factors.values,
        bias_data=offsets.values,
    )


def at_channel(values: Sequence[Value], channel: int) -> Value:
    """The value of a channel, where there is one for each or one for all."""
    return values[channel % len(values)]
