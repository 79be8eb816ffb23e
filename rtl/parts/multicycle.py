"""Products that take several cycles: bit by bit with an adder, or limb by limb on one multiplier.

Both work from the lowest digit of one operand on and shift the running sum to the right, so that
bits of the product that are done leave the adder: the sum is no wider than the other operand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth import Cat, Const, Module, Mux, Shape, Signal, signed
from amaranth.hdl import Value

from hwsim.errors import HwsimError
from rtl.parts.arith import bounds, holding
from rtl.parts.multiply import LIMB, limb_shapes, limbs
from rtl.parts.pipeline import Lane
from rtl.parts.stream import Beat, blank


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a product works: `load` takes its code; `cycle` is 1 in the cycle after, and so on."""

    load: Any
    cycle: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatAtWork:
    """Its timing, and `leaves` where it goes to `offer`, whose data are still open."""

    timing: Timing
    leaves: Any
    offer: Any


def beat_at_work(m: Module, i: Any, o: Any, target: Beat, cycles: int) -> BeatAtWork:
    """The control of a part that works on one beat for so many cycles, and then offers it on `o`.

    `o` comes from registers, and no path leads from `o.ready` to `i.ready`. `last` passes through.
    """
    cycle = Signal(range(cycles + 1))  # 0: nothing is at work; `cycles`: a beat is done
    load, leaves, done, full = (Signal(name=name) for name in ("load", "leaves", "done", "full"))
    last, offer = blank(1, "last"), blank(target, "offer")
    m.d.comb += [
        done.eq(cycle == cycles),
        leaves.eq(done & (~full | o.ready)),
        i.ready.eq((cycle == 0) | (done & ~full)),  # whatever `o.ready` is
        load.eq(i.valid & i.ready),
        o.valid.eq(full),
        o.payload.eq(offer),
    ]
    with m.If(o.ready):
        m.d.sync += full.eq(0)
    with m.If(load):
        m.d.sync += [cycle.eq(1), last.eq(i.payload.last)]
    with m.Elif(leaves):
        m.d.sync += cycle.eq(0)
    with m.Elif((cycle != 0) & ~done):
        m.d.sync += cycle.eq(cycle + 1)
    with m.If(leaves):
        m.d.sync += [full.eq(1), offer.last.eq(last)]
    return BeatAtWork(timing=Timing(load=load, cycle=cycle), leaves=leaves, offer=offer)


def registered(m: Module, lane: Lane, name: str, enable: Any = None) -> Lane:
    """The values of a lane a cycle later, or from the next cycle of `enable` on.

    Products hold while a beat is at work, so that what follows them needs no enable.
    """
    out: dict[str, Any] = {}
    for key, value in lane.items():
        value = Value.cast(value)
        if isinstance(value, Const):
            out[key] = value
            continue
        out[key] = blank(value.shape(), f"{key}_{name}")
        with m.If(Const(1) if enable is None else enable):
            m.d.sync += out[key].eq(value)
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Serial:
    """Shift and add, `bits` (1 or 2) of the code a cycle; no multiplier.

    Two bits a cycle are digits -1, 0, 1 and 2 with a carry, so that one adder does.
    """

    bits: int = 1

    def __post_init__(self) -> None:
        if self.bits not in (1, 2):
            raise HwsimError(f"a serial product's bits a cycle must be 1 or 2, not {self.bits}")

    def multipliers(self, code: Shape, factor: Shape) -> int:
        """Hard multipliers (18 x 18 bits)."""
        return 0

    def cycles(self, code: Shape, factor: Shape) -> int:
        """Cycles after the load until the product is there."""
        return code.width if self.bits == 1 else code.width // 2 + 1

    def multiply(self, m: Module, timing: Timing, code: Any, factor: Any, name: str) -> Signal:
        """`code * factor`, which stays until the next load.

        `code` is taken with the load; `factor` must hold from the cycle after it on.
        """
        code, factor = Value.cast(code), Value.cast(factor)
        steps = self.cycles(code.shape(), factor.shape())
        size = factor.shape().width - int(factor.shape().signed)
        rest = blank(steps * self.bits, f"{name}_rest")  # the code; the product follows from above
        high = blank(signed(size + 1), f"{name}_high")
        if self.bits == 1:
            multiple, negative, carry = self._bit(timing, code.shape(), factor, rest, steps)
        else:
            multiple, negative, carry = self._digit(m, timing, factor, rest, name)
        total = Signal(signed(size + 1 + self.bits), name=f"{name}_total")
        if isinstance(negative, Const):
            m.d.comb += total.eq(high + multiple)
        else:  # the lowest bits only carry in the one that a negation by its bits lacks
            added = Cat(Const(1, 1), high).as_signed() + Cat(negative, multiple).as_signed()
            m.d.comb += total.eq(added >> 1)
        with m.If(timing.load):
            m.d.sync += [rest.eq(code), high.eq(0), *carry(True)]
        with m.Elif(timing.cycle <= steps):
            shifted = Cat(rest[self.bits :], total[: self.bits])
            m.d.sync += [rest.eq(shifted), high.eq(total >> self.bits), *carry(False)]
        return _whole(m, Cat(rest, high), code, factor, name)

    def _bit(self, timing: Timing, code: Shape, factor: Any, rest: Any, steps: int) -> Any:
        """The factor or nothing; the sign bit of a code counts against it."""
        taken = sign_extended(Value.cast(Mux(rest[0], factor, 0)))
        if not code.signed:
            return taken, Const(0, 1), lambda load: []
        negative = (timing.cycle == steps) & rest[0]
        multiple = taken ^ negative.replicate(len(taken)).as_signed()
        return multiple, negative, lambda load: []

    def _digit(self, m: Module, timing: Timing, factor: Any, rest: Any, name: str) -> Any:
        """0, 1, 2 or -1 times the factor for two bits and a carry of 0 to 4."""
        carry = Signal(name=f"{name}_carry")
        digit = Signal(3, name=f"{name}_digit")
        multiple = Signal(signed(len(factor) + 2), name=f"{name}_multiple")
        m.d.comb += digit.eq(rest[:2] + carry)
        with m.Switch(digit[:2]):
            with m.Case(1):
                m.d.comb += multiple.eq(factor)
            with m.Case(2):
                m.d.comb += multiple.eq(factor << 1)
            with m.Case(3):
                m.d.comb += multiple.eq(~sign_extended(factor))
        return multiple, digit == 3, lambda load: [carry.eq(0 if load else digit >= 3)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """One hard multiplier for all pairs of limbs of the two operands, one after another."""

    def multipliers(self, code: Shape, factor: Shape) -> int:
        """One: no limb is wider than its operands."""
        return 1

    def cycles(self, code: Shape, factor: Shape) -> int:
        """Cycles after the load until the product is there."""
        turns = len(_turns(code, factor))
        return 1 if turns == 1 else turns + 1

    def multiply(self, m: Module, timing: Timing, code: Any, factor: Any, name: str) -> Signal:
        """As `Serial.multiply`."""
        code, factor = Value.cast(code), Value.cast(factor)
        held, other = blank(code.shape(), f"{name}_code"), Signal(factor.shape())
        m.d.comb += other.eq(factor)  # whose limbs are those of its shape, a constant's too
        with m.If(timing.load):
            m.d.sync += held.eq(code)
        turns = _turns(code.shape(), factor.shape())
        a = _picked(m, timing, held, [i for i, _ in turns], f"{name}_a")
        b = _picked(m, timing, other, [j for _, j in turns], f"{name}_b")
        product = blank(holding(*bounds(a * b)), f"{name}_product")
        m.d.sync += product.eq(a * b)
        if len(turns) == 1:
            return _whole(m, product, code, factor, name)
        return _whole(m, self._gathered(m, timing, product, turns, name), code, factor, name)

    def _gathered(
        self, m: Module, timing: Timing, product: Any, turns: list[tuple[int, int]], name: str
    ) -> Any:
        """The sum of the products, each in its place: the sum moves down between two places."""
        places = [i + j for i, j in turns]
        low = blank(LIMB * places[-1], f"{name}_low")
        width = len(product) + len(turns).bit_length()
        high = blank(signed(width), f"{name}_high")
        with m.If(timing.load):
            m.d.sync += high.eq(0)
        for turn, place in enumerate(places):
            with m.If(timing.cycle == turn + 2):  # its product came out of the register before
                if turn and places[turn - 1] < place:
                    m.d.sync += [
                        low.eq(Cat(low, high[:LIMB])[LIMB:]),
                        high.eq((high >> LIMB) + product),
                    ]
                else:
                    m.d.sync += high.eq(high + product)
        return Cat(low, high)


Multiplication = Serial | Shared


def _turns(code: Shape, factor: Shape) -> list[tuple[int, int]]:
    """Pairs of limbs by the place of their product, the lowest first."""
    pairs = [(i, j) for i in range(len(limb_shapes(code))) for j in range(len(limb_shapes(factor)))]
    return sorted(pairs, key=lambda pair: (sum(pair), pair))


def _common(shapes: list[Shape]) -> Shape:
    """The narrowest shape that holds all values of each shape."""
    ends = [bounds(Signal(shape)) for shape in shapes]
    return holding(min(low for low, _ in ends), max(high for _, high in ends))


def _picked(m: Module, timing: Timing, value: Any, order: list[int], name: str) -> Any:
    """The limb of each cycle, the first in cycle 1."""
    pieces = [piece for _, piece in limbs(value)]
    if len(pieces) == 1:
        return pieces[0]
    out = Signal(_common([piece.shape() for piece in pieces]), name=name)
    m.d.comb += out.eq(pieces[order[-1]])
    for turn, place in enumerate(order[:-1]):
        with m.If(timing.cycle == turn + 1):
            m.d.comb += out.eq(pieces[place])
    return out


def sign_extended(value: Any) -> Any:
    """A value as a signed one."""
    return value if value.shape().signed else Cat(value, Const(0, 1)).as_signed()


def _whole(m: Module, bits: Any, code: Any, factor: Any, name: str) -> Signal:
    """The bits of a product in the shape of a product."""
    low, high = bounds(code * factor)
    out = Signal(holding(low, high), name=f"{name}_whole")
    m.d.comb += out.eq(bits)
    return out
