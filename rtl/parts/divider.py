"""The quotient of two streams: one bit of it a stage, then rounded once."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Value

from hwsim.fixed import Format, Overflow, Rounding
from rtl.parts import arith
from rtl.parts.pipeline import Lane, Pipeline, Stage
from rtl.parts.pointwise import PairMap

FRACTION = 23  # stored bits of a float32's significand


class Divider(PairMap):
    """`factor` times a code over another, rounded, and a zero point; saturated.

    Ports as a PairMap's, of codes of 0 or more over codes of 1 or more. With `floats` both are bit
    patterns of float32 numbers, the second of them normal and with no smaller exponent than the
    first. Latency: a cycle for each bit of the quotient, and four or five more.
    """

    def __init__(
        self,
        lanes: int,
        *,
        formats: tuple[Format, Format],
        factor: int,
        rounding: Rounding,
        zero_point: int,
        out: Format,
        floats: bool = False,
    ) -> None:
        self.factor, self.rounding, self.zero_point = factor, rounding, zero_point
        self.format, self.floats = out, floats
        super().__init__(lanes, formats=formats, out=out)

    @property
    def bits(self) -> int:
        """Bits of twice the quotient that are worked out."""
        if self.floats:
            return self.factor.bit_length() + 2
        most = self.formats[0].max * self.factor  # over 1
        return min(most.bit_length(), (self.format.max - self.zero_point + 1).bit_length()) + 1

    def codes(self, m: Module, pipe: Pipeline, pairs: list[Lane]) -> list[Any]:
        """Quotients, bit by bit, and their roundings."""
        first: list[Stage] = [self._unpacked] if self.floats else []
        divide: list[Stage] = [self._begun, *map(self._bit, range(self.bits - 1, -1, -1))]
        last: list[Stage] = [self._collected, self._aligned] if self.floats else [self._collected]
        stages = [*first, *divide, *last, self._rounded]
        return [lane["y"] for lane in pipe.run(pipe.register(pairs), stages)]

    def _unpacked(self, m: Module, lane: Lane) -> Lane:
        """Significands, and by how many bits the quotient goes right."""
        parts = []
        for name in "ab":
            code = Value.cast(lane[name])
            exponent = code[FRACTION:]
            held, low = Signal(FRACTION + 1, name=f"sig_{name}"), Signal(8, name=f"exp_{name}")
            m.d.comb += [
                held.eq(Cat(code[:FRACTION], exponent.any())),
                low.eq(Mux(exponent.any(), exponent, 1)),
            ]
            parts.append((held, low))
        (a, ea), (b, eb) = parts
        most, distance = self.bits + 1, Signal(8)
        shift = Signal(range(most + 1))
        m.d.comb += [distance.eq(eb - ea), shift.eq(Mux(distance > most, most, distance))]
        return {"a": a, "b": b, "shift": shift}

    def _begun(self, m: Module, lane: Lane) -> Lane:
        """Twice the numerator, and whether the quotient has more bits than are worked out."""
        a, b = Value.cast(lane["a"]), Value.cast(lane["b"])
        top = Signal(arith.holding(0, 2 * ((1 << len(a)) - 1) * max(self.factor, 1)))
        terms = [a << k for k in range(self.factor.bit_length()) if self.factor >> k & 1]
        total: Any = Const(0)
        for term in terms:
            total = total + term
        m.d.comb += top.eq(total << 1)
        passed = {"shift": lane["shift"]} if self.floats else {}
        over: Any = Const(0, 1) if self.floats else (top >> self.bits) >= b
        if len(top) <= self.bits:
            over = Const(0, 1)
        rest = Signal(len(b) + self.bits)
        m.d.comb += rest.eq(top)
        return {"rest": rest, "b": b, "over": over, "q": Const(0, 1), **passed}

    def _bit(self, place: int) -> Stage:
        """The bit of the quotient at a place: whether the divisor, moved there, is taken off."""

        def stage(m: Module, lane: Lane) -> Lane:
            rest, b = Value.cast(lane["rest"]), Value.cast(lane["b"])
            high = rest[place:]
            less = Signal(len(high) + 1)
            left = Signal(len(b) + place)
            m.d.comb += [
                less.eq(high - b),
                left.eq(Cat(rest[:place], Mux(less[-1], high, less[:-1]))),
            ]
            done = [] if place == self.bits - 1 else [Value.cast(lane["q"])]
            return {**lane, "rest": left, "q": Cat(~less[-1], *done)}

        return stage

    def _collected(self, m: Module, lane: Lane) -> Lane:
        """Twice the quotient above a bit that says whether something is left."""
        wide = Signal(self.bits + 1)
        over = Value.cast(lane["over"])
        found = Cat(Value.cast(lane["rest"]).any(), lane["q"])
        m.d.comb += wide.eq(Mux(over, (1 << self.bits + 1) - 1, found))
        return {"y": wide, **({"shift": lane["shift"]} if self.floats else {})}

    def _aligned(self, m: Module, lane: Lane) -> Lane:
        """Shifted right; what is dropped stays in the lowest bit."""
        bits, shift = Value.cast(lane["y"]), lane["shift"]
        for k in range(len(Value.cast(shift))):
            step, moved = 1 << k, Signal(len(bits), name=f"moved_{k}")
            dropped, kept = bits[: step + 1].any(), bits[step + 1 :]
            with m.If(Value.cast(shift)[k]):
                m.d.comb += moved.eq(Cat(dropped, kept))
            with m.Else():
                m.d.comb += moved.eq(bits)
            bits = moved
        return {"y": bits}

    def _rounded(self, m: Module, lane: Lane) -> Lane:
        """Rounded by the two lowest bits, moved by the zero point, saturated."""
        whole = arith.shift_round(m, lane["y"], 2, self.rounding)
        low, high = arith.bounds(whole)
        moved = Signal(arith.holding(low + self.zero_point, high + self.zero_point))
        m.d.comb += moved.eq(whole + self.zero_point)
        return {"y": arith.overflow(m, moved, self.format, Overflow.SAT)}
