"""FakeQuantize as OpenVINO's CPU plugin computes it, once its passes have been over the model.

The plugin keeps codes and moves what they mean behind the next operator. A quantizer that reads a
layer's sum, an average or codes computes of them in float32, each operation rounded; so its codes
are a step function of the whole numbers, and are found as such.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.ort import softmax
from hwsim.frontends.openvino import codes as codes_of
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.openvino.lines import KernelLine, again, factor_and_offset, fused, whole_again
from hwsim.frontends.openvino.pools import flattened, sizes
from hwsim.frontends.openvino.residual import QuantizedScale, summed
from hwsim.frontends.shared.node_by_node import pools
from hwsim.frontends.shared.rounding import Quantizer, averaged, totalled, weighed
from hwsim.frontends.shared.step_functions import FloatRule, Reals, WholeSums, step_function
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.trying import absorbed
from hwsim.frontends.shared.turning import by_path
from hwsim.frontends.shared.values import (
    NO_PADDING,
    Arithmetic,
    Codes,
    FloatArray,
    Level,
    Mean,
    Pair,
    RawInput,
    Real,
    Scaled,
    Softmax,
    Total,
    Unary,
    Weighing,
)
from hwsim.ops import ChannelTable, Dense, Op, PairTable, Quant, Table, TensorType
from hwsim.ops.base import IntArray

F32 = np.float32
NARROW = 8
FUNCTIONS = (
    "a layer's kernel has functions of its own in OpenVINO, with other last bits: about one code "
    "in 2,000 may differ by one step"
)
MEANS = (
    "OpenVINO's mean of so many codes is not followed to the last bit: about one code in 20,000 "
    "may differ by one step"
)
DIFFERENCE = (
    "OpenVINO rounds a difference of two tensors in an order that is not followed to the last bit: "
    "about one code in 20,000 may differ by one step"
)
SOFTMAX = (
    "OpenVINO computes this softmax in float32: about one code in 200,000 (8-bit result) may "
    "differ by one step"
)
Ends = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FakeQuantizer(Quantizer):
    """Codes from 0 on of `levels` levels between `low` and `high`, one of each or one a channel.

    `scales` are what codes mean, and `zero_point` the code of 0.
    """

    format: Format
    levels: int
    low: Ends
    high: Ends
    scales: Ends
    zero_point: int
    place: float  # of 0 among the codes that the plugin holds, as it computes it
    signed: bool = False  # whether the plugin takes int8
    kept: bool = False  # whether it stays as it is, since only the model's user reads it
    zeros: tuple[int, ...] = ()  # places of 0 that differ by channel, and are taken off codes

    @property
    def scale(self) -> float:  # type: ignore[override]
        """The scale of all channels; NaN where there are several."""
        return self.scales[0] if len(self.scales) == 1 else float("nan")

    @property
    def quant(self) -> Quant | None:
        """Scale and zero point; None of channels with scales of their own."""
        return Quant(self.scales, self.zero_point) if len(self.scales) == 1 else None

    @property
    def ends(self) -> tuple[FloatArray, FloatArray]:
        """The lowest and the highest real, of all channels or of each."""
        return np.array(self.low, F32), np.array(self.high, F32)

    @property
    def line(self) -> tuple[FloatArray, FloatArray]:
        """What a real is multiplied by, and what is added to the product."""
        return factor_and_offset(*self.ends, self.levels)

    @property
    def shift(self) -> np.float32:
        """What the plugin takes off places; nothing where it holds int8."""
        return F32(self.place)

    @property
    def lowest(self) -> int:
        """The lowest code that the plugin holds."""
        return 1 - self.levels // 2 - (self.levels % 2 == 0) if self.signed else 0

    @property
    def meaning(self) -> QuantizedScale:
        """What its codes mean to the plugin."""
        return QuantizedScale(F32(self.scale), self.shift, self.lowest)

    def kernel(self, low: FloatArray, high: FloatArray) -> KernelLine:
        """The same in a layer's kernel, from ends that may have taken in what comes before."""
        lowest = (
            0 if self.kept or not self.signed else 1 - self.levels // 2 - (self.levels % 2 == 0)
        )
        return KernelLine.between(low, high, self.levels, lowest=lowest, last=not self.kept)

    def codes(self, reals: FloatArray) -> IntArray:
        """Of float32 values, channels innermost."""
        return self.on_line(reals, *self.line)

    def on_line(self, values: FloatArray, factor: FloatArray, offset: FloatArray) -> IntArray:
        """A product and a sum, rounded at once, then the nearest whole number or the even one."""
        places = np.rint(fused(values, factor, offset))
        return self.without_zeros(np.clip(places, 0, self.levels - 1).astype(np.int64))

    def without_zeros(self, places: IntArray) -> IntArray:
        """Codes of places, of which 0 is one where the places of 0 differ by channel."""
        return places - np.array(self.zeros) if self.zeros else places

    def port(self, node: object) -> dict[str, Any]:
        """The same at an input's port."""
        if len(self.low) > 1:
            raise HwsimError(f"{node}: an input of the graph must have one range for all channels")
        factor, offset = self.line
        return {"line": (float(factor[0]), float(offset[0]))}

    def apart(self) -> Unary:
        """The reals of codes that moved since: a place of 0 is taken off, then comes the scale."""
        scale, zero = F32(self.scale), F32(self.zero_point)
        shift, lowest = F32(self.shift), F32(self.lowest)

        def function(x: FloatArray) -> FloatArray:
            codes: FloatArray = np.rint(x / scale) + zero
            return np.asarray((codes + lowest - shift) * scale)

        return Unary("FakeQuantize", function, rising=True)

    def shown(self, least: FloatArray, most: FloatArray, *, in_layer: bool) -> Unary:
        """The reals of codes that only the model's user sees, from those that they mean.

        The plugin takes such a quantizer apart and puts it together again. A layer's kernel divides
        by a reciprocal where the lowest real is 0, and else rounds product and sum at once.
        """
        scale, zero = F32(self.scale), F32(self.zero_point)
        low, step = whole_again(F32(least.ravel()[0]), F32(most.ravel()[0]), self.levels)

        def function(x: FloatArray) -> FloatArray:
            codes: FloatArray = np.rint(x / scale) + zero
            if in_layer and not low:
                return np.asarray(codes * (F32(1) / (F32(1) / step)))
            return fused(codes, step, low)

        return Unary("FakeQuantize", function, rising=True)

    def divided(self) -> Unary:
        """The reals of codes that a layer's kernel gives at once: it divides by a reciprocal."""
        scale, step = F32(self.scale), again(np.array(self.scale, F32))
        return Unary("FakeQuantize", lambda x: np.asarray(np.rint(x / scale) * step), rising=True)

    def enter(self, run: TensorBuilder, raw: RawInput, name: str, out: str) -> Codes:
        """At the input's port."""
        kind = TensorType((), self.format, self.quant, (0, self.levels - 1))
        if self.zeros:
            raise HwsimError(f"{name}: an input of the graph must have one place of 0")
        return run.input_codes(raw, kind, self.port(name), out)

    def own(self, run: TensorBuilder, real: Real, name: str, out: str) -> Codes | None:
        """By thresholds of sums and averages, or a table of pairs."""
        real = absorbed(real)
        source = real.source
        match source:
            case Weighing() | Total() | Mean():
                edge, sums, rule = _stepped(run, source, real, self)
            case Pair(a=Weighing()) if isinstance(run, OvImporter) and source.tensor in run.clipped:
                return _of_residual(run, source, self, name, out, real)
            case Pair(a=Level(), b=Level()) if isinstance(run, OvImporter):
                return _of_pair(run, source, self, name, out, real)
            case Level() if isinstance(run, OvImporter) and _narrow_code(source):
                return _of_level(run, source, self, real, name, out)
            case _:
                return None
        ahead, behind = pools(real)
        uneven = isinstance(source, Mean) and sums.rows > 1
        if uneven and ahead:
            raise HwsimError(f"{name}: it must stand ahead of a pool of averages of unlike windows")
        edge = run.chain(name, edge, ahead, f"{out}.pool")
        found = step_function(sums, rule)
        if found is None:
            path = by_path(sums, rule)
            if path is None:
                raise HwsimError(f"{name}: what is computed before it must have fewer thresholds")
            ops: list[Op] = path.ops(self.format, self.quant)
        else:
            ops = found.ops(self.format, self.quant)
        if uneven:
            ops = flattened(run.types[edge].shape, ops)
        return Codes(run.chain(name, edge, [*ops, *behind], out), self.format, real.layout)

    def sum(
        self, run: TensorBuilder, edge: str, scale: FloatArray, zero: int
    ) -> tuple[str, list[Op]]:
        """Thresholds of whole numbers with that meaning."""
        kind, worth = run.types[edge], scale.astype(np.float64)

        def reals(k: IntArray) -> Reals:
            return ((k - zero) * worth).astype(np.float64)

        sums = WholeSums(kind, reals, np.zeros(1), worth.size)
        found = step_function(sums, FloatRule((), self.codes, 1, len(self.low)))
        if found is None:
            raise HwsimError(f"{edge}: what is computed before a quantizer must have fewer codes")
        return edge, found.ops(self.format, self.quant)

    def softmax(self, run: TensorBuilder, source: Softmax, out: str) -> tuple[str, list[Op]]:
        """Exact exponentials and their quotients, where the plugin has floats."""
        run.warn(source.name, SOFTMAX)
        return softmax.rounded(run, source, self, out)

    def mean(self, run: TensorBuilder, edge: str, source: Mean) -> list[Op]:
        """Never asked for: `own` takes averages."""
        raise HwsimError(f"{source.name}: it must be quantized at once")

    def pair(self, run: TensorBuilder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """Of wide codes: what is left open so far."""
        raise HwsimError(f"{source.name}: both of its inputs must be quantized to 8 bits")

    def scaled(self, run: TensorBuilder, source: Scaled, out: str) -> tuple[str, list[Op]]:
        """Never asked for: arithmetic with constants is followed step by step."""
        raise HwsimError(f"{source.name}: it must be quantized at once")


def folded(by: FakeQuantizer, meaning: QuantizedScale) -> tuple[FloatArray, FloatArray]:
    """The line for codes with that meaning, which the plugin has moved into a quantizer's ends."""
    low, high = (end / meaning.scale + meaning.shift for end in by.ends)
    return factor_and_offset(low, high, by.levels)


def held_meaning(run: TensorBuilder, source: Total | Mean) -> QuantizedScale:
    """What codes mean to the plugin, whose place of 0 need not be whole."""
    level = source.input
    plain = QuantizedScale(F32(level.scale), F32(level.zero_point), 0)
    return run.meaning(level) if isinstance(run, OvImporter) else plain


Stepped = tuple[str, WholeSums, FloatRule]


def _stepped(
    run: TensorBuilder, source: Weighing | Total | Mean, real: Real, by: FakeQuantizer
) -> Stepped:
    """The edge of whole numbers, what they mean, and what becomes of that."""
    functions = tuple(s for s in real.steps if isinstance(s, Unary | Arithmetic))
    if isinstance(source, Weighing):
        edge, scale = weighed(run, source)
        return edge, *kernel_rule(run, edge, source, scale, functions, by)
    level = source.input
    if isinstance(source, Total):
        edge, unit = totalled(run, source)
        count = np.array([round(float(F32(level.scale) / unit[0])) if source.mean else 1])
        if int(count[0]) & (int(count[0]) - 1):
            run.warn(source.name, MEANS)
    else:
        edge = averaged(run, source)
        count = sizes(source, run.types[edge].shape[-1])
        if count.size > 1 and any(isinstance(f, Arithmetic) for f in functions):
            raise HwsimError(
                f"{source.name}: nothing must be computed of averages of unlike windows"
            )
    meaning = held_meaning(run, source)
    zero = count * (level.zero_point + meaning.lowest)
    kind = run.types[edge]
    codes: Callable[[FloatArray], IntArray] = by.codes
    one, offset = meaning.scale, meaning.shift

    def averages(k: IntArray) -> Reals:
        whole = (k + zero).astype(F32) / count.astype(F32)
        return np.asarray((whole - offset) * one if functions else whole, np.float64)

    if not functions:
        line = folded(by, meaning)

        def codes(values: FloatArray) -> IntArray:
            return by.on_line(values, *line)

    sums = WholeSums(kind, averages, np.zeros(1), count.size)
    return edge, sums, FloatRule(functions, codes, 1, count.size)


def kernel_rule(
    run: TensorBuilder,
    edge: str,
    source: Weighing,
    scale: FloatArray,
    functions: tuple[Unary | Arithmetic, ...],
    by: FakeQuantizer,
) -> tuple[WholeSums, FloatRule]:
    """What a layer's kernel makes of its whole numbers.

    Without a bias, and in a dense layer, the plugin moves the layer's scale into the quantizer.
    """
    kind, rows = run.types[edge], max(scale.size, len(by.low))
    bias, rest = _bias(functions)
    clamps = [f for f in rest if isinstance(f, Unary) and f.clamp]
    plain = len(clamps) == len(rest)
    low, high = by.ends
    if plain and bias is None and not _moved_bias(source):
        zero = _zero_sums(run, source)
        line = by.kernel(low / scale + zero, high / scale + zero)
        rows = max(rows, line.factor.size, line.offset.size)

        def codes(sums: FloatArray) -> IntArray:
            return by.without_zeros(_clamped(line.places(sums), clamps, by))

        whole = _zero_count(run, source) if zero.any() else np.zeros(1)
        sums = WholeSums(kind, lambda k: (k + whole).astype(np.float64), np.zeros(1), rows)
        return sums, FloatRule((), codes, 1, rows)
    line = by.kernel(low, high)
    if any(clamp.high is not None and clamp.high < high.min() for clamp in clamps):
        line = replace(line, last=False)
    if plain and isinstance(source.op, Dense) and line.plain and bias is not None:

        def codes(sums: FloatArray) -> IntArray:
            return by.without_zeros(_clamped(line.weighted(sums, scale, bias), clamps, by))

        sums = WholeSums(kind, lambda k: k.astype(np.float64), np.zeros(1), rows)
        return sums, FloatRule((), codes, 1, max(rows, bias.size))
    worth = scale.astype(np.float64)
    if not plain:
        run.warn(source.name, FUNCTIONS)

    def last(values: FloatArray) -> IntArray:
        return by.without_zeros(line.places(values))

    sums = WholeSums(kind, lambda k: k * worth, np.zeros(1), rows, worth)
    return sums, FloatRule(functions, last, 1, rows)


def _bias(
    functions: tuple[Unary | Arithmetic, ...],
) -> tuple[FloatArray | None, tuple[Unary | Arithmetic, ...]]:
    """What is added to a layer's sum at once, and what is computed then."""
    first = functions[0] if functions else None
    if isinstance(first, Arithmetic) and first.op == "add":
        return first.values, functions[1:]
    return None, functions


def sums_of_weights(op: Dense, shift: np.float32) -> FloatArray:
    """Weights times one number, added up in float32 one after the other."""
    total = np.zeros(op.outputs, F32)
    for row in op.matrix():
        total = total + shift * row.astype(F32)
    return total


def _zero_sums(run: TensorBuilder, source: Weighing) -> FloatArray:
    """What a dense layer's sums of the plugin's codes hold more than those of reals."""
    taken = run.meaning(source.input).shift if isinstance(run, OvImporter) else 0
    if isinstance(source.op, Dense) and taken:
        return sums_of_weights(source.op, F32(taken))
    return np.zeros(1, F32)


def _zero_count(run: TensorBuilder, source: Weighing) -> Reals:
    """The same exactly."""
    assert isinstance(run, OvImporter)
    place = source.input.zero_point + run.meaning(source.input).lowest
    return np.asarray(source.op.matrix().sum(axis=0) * place, np.float64)


def _moved_bias(source: Weighing) -> bool:
    """Whether a bias is among the whole numbers."""
    return bool(source.op.bias.any())


def _clamped(places: IntArray, clamps: list[Unary], by: FakeQuantizer) -> IntArray:
    """Places no further than the ends of clamps, each rounded by itself."""
    factor, offset = by.line
    for clamp in clamps:
        for end, keep in ((clamp.low, np.maximum), (clamp.high, np.minimum)):
            if end is not None:
                place = np.clip(np.rint(F32(end) * factor + offset), 0, by.levels - 1)
                places = keep(places, place.astype(np.int64))
    return places


def _vanish(real: Real, by: FakeQuantizer) -> bool:
    """Whether nothing is left to do between a tensor and its quantizer."""
    return all(isinstance(s, Unary) and codes_of.vanishes(s, by) for s in real.steps)


def _narrow_code(level: Level) -> bool:
    return level.codes.format.width <= NARROW and not level.fine


def _of_residual(
    run: OvImporter, source: Pair, by: FakeQuantizer, name: str, out: str, real: Real
) -> Codes:
    """The sum of a convolution and a tensor."""
    found = run.clipped[source.tensor]
    low, high = (end / found.unit for end in by.ends)
    edge, ops = summed(run, found, by.kernel(low, high), by, out)
    return Codes(run.chain(name, edge, ops, out), by.format, real.layout)


def _narrow(*levels: Level) -> bool:
    return all(x.codes.format.width <= NARROW and x.scales is None for x in levels)


def _of_pair(
    run: OvImporter, source: Pair, by: FakeQuantizer, name: str, out: str, real: Real
) -> Codes | None:
    """All pairs of codes, tried; None where they are too many, or more is done to the result."""
    a, b = source.a, source.b
    assert isinstance(a, Level) and isinstance(b, Level)
    if source.tensor not in run.pairs or not (_narrow(a, b) and _vanish(real, by)):
        return None
    levels = a, b
    held = [np.arange(1 << x.codes.format.width) for x in levels]
    codes = held[0][:, None], held[1][None, :]
    one, two = (run.meaning(x) for x in levels)
    joint = run.pairs[source.tensor]
    if source.op.kind == "sub":
        run.warn(source.name, DIFFERENCE)
    if source.op.kind == "mul":
        values = codes_of.of_product(codes, (one, two), by, joint.alone)
    elif source.op.kind == "add":
        alone = joint.alone[joint.full]
        values = codes_of.of_sum(codes, (one, two), joint.full, by, alone=alone)
    else:
        values = codes_of.of_reals(codes, (one, two), np.subtract, by, joint.alone)
    op = PairTable(values=values, out=by.format, quant=by.quant)
    edge = run.emit(name, op, [levels[0].codes.edge, levels[1].codes.edge], out)
    return Codes(edge, by.format, real.layout)


def _of_level(
    run: OvImporter, level: Level, by: FakeQuantizer, real: Real, name: str, out: str
) -> Codes:
    """All codes, tried, in each channel where that matters."""
    ahead, behind = pools(real)
    kind = run.types[level.codes.edge]
    functions = [s for s in real.steps if isinstance(s, Unary | Arithmetic)]
    met = np.arange(kind.format.min, kind.format.max + 1)
    meaning = run.meaning(level)
    rows = max(
        [
            len(by.low),
            level.factors.size,
            *(f.values.size for f in functions if isinstance(f, Arithmetic)),
        ]
    )
    codes = np.repeat(met[:, None], rows, axis=1)
    values = codes_of.of_codes(codes, meaning, level.factors, functions, by)
    values = np.broadcast_to(values, codes.shape)
    op: Op = Table(values=values[:, 0].copy(), out=by.format, quant=by.quant)
    if rows > 1 and (values != values[:, :1]).any():
        op = ChannelTable(
            values=values.T.copy(), out=by.format, first=kind.format.min, quant=by.quant
        )
    same = isinstance(op, Table) and np.array_equal(op.values, met) and kind.quant == by.quant
    ops = [*ahead, *([] if same and kind.format == by.format else [op]), *behind]
    if level.codes.padding != NO_PADDING:
        raise HwsimError(f"{name}: a Pad must be followed by a convolution")
    return Codes(run.chain(name, level.codes.edge, ops, out), by.format, real.layout)
