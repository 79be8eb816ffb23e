"""One over the square root of each code, in float64's own roundings: a digit a cycle."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from rtl.parts.arith import holding
from rtl.parts.floating import round_step, split_step
from rtl.parts.multicycle import BeatAtWork, beat_at_work
from rtl.parts.stream import Beat, blank

BITS = 53  # of a float64's significand
ONE = 1 << BITS  # in units of half a significand's lowest bit, which roots are worked out to
ROOT = BITS  # digits of a root behind its leading 1, the last to round by
QUOTIENT = BITS + 2  # a digit that only powers of two have, those of a significand, one to round by
STEPS = ROOT + QUOTIENT + 3  # besides a cycle each that rounds the sum, the root and the quotient


@dataclass(frozen=True, slots=True)
class Sum:
    """`code + offset` as a float64 from 1 up to 4, times a power of 4.

    `codes` are bounds, from 0 on. The exact sum stands in `width` bits, `places` of them behind the
    binary point, and goes left by two bits a cycle, `shifts` times at most.

    Raises `HwsimError` for codes below 0.
    """

    offset: Fraction
    codes: tuple[int, int]

    def __post_init__(self) -> None:
        if self.codes[0] < 0:
            raise HwsimError(
                f"the codes under a root must be 0 or more, not from {self.codes[0]} on"
            )

    @property
    def places(self) -> int:
        """The offset is a float64: its denominator is a power of two."""
        return self.offset.denominator.bit_length() - 1

    @property
    def width(self) -> int:
        """Pairs of bits on either side of the binary point; room for the last rounding of codes."""
        bits = self._on_grid(int(float(self.codes[1]))).bit_length()
        return bits + (bits - self.places) % 2

    @property
    def shifts(self) -> int:
        """Until the least sum has a bit in its first pair."""
        return (self.width - self._on_grid(self.codes[0]).bit_length()) // 2

    @property
    def exponent(self) -> int:
        """The power of 4 that a sum has which never went left."""
        return (self.width - self.places) // 2 - 1

    @property
    def rounds(self) -> bool:
        """Whether a code may be none of float64's numbers."""
        return self.codes[1] > 1 << BITS

    @property
    def cycles(self) -> int:
        """Until it stands in its place."""
        return self.shifts + 2 * self.rounds

    def _on_grid(self, code: int) -> int:
        return int((code + self.offset) * (1 << self.places))

    def shifted(self, m: Module, work: BeatAtWork, code: Any, k: int) -> tuple[Any, Any]:
        """The sum of lane `k`, in its place after `cycles`, and whether it goes left this cycle."""
        total, left, timing = blank(self.width, f"sum_{k}"), Signal(), work.timing
        first: Any = timing.load
        if self.rounds:
            code, first = self._rounded(m, code, k, timing.load), timing.cycle == 2
        whole, part = divmod(self.offset.numerator, 1 << self.places)
        with m.If(first):
            m.d.sync += total.eq(Cat(Const(part, self.places), code + whole))
        with m.Elif(left):
            m.d.sync += total.eq(total << 2)
        there = (timing.cycle > 2 * self.rounds) & (timing.cycle <= self.cycles)
        m.d.comb += left.eq(there & ~total[-2:].any())
        return total, left

    def _rounded(self, m: Module, code: Any, k: int, load: Any) -> Any:
        """A code as the float64 that is nearest to it, two cycles after it came."""
        held = blank(self.codes[1].bit_length(), f"code_{k}")
        with m.If(load):
            m.d.sync += held.eq(code)
        step = split_step(m, {"y": held, "negative": Const(0)}, BITS)
        nearest = blank(len(held) + 1, f"nearest_{k}")
        m.d.sync += nearest.eq(round_step(m, step)["y"])
        return nearest


def rounded(m: Module, total: Any) -> tuple[Any, Any]:
    """The first 53 bits of a sum, ties to even, in 54; and whether they became 4, which 1 is.

    A sum from 2 on has one bit less behind its binary point than one below.
    """
    padded = Cat(Const(0, max(BITS + 2 - len(total), 0)), total)
    high, low = padded[-BITS - 1 :], padded[: -BITS - 1]
    upper = high[-1]
    up = Mux(upper, high[0] & (low.any() | high[1]), low[-1] & (low[:-1].any() | high[0]))
    found = Signal(BITS + 2)
    kept = Cat(high[0] & ~upper, high[1:])
    m.d.comb += found.eq(kept + Cat(up & ~upper, up & upper))
    carry = found[-1]
    return Cat(found[: BITS - 1], found[BITS - 1] | carry, found[BITS]), carry


class ReciprocalRoot(wiring.Component):
    """`2**bits / sqrt(code + offset)` to the nearest whole number, each step rounded to float64.

    Ports: `i` (In), a stream of `lanes` codes of `in_format`; `o` (Out), one of `out`. `total` is
    the sum, with proven bounds of the codes. A beat every `cycles` cycles, latency `cycles` + 1;
    backpressure honoured; `o` comes from registers, and no path leads from `o.ready` to `i.ready`.
    `last` passes through.

    One subtraction a lane and cycle finds the digits of the root, then those of the quotient, which
    need no multiplier and no exponent: a sum's power of 4 only says how many digits are whole.
    """

    def __init__(
        self,
        lanes: int,
        *,
        total: Sum,
        bits: int,
        in_format: Format,
        out: Format,
    ) -> None:
        self.sum, self.bits = total, bits
        self.begins = self.sum.cycles + 1  # the cycle that rounds the sum
        self.turns = self.begins + ROOT + 1  # the one that rounds the root
        self.cycles = self.sum.cycles + STEPS
        self.target = Beat.of(lanes, out)
        super().__init__({"i": In(Beat.of(lanes, in_format).stream), "o": Out(self.target.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        work = beat_at_work(m, self.i, self.o, self.target, self.cycles)
        for k in range(self.target.lanes):
            total, left = self.sum.shifted(m, work, self.i.payload.data[k], k)
            significand, carry = rounded(m, total)
            digit, rest = self._digit(m, work, significand, k)
            carry &= work.timing.cycle == self.begins
            whole = self._whole(m, work, digit, (left, carry), k)
            with m.If(work.leaves):
                m.d.sync += work.offer.data[k].eq(whole(rest))
        return m

    def _digit(self, m: Module, work: BeatAtWork, significand: Any, k: int) -> tuple[Any, Any]:
        """The digit of this cycle, and what is left of the number under the root, or over it.

        `mask` is the place of a root's digit; a quotient's have none. The subtrahend is twice the
        root for both, since what is left of a quotient's number is doubled before, not after.
        """
        cycle = work.timing.cycle
        root, mask = blank(BITS + 1, f"root_{k}"), blank(BITS, f"mask_{k}")
        rest = blank(BITS + 3, f"rest_{k}")
        twice, less, digit = Signal(BITS + 4), Signal(BITS + 5), Signal()
        m.d.comb += [
            twice.eq(rest << 1),
            less.eq(twice - (root << 1 | mask)),
            digit.eq(~less[-1]),
        ]
        with m.If(cycle == self.begins):
            beyond = Cat(Const(0, 1), significand[: BITS - 1], significand[BITS - 1 :] - 1)
            m.d.sync += [rest.eq(beyond), root.eq(ONE), mask.eq(ONE >> 1)]
        with m.Elif(cycle == self.turns):
            m.d.sync += [rest.eq(ONE), root.eq(Cat(Const(0, 1), root[1:] + root[0]))]
        with m.Elif(cycle != self.cycles):  # where it waits to leave
            m.d.sync += [
                rest.eq(Mux(digit, less, twice)),
                root.eq(root | Mux(digit, mask, 0)),
                mask.eq(mask >> 1),
            ]
        return digit, rest

    def _whole(
        self, m: Module, work: BeatAtWork, digit: Any, moves: tuple[Any, Any], k: int
    ) -> Any:
        """From a quotient's digits to a function of what is left at the end, the whole number.

        The quotient is rounded to float64 first, then to a whole number: where its digits behind
        the point are just below a half, or at it, the first rounding decides.
        """
        timing, (left, carry) = work.timing, moves
        before = self.bits - self.sum.exponent  # digits behind the first that are whole, so far
        places = holding(min(before - 1, -2), before + self.sum.shifts)
        place, whole = blank(places, f"place_{k}"), blank(self.target.width, f"whole_{k}")
        half, some, every = (blank(1, f"{name}_{k}") for name in ("half", "some", "every"))
        now, previous = blank(1, f"now_{k}"), blank(1, f"previous_{k}")
        with m.If(timing.load):
            m.d.sync += [place.eq(before), whole.eq(0), half.eq(0), some.eq(0), every.eq(1)]
        with m.Elif(left):
            m.d.sync += place.eq(place + 1)
        with m.Elif(carry):
            m.d.sync += place.eq(place - 1)
        with m.Elif((timing.cycle > self.turns) & (timing.cycle < self.cycles)):
            m.d.sync += [now.eq(digit), previous.eq(now)]
            with m.If(place >= 0):
                m.d.sync += [whole.eq(Cat(digit, whole)), place.eq(place - 1)]
            with m.Elif(place == -1):
                m.d.sync += [half.eq(digit), place.eq(place - 1)]
            with m.Elif(timing.cycle < self.cycles - 1):
                m.d.sync += [some.eq(some | digit), every.eq(every & digit)]

        def found(rest: Any) -> Any:
            up, odd = now & (Value.cast(rest).any() | previous), whole[0]
            return whole + Mux(half, some | up | odd, every & up & odd)

        return found
