"""Layers whose inputs and weights are both of one bit: counts of equal bits (`nnet_mult.h`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.hls4ml.factors import is_sign
from hwsim.frontends.hls4ml.importer import LayerBuilder, accumulator
from hwsim.ops import EXACT, BatchNorm, Cast, Stepwise, Weighted
from hwsim.ops.accumulate import sum_range


def add_sums(build: LayerBuilder, layer: Any, op: Weighted, source: str, terms: int) -> str:
    """The edge of `2 * acc - terms`, which C++ makes of every sum of such bits.

    Of signs `acc` counts the products that are 1: the input where the weight is 1, and the input's
    other value where it is -1. It must fit the accumulator, or wrap there.
    """
    name, bias = layer.outputs[0], op.bias
    signed = is_sign(layer.get_input_variable().type.precision)
    if signed != is_sign(layer.weights["weight"].type.precision):
        raise HwsimError("inputs and weights of one bit must both be signs, or both be numbers")
    if op.bias_frac > 0 and bool((bias & ((1 << op.bias_frac) - 1)).any()):
        raise HwsimError("biases of binary sums must be whole numbers")
    whole = bias >> op.bias_frac if op.bias_frac > 0 else bias << -op.bias_frac
    count = whole
    if signed:
        count = whole + (op.matrix() == -1).sum(axis=0)
    op = replace(op, bias=count, bias_frac=0, accumulator=EXACT)
    acc = accumulator(layer)
    if not _holds(acc, op, whole):
        raise HwsimError(
            f"an accumulator of binary sums must hold them all, or wrap, not be {acc.format} with "
            f"{acc.overflow.value}"
        )
    edge = build.add(f"{name}/count", op, source)
    edge = build.add(f"{name}/sum", Cast(out=acc.format, overflow=acc.overflow), edge)
    channels = build.types[edge].channels
    twice = BatchNorm(
        scale=np.full(channels, 2), bias=np.full(channels, -terms), scale_format=Format.int(3)
    )
    edge = build.add(f"{name}/twice", twice, edge)
    out = Format.int((terms - 1).bit_length() + 2)
    wrap = Cast(out=out, rounding=Rounding.TRN_ZERO, overflow=Overflow.WRAP)
    return build.add(f"{name}/signed", wrap, edge)


def _holds(acc: Stepwise, op: Weighted, bias: Any) -> bool:
    """Whether no step can lose anything but by one wrap, which the sum's own repeats."""
    if acc.format.frac_bits < 0:
        return False
    if acc.overflow is Overflow.WRAP:
        return True
    low, high = sum_range(op.matrix(), op.bias, 0, 1)
    ends = (min(low, int(bias.min()), 0), max(high, int(bias.max()), 1))
    return all(acc.format.min < end << acc.format.frac_bits <= acc.format.max for end in ends)
