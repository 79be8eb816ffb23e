"""From reals that nothing has rounded yet to codes: the sources of values.py become operators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.literals import alone, literal
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.trying import (
    absorbed,
    met,
    reals_by_channel,
    reals_of_pairs,
)
from hwsim.frontends.shared.values import (
    NO_PADDING,
    After,
    Arithmetic,
    Codes,
    Extreme,
    Fixed,
    FloatArray,
    Joined,
    Level,
    Mean,
    Moved,
    OfTwoCodes,
    Padded,
    Pair,
    PerChannel,
    Pool,
    Product,
    RawInput,
    Real,
    Scaled,
    Softmax,
    Total,
    Unary,
    Weighing,
)
from hwsim.ops import (
    AvgPool,
    ChannelTable,
    Concat,
    MatMul,
    MaxPool,
    Op,
    PairTable,
    Quant,
    Reduce,
    Reduction,
    Relu,
    Select,
    Table,
    TensorType,
)
from hwsim.ops.base import IntArray
from hwsim.ops.elementwise import MOST_ENTRIES


class Quantizer(ABC):
    """How reals become codes: what a framework's quantizer asks for."""

    format: Format
    scale: float
    zero_point: int

    @property
    @abstractmethod
    def quant(self) -> Quant | None:
        """What the codes mean, as the edge's type says it."""

    @abstractmethod
    def codes(self, reals: FloatArray) -> IntArray:
        """Codes of float32 values."""

    @abstractmethod
    def port(self, node: object) -> dict[str, Any]:
        """How an InputPort has to quantize."""

    def enter(self, run: TensorBuilder, raw: RawInput, name: str, out: str) -> Codes:
        """The codes of a graph input, at whose port the quantizer stands; `name` is its node's."""
        return run.input_codes(raw, TensorType((), self.format, self.quant), self.port(name), out)

    @abstractmethod
    def sum(
        self, run: TensorBuilder, edge: str, scale: FloatArray, zero: int
    ) -> tuple[str, list[Op]]:
        """Operators that round whole numbers with `scale` and `zero`, after the edge given back."""

    @abstractmethod
    def mean(self, run: TensorBuilder, edge: str, source: Mean) -> list[Op]:
        """Operators that round a sum over windows."""

    @abstractmethod
    def pair(self, run: TensorBuilder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """Operators that round the sum of two tensors, after the edge given back."""

    @abstractmethod
    def scaled(self, run: TensorBuilder, source: Scaled, out: str) -> tuple[str, list[Op]]:
        """Operators that round a tensor times a factor a channel, after the edge given back."""

    def own(self, run: TensorBuilder, real: Real, name: str, out: str) -> Codes | None:
        """The codes of a tensor by a way of its own; None where it is the usual one."""
        return None

    def softmax(self, run: TensorBuilder, source: Softmax, out: str) -> tuple[str, list[Op]]:
        """Operators that round a softmax, after the edge given back; HwsimError where none do."""
        raise HwsimError(f"{source.name}: a softmax must stand at the end of the model")

    def shifts(self, level: Level) -> bool:
        """Whether rounding codes of that meaning is a mere shift, better than a table."""
        return False


@dataclass(frozen=True, slots=True)
class Made:
    """What an operator needs to be reused: who reads the same source by the same quantizer."""

    source: object
    steps: tuple[object, ...]
    quantizer: Quantizer


def weighed(run: TensorBuilder, source: Weighing) -> tuple[str, FloatArray]:
    """The exact sums of a layer, and the reals of one of their codes."""
    if source not in run.sums:
        edge = run.emit(source.name, source.op, [source.input.codes.edge], source.name)
        run.sums[source] = edge
    edge = run.sums[source]
    plain = run.types[source.input.codes.edge].format.frac_bits
    plain += source.op.weight_format.frac_bits
    finer = run.types[edge].format.frac_bits - plain
    return edge, source.scale * np.float32(2.0**-finer)


def averaged(run: TensorBuilder, source: Mean) -> str:
    """The exact sums over windows behind an average."""
    if source not in run.sums:
        op = AvgPool(window=source.window, zero_point=source.input.zero_point)
        edge = run.emit(source.name, op, [source.input.codes.edge], source.name)
        run.sums[source] = edge
    return run.sums[source]


def multiplied(run: TensorBuilder, source: Product) -> str:
    """The exact sums of a product of two tensors."""
    if source not in run.made:
        edges = [level.codes.edge for level in (source.a, source.b)]
        plain = all(run.types[edge].quant is None for edge in edges)
        op = MatMul(
            zero_points=(source.a.zero_point, source.b.zero_point),
            quant=None if plain else Quant((float(source.scale),)),
        )
        edge = run.emit(source.name, op, edges, source.name)
        run.made[source] = Codes(edge, run.types[edge].format, source.a.codes.layout)
    return run.made[source].edge


def totalled(run: TensorBuilder, source: Total) -> tuple[str, FloatArray]:
    """The exact sums behind a sum or mean along axes, and the reals of one of their codes."""
    kind = run.types[source.input.codes.edge]
    op = Reduce(
        reduction=Reduction.MEAN if source.mean else Reduction.SUM,
        axes=source.axes,
        zero_point=source.input.zero_point,
    )
    if source not in run.made:
        edge = run.emit(source.name, op, [source.input.codes.edge], source.name)
        run.made[source] = Codes(edge, run.types[edge].format, source.input.codes.layout)
    scale = np.float32(source.input.scale)
    if source.mean:
        scale = scale / np.float32(op.terms(kind))
    return run.made[source].edge, np.array([scale])


def quantize(run: TensorBuilder, real: Real, by: Quantizer, name: str, out: str) -> Codes:
    """The codes of a float tensor: its source computed and rounded, then its other steps."""
    key = Made(real.source, real.steps, by)
    if key not in run.made:
        found = _moved(run, real, by, name, out)
        found = by.own(run, real, name, out) if found is None else found
        run.made[key] = _quantize(run, real, by, name, out) if found is None else found
    return replace(run.made[key], layout=real.layout)


def _moved(run: TensorBuilder, real: Real, by: Quantizer, name: str, out: str) -> Codes | None:
    """The codes of an input of the graph, or of what moves once it is rounded; None elsewhere."""
    source = real.source
    early, late = _parted(real)
    if late:  # what is rounded serves other readers too
        whole = replace(real, steps=early)
        codes = quantize(run, whole, by, f"{name}.whole", f"{out}.whole")
        if codes.padding != NO_PADDING:
            raise HwsimError("a Pad must be followed by a convolution")
        return replace(codes, edge=run.chain(name, codes.edge, _moves(late, by), out))
    if not isinstance(source, RawInput):
        return None
    if early:
        raise HwsimError(
            f"{early[0].name}: its input must be quantized first, not an input of the graph"
        )
    return by.enter(run, source, name, f"{source.name}.codes")


def _quantize(run: TensorBuilder, real: Real, by: Quantizer, name: str, out: str) -> Codes:
    source = real.source
    for step in real.steps:
        if isinstance(step, Arithmetic):
            raise HwsimError(f"{step.name}: {run.a_quantizer} must follow a layer's sum at once")
    if isinstance(source, Level):
        return _quantize_level(run, source, real, by, name, out)
    real = absorbed(real)
    source = real.source
    ops: list[Op]
    match source:
        case Weighing():
            edge, scale = weighed(run, source)
            edge, ops = by.sum(run, edge, scale, 0)
        case Mean():
            edge = averaged(run, source)
            ops = by.mean(run, edge, source)
        case Pair():
            edge, ops = by.pair(run, source, out)
        case Scaled():
            edge, ops = by.scaled(run, source, out)
        case Product():
            edge, ops = by.sum(run, multiplied(run, source), np.array([source.scale]), 0)
        case Total():
            edge, unit = totalled(run, source)
            edge, ops = by.sum(run, edge, unit, 0)
        case Softmax():
            edge, ops = by.softmax(run, source, out)
        case Fixed():
            codes = by.codes(source.values)
            name_of = f"{source.name}.constant"
            edge = alone(run, source.like, codes, by.format, quant=by.quant, name=name_of)
            ops = []
        case PerChannel():
            edge, ops = source.term.codes.edge, [tables(run, source, by)]
        case OfTwoCodes():
            edge, ops = _pair_table(run, source, by, out), []
        case Extreme():
            edge, ops = _extreme(run, source, by, name, out), []
        case Joined():
            parts = [
                quantize(run, part, by, name, f"{out}.{i}") for i, part in enumerate(source.parts)
            ]
            parts = [placed(run, p, source) for p in parts]
            edges = [_joinable(run, p, by, f"{out}.{i}") for i, p in enumerate(parts)]
            edge, ops = run.emit(source.name, Concat(axis=source.place), edges, f"{out}.concat"), []
    for step in real.steps:
        ops += step_ops(run, step, by)
    edge = run.chain(name, edge, ops, out)
    return Codes(edge, by.format, real.layout)


def tables(run: TensorBuilder, source: PerChannel, by: Quantizer) -> ChannelTable:
    """A table for each channel, made by trying all codes."""
    reals, first = reals_by_channel(run, source)
    return ChannelTable(values=by.codes(reals).T, out=by.format, first=first, quant=by.quant)


def _pair_table(run: TensorBuilder, source: OfTwoCodes, by: Quantizer, out: str) -> str:
    """A table of all pairs of codes."""
    values = by.codes(reals_of_pairs(run, source))
    op = PairTable(values=values, out=by.format, quant=by.quant)
    edges = [level.codes.edge for level in (source.a, source.b)]
    return run.emit(source.name, op, edges, f"{out}.pairs")


def _extreme(run: TensorBuilder, source: Extreme, by: Quantizer, name: str, out: str) -> str:
    """Rounding keeps the order, so that codes are compared in the place of reals."""
    edges = []
    for i, (part, layout) in enumerate(zip(source.parts, source.layouts, strict=True)):
        codes = quantize(run, part, by, name, f"{out}.{i}")
        codes = run.arranged(codes, layout, source.name)
        edges.append(_joinable(run, codes, by, f"{out}.{i}"))
    edge = edges[0]
    for other in edges[1:]:
        edge = run.emit(source.name, source.op, [edge, other], f"{out}.{source.op.kind}")
    if source.limit is None:
        return edge
    like = Codes(edge, by.format, source.layouts[0])
    limit = literal(
        run, like, by.codes(source.limit), by.format, quant=by.quant, name=f"{source.name}.limit"
    )
    return run.emit(source.name, source.op, [edge, limit.edge], f"{out}.{source.op.kind}")


def placed(run: TensorBuilder, part: Codes, source: Joined) -> Codes:
    """A part with the axis innermost along which it is joined; a flat one in its own order."""
    if source.place >= 0:
        return part
    if len(part.layout.shape) == 1:
        return run.flat(part)
    return run.arranged(part, Arrangement.innermost(part.layout.shape, source.axis), source.name)


def _joinable(run: TensorBuilder, part: Codes, by: Quantizer, out: str) -> str:
    """A part whose type says what `by` says; a mere relabelling costs nothing downstream."""
    kind = run.types[part.edge]
    if (kind.format, kind.quant) == (by.format, by.quant):
        return part.edge
    return relabel(run, part.edge, by.quant, out)


def relabel(run: TensorBuilder, edge: str, quant: Quant | None, out: str) -> str:
    """The same codes with another meaning."""
    fmt = run.types[edge].format
    codes, first = met(run.types[edge], "a tensor that gets another scale")
    return run.emit(out, Table(values=codes, out=fmt, quant=quant, first=first), [edge], out)


def _parted(real: Real) -> tuple[tuple[After, ...], tuple[After, ...]]:
    """Functions, and what stands before the first move; then the moves, and pools among them.

    A function of each element goes ahead of what moves elements, and of a pool if it rises; what
    pads a tensor then pads it with the function's value.
    """
    steps, rank = real.steps, len(real.layout.physical)
    first = next((i for i, s in enumerate(steps) if isinstance(s, Moved | Padded)), len(steps))
    early, late = list(steps[:first]), list[After]()
    for step in steps[first:]:
        if not isinstance(step, Unary | Arithmetic):
            late.append(step)
            continue
        if not step.rising and any(isinstance(s, Pool) for s in late):
            raise HwsimError(f"{step.name}: a function after a max pool must be rising")
        by_channel = isinstance(step, Arithmetic) and step.values.size > 1
        if by_channel and not all(_keeps_channels(s, rank) for s in late):
            raise HwsimError(
                f"{step.name}: what has a constant for each channel must stand behind a quantizer "
                "where channels move before it"
            )
        early.append(step)
        late = [_padding(s, step) if isinstance(s, Padded) else s for s in late]
    return tuple(early), tuple(late)


def _keeps_channels(step: After, rank: int) -> bool:
    """Whether channels are where they were: only places are taken, of a tensor of that rank."""
    if isinstance(step, Moved):
        return all(isinstance(op, Select) and op.axis < rank - 1 for op in step.ops)
    return isinstance(step, Pool)


def _padding(padded: Padded, function: Unary | Arithmetic) -> Padded:
    value = function.function(np.array([padded.value], np.float32))[0]
    return replace(padded, value=float(value))


def _moves(steps: Sequence[After], by: Quantizer) -> list[Op]:
    """Operators on codes that `by` made."""
    ops: list[Op] = []
    for step in steps:
        match step:
            case Moved():
                ops += step.ops
            case Padded():
                codes = set(by.codes(np.array([step.value], np.float32)).ravel().tolist())
                if len(codes) > 1:
                    raise HwsimError(
                        f"{step.name}: what pads must have one code for all channels, not "
                        f"{len(codes)}"
                    )
                ops.append(replace(step.op, code=codes.pop()))
            case Pool():
                ops.append(MaxPool(window=step.window))
    return ops


def step_ops(run: TensorBuilder, step: After, by: Quantizer) -> list[Op]:
    """A max pool, a move or a clamp on codes that `by` made."""
    if isinstance(step, Pool | Moved | Padded):
        return _moves([step], by)
    if isinstance(step, Arithmetic) or not step.clamp:
        raise HwsimError(
            f"{step.name}: its input must be quantized first, since only narrow codes go through a "
            f"table; put {run.a_quantizer} before it"
        )
    low, high = by.format.min, by.format.max
    if step.low is not None:
        low = int(by.codes(np.array([step.low], np.float32))[0])
    if step.high is not None:
        high = int(by.codes(np.array([step.high], np.float32))[0])
    if low > high:
        raise HwsimError(f"{step.name}: its minimum must not be above its maximum")
    if (low, high) == (by.format.min, by.format.max):
        return []
    return [Relu(zero_point=low, maximum=None if high == by.format.max else high)]


def _quantize_level(
    run: TensorBuilder, level: Level, real: Real, by: Quantizer, name: str, out: str
) -> Codes:
    codes = level.codes
    functions = [s for s in real.steps if isinstance(s, Unary)]
    pools: list[Op] = [MaxPool(window=s.window) for s in real.steps if isinstance(s, Pool)]
    first = next((i for i, s in enumerate(real.steps) if isinstance(s, Pool)), len(real.steps))
    before, after = (
        [s for s in part if isinstance(s, Unary)]
        for part in (real.steps[:first], real.steps[first:])
    )
    pooled_last = all(s.rising for s in after)
    if not pooled_last and not all(s.rising for s in before):
        raise HwsimError(f"{name}: a function after a max pool must be rising")
    ops: list[Op]
    if (by.shifts(level) or _is_wide(run, level)) and all(f.clamp for f in functions):
        edge, ops = by.sum(run, codes.edge, np.array([level.scale], np.float32), level.zero_point)
        for function in functions:
            ops += step_ops(run, function, by)
    else:
        edge, ops = codes.edge, _table(run.types[codes.edge], level, functions, by)
    if codes.padding != NO_PADDING and int(by.codes(np.zeros(1, np.float32))[0]) != by.zero_point:
        raise HwsimError(f"{name}: padding must stay real zero up to the next convolution")
    ops = [*ops, *pools] if pooled_last else [*pools, *ops]
    edge = run.chain(name, edge, ops, out)
    return Codes(edge, by.format, real.layout, codes.padding)


def _is_wide(run: TensorBuilder, level: Level) -> bool:
    """Whether codes are too many for a table."""
    kind = run.types[level.codes.edge]
    return level.fine and kind.hi - kind.lo >= MOST_ENTRIES


def _table(kind: TensorType, level: Level, functions: Sequence[Unary], by: Quantizer) -> list[Op]:
    """Nothing, a clamp or a table: the function of one code, made by trying all of them."""
    fmt = level.codes.format
    same = (fmt, level.scale, level.zero_point) == (by.format, by.scale, by.zero_point)
    if same and not functions:
        return []
    if level.scales is not None:
        raise HwsimError("a function of codes must have one scale for all channels")
    codes, first = met(kind, "a tensor that a function is taken of")
    reals = (codes - level.zero_point).astype(np.float32) * np.float32(level.scale)
    for function in functions:
        reals = function.function(reals)
    values = by.codes(reals)
    if same:
        low, high = int(values.min()), int(values.max())
        if np.array_equal(values, codes):
            return []
        if np.array_equal(values, np.clip(codes, low, high)):
            return [Relu(zero_point=low, maximum=None if high == fmt.max else high)]
    return [Table(values=values, out=by.format, quant=by.quant, first=first)]
