"""Requantizers: a pipelined component for each integer form of `hwsim.forms`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.hdl import Const, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.forms.requantizers import Affine, FloatProduct, Form, Output, TwoRoundings
from rtl.parts import arith
from rtl.parts.floating import add_in_float, significand_stages, whole_stages
from rtl.parts.multiply import gather, partial_products, product_range
from rtl.parts.pipeline import ChannelConstants, Lane, Pipeline, Stage
from rtl.parts.stream import Beat

Range = tuple[int, int]
Fields = dict[str, tuple[int, ...]]


def check_lanes(form: Form, lanes: int, channels: int) -> None:
    """Raise HwsimError unless lanes divide the channels and constants are one or one a channel."""
    if lanes < 1 or channels % lanes:
        raise HwsimError(f"a requantizer's lanes must divide {channels} channels, not be {lanes}")
    if len(form.m) not in (1, channels):
        raise HwsimError(f"a requantizer's constants must be 1 or {channels}, not {len(form.m)}")


class Requantizer(wiring.Component):
    """A requantizer: one code in, one code out, on every lane.

    Ports: `i` (In), a stream of `lanes` codes of `in_format`; `o` (Out), one of codes of the form's
    output format. `channels` is the length of the innermost axis, a multiple of `lanes`; constants
    that differ between channels come from a read-only memory (with `block`, block RAM) that steps
    with the beats. `in_range` are proven bounds of the input codes. One beat a cycle, latency
    `latency` cycles, backpressure honoured; no path between `o.ready` and `i.ready`. `last` passes
    through.
    """

    def __init__(
        self,
        form: Form,
        *,
        lanes: int,
        channels: int,
        in_format: Format,
        in_range: Range | None = None,
        block: bool = False,
    ) -> None:
        check_lanes(form, lanes, channels)
        self.lanes, self.form = lanes, form
        self.range = in_range or (in_format.min, in_format.max)
        fields, self.stages = plan(form, self.range)
        self.constants = ChannelConstants(fields, lanes=lanes, channels=channels, block=block)
        self.beat, self.target = Beat.of(lanes, in_format), Beat.of(lanes, form.out.format)
        super().__init__({"i": In(self.beat.stream), "o": Out(self.target.stream)})

    @property
    def latency(self) -> int:
        """Cycles from a beat's arrival to its being offered, when nothing stalls."""
        return len(self.stages) + 1 + int(self.constants.stored)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe = Pipeline(m, self.i, self.target)
        codes = [{"x": trimmed(self.i.payload.data[k], self.range)} for k in range(self.lanes)]
        lanes = pipe.register(codes)
        fetched = self.constants.fetch(m, taken=self.i.valid & self.i.ready, advance=pipe.advance)
        lanes = [{**lane, **more} for lane, more in zip(lanes, fetched, strict=True)]
        if self.constants.stored:
            lanes = pipe.register(lanes)  # a block memory's output is too late for a multiplier
        done = pipe.run(lanes, self.stages)
        pipe.finish([lane["y"] for lane in done], self.o)
        return m


def trimmed(value: Any, bounds: Range) -> Any:
    """`value` in the narrowest shape for its proven range."""
    shape, value = arith.holding(*bounds), Value.cast(value)
    if len(value) < shape.width:  # a lane of its own may be narrower: its top bit is no sign
        return value
    bits = value[: shape.width]
    return bits.as_signed() if shape.signed else bits


def plan(form: Form, x: Range) -> tuple[Fields, list[Stage]]:
    """The constants of each channel and the stages of a form, for inputs in `x`."""
    match form:
        case Affine():
            return affine(form, x)
        case TwoRoundings():
            return two_roundings(form, x)
        case FloatProduct():
            return float_product(form, x)


def affine(form: Affine, x: Range) -> tuple[Fields, list[Stage]]:
    """Multiply, add, align by the channel's shift, round, fit."""
    offsets = form.r if form.r_below is None else form.r + form.r_below
    low, high = product_range(x, form.m)
    total = (low + min(offsets), high + max(offsets))
    fields: Fields = {"m": form.m, "r": form.r}
    if form.split is not None and form.r_below is not None:
        fields |= {"r_below": form.r_below}
    stages = product_stages(form.m, (low, high), split=form.split)
    if any(offsets):
        stages.append(add_offset(total))
    shift = aligning(form.shift, fields, stages)
    return fields, stages + closing(shift, form.rounding, form.out)


def two_roundings(form: TwoRoundings, x: Range) -> tuple[Fields, list[Stage]]:
    """Centre, multiply, left shift, round by 31, align by the right shift, round, fit."""
    x = (x[0] - form.input_zero_point, x[1] - form.input_zero_point)
    fields: Fields = {"m": form.m}
    stages = centre(form.input_zero_point, x)
    stages += product_stages(form.m, product_range(x, form.m), split=None)
    aligning(tuple(-left for left in form.left), fields, stages, least=0)
    stages.append(rounding_stage(31, Rounding.RND))
    shift = aligning(form.right, fields, stages)
    return fields, stages + closing(shift, form.rounding, form.out)


def float_product(form: FloatProduct, x: Range) -> tuple[Fields, list[Stage]]:
    """Magnitude, multiply, align, round to float32 and to a whole number at once, fit."""
    x = (x[0] - form.input_zero_point, x[1] - form.input_zero_point)
    most = max(abs(end) for end in x)
    fields: Fields = {"m": form.m}
    stages = centre(form.input_zero_point, x) + significand_stages(most)
    stages += product_stages(form.m, (0, 2 * most * max(form.m)), split=None)
    shift = aligning(form.shift, fields, stages, least=2)
    if form.zero_point_first:
        stages += add_in_float(form.out.zero_point, shift)
        return fields, stages + whole_stages(shift) + fitting(replace(form.out, zero_point=0))
    return fields, stages + whole_stages(shift) + fitting(form.out)


def centre(zero: int, bounds: Range) -> list[Stage]:
    """Take the input's zero point away, if it has one."""

    def stage(m: Module, lane: Lane) -> Lane:
        x = Signal(arith.holding(*bounds))
        m.d.comb += x.eq(lane["x"] - zero)
        return {**lane, "x": x}

    return [stage] if zero else []


def product_stages(factors: tuple[int, ...], bounds: Range, *, split: int | None) -> list[Stage]:
    """`y = x * m`; `below` is whether x lies below the split."""

    def compare(m: Module, lane: Lane) -> Lane:
        return lane if split is None else {**lane, "below": Value.cast(lane["x"]) < split}

    def wire(m: Module, lane: Lane) -> Lane:
        rest = {name: value for name, value in compare(m, lane).items() if name not in ("x", "m")}
        return {**rest, "y": lane["x"] * factors[0] if factors[0] else Const(0)}

    def products(m: Module, lane: Lane) -> Lane:
        return partial_products("x", "m", "y")(m, compare(m, lane))

    if len(set(factors)) == 1 and factors[0] & (factors[0] - 1) == 0:
        return [wire]
    return [products, gather("y", *bounds)]


def add_offset(bounds: Range) -> Stage:
    """`y + r`, or `y + r_below` where x lay below the split."""

    def stage(m: Module, lane: Lane) -> Lane:
        y = Signal(arith.holding(*bounds))
        r = Mux(lane["below"], lane["r_below"], lane["r"]) if "below" in lane else lane["r"]
        m.d.comb += y.eq(lane["y"] + r)
        return {n: v for n, v in lane.items() if n not in ("r", "r_below", "below")} | {"y": y}

    return stage


def aligning(
    shifts: tuple[int, ...], fields: Fields, stages: list[Stage], least: int | None = None
) -> int:
    """Append a stage that brings every channel to one right shift, if needed; return that shift.

    A channel with a shorter right shift is shifted left by the difference first: nothing is lost.
    """
    common = max(shifts) if least is None else max(*shifts, least)
    left = tuple(common - shift for shift in shifts)
    amounts = sorted(set(left))
    if amounts == [0]:
        return common
    name = f"turn{len(stages)}"
    fields[name] = tuple(amounts.index(amount) for amount in left)

    def stage(m: Module, lane: Lane) -> Lane:
        low, high = arith.bounds(lane["y"])
        y = Signal(arith.holding(min(low << amounts[-1], low), high << amounts[-1]))
        if isinstance(lane[name], Const):
            m.d.comb += y.eq(lane["y"] << amounts[lane[name].value])
            return {n: v for n, v in lane.items() if n != name} | {"y": y}
        with m.Switch(lane[name]):
            for index, amount in enumerate(amounts):
                with m.Case(index):
                    m.d.comb += y.eq(lane["y"] << amount)
        return {n: v for n, v in lane.items() if n != name} | {"y": y}

    stages.append(stage)
    return common


def rounding_stage(shift: int, rounding: Rounding) -> Stage:
    """`y * 2**-shift`, rounded."""

    def stage(m: Module, lane: Lane) -> Lane:
        return {**lane, "y": arith.shift_round(m, lane["y"], shift, rounding)}

    return stage


def closing(shift: int, rounding: Rounding, out: Output) -> list[Stage]:
    """Round and fit; in one stage where rounding is only wiring."""
    (fit,) = fitting(out)
    round_ = rounding_stage(shift, rounding)
    if rounding is Rounding.TRN or shift <= 0:
        return [lambda m, lane: fit(m, round_(m, lane))]
    return [round_, fit]


def fitting(out: Output) -> list[Stage]:
    """Add the zero point, bring into the format, keep to the window."""

    def stage(m: Module, lane: Lane) -> Lane:
        y: Any = lane["y"]
        zero = out.zero_point
        if out.overflow is Overflow.SAT:
            y = arith.clip(m, y, out.low - zero, out.high - zero)  # compared before the adder
            code = Signal(arith.shape_of(out.format))
            m.d.comb += code.eq(y + zero)
        else:
            total = Signal(arith.holding(*(end + zero for end in arith.bounds(y))))
            m.d.comb += total.eq(y + zero)
            code = arith.clip(
                m, arith.overflow(m, total, out.format, out.overflow), out.low, out.high
            )
        return {"y": code}

    return [stage]
