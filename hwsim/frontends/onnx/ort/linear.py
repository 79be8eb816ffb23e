"""Linear quantization as ONNX Runtime 1.32 computes it on x86-64: scales, zero points, rounding.

docs/frontends.md gives each formula and how it was tested against the runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.ort import float_math, shared_inputs, softmax, sum_functions
from hwsim.frontends.shared import fine_units
from hwsim.frontends.shared.fused import fma
from hwsim.frontends.shared.in_turn import is_in_turn, summed_in_turn
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.rounding import quantize, tables
from hwsim.frontends.shared.tensors import Gridded, TensorBuilder
from hwsim.frontends.shared.trying import absorbed
from hwsim.frontends.shared.values import (
    Arithmetic,
    Codes,
    FloatArray,
    Level,
    Mean,
    Pair,
    PerChannel,
    RawInput,
    Real,
    Scaled,
    Softmax,
    Total,
    Unary,
    Weighing,
)
from hwsim.ops import (
    BatchNorm,
    Carrier,
    Flatten,
    Literal,
    Mul,
    Op,
    PairTable,
    Quant,
    Requantize,
    Reshape,
    ScaledAdd,
    Scheme,
    Table,
)
from hwsim.ops.base import IntArray

F32 = np.float32
MOST_TABLES = 256  # of channels
MOST_RATIO = 2.0**21  # beyond, ONNX Runtime's sums and averages of codes overflow int32


@dataclass(frozen=True, slots=True)
class Linear(Quantizer):
    """QuantizeLinear: `saturate(rint(x / scale) + zero_point)` in float32, to nearest even.

    What is no number becomes the lowest code, or the `highest` one.
    """

    format: Format
    scale: float
    zero_point: int
    highest: bool = False

    @property
    def quant(self) -> Quant:
        """Scale and zero point."""
        return Quant((self.scale,), self.zero_point)

    def enter(self, run: TensorBuilder, raw: RawInput, name: str, out: str) -> Codes:
        """At the input's port; where another quantizer has one, by thresholds of its own."""
        if raw.name in run.grids:
            return shared_inputs.entered(run, raw, self, name, out)
        known = run.inputs.get(raw.name)
        quant = None if known is None else known.type.quant
        if known is not None and quant is not None and known.steps == raw.steps:
            other = Linear(known.type.format, quant.scale[0], quant.zero_point, self.highest)
            if other != self:
                grids = (shared_inputs.grid_of(raw.name, by) for by in (self, other))
                raise Gridded(raw.name, shared_inputs.both(raw.name, *grids))
        return Quantizer.enter(self, run, raw, name, out)  # a slotted class has no super()

    def own(self, run: TensorBuilder, real: Real, name: str, out: str) -> Codes | None:
        """Functions of unrounded sums; arithmetic by channel on an input's integers, all tried.

        And averages that the runtime adds in a known order.
        """
        real = absorbed(real)
        if is_in_turn(run, real) and isinstance(real.source, Mean | Total):
            edge = summed_in_turn(run, real.source, self, name, out)
            return None if edge is None else Codes(edge, self.format, real.layout)
        if sum_functions.is_function_of_sums(real):
            return sum_functions.function_of_sums(run, real, self, name, out)
        steps = [s for s in real.steps if isinstance(s, Unary | Arithmetic)]
        several = any(isinstance(s, Arithmetic) for s in steps) and len(steps) == len(real.steps)
        if not several or not isinstance(real.source, Level):
            return None

        def function(x: FloatArray) -> FloatArray:
            for step in steps:
                x = step.function(x)
            return x

        tried = PerChannel(steps[-1].name, real.source, function)
        return quantize(run, Real(tried, real.layout), self, name, out)

    def codes(self, reals: FloatArray) -> IntArray:
        """By trying: the runtime's own float32 arithmetic."""
        low, high = self.format.min, self.format.max
        codes: IntArray = float_math.quantize_linear(reals, self.scale, self.zero_point, low, high)
        return np.where(np.isnan(reals), high, codes) if self.highest else codes

    def port(self, node: object) -> dict[str, Any]:
        """The default of an InputPort is QuantizeLinear's."""
        return {}

    def sum(
        self, run: TensorBuilder, edge: str, scale: FloatArray, zero: int
    ) -> tuple[str, list[Op]]:
        """`rint(f32(sum) * d) + zero_point` with d = f32(f32(x scale * w scale) / y scale)."""
        return edge, [self._requantize(scale / F32(self.scale), zero)]

    def mean(self, run: TensorBuilder, edge: str, source: Mean) -> list[Op]:
        """Global: as a sum. Otherwise the zero point is added before rounding."""
        if not source.in_reals:
            _near(source.name, source.input.scale, self.scale)
        counts = np.array([source.window.size]) if source.counts is None else source.counts
        shape = run.types[edge].shape
        uneven = len(set(counts.ravel().tolist())) > 1
        each = np.repeat(counts.ravel(), shape[-1]) if uneven else counts.ravel()[:1]
        factor = F32(source.input.scale) / (F32(self.scale) * each.astype(np.float32))
        op = self._requantize(factor, 0)
        if not (source.whole or source.in_reals):
            op = replace(op, scheme=Scheme.F32_RNE_IN)
        return [Flatten(), op, Reshape(shape=shape)] if uneven else [op]

    def _requantize(self, factor: FloatArray, zero: int) -> Requantize:
        return Requantize(
            scheme=Scheme.F32_RNE_OUT,
            multiplier=tuple(float(f) for f in factor),
            out=self.format,
            zero_point=self.zero_point,
            input_zero_point=zero,
            quant=self.quant,
        )

    def pair(self, run: TensorBuilder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """`rint(fma(a, ra, fma(b, rb, offset)))`, where offset gathers the zero points.

        Where the runtime computes in float32, each step is rounded; a difference always is.
        """
        a, b = source.a, source.b
        if isinstance(source.op, Mul):
            assert isinstance(a, Level) and isinstance(b, Level)
            return self._multiplied(run, source, a, b)
        if isinstance(a, Weighing) or isinstance(b, Weighing) or source.wide:
            return fine_units.added(run, source, self, out)
        if source.in_reals:
            op = ScaledAdd(
                ratios=(float(F32(a.scale)), float(source.op.sign * F32(b.scale))),
                offset=0.0,
                out=self.format,
                shifts=(-a.zero_point, -b.zero_point, -self.zero_point),
                quant=self.quant,
                divisor=float(F32(self.scale)),
            )
            return _sum_of(run, source.name, op, [a.codes.edge, b.codes.edge], out)
        shift = source.shift
        _near(source.name, max(a.scale, b.scale), self.scale)
        ra, rb = (F32(level.scale) / F32(self.scale) for level in (a, b))
        za, zb = F32(a.zero_point + shift), F32(b.zero_point + shift)
        zero = F32(self.zero_point + shift)
        op = ScaledAdd(
            ratios=(float(ra), float(rb)),
            offset=float(zero - fma(ra, za, rb * zb)),
            out=self.format,
            shifts=(shift, shift, shift),
            quant=self.quant,
        )
        edges = [a.codes.edge, b.codes.edge]
        alone = _with_a_number(run, op, edges)
        return _sum_of(run, source.name, op, edges, out) if alone is None else alone

    def scaled(self, run: TensorBuilder, source: Scaled, out: str) -> tuple[str, list[Op]]:
        """The product and offset in a fine unit, rounded; or QLinearMul's product of codes."""
        if source.unit is not None and isinstance(source.term, Level):
            return self._product(run, source, source.term, F32(source.unit))
        edge, ops = fine_units.scaled(run, source, self)
        table = self._tabled(run, source, edge, ops)
        return (edge, ops) if table is None else table

    def _tabled(
        self, run: TensorBuilder, source: Scaled, edge: str, ops: list[Op]
    ) -> tuple[str, list[Op]] | None:
        """A table a channel where that alone gives the runtime's code for each code, and is small.

        `ops` behind `edge` are what rounds the exact result, which need not be the float32's code.
        """
        level = source.term
        if not isinstance(level, Level) or source.function is None:
            return None
        kind = run.types[level.codes.edge]
        if kind.format.width > 8 or kind.channels > MOST_TABLES:
            return None
        table = tables(run, PerChannel(source.name, level, source.function), self)
        made = next(node.op for node in reversed(run.nodes) if node.output == edge)
        codes = np.repeat(np.arange(kind.lo, kind.hi + 1)[:, None], kind.channels, axis=1)
        ours, given = codes, kind.with_shape((kind.channels,))
        for op in (made, *ops):
            ours = op.run(np, [ours], op.prepare([given], Carrier.INT64))
            given = op.output_types([given])[0]
        theirs = table.values[:, kind.lo - table.first : kind.hi + 1 - table.first].T
        return None if np.array_equal(ours, theirs) else (level.codes.edge, [table])

    def softmax(self, run: TensorBuilder, source: Softmax, out: str) -> tuple[str, list[Op]]:
        """Float32 exponentials and their quotients; or exact ones, where the runtime has floats."""
        return softmax.rounded(run, source, self, out)

    def _product(
        self, run: TensorBuilder, source: Scaled, level: Level, unit: Any
    ) -> tuple[str, list[Op]]:
        """`rint(f32(f32(f32(product) * d) + zero_point))`, d = f32(f32(x scale * unit) / y scale).

        int8 codes that the runtime holds as uint8 are so meanwhile: a float32 is coarser there.
        """
        edge, channels = level.codes.edge, run.types[level.codes.edge].channels
        factors = np.broadcast_to(source.factor, channels).astype(np.int64)
        scale = F32(level.scale) * unit
        op = BatchNorm(
            scale=factors,
            bias=-level.zero_point * factors,
            scale_format=Format.int(17),
            quant=Quant((float(scale),)),
        )
        product = run.emit(f"{source.name}.product", op, [edge], f"{edge}.product")
        return product, self._rounded_product(scale, source.shift)

    def _multiplied(
        self, run: TensorBuilder, source: Pair, a: Level, b: Level
    ) -> tuple[str, list[Op]]:
        """The product of codes, rounded as QLinearMul does; or once, where reals are multiplied."""
        scale = F32(a.scale) * F32(b.scale)
        op = Mul(zero_points=(a.zero_point, b.zero_point), quant=Quant((float(scale),)))
        edges = [a.codes.edge, b.codes.edge]
        product = run.emit(source.name, op, edges, f"{source.name}.product")
        if source.in_reals:
            return product, [self._requantize(np.array([scale / F32(self.scale)]), 0)]
        return product, self._rounded_product(scale, source.shift)

    def _rounded_product(self, scale: Any, shift: int) -> list[Op]:
        """What rounds a product of codes that one step of is worth `scale`."""
        rounding = self._requantize(np.array([scale / F32(self.scale)]), 0)
        rounding = replace(rounding, scheme=Scheme.F32_RNE_IN)
        if not shift:
            return [rounding]
        held = Format.uint(self.format.width)
        zero = self.zero_point + shift
        rounding = replace(rounding, out=held, zero_point=zero, quant=Quant((self.scale,), zero))
        back = np.arange(held.min, held.max + 1) - shift
        return [rounding, Table(values=back, out=self.format, quant=self.quant)]


def _sum_of(
    run: TensorBuilder, name: str, op: ScaledAdd, edges: Sequence[str], out: str
) -> tuple[str, list[Op]]:
    """The sum; where scales are so unlike that float64 does not hold it, by trying all pairs.

    The smaller operand then often changes no code at all, and the sum is a table of the other.
    """
    kinds = [run.types[edge] for edge in edges]
    if max(kind.format.width for kind in kinds) > 8 or op.adds_exactly(kinds):
        return run.emit(name, op, edges, out), []
    (sa, sb, so), (ra, rb) = op.shifts, (F32(ratio) for ratio in op.ratios)
    a, b = (np.arange(k.format.min, k.format.max + 1) for k in kinds)
    one, other = (a + sa).astype(np.float32)[:, None], (b + sb).astype(np.float32)[None, :]
    total: Any
    if op.divisor is None:
        total = fma(one, ra, fma(other, rb, F32(op.offset)))
    else:
        total = (one * ra + other * rb) / F32(op.divisor)
    values = np.clip(np.rint(total), op.out.min + so, op.out.max + so).astype(np.int64) - so
    if (values == values[:1]).all():
        return edges[1], [Table(values=values[0], out=op.out, quant=op.quant)]
    if (values == values[:, :1]).all():
        return edges[0], [Table(values=values[:, 0], out=op.out, quant=op.quant)]
    pairs = PairTable(values=values, out=op.out, quant=op.quant)
    return run.emit(name, pairs, edges, out), []


def _with_a_number(
    run: TensorBuilder, op: ScaledAdd, edges: Sequence[str]
) -> tuple[str, list[Op]] | None:
    """A table in the place of an add whose one operand is a single number, of the other's codes."""
    makers = {node.output: node.op for node in run.nodes if len(node.outputs) == 1}
    for place, edge in enumerate(edges):
        made = makers.get(edge)
        if isinstance(made, Literal) and made.values.size == 1:
            sums = op.pairs([run.types[e] for e in edges])
            number = int(made.values.ravel()[0]) - made.out.min
            values = sums[number] if place == 0 else sums[:, number]
            return edges[1 - place], [Table(values=values, out=op.out, quant=op.quant)]
    return None


def _near(name: str, scale: float, out: float) -> None:
    if scale >= out * MOST_RATIO:
        raise HwsimError(
            f"{name}: the scale of its result must be above {scale / MOST_RATIO:.3g}, not {out:.3g}"
        )
