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
LOG_2, ROOT, FOURTH_ROOT = 1488522236, 1518500250, 1805811301  # the roots of 1/2, 31 fraction bits
ALPHA_N, ALPHA_D, ALPHA_I, ALPHA_F = 117049297, 127690142, 1057819769, 638450708
"""Of the rational function that is a logarithm near 1; 31 fraction bits."""


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

    def log(self, values: IntArray, integer_bits: int, out_bits: int) -> IntArray:
        """log of 32-bit numbers of 1 or more with so many integer bits; `out_bits` of the result.

        Source: TensorFlow Lite `log_x_for_x_greater_than_or_equal_to_1_impl` (common.h).
        """
        held = out_bits + 1
        unit, quarter = 1 << self.width - 1 - held, 1 << self.width - 3 - held
        room_a, lower = self._room(values), self.times(values, ROOT)
        room_b = self._room(lower)
        a = self.left(self.times(values << room_a, ROOT), 1)
        power_a = (integer_bits - 1 - room_a) * unit + quarter
        power_b = (integer_bits - room_b) * unit - quarter
        r, power = np.minimum(a, values << room_b), np.maximum(power_a, power_b)
        p, q = (r + FOURTH_ROOT + 1) >> 1, 2 * (r - FOURTH_ROOT)
        square = self.times(q, q)
        above = self.times(q, r) + self.times(self.times(q, square), ALPHA_N)
        inner = ALPHA_I + q + self.times(square, ALPHA_D)
        below = self.times(p, inner) + self.times(q, ALPHA_F)
        part = self.times(divided(above, held), self.left(self.reciprocal(below), 1))
        return self.left(self.times(power, LOG_2) + part, 1)

    def _room(self, values: IntArray) -> IntArray:
        """How far numbers above 0 can go left."""
        return self.width - 1 - np.frexp(values.astype(np.float64))[1]


LONG, SHORT = FixedPoint(32), FixedPoint(16)
