"""The order in which a layer's products are added: what a strategy and a reuse factor impose."""

from __future__ import annotations

from typing import Any

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow
from hwsim.frontends.hls4ml.factors import COMPRESSED
from hwsim.frontends.hls4ml.importer import accumulator
from hwsim.ops import EXACT, Accumulator

EXACTLY = ("distributed_arithmetic", "da")
STEPPED = ("latency", "resource", "resource_unrolled")


def strategy_of(layer: Any) -> str:
    """The strategy of a layer in lower case; HwsimError for one that is not known."""
    found = str(layer.get_attr("strategy") or "latency").lower()
    if found == "compressed":
        raise HwsimError(COMPRESSED)
    if found not in (*STEPPED, *EXACTLY):
        raise HwsimError(
            f"the strategy must be Latency, Resource, Resource_Unrolled or Distributed_Arithmetic, "
            f"not {found}"
        )
    return found


def sums_of(layer: Any, terms: int) -> Accumulator:
    """The accumulator of a dense layer's or convolution's sums of so many terms.

    Distributed arithmetic adds all of a sum at full precision, whatever `accum_t` is.
    """
    strategy = strategy_of(layer)
    if strategy in EXACTLY:
        return EXACT
    reuse = int(layer.get_attr("reuse_factor") or 1)
    found = None if strategy == "latency" else order(reuse, terms, accumulator(layer).overflow)
    return accumulator(layer, found)


def order(reuse: int, terms: int, overflow: Overflow) -> tuple[int, ...] | None:
    """The order of the terms under a reuse factor (`nnet_dense_resource.h`); None: as they stand.

    Raises HwsimError for a reuse factor that hls4ml's kernels cannot follow either.
    """
    if reuse <= terms:
        if terms % reuse:
            raise HwsimError(
                f"a reuse factor below the {terms} terms of a sum must divide their number, and "
                f"{reuse} does not: hls4ml's C++ stops at an assertion"
            )
        return tuple(k for start in range(reuse) for k in range(start, terms, reuse))
    # Above, each output has an order of its own unless all start with the first term; where sums
    # wrap, none matters.
    if reuse % terms == 0 or overflow is Overflow.WRAP:
        return None
    raise HwsimError(
        f"a reuse factor above {terms} must be a multiple of it where sums do not wrap, not {reuse}"
    )


def places(reuse: int, positions: int, channels: int, channel: int) -> tuple[int, ...]:
    """The order in which a depthwise channel's positions are added (`nnet_depthwise_product.h`)."""
    terms = positions * channels
    turns = reuse if reuse <= channels else min(reuse, terms)

    def when(place: int) -> tuple[int, int]:
        turn, step = (place * channels + channel) % turns, (place * channels + channel) // turns
        return turn, step

    return tuple(sorted(range(positions), key=when))
