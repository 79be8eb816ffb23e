"""Quantizers of frameworks that compute node by node in float32: codes by thresholds.

Between a layer's exact sum and its quantizer there may be any arithmetic with constants. All of it,
rounded as the runtime rounds each node, becomes one step function of the sum.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.forms.thresholds import literal
from hwsim.frontends.shared import fine_units
from hwsim.frontends.shared.after_rounding import step_ops
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.exact_sums import averaged, multiplied, totalled, weighed
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.rounding import quantize
from hwsim.frontends.shared.step_functions import (
    FloatRule,
    FoundTable,
    FoundThresholds,
    Reals,
    WholeSums,
    step_function,
)
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.turning import FoundPath, by_path
from hwsim.frontends.shared.values import (
    NO_PADDING,
    After,
    Arithmetic,
    Codes,
    FloatArray,
    Joined,
    Level,
    Mean,
    Pair,
    Pool,
    Product,
    Real,
    Source,
    Total,
    Unary,
    Weighing,
)
from hwsim.ops import Add, Carrier, MaxPool, Mul, Op, Quant, Relu, Requantize, Sub
from hwsim.ops.base import IntArray
from hwsim.ops.thresholds import MOST_THRESHOLDS

F32, F64 = np.float32, np.float64
Found = FoundThresholds | FoundTable | FoundPath
EXACT = 1 << 24  # whole numbers up to it are exact in float32
ROUGH_BITS = 24
MOVING = ("flatten", "reshape", "transpose", "select", "pad", "relu")
UNIT = 2.0**-24  # of a float32's rounding
MOST_PAIRS = 1 << 20
NEAR = (
    "QONNX's executor adds in float32, {why}, and at {doubtful:,} of its {count:,} thresholds its "
    "rounding decides: a code may differ by one step there"
)
ODD_SCALES = "with scales that are no powers of two"
LONG_SUMS = "which rounds sums past 2**24 steps"
PASSES = (
    "QONNX's executor adds in float32, which rounds sums past 2**24 steps, as some of these may be"
    ": a code may differ by one step then"
)
LAST_BITS = (
    "QONNX's executor adds in float32, with scales that are no powers of two or past 2**24 steps, "
    "so that its reals may differ in their last bits (by about 1e-7 of the largest)"
)
PAIRS = (
    "QONNX's executor adds in float32, with scales that are no powers of two: for {differing:,} "
    "pairs of codes its code differs by one step"
)
MANY = (
    "its scale is not a power of two, and QONNX computes in float32, so that a code may differ by "
    "one step where the exact value meets a rounding threshold"
)
ROUGH = (
    "{name} has other last bits in the runtime, so that a code which meets a rounding threshold "
    "may differ by one step"
)
TURNS = (
    "{name}: a max pool must stand before or after all functions that fall; give it a quantizer "
    "before"
)


OF_TWO: dict[type[Op], Callable[[FloatArray, FloatArray], FloatArray]] = {
    Add: lambda a, b: a + b,
    Sub: lambda a, b: a - b,
    Mul: lambda a, b: a * b,
}


def powers_of_two(values: FloatArray) -> bool:
    """Whether all of them are."""
    return bool((np.frexp(values)[0] == 0.5).all())


class Stepped(Quantizer):
    """The shared base of quantizers whose runtime computes node by node in float32."""

    @property
    def spacing(self) -> int | IntArray:
        """How far codes lie apart, in all channels or in each."""
        return 1

    @property
    def rows(self) -> int:
        """1, or the number of channels where their codes differ."""
        return 1

    @abstractmethod
    def usual(self, run: TensorBuilder, real: Real) -> bool:
        """Whether shifts, clamps and tables do it, without any float32 that could be rounded."""

    @abstractmethod
    def products(self, scale: Reals) -> list[Op] | None:
        """Operators that round whole numbers of such a scale; None where there are none."""

    def own(self, run: TensorBuilder, real: Real, name: str, out: str) -> Codes | None:
        """By thresholds, unless shifts or a table do it."""
        if isinstance(real.source, Joined):
            return self._joined(run, real, name, out)
        if self.usual(run, real):
            source = real.source
            if isinstance(source, Weighing) and not (exact(run, source) or rough(run, source)):
                run.warn(name, PASSES)
            return None
        edge, sums = sums_of(run, real.source, self, out)
        functions = tuple(s for s in real.steps if isinstance(s, Unary | Arithmetic))
        ahead, behind = pools(real)
        edge = run.chain(name, edge, ahead, f"{out}.pool")
        for function in functions:
            if isinstance(function, Unary) and function.rough:
                run.warn(name, ROUGH.format(name=function.name))
        rule = FloatRule((*sums.first, *functions), self.codes, self.spacing, self.rows)
        ops = self._ops(run, real, sums, rule, name)
        edge = run.chain(name, edge, [*ops, *behind], out)
        return Codes(edge, self.format, real.layout)

    def _joined(self, run: TensorBuilder, real: Real, name: str, out: str) -> Codes | None:
        """FoundThresholds go into the parts, unless they are none but clamps and pools."""
        source = real.source
        assert isinstance(source, Joined)
        if all(isinstance(s, Pool) or (isinstance(s, Unary) and s.clamp) for s in real.steps):
            return None
        if any(isinstance(s, Pool) for s in real.steps):
            raise HwsimError(f"{source.name}: a max pool must stand before a concatenation")
        parts, start = [], 0
        for part in source.parts:
            size = part.layout.shape[source.axis]
            steps = tuple(_cut(step, part, source, start) for step in real.steps)
            parts.append(replace(part, steps=(*part.steps, *steps)))
            start += size
        whole = replace(real, source=replace(source, parts=tuple(parts)), steps=())
        return quantize(run, whole, self, name, out)

    def _ops(
        self,
        run: TensorBuilder,
        real: Real,
        sums: WholeSums,
        rule: FloatRule,
        name: str,
    ) -> list[Op]:
        """A requantizer that gives the very same codes, or the thresholds."""
        found = step_function(sums, rule) or _turning(sums, rule)
        functions = rule.functions[len(sums.first) :]
        products = None if sums.scale is None else self.products(sums.scale)
        if products is not None and all(isinstance(f, Unary) and f.clamp for f in functions):
            ops = [*products, *(op for f in functions for op in step_ops(run, f, self))]
        else:
            ops = []
        if found is None:
            if not ops:
                raise HwsimError(
                    f"{name}: what is computed before it must have at most {MOST_THRESHOLDS} "
                    "thresholds in all channels: its quantizer must have fewer bits"
                )
            run.warn(name, MANY)
            return ops
        differing = None
        if isinstance(real.source, Pair) and found.doubtful:
            differing = _pairs_that_differ(run, real.source, sums, rule, found)
        if differing:
            run.warn(name, PAIRS.format(differing=differing))
        elif differing is None and found.doubtful and not _told(run, real):
            why = LONG_SUMS if _powers(real.source) else ODD_SCALES
            run.warn(name, NEAR.format(why=why, doubtful=found.doubtful, count=found.count))
        if ops and found.equal(lambda k: _run(ops, k), sums.kind):
            return ops
        return found.ops(self.format, self.quant)


def _turning(sums: WholeSums, rule: FloatRule) -> FoundPath | None:
    """Of a function that turns, or of more whole numbers than are tried one by one."""
    return None if rule.steady or rule.spacing != 1 else by_path(sums, rule)


def exact(run: TensorBuilder, source: Weighing) -> bool:
    """Whether float32 holds every sum of a layer, in whatever order it is added up."""
    op, x = source.op, run.types[source.input.codes.edge]
    steps = np.array(op.weight_scale or (2.0**-op.weight_format.frac_bits,))
    if not powers_of_two(steps) or not powers_of_two(source.input.factors):
        return False
    finer = op.bias_frac - x.format.frac_bits - op.weight_format.frac_bits if op.bias.any() else 0
    most = _reach(run, source) * 2.0 ** max(finer, 0) + np.abs(op.bias)
    return float(most.max()) <= EXACT


def note_last_bits(run: TensorBuilder, real: Real) -> None:
    """Say it where the reals of a layer that nothing quantizes may have other last bits."""
    source = real.source
    if isinstance(source, Weighing) and not (exact(run, source) or rough(run, source)):
        run.warn(source.name, LAST_BITS)
    if isinstance(source, Total) and source.mean and not powers_of_two(totalled(run, source)[1]):
        run.warn(source.name, LAST_BITS)


def rough(run: TensorBuilder, source: Weighing) -> bool:
    """Whether a layer's input is one of the graph that nothing quantizes, of which a warning tells.

    Its codes alone pass float32.
    """
    makers = {edge: node for node in run.nodes for edge in node.outputs}
    edge = source.input.codes.edge
    wide = run.types[edge].format.width > ROUGH_BITS
    while edge in makers and makers[edge].op.kind in MOVING:
        edge = makers[edge].inputs[0]
    return wide and edge in {port.tensor for port in run.inputs.values()}


def _reach(run: TensorBuilder, source: Weighing) -> IntArray:
    """The largest magnitude of a layer's sum of products, an output channel each."""
    x = run.types[source.input.codes.edge]
    top = max(abs(x.lo - source.op.zero_point), abs(x.hi - source.op.zero_point))
    reach: IntArray = np.abs(source.op.matrix()).sum(axis=0) * top
    return reach


def sums_of(run: TensorBuilder, source: Source, by: Quantizer, out: str) -> tuple[str, WholeSums]:
    """The edge of a tensor's exact whole numbers, and what they mean."""
    match source:
        case Weighing():
            edge, scale = weighed(run, source)
            worth = scale.astype(F64)
            error = _layer_error(run, source)
            return edge, WholeSums(run.types[edge], lambda k: k * worth, error, worth.size, worth)
        case Mean():
            return _mean_sums(run, source)
        case Level():
            return _level_sums(run, source)
        case Pair():
            return _pair_sums(run, source, by, out)
        case Product():
            return _product_sums(run, source)
    raise HwsimError("it must be quantized at once")


def _layer_error(run: TensorBuilder, source: Weighing) -> Reals:
    """How far the runtime's sum of a channel may lie from the exact one, practically for certain.

    Each product and each sum is rounded by half a unit of the largest that there can be; roundings
    add up as a random walk (Higham and Mary, A new approach to probabilistic rounding error
    analysis, 2019).
    """
    if exact(run, source):
        return np.zeros(1)
    terms = np.count_nonzero(source.op.matrix(), axis=0)
    reach = _reach(run, source) * source.scale.astype(F64)
    return np.asarray((2 + np.sqrt(terms)) * UNIT * reach)


def _mean_sums(run: TensorBuilder, source: Mean) -> tuple[str, WholeSums]:
    """A sum over a window, then divided by its size."""
    if source.counts is not None:
        raise HwsimError(f"{source.name}: an average's windows must all have the same size")
    edge, size = averaged(run, source), source.window.size
    worth = source.input.factors.astype(F64)
    kind = run.types[edge]
    held = powers_of_two(source.input.factors) and kind.magnitude <= EXACT
    error = np.zeros(1) if held else (2 + np.sqrt(size)) * UNIT * kind.magnitude * worth
    by_size = Arithmetic(source.name, "div", np.array([size], F32))
    first, each = (by_size,), worth / size
    return edge, WholeSums(kind, lambda k: k * worth, error, worth.size, each, first)


def _level_sums(run: TensorBuilder, source: Level) -> tuple[str, WholeSums]:
    """Codes, dequantized."""
    if source.codes.padding != NO_PADDING:
        raise HwsimError("a Pad must be followed by a convolution")
    kind = run.types[source.codes.edge]
    factors, zero = source.factors, source.zero_point

    def reals(k: IntArray) -> Reals:
        return ((k - zero).astype(F32) * factors).astype(F64)

    return source.codes.edge, WholeSums(kind, reals, np.zeros(1), factors.size, None)


def _pair_sums(run: TensorBuilder, source: Pair, by: Quantizer, out: str) -> tuple[str, WholeSums]:
    """The sum, difference or product of two tensors of codes, in one unit."""
    a, b = source.a, source.b
    if isinstance(a, Weighing) or isinstance(b, Weighing):
        raise HwsimError(f"{source.name}: a layer's sum must be quantized before it is added")
    kinds = [run.types[level.codes.edge] for level in (a, b)]
    plain = all(kind.quant is None for kind in kinds)
    alike = a.scale == b.scale and a.zero_point == b.zero_point == 0
    edges = [a.codes.edge, b.codes.edge]
    op: Op = source.op
    of_pair: Callable[[IntArray, IntArray], IntArray] | None = None
    if isinstance(source.op, Mul):
        zeros, unit = (a.zero_point, b.zero_point), float(a.scale) * float(b.scale)
        op = op if plain else Mul(zero_points=zeros, quant=Quant((unit,)))
        edge = run.emit(source.name, op, edges, source.name)
    elif plain or alike:
        edge, unit = run.emit(source.name, op, edges, source.name), a.scale
    else:
        edge, unit, of_pair = fine_units.summed(run, source, by.scale, out)
    kind = run.types[edge]
    if plain:
        unit = 2.0**-kind.format.frac_bits
    worth = np.array([unit], F64)
    held = plain and kind.magnitude <= EXACT
    error = np.zeros(1) if held else 4 * UNIT * kind.magnitude * worth
    if of_pair is None:
        k = op.prepare(kinds, Carrier.INT64)

        def of_pair(one: IntArray, two: IntArray) -> IntArray:
            return np.asarray(op.run(np, [one, two], k))

    return edge, WholeSums(kind, lambda k: k * worth, error, 1, worth, of_pair=of_pair)


def _product_sums(run: TensorBuilder, source: Product) -> tuple[str, WholeSums]:
    """The sums of a product of two computed tensors."""
    edge = multiplied(run, source)
    kind, worth = run.types[edge], np.array([source.scale], F64)
    held = powers_of_two(np.array([source.a.scale, source.b.scale], F32))
    terms = run.types[source.a.codes.edge].channels
    error = (2 * (not held) + np.sqrt(terms)) * UNIT * kind.magnitude * worth
    if held and kind.magnitude <= EXACT:
        error = np.zeros(1)
    return edge, WholeSums(kind, lambda k: k * worth, error, 1, worth)


def _pairs_that_differ(
    run: TensorBuilder,
    source: Pair,
    sums: WholeSums,
    rule: FloatRule,
    found: Found,
) -> int | None:
    """For how many pairs of codes the runtime gives another; None where they are too many."""
    a, b = source.a, source.b
    assert isinstance(a, Level) and isinstance(b, Level) and sums.of_pair is not None
    kinds = [run.types[level.codes.edge] for level in (a, b)]
    spans = [kind.hi - kind.lo + 1 for kind in kinds]
    rows = max(sums.rows, rule.all_rows)
    if math.prod(spans) * rows > MOST_PAIRS:
        return None
    met = (np.arange(kind.lo, kind.hi + 1) for kind in kinds)
    one, two = (grid.reshape(-1, 1) for grid in np.meshgrid(*met, indexing="ij"))
    reals = [
        (codes - level.zero_point).astype(F32) * F32(level.scale)
        for codes, level in ((one, a), (two, b))
    ]
    wanted = rule.of(OF_TWO[type(source.op)](*reals).astype(F64))
    return int((found.codes(sums.of_pair(one, two)) != wanted).sum())


def _told(run: TensorBuilder, real: Real) -> bool:
    """Whether the input's own warning says all."""
    return isinstance(real.source, Weighing) and rough(run, real.source)


def _powers(source: Source) -> bool:
    """Whether a layer's scales are powers of two, so that only its long sums are rounded."""
    return isinstance(source, Weighing) and powers_of_two(source.scale)


def pools(real: Real) -> tuple[list[Op], list[Op]]:
    """Max pools ahead of the thresholds and behind them: they go over what rises."""
    places = [i for i, step in enumerate(real.steps) if isinstance(step, Pool)]
    ops: list[Op] = [MaxPool(window=s.window) for s in real.steps if isinstance(s, Pool)]
    if not ops:
        return [], []
    before, after = real.steps[: places[-1]], real.steps[places[0] + 1 :]
    if all(_rises(s) for s in after):
        return [], ops
    if all(_rises(s) for s in before):
        return ops, []
    raise HwsimError(TURNS.format(name=real.steps[places[0]].name))


def _rises(step: After) -> bool:
    return not isinstance(step, Unary | Arithmetic) or step.rising


def _cut(step: After, part: Real, source: Joined, start: int) -> After:
    """The constants of a step for one of the parts that a concatenation makes one tensor."""
    if not isinstance(step, Arithmetic) or step.values.size == 1:
        return step
    layout, size = part.layout, part.layout.shape[source.axis]
    lies = Arrangement.innermost(layout.shape, source.axis)
    if len(layout.shape) > 1 and not layout.same(lies):
        raise HwsimError(f"{step.name}: what is concatenated before it must be maps or vectors")
    return replace(step, values=step.values[start : start + size])


def _run(ops: Sequence[Op], k: IntArray) -> IntArray:
    """The codes that requantizers and clamps give."""
    for op in ops:
        if isinstance(op, Requantize):
            k = literal(op, k)
        elif isinstance(op, Relu):
            k = np.clip(k, op.zero_point, op.maximum)
        else:
            raise AssertionError(op)
    return k
