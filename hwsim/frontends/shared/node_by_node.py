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
from hwsim.frontends.shared.after_rounding import step_ops
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.float_sums import exact, powers_of_two, rough, sums_of
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
    After,
    Arithmetic,
    Codes,
    FloatArray,
    Joined,
    Level,
    Pair,
    Pool,
    Real,
    Source,
    Unary,
    Weighing,
)
from hwsim.ops import Add, MaxPool, Mul, Op, Relu, Requantize, Sub
from hwsim.ops.base import IntArray
from hwsim.ops.thresholds import MOST_THRESHOLDS

F32, F64 = np.float32, np.float64
Found = FoundThresholds | FoundTable | FoundPath
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
        return quantize(run, in_parts(real, source), self, name, out)

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


def in_parts(real: Real, source: Joined) -> Real:
    """What is joined, whose parts take the steps behind it."""
    parts, start = [], 0
    for part in source.parts:
        size = part.layout.shape[source.axis]
        steps = tuple(_cut(step, part, source, start) for step in real.steps)
        parts.append(replace(part, steps=(*part.steps, *steps)))
        start += size
    return replace(real, source=replace(source, parts=tuple(parts)), steps=())


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
