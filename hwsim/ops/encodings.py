"""How a memory holds weights: as codes of their format, or as shorter words that are decoded."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import ClassVar

import numpy as np

from hwsim.errors import HwsimError
from hwsim.ops.base import MOST_BITS, IntArray, require

MOST_WORDS = 1 << 16


class Encoding(ABC):
    """A set of weights, each of which a memory holds as a word of `bits` bits.

    What is computed stays the weight itself: an encoding says what hardware stores.
    """

    __slots__ = ()
    text: ClassVar[str]

    @property
    @abstractmethod
    def bits(self) -> int:
        """Bits of a stored weight."""

    @abstractmethod
    def meanings(self) -> Iterator[tuple[int, int]]:
        """Words and the weights that they stand for; of two words of a weight the first is used."""

    @abstractmethod
    def shifted(self, bits: int) -> Encoding:
        """The encoding of the same weights times `2**bits`, with the same words."""

    @property
    def values(self) -> IntArray:
        """All weights that can be said, in order."""
        return _said(self)[0]

    def words(self, weights: IntArray) -> IntArray:
        """The word of each weight; HwsimError names the first that has none."""
        values, words = _said(self)
        at = np.minimum(np.searchsorted(values, weights), len(values) - 1)
        wrong = values[at] != weights
        if wrong.any():
            place = tuple(int(k) for k in np.argwhere(wrong)[0])
            raise HwsimError(
                f"weights must be values of their {self.text}, not {int(weights[place])} "
                f"(at {place}); nearest is {int(self.nearest(weights[place]))}"
            )
        return np.asarray(words[at])

    def nearest(self, reals: object) -> IntArray:
        """The nearest value of each number, of two as near the lower one."""
        values = self.values
        return np.asarray(values[np.searchsorted(midpoints(values), np.asarray(reals))])


def midpoints(values: IntArray) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Where the nearest of `values`, which are in order, changes."""
    return (values[1:] + values[:-1]) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PowersOfTwo(Encoding):
    """A sign and a sum of terms, each 0 or 2 to the power of one of its `exponents`.

    One term is a shift in hardware, several are shifts and adders: additive powers of two (Li et
    al. 2020, arXiv 1909.13144). `((0,),)` is ternary. The highest bit of a word is the sign, below
    it are the terms' numbers, the first term's lowest: 0 for none, else one more than the place
    among its exponents.
    """

    text: ClassVar[str] = "powers of two"
    exponents: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        require(len(self.exponents) > 0, "powers of two must have one term at least, not none")
        for term in self.exponents:
            require(
                len(term) > 0 and sorted(set(term)) == list(term),
                f"the exponents of a term must be different and rise, not {term}",
            )
            require(
                term[0] >= 0 and term[-1] <= MOST_BITS,
                f"an exponent must be from 0 to {MOST_BITS}, not {term}",
            )
        top = sum(1 << term[-1] for term in self.exponents)
        require(top < 1 << MOST_BITS, f"powers of two must add up in {MOST_BITS} bits, not {top}")
        words = 2 * math.prod(len(term) + 1 for term in self.exponents)
        require(
            words <= MOST_WORDS, f"powers of two must have {MOST_WORDS} words at most, not {words}"
        )

    @property
    def fields(self) -> tuple[int, ...]:
        """Bits of each term's number."""
        return tuple(len(term).bit_length() for term in self.exponents)

    @property
    def bits(self) -> int:
        """A sign, and each term's number."""
        return 1 + sum(self.fields)

    def meanings(self) -> Iterator[tuple[int, int]]:
        """Those above 0 first, and 0 without a sign."""
        sign = 1 << sum(self.fields)
        starts = [sum(self.fields[:k]) for k in range(len(self.fields))]
        numbers = product(*(range(len(term) + 1) for term in reversed(self.exponents)))
        for chosen in (tuple(reversed(row)) for row in numbers):
            word = sum(number << start for number, start in zip(chosen, starts, strict=True))
            value = sum(
                1 << term[number - 1]
                for number, term in zip(chosen, self.exponents, strict=True)
                if number
            )
            yield word, value
            yield word | sign, -value

    def shifted(self, bits: int) -> PowersOfTwo:
        """Higher exponents."""
        return replace(
            self, exponents=tuple(tuple(e + bits for e in term) for term in self.exponents)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Codebook(Encoding):
    """A table of weights; a word is a place in it. `entries` rise."""

    text: ClassVar[str] = "codebook"
    entries: tuple[int, ...]

    def __post_init__(self) -> None:
        require(
            2 <= len(self.entries) <= MOST_WORDS,
            f"a codebook must have from 2 to {MOST_WORDS} entries, not {len(self.entries)}",
        )
        require(
            sorted(set(self.entries)) == list(self.entries),
            f"a codebook's entries must be different and rise, not {self.entries[:8]}",
        )
        top = max(abs(self.entries[0]), abs(self.entries[-1]))
        require(
            top < 1 << MOST_BITS, f"a codebook's entries must fit {MOST_BITS} bits, not reach {top}"
        )

    @property
    def bits(self) -> int:
        """A place in the table."""
        return (len(self.entries) - 1).bit_length()

    def meanings(self) -> Iterator[tuple[int, int]]:
        """The table."""
        yield from enumerate(self.entries)

    def shifted(self, bits: int) -> Codebook:
        """Larger entries."""
        return replace(self, entries=tuple(entry << bits for entry in self.entries))


@lru_cache(maxsize=64)
def _said(encoding: Encoding) -> tuple[IntArray, IntArray]:
    """Values in order, each once, and the word of each."""
    first: dict[int, int] = {}
    for word, value in encoding.meanings():
        first.setdefault(value, word)
    values = np.array(sorted(first), np.int64)
    words = np.array([first[int(value)] for value in values], np.int64)
    values.setflags(write=False)
    words.setflags(write=False)
    return values, words
