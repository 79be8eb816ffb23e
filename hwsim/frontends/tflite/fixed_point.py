"""gemmlowp's functions of fixed-point numbers of 32 and 16 bits, for the tables that kernels are.

Source: gemmlowp `fixedpoint.h`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.ops.base import IntArray
from hwsim.ops.fixed_point import (
    divide_by_power,
    half_product,
    reciprocal_of_half,
    rounded_constant,
    saturating_left,
)

ROUGH_EXP, THIRD = 1895147668, 715827883  # exp(-1/8) and 1/3, 31 fraction bits
BARREL = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2**k) for k from -2 on, 31 fraction bits."""


def divided(values: IntArray, right: int) -> IntArray:
    """By a power of two, ties away from zero."""
    return np.asarray(divide_by_power(np, values, np.array(right)), np.int64)


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Signed numbers of `width` bits; those below 1 have all but one as fraction bits."""

    width: int

    @property
    def one(self) -> int:
        """The largest number below 1, which stands for it."""
        return (1 << self.width - 1) - 1

    def times(self, a: IntArray, b: IntArray | int) -> IntArray:
        """The rounding doubling high product."""
        return np.asarray(half_product(np, a, np.asarray(b, np.int64), self.width), np.int64)

    def constant(self, value: int) -> int:
        """A constant of 32 bits with as many as these numbers have."""
        return rounded_constant(value, self.width)

    def left(self, values: IntArray, by: int) -> IntArray:
        """A left shift that saturates."""
        return np.asarray(saturating_left(np, values, by, self.width), np.int64)

    def exp_on_negative(self, values: IntArray, integer_bits: int) -> IntArray:
        """exp of numbers of 0 or less with so many integer bits."""
        fraction = self.width - 1 - integer_bits
        quarter = 1 << fraction - 2
        rest = (values & quarter - 1) - quarter
        x = (rest << integer_bits) + (1 << self.width - 4)
        square = self.times(x, x)
        cube, fourth = self.times(square, x), self.times(square, square)
        third, rough = self.constant(THIRD), self.constant(ROUGH_EXP)
        inner = divided(self.times(divided(fourth, 2) + cube, third) + square, 1)
        result = np.clip(rough + self.times(x + inner, rough), -self.one - 1, self.one)
        remainder = rest - values
        for exponent, factor in zip(range(-2, 5), BARREL, strict=True):
            if integer_bits > exponent:
                taken = (remainder & (1 << fraction + exponent)) != 0
                result = np.where(taken, self.times(result, self.constant(factor)), result)
        return np.asarray(np.where(values == 0, self.one, result), np.int64)

    def reciprocal(self, values: IntArray) -> IntArray:
        """1 / (1 + x) for numbers from 0 to 1; two fraction bits fewer than they have."""
        half = (values + self.one + 1) >> 1
        return np.asarray(reciprocal_of_half(np, half, self.width), np.int64)

    def logistic(self, values: IntArray, integer_bits: int) -> IntArray:
        """1 / (1 + exp(-x)) of numbers with so many integer bits."""
        exponential = self.exp_on_negative(-np.abs(values), integer_bits)
        positive = self.left(self.reciprocal(exponential), 1)
        positive = np.where(values == 0, 1 << self.width - 2, positive)
        return np.where(values < 0, self.one - positive, positive)

    def tanh(self, values: IntArray, integer_bits: int) -> IntArray:
        """tanh of numbers with so many integer bits."""
        exponential = self.exp_on_negative(-np.abs(values), integer_bits + 1)
        positive = self.left(self.reciprocal(exponential) - (1 << self.width - 3), 2)
        return np.where(values == 0, 0, np.where(values < 0, -positive, positive))


LONG, SHORT = FixedPoint(32), FixedPoint(16)
