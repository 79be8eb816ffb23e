"""The folds that a dense layer or a convolution can have, and what they ask of the stream."""

from __future__ import annotations

import math
from functools import lru_cache

from hwsim.ops import Conv, Stepwise, TensorType, Weighted
from rtl.layers.base import divisors
from rtl.parts.fold import Fold


def layer_fold(op: Weighted, **lanes: int) -> Fold:
    """The fold of a dense or convolution operator; by default one multiplier."""
    if isinstance(op, Conv):
        terms = math.prod(op.weights.shape[:-1])
        return Fold(groups=op.groups, terms=terms, outputs=op.outputs // op.groups, **lanes)
    return Fold(groups=1, terms=op.weights.shape[0], outputs=op.outputs, **lanes)


def is_free(op: Weighted, x: TensorType) -> bool:
    """Whether the order of the sums cannot matter: exact, wrapping, or proved never to overflow."""
    return not isinstance(op.accumulator, Stepwise) or bool(op.steps(x).any_order.all())


def given_order(op: Weighted) -> tuple[int, ...] | None:
    """The order of terms that a step-wise accumulator asks for, unless it is the stream's own."""
    acc = op.accumulator
    if not isinstance(acc, Stepwise) or acc.order is None:
        return None
    return None if acc.order == tuple(range(len(acc.order))) else acc.order


def needs_parallel(op: Weighted, fold: Fold, x: TensorType) -> bool:
    """Whether the fold wants codes side by side, or in an order, that a serial stream lacks."""
    return (given_order(op) is not None and not is_free(op, x)) or scattered(op, fold)


def scattered(op: Weighted, fold: Fold) -> bool:
    """Whether the codes of one cycle are no neighbours in the stream."""
    per_group = op.weights.shape[-2]
    return per_group % fold.simd != 0 or (fold.group_lanes > 1 and fold.simd != per_group)


@lru_cache(maxsize=512)
def every_fold(groups: int, terms: int, outputs: int) -> tuple[Fold, ...]:
    """All folds of so many sums, in no order of cost."""
    found = []
    for group_lanes in divisors(groups):
        for pe in divisors(outputs) if group_lanes == 1 else [outputs]:
            for simd in divisors(terms):
                found.append(
                    Fold(
                        groups=groups,
                        terms=terms,
                        outputs=outputs,
                        group_lanes=group_lanes,
                        pe=pe,
                        simd=simd,
                    )
                )
    return tuple(found)
