"""Streams through functions of one code, or of two codes side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.forms.adders import FittedSum, SearchedSum, SumForm, TabledSum, TableSum
from rtl.parts import arith
from rtl.parts.floating import magnitude, whole_stages
from rtl.parts.multiply import gather, partial_products
from rtl.parts.pipeline import Lane, Pipeline, Stage
from rtl.parts.requantizer import closing, fitting
from rtl.parts.stream import Beat, Join, Slice

DIGIT = 4  # bits that one look-up table of an FPGA takes


class Map(wiring.Component):
    """A combinational function of each code.

    `function(m, code)` adds its logic to `m` and returns a value that `out` can hold. Ports: `i`
    (In), a stream of `lanes` codes of `in_format`; `o` (Out), one of `out`. Latency 1 cycle, one
    beat a cycle; no path between the two sides.
    """

    def __init__(
        self,
        function: Callable[[Module, Any], Any],
        lanes: int,
        *,
        in_format: Format,
        out: Format,
    ) -> None:
        self.function, self.lanes, self.out = function, lanes, Beat.of(lanes, out)
        super().__init__({"i": In(Beat.of(lanes, in_format).stream), "o": Out(self.out.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slice = cut = Slice(self.out)
        m.d.comb += [
            cut.i.valid.eq(self.i.valid),
            self.i.ready.eq(cut.i.ready),
            cut.i.payload.last.eq(self.i.payload.last),
        ]
        for k in range(self.lanes):
            code = self.function(m, self.i.payload.data[k])
            m.d.comb += cut.i.payload.data[k].eq(code)
        wiring.connect(m, cut.o, wiring.flipped(self.o))
        return m


def clipper(lanes: int, *, fmt: Format, lo: int, hi: int) -> Map:
    """A `Map` that keeps codes in `lo..hi`: ReLU with its zero point, clipped or not."""

    def function(m: Module, code: Any) -> Any:
        return arith.clip(m, code, lo, hi)

    return Map(function, lanes, in_format=fmt, out=fmt)


class Lookup(wiring.Component):
    """A table of a function of one code, one read-only memory a lane.

    `values[k]` is the result for the code `in_format.min + k`, or `first + k`; then no other codes
    may come. Ports: `i` (In), a stream of `lanes` codes of `in_format`; `o` (Out), one of `out`.
    Latency 2 cycles, one beat a cycle; no path between `o.ready` and `i.ready`. Raises HwsimError
    where there is no `first` and the entries are not 2**width.
    """

    latency = 2

    def __init__(
        self,
        values: Sequence[int],
        lanes: int,
        *,
        in_format: Format,
        out: Format,
        first: int | None = None,
    ) -> None:
        if first is None and len(values) != 1 << in_format.width:
            raise HwsimError(
                f"a table for codes of {in_format} must have {1 << in_format.width} entries, "
                f"not {len(values)}"
            )
        whole = first is None or len(values) == 1 << in_format.width
        self.first = 0 if whole or first is None else first
        self.rows = by_bits(values, in_format) if whole else [int(v) for v in values]
        self.lanes, self.out = lanes, Beat.of(lanes, out)
        super().__init__({"i": In(Beat.of(lanes, in_format).stream), "o": Out(self.out.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe = Pipeline(m, self.i, self.out)
        pipe.register([])
        found = [
            read_only(m, self.rows, self.out.code, self._place(code), pipe.advance, f"rom_{k}")
            for k, code in enumerate(self.i.payload.data)
        ]
        pipe.finish(found, self.o)
        return m

    def _place(self, code: Any) -> Any:
        """Where the entry of a code lies."""
        return code - self.first if self.first else code


def by_bits(values: Sequence[int], fmt: Format) -> list[int]:
    """Values in the order of codes, re-ordered by the bits of the code."""
    half = len(values) // 2 if fmt.signed else 0
    return [int(v) for v in (*values[half:], *values[:half])]


def read_only(m: Module, rows: Sequence[int], shape: Any, code: Any, enable: Any, name: str) -> Any:
    """The row that the bits of `code` pick, one cycle later."""
    m.submodules[name] = store = memory.Memory(shape=shape, depth=len(rows), init=rows)
    port = store.read_port()
    m.d.comb += [port.addr.eq(Value.cast(code)), port.en.eq(enable)]
    return port.data


class PairMap(wiring.Component, ABC):
    """The shared base of functions of two codes, one from each of two streams of equal length.

    Ports: `a` and `b` (In), streams of `lanes` codes of `formats`; `o` (Out), one of `out`. Beats
    are taken in pairs: each side's `ready` depends on the other's `valid`, not on `o.ready`. One
    beat a cycle. `last` is that of `a`.
    """

    def __init__(self, lanes: int, *, formats: tuple[Format, Format], out: Format) -> None:
        self.lanes, self.formats, self.target = lanes, formats, Beat.of(lanes, out)
        a, b = (Beat.of(lanes, fmt).stream for fmt in formats)
        super().__init__({"a": In(a), "b": In(b), "o": Out(self.target.stream)})

    @abstractmethod
    def codes(self, m: Module, pipe: Pipeline, pairs: list[Lane]) -> list[Any]:
        """The code of each lane, behind at least one register; `pairs` have `a` and `b`."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.join = join = Join(*(Beat.of(self.lanes, fmt) for fmt in self.formats))
        wiring.connect(m, wiring.flipped(self.a), join.a)
        wiring.connect(m, wiring.flipped(self.b), join.b)
        pipe = Pipeline(m, join.o, self.target)
        pairs: list[Lane] = [
            {"a": join.o.payload.a[k], "b": join.o.payload.b[k]} for k in range(self.lanes)
        ]
        pipe.finish(self.codes(m, pipe, pairs), self.o)
        return m


class Adder(PairMap):
    """The scaled sum of two streams of equal length, by a form proved for all pairs of codes.

    Ports as a PairMap's, of `a_format` and `b_format`, and of the form's output format. Latency
    `latency` cycles.
    """

    def __init__(self, form: SumForm, lanes: int, *, a_format: Format, b_format: Format) -> None:
        self.form, self.stages = form, sum_stages(form)
        super().__init__(lanes, formats=(a_format, b_format), out=form.out.format)

    @property
    def latency(self) -> int:
        """Cycles from a pair's arrival to its being offered, when nothing stalls."""
        return len(self.stages) + 1 + int(isinstance(self.form, TabledSum))

    def codes(self, m: Module, pipe: Pipeline, pairs: list[Lane]) -> list[Any]:
        """Sums, of what tables hold where the form has them."""
        if isinstance(self.form, TabledSum):
            pipe.register([])
            pairs = [self._looked_up(m, self.form, pair, k, pipe) for k, pair in enumerate(pairs)]
        return [lane["y"] for lane in pipe.run(pipe.register(pairs), self.stages)]

    def _looked_up(self, m: Module, form: TabledSum, pair: Lane, k: int, pipe: Pipeline) -> Lane:
        """Both addends of a pair, from one memory each."""
        tables = {"a": (form.table_a, form.a_low), "b": (form.table_b, form.b_low)}
        found = {}
        for (name, (values, low)), fmt in zip(tables.items(), self.formats, strict=True):
            rows = [0] * (1 << fmt.width)  # codes outside the proven range never come
            rows[low - fmt.min : low - fmt.min + len(values)] = values
            shape = arith.holding(min(rows), max(rows))
            found[name] = read_only(
                m, by_bits(rows, fmt), shape, pair[name], pipe.advance, f"rom_{name}_{k}"
            )
        return found


class Multiplier(PairMap):
    """The product of two streams of equal length, of codes less their zero points.

    Ports as a PairMap's; `out` holds every product. `factors` are the bounds of both operands less
    their `zero_points`.
    """

    def __init__(
        self,
        lanes: int,
        *,
        formats: tuple[Format, Format],
        zero_points: tuple[int, int],
        factors: Sequence[tuple[int, int]],
        out: Format,
    ) -> None:
        self.zero_points, self.factors = zero_points, factors
        super().__init__(lanes, formats=formats, out=out)

    def codes(self, m: Module, pipe: Pipeline, pairs: list[Lane]) -> list[Any]:
        """Products of the centred codes."""
        ends = [p * q for p in self.factors[0] for q in self.factors[1]]
        products = [partial_products("a", "b", "y"), gather("y", min(ends), max(ends))]
        done = pipe.run(pipe.register(pairs), [self._centred, *products])
        return [lane["y"] for lane in done]

    def _centred(self, m: Module, lane: Lane) -> Lane:
        """Both codes less their zero points, in no more bits than they need."""
        out = {}
        for name, zero, ends in zip("ab", self.zero_points, self.factors, strict=True):
            out[name] = factor = Signal(arith.holding(*ends))
            m.d.comb += factor.eq(lane[name] - zero)
        return out


class Chooser(PairMap):
    """The larger or the smaller code of each pair from two streams of equal length.

    Ports as a PairMap's; `lefts` are by how many bits the codes of each side go left before, and
    `out` holds every choice that can occur. Latency 1 cycle.
    """

    def __init__(
        self,
        lanes: int,
        *,
        formats: tuple[Format, Format],
        lefts: Sequence[int],
        larger: bool,
        out: Format,
    ) -> None:
        self.lefts, self.larger = lefts, larger
        super().__init__(lanes, formats=formats, out=out)

    def codes(self, m: Module, pipe: Pipeline, pairs: list[Lane]) -> list[Any]:
        """One comparison each."""
        return [lane["y"] for lane in pipe.register([self._chosen(lane) for lane in pairs])]

    def _chosen(self, lane: Lane) -> Lane:
        """The choice of a pair."""
        a, b = (Value.cast(lane[n]) << left for n, left in zip("ab", self.lefts, strict=True))
        return {"y": Mux(a > b, a, b) if self.larger else Mux(a < b, a, b)}


def sum_stages(form: SumForm) -> list[Stage]:
    """The stages from the operands `a` and `b` of a lane to its code."""
    if isinstance(form, TableSum):
        return [
            lambda m, lane: {"y": lane["a"] + lane["b"]},
            lambda m, lane: magnitude(m, lane, "y"),
            *whole_stages(form.shift),
            *fitting(form.out),
        ]
    if isinstance(form, SearchedSum):
        return [lambda m, lane: {"y": lane["a"] + lane["b"]}, *_search(form.thresholds, form.low)]
    if isinstance(form, FittedSum):
        return [
            lambda m, lane: {"y": lane["a"] + lane["b"]},
            *closing(form.shift, form.rounding, form.out),
        ]
    return [
        lambda m, lane: (
            digit_products(m, "a", lane["a"], form.ma) | digit_products(m, "b", lane["b"], form.mb)
        ),
        lambda m, lane: {name: lane[f"{name}0"] + lane[f"{name}1"] for name in ("a", "b")},
        lambda m, lane: {"y": lane["a"] + lane["b"] + form.r},
        *closing(form.shift, form.rounding, form.out),
    ]


def _search(thresholds: Sequence[int], low: int) -> list[Stage]:
    """A binary search for how many thresholds `y` reaches, a comparison a stage; `low` is added."""
    bits = len(thresholds).bit_length()
    padded = [*thresholds, *[None] * ((1 << bits) - 1 - len(thresholds))]

    def step(place: int) -> Stage:
        def compared(m: Module, lane: Lane) -> Lane:
            """One bit of the count: the thresholds that may decide it, by the bits above."""
            above = Value.cast(lane.get("count", Const(0, 1)))
            reached = Signal(name=f"reached{place}")
            with m.Switch(above):
                for upper in range(1 << (bits - 1 - place)):
                    bound = padded[((2 * upper + 1) << place) - 1]
                    with m.Case(upper):
                        m.d.comb += reached.eq(0 if bound is None else lane["y"] >= bound)
            return {"y": lane["y"], "count": Cat(reached, above)}

        return compared

    return [
        *(step(place) for place in reversed(range(bits))),
        lambda m, lane: {"y": lane.get("count", Const(0)) + low},
    ]


def digit_products(m: Module, name: str, code: Any, factor: int) -> dict[str, Any]:
    """`code * factor` as two addends: wiring, or for codes of 8 bits a table of each digit."""
    code, size = Value.cast(code), abs(factor)
    if size & (size - 1) == 0:
        return {f"{name}0": code * size if factor >= 0 else -(code * size), f"{name}1": Const(0)}
    if len(code) > 2 * DIGIT:
        return {f"{name}0": code * factor, f"{name}1": Const(0)}
    digits = [code, Const(0)]
    if len(code) > DIGIT:
        upper = code[DIGIT:]
        digits = [code[:DIGIT], upper.as_signed() if code.shape().signed else upper]
    out = {}
    for k, digit in enumerate(digits):
        low, high = arith.bounds(digit)
        step = factor << (DIGIT * k)
        product = Signal(arith.holding(*sorted((low * step, high * step))), name=f"{name}{k}")
        with m.Switch(digit.as_unsigned()):
            for value in range(low, high + 1):
                with m.Case(value & ((1 << len(digit)) - 1)):
                    m.d.comb += product.eq(value * step)
        out[f"{name}{k}"] = product
    return out
