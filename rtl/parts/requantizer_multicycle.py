"""Requantizers that take several cycles a code: serial ones, and ones that share a multiplier."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Shape
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.fixed import Format, Overflow
from hwsim.forms.requantizers import Form
from rtl.parts import arith
from rtl.parts.multicycle import Multiplication, Timing, beat_at_work, registered
from rtl.parts.pipeline import ChannelConstants, Lane, constant_shape
from rtl.parts.recipes import Recipe, recipe
from rtl.parts.requantizer import Range, check_lanes, trimmed
from rtl.parts.stream import Beat, blank


class MulticycleRequantizer(wiring.Component):
    """A requantizer like `Requantizer`, with one code a lane at work for several cycles.

    Ports: `i` (In), a stream of `lanes` codes of `in_format`; `o` (Out), one of codes of the form's
    output format. `channels` is the number of codes after which the constants come again; those
    that differ between channels come from a read-only memory (with `block`, block RAM), a word a
    beat. `in_range` are proven bounds of the input codes. A beat every `cycles` cycles, latency
    `cycles` + 1; backpressure honoured; `o` comes from registers, and no path leads from `o.ready`
    to `i.ready`. `last` passes through.
    """

    def __init__(
        self,
        form: Form,
        multiplication: Multiplication,
        *,
        lanes: int,
        channels: int,
        in_format: Format,
        in_range: Range | None = None,
        block: bool = False,
    ) -> None:
        check_lanes(form, lanes, channels)
        self.multiplication, self.lanes = multiplication, lanes
        self.recipe = recipe(form, in_range or (in_format.min, in_format.max))
        self.constants = ChannelConstants(
            self.recipe.fields, lanes=lanes, channels=channels, block=block
        )
        operands = product_shapes(self.recipe)
        self.cycles = cycles(self.recipe, multiplication, operands)
        self.multipliers = lanes * multiplication.multipliers(*operands)
        self.beat, self.target = Beat.of(lanes, in_format), Beat.of(lanes, form.out.format)
        super().__init__({"i": In(self.beat.stream), "o": Out(self.target.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        work = beat_at_work(m, self.i, self.o, self.target, self.cycles)
        constants = self.constants.held(m, advance=work.leaves)
        for k, fields in enumerate(constants):
            code = self._code(m, work.timing, self.i.payload.data[k], fields, k)
            with m.If(work.leaves):
                m.d.sync += work.offer.data[k].eq(code)
        return m

    def _code(self, m: Module, timing: Timing, code: Any, fields: Lane, k: int) -> Any:
        """The code that lane `k` gives in cycle `cycles` after a load."""
        made = self.recipe
        lane: Lane = {"x": entering(m, code, made.codes)}
        rest: dict[str, Any] = {name: value for name, value in fields.items() if name != "m"}
        if made.split is not None:
            rest["below"] = blank(1, f"below_{k}")
            with m.If(timing.load):
                m.d.sync += rest["below"].eq(Value.cast(lane["x"]) < made.split)
        for stage in made.before:
            lane = stage(m, lane)
        operand, factor = trimmed(lane["x"], made.x), fields["m"]
        product = self.multiplication.multiply(m, timing, operand, factor, f"lane_{k}")
        lane = {**rest, "y": trimmed(product, made.product)}
        for depth, stage in enumerate(made.after):
            if depth:
                lane = registered(m, lane, f"{depth}_{k}")
            lane = stage(m, lane)
        return lane["y"]


def cycles(made: Recipe, multiplication: Multiplication, operands: tuple[Shape, Shape]) -> int:
    """Cycles from one beat to the next, by the shapes of the product's operands."""
    return multiplication.cycles(*operands) + len(made.after)


def product_shapes(made: Recipe) -> tuple[Shape, Shape]:
    """The operands of the product: the code and the multiplier."""
    return arith.holding(*made.x), constant_shape(made.fields["m"])


def entering(m: Module, code: Any, fmt: Format) -> Any:
    """A code brought into the format of those that matter."""
    return arith.overflow(m, code, fmt, Overflow.SAT)
