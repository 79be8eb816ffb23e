"""Weights as a memory holds them, and the product of a code with such a word."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from amaranth import Module, Mux, Shape, Signal
from amaranth.hdl import Value

from hwsim.fixed import Format
from hwsim.ops.base import IntArray
from hwsim.ops.encodings import Codebook, Encoding, PowersOfTwo
from rtl.parts import arith


class StoredWeights(ABC):
    """How the words of a memory stand for weights.

    `width` is that of a word. `factor` is the shape of what a code is multiplied by, None where
    shifts and adders do. All logic is combinational.
    """

    width: int
    factor: Shape | None
    shift_bits: int = 0
    """Bits of the adders and choices of one product without a multiplier, roughly."""
    table_bits: int = 0
    """Look-up tables in front of one multiplier, roughly."""

    @abstractmethod
    def words(self, weights: IntArray) -> IntArray:
        """The word of each weight."""

    @abstractmethod
    def product(self, m: Module, code: Any, word: Any) -> Value:
        """A code times the weight that a word stands for."""


class PlainWeights(StoredWeights):
    """The codes themselves, in the narrowest signed format that has them."""

    def __init__(self, fmt: Format) -> None:
        self.width, self.factor = fmt.width, arith.shape_of(fmt)

    def words(self, weights: IntArray) -> IntArray:
        """As they are."""
        return weights

    def product(self, m: Module, code: Any, word: Any) -> Value:
        """A multiplier."""
        assert self.factor is not None
        return Value.cast(code * (word.as_signed() if self.factor.signed else word))


class ShiftedWeights(StoredWeights):
    """A sign and powers of two: the code, its negation or 0, shifted, and added for each term."""

    factor = None

    def __init__(self, encoding: PowersOfTwo) -> None:
        self.encoding, self.width = encoding, encoding.bits
        self.shift_bits = sum(
            (term[-1] + 8) * len(term).bit_length() for term in encoding.exponents
        )

    def words(self, weights: IntArray) -> IntArray:
        """A sign above the terms' numbers."""
        return self.encoding.words(weights)

    def product(self, m: Module, code: Any, word: Any) -> Value:
        """The sign comes first: one negation serves all products of a code."""
        signed, total, start = Mux(word[-1], -code, code), None, 0
        for term, bits in zip(self.encoding.exponents, self.encoding.fields, strict=True):
            number = word[start : start + bits]
            part = _shifted(m, Mux(number.any(), signed, 0), number, term)
            total = part if total is None else total + part
            start += bits
        assert total is not None
        return total


def _shifted(m: Module, value: Value, number: Value, term: Sequence[int]) -> Value:
    """`value`, which is 0 for the number 0, times 2 to the power of an exponent of `term`."""
    step = term[1] - term[0] if len(term) > 1 else 0
    out = Signal((value << term[-1]).shape(), name="shifted")
    if list(term) == [term[0] + k * step for k in range(len(term))]:
        # Numbers count from 1: one step is too much. A rank of choices for each bit of the number.
        for k in range(len(number) if step else 0):
            value = Mux(number[k], value << (step << k), value)
        m.d.comb += out.eq(value >> step << term[0])
        return out
    with m.Switch(number):
        for place, exponent in enumerate(term, 1):
            with m.Case(place):
                m.d.comb += out.eq(value << exponent)
    return out


class TabledWeights(StoredWeights):
    """Places in a table, which stands in front of the multiplier.

    Bits that are 0 in every entry are left out of the product and put back behind it.
    """

    def __init__(self, encoding: Codebook) -> None:
        self.encoding, self.width = encoding, encoding.bits
        together = 0
        for entry in encoding.entries:
            together |= abs(entry)
        self.zeros = (together & -together).bit_length() - 1
        self.entries = [entry >> self.zeros for entry in encoding.entries]
        self.factor = arith.holding(self.entries[0], self.entries[-1])
        self.table_bits = self.factor.width * -(-len(self.entries) // 16)

    def words(self, weights: IntArray) -> IntArray:
        """Places."""
        return self.encoding.words(weights)

    def product(self, m: Module, code: Any, word: Any) -> Value:
        """A table and a multiplier."""
        factor = Signal(self.factor, name="factor")
        with m.Switch(word):
            for place, entry in enumerate(self.entries):
                with m.Case(place):
                    m.d.comb += factor.eq(entry)
        return Value.cast(code * factor) << self.zeros


STORED: Mapping[type[Encoding], Any] = {PowersOfTwo: ShiftedWeights, Codebook: TabledWeights}
"""How each encoding is decoded."""


def stored_weights(fmt: Format, encoding: Encoding | None) -> StoredWeights:
    """The decoder of weights of `fmt`, plain where they have no encoding."""
    if encoding is None:
        return PlainWeights(fmt)
    made: StoredWeights = STORED[type(encoding)](encoding)
    return made
