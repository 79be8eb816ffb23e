"""From reals that nothing has rounded yet to codes: the sources of values.py become operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.after_rounding import move_ops, parted, step_ops
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.exact_sums import averaged, multiplied, totalled, weighed
from hwsim.frontends.shared.literals import alone, literal
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.trying import absorbed, met, reals_by_channel, reals_of_pairs
from hwsim.frontends.shared.values import (
    NO_PADDING,
    Arithmetic,
    Codes,
    Extreme,
    Fixed,
    Joined,
    Level,
    Mean,
    OfTwoCodes,
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
from hwsim.ops import ChannelTable, Concat, MaxPool, Op, PairTable, Quant, Relu, Table, TensorType
from hwsim.ops.elementwise import MOST_ENTRIES


@dataclass(frozen=True, slots=True)
class Made:
    """What an operator needs to be reused: who reads the same source by the same quantizer."""

    source: object
    steps: tuple[object, ...]
    quantizer: Quantizer


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
    early, late = parted(real)
    if late:  # what is rounded serves other readers too
        whole = replace(real, steps=early)
        codes = quantize(run, whole, by, f"{name}.whole", f"{out}.whole")
        if codes.padding != NO_PADDING:
            raise HwsimError("a Pad must be followed by a convolution")
        return replace(codes, edge=run.chain(name, codes.edge, move_ops(late, by), out))
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
    values = by.codes(reals_of_pairs(source))
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
