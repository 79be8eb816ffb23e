"""Codes of reals that no quantizer reads: a layer's input, or the end of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared import exact_levels, joining
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.exact_levels import FINE_VALUE_BITS
from hwsim.frontends.shared.exact_sums import weighed
from hwsim.frontends.shared.interpolated import interpolated
from hwsim.frontends.shared.rounding import placed, relabel
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.trying import (
    TABLE_BITS,
    absorbed,
    met,
    reals_by_channel,
    reals_of_pairs,
)
from hwsim.frontends.shared.values import (
    NO_PADDING,
    After,
    Codes,
    FloatArray,
    Joined,
    Level,
    Moved,
    OfTwoCodes,
    Padded,
    PerChannel,
    Pool,
    Product,
    Real,
    Scaled,
    Total,
    Unary,
    Weighing,
)
from hwsim.frontends.shared.whole_numbers import in_steps
from hwsim.ops import (
    BatchNorm,
    ChannelTable,
    Concat,
    MaxPool,
    Op,
    PairTable,
    Quant,
    Relu,
    Table,
)
from hwsim.ops.base import IntArray
from hwsim.ops.elementwise import MOST_ENTRIES

FLOAT_BITS = 24


FINE_FACTOR_BITS = 20
"""Bits of the largest factor of a channel that nothing rounds, beside codes of 26 bits and more."""


def settle(run: TensorBuilder, real: Real, name: str) -> Codes:
    """Codes that mean exactly the reals of `real`, which no quantizer reads."""
    source = real.source
    if isinstance(source, Joined) and not run.computes_reals:
        return _settled_parts(run, source, real, name)
    if isinstance(source, Weighing):
        edge, _ = weighed(run, source)
        ops = [op for step in real.steps for op in _settled_step(step)]
        edge = run.chain(f"{name}.steps", edge, ops, f"{name}.sums")
        return Codes(edge, run.types[edge].format, real.layout)
    if isinstance(source, Scaled) and source.unit is None and not real.steps:
        return fine_line(run, source, real).codes
    if run.computes_reals or isinstance(source, Product | Total):
        real = whole(run, name, real)
        source = real.source
    if isinstance(source, Level):
        codes = source.codes
        kind = run.types[codes.edge]
        quant = Quant((source.scale,), source.zero_point)
        if kind.scales() != (source.scale,) or kind.zero_point != source.zero_point:
            codes = replace(codes, edge=relabel(run, codes.edge, quant, f"{name}.codes"))
        return replace(_stepped(run, source, codes, real, name), layout=real.layout)
    raise HwsimError("it must be quantized, since its values are not codes times a scale")


def tabled(real: Real) -> tuple[Real, tuple[float, ...] | None]:
    """A float tensor without the functions at its end, and the reals that they give.

    The reals are those of all codes, the lowest first. None where there is no function but a ReLU,
    or no narrow code to take it of.
    """
    source, steps = real.source, real.steps
    first = next((i for i, s in enumerate(steps) if isinstance(s, Unary) and not _is_relu(s)), None)
    narrow = isinstance(source, Level) and source.codes.format.width <= TABLE_BITS
    if first is None or not narrow or any(isinstance(s, Pool | Padded) for s in steps[first:]):
        return real, None
    assert isinstance(source, Level)
    fmt = source.codes.format
    reals = (np.arange(fmt.min, fmt.max + 1) - source.zero_point).astype(np.float32)
    reals = reals * np.float32(source.scale)
    functions = [step for step in steps[first:] if isinstance(step, Unary)]
    for step in functions:
        reals = step.function(reals)
    if not np.isfinite(reals).all():
        raise HwsimError(f"{steps[first].name}: its values must be finite for all codes")
    moves = tuple(step for step in steps[first:] if not isinstance(step, Unary))
    return replace(real, steps=(*steps[:first], *moves)), tuple(float(value) for value in reals)


def _is_relu(step: After) -> bool:
    return isinstance(step, Unary) and step.low == 0.0 and step.high is None


def _settled_parts(run: TensorBuilder, source: Joined, real: Real, name: str) -> Codes:
    """Parts of one format and scale, one after the other."""
    parts = [settle(run, part, f"{name}.{i}") for i, part in enumerate(source.parts)]
    parts = [placed(run, part, source) for part in parts]
    kinds = {(run.types[p.edge].format, run.types[p.edge].quant) for p in parts}
    if len(kinds) > 1:
        raise HwsimError(
            f"{source.name}: tensors that are concatenated must have one scale and zero point, or "
            "a quantizer behind them"
        )
    joint = Concat(axis=source.place)
    edge = run.emit(source.name, joint, [p.edge for p in parts], f"{name}.concat")
    return _without_steps(real, Codes(edge, run.types[edge].format, real.layout))


def _without_steps(real: Real, codes: Codes) -> Codes:
    if real.steps:
        raise HwsimError(f"{real.steps[0].name} must be followed by a quantizer")
    return codes


def level_of(
    run: TensorBuilder, node: object, real: Real, *, several_scales: bool = False
) -> Level:
    """The codes behind a tensor that is dequantized, and at most cut at zero or max pooled.

    They have one scale, unless the caller knows what to do with `several_scales`.
    """
    source = real.source
    if isinstance(source, Scaled) and source.unit is None and not real.steps:
        return fine_line(run, source, real)
    taken = absorbed(real)
    if isinstance(taken.source, PerChannel | OfTwoCodes) and not taken.steps:
        return fine_tables(run, real, taken.source)
    if run.computes_reals or (isinstance(source, Joined) and _alike(source)):
        real = whole(run, node, real)
        source = real.source
    if not isinstance(source, Level):
        raise HwsimError(
            f"{node}: its input must be quantized before it is used, but comes from a computation "
            f"in between; put {run.a_quantizer} there"
        )
    if source.scales is not None and not several_scales:
        raise HwsimError(
            f"{node}: its input must have one scale for all channels; one a channel goes into a "
            "depthwise convolution or a quantizer"
        )
    if not real.steps:
        return source
    exact = _exactly(run, source, real)
    if exact is not None:
        return exact
    key = (source, real.steps)
    functions = [step for step in real.steps if isinstance(step, Unary)]
    if source.scales is None and functions and not all(map(_is_relu, functions)):
        return fine(run, node, source, real)
    if key not in run.made:
        name = source.codes.edge
        run.made[key] = _stepped(run, source, source.codes, real, name)
    return replace(source, codes=run.made[key])


def _alike(source: Joined) -> bool:
    """Whether all parts are codes of one meaning, which have to move at most, side by side."""
    found = set(_meanings(source))
    return len(found) == 1 and None not in found


def _meanings(source: Joined) -> Iterator[tuple[Format, float, int] | None]:
    """What the codes of each part mean, of one that is joined itself those of its parts."""
    for part in source.parts:
        level = part.source
        if not all(isinstance(step, Moved | Pool) for step in part.steps):
            yield None
        elif isinstance(level, Joined):
            yield from _meanings(level)
        elif isinstance(level, Level) and level.scales is None:
            yield level.codes.format, level.scale, level.zero_point
        else:
            yield None


def whole(run: TensorBuilder, node: object, real: Real) -> Real:
    """What no quantizer reads as codes of its own scale, if it has one, with its steps to come.

    What has been computed of several tensors is in a unit finer than a float32's.
    """
    source = real.source
    if source not in run.levels:
        level: Level | None
        if isinstance(source, Joined):
            parts = [_lying(level_of(run, node, part), part.layout) for part in source.parts]
            level = joining.joined(run, source, parts, real.layout)
        elif isinstance(source, Scaled) and source.unit is None and real.steps:
            level = fine_line(run, source, real)
        else:
            level = exact_levels.whole(run, source, real.layout)
        if level is None:
            return real
        run.levels[source] = level
    return replace(real, source=run.levels[source])


def _lying(level: Level, layout: Arrangement) -> Level:
    return replace(level, codes=replace(level.codes, layout=layout))


def fine_line(run: TensorBuilder, source: Scaled, real: Real) -> Level:
    """A factor and an offset a channel that nothing rounds, in a unit finer than a float32's."""
    if isinstance(source.term, Weighing):
        edge, scale = weighed(run, source.term)
        worth, zero = scale.astype(np.float64), 0
    else:
        edge, zero = source.term.codes.edge, source.term.zero_point
        worth = np.array([source.term.scale])
    kind = run.types[edge]
    fraction = kind.format.frac_bits
    factors = np.broadcast_to(worth * source.factor, kind.channels)
    offsets = np.broadcast_to(source.offset, kind.channels)
    top = float(np.abs(factors).max())
    if not top:
        raise HwsimError(f"{source.name}: its factors must not all be 0")
    unit = 2.0 ** (math.ceil(math.log2(top)) - FINE_FACTOR_BITS)
    whole = np.rint(factors / unit).astype(np.int64)
    if source not in run.made:
        op = BatchNorm(
            scale=whole,
            bias=np.rint(offsets / unit).astype(np.int64) - zero * whole,
            scale_format=Format(True, 32 + fraction, -fraction),
            quant=Quant((unit,)),
        )
        name = f"{source.name}.fine"
        made = run.emit(name, op, [edge], name)
        run.made[source] = Codes(made, run.types[made].format, real.layout)
    return Level(run.made[source], unit, 0, fine=True)


def fine_tables(run: TensorBuilder, real: Real, source: PerChannel | OfTwoCodes) -> Level:
    """A function of a code and its channel, or of two codes, that nothing rounds.

    It is in a unit as `fine` takes it.
    """
    key, first = (real.source, real.steps), 0
    if isinstance(source, PerChannel):
        reals, first = reals_by_channel(run, source)
        edges = [source.term.codes.edge]
    else:
        reals = reals_of_pairs(source)
        edges = [source.a.codes.edge, source.b.codes.edge]
    if not np.isfinite(reals).all():
        raise HwsimError(f"{source.name}: its values must be finite for all codes")
    unit = 2.0 ** (math.frexp(float(np.abs(reals).max()))[1] - FINE_VALUE_BITS)
    if key not in run.made:
        values = np.rint(reals.astype(np.float64) / unit).astype(np.int64)
        fmt = Format.holding(int(values.min()), int(values.max()))
        quant = Quant((unit,))
        op: Op = PairTable(values=values, out=fmt, quant=quant)
        if isinstance(source, PerChannel):
            op = ChannelTable(values=values.T, out=fmt, first=first, quant=quant)
        edge = run.emit(source.name, op, edges, f"{source.name}.fine")
        run.made[key] = Codes(edge, fmt, real.layout)
    return Level(run.made[key], unit, 0, fine=_is_rounded(reals, unit))


def _is_rounded(reals: FloatArray, unit: float) -> bool:
    """Whether some of the reals are no whole numbers of a unit."""
    steps = reals.astype(np.float64) / unit
    return not np.array_equal(np.rint(steps), steps)


def fine(run: TensorBuilder, node: object, level: Level, real: Real) -> Level:
    """Functions of a code that nothing rounds, as whole numbers of a unit finer than a float32's.

    The unit is a power of two of which the largest value has FINE_VALUE_BITS bits.
    """
    functions = [step for step in real.steps if isinstance(step, Unary)]
    if len(functions) < len(real.steps):
        raise HwsimError(f"{functions[0].name} must be followed by a quantizer")
    key = (level, real.steps)
    kind = run.types[level.codes.edge]
    if level.fine and kind.hi - kind.lo >= MOST_ENTRIES and not level.zero_point:
        return _of_lines(run, level, functions, real)
    codes, first = met(kind, f"{node}: what a function is taken of")
    reals = (codes - level.zero_point).astype(np.float32) * np.float32(level.scale)
    for function in functions:
        reals = function.function(reals)
    if not np.isfinite(reals).all():
        raise HwsimError(f"{functions[0].name}: its values must be finite for all codes")
    top = float(np.abs(reals).max())
    unit = 2.0 ** (math.frexp(top)[1] - FINE_VALUE_BITS)
    if key not in run.made:
        values = np.rint(reals.astype(np.float64) / unit).astype(np.int64)
        fmt = Format.holding(int(values.min()), int(values.max()))
        op = Table(values=values, out=fmt, quant=Quant((unit,)), first=first)
        edge = run.emit(functions[-1].name, op, [level.codes.edge], f"{level.codes.edge}.fine")
        run.made[key] = Codes(edge, fmt, real.layout)
    return Level(run.made[key], unit, 0, fine=_is_rounded(reals, unit))


def _of_lines(run: TensorBuilder, level: Level, functions: list[Unary], real: Real) -> Level:
    key = (level, real.steps)
    if key not in run.lines:
        name = f"{level.codes.edge}.{len(run.lines)}"
        codes, unit = interpolated(run, level, functions, name)
        run.lines[key] = Level(replace(codes, layout=real.layout), unit, 0, fine=True)
    return run.lines[key]


def _exactly(run: TensorBuilder, level: Level, real: Real) -> Level | None:
    """Codes whose reals are the very values of functions of a narrow code; None where none are.

    A table gives them in steps of a power of two, no more than float32 holds, or of another.
    """
    codes, functions = level.codes, [s for s in real.steps if isinstance(s, Unary)]
    plain = all(_is_relu(s) for s in functions) or len(functions) < len(real.steps)
    kind = run.types[codes.edge]
    if plain or codes.padding != NO_PADDING or kind.format.width > TABLE_BITS:
        return None
    held = np.arange(kind.lo, kind.hi + 1)
    reals = (held - level.zero_point).astype(np.float32) * np.float32(level.scale)
    for function in functions:
        reals = function.function(reals)
    found = _in_powers(reals) or _in_one_step(reals, kind.format.width)
    if found is None:
        return None
    values, step, bits = found
    fmt = Format.holding(int(values.min()), int(values.max()), bits)
    key, name = (level, real.steps, "values"), f"{codes.edge}.values"
    if key not in run.made:
        quant = None if step == 2.0**-bits else Quant((step,))
        op = Table(values=values, out=fmt, first=kind.lo, quant=quant)
        run.made[key] = Codes(run.emit(name, op, [codes.edge], name), fmt, real.layout)
    return Level(replace(run.made[key], layout=real.layout), step, 0)


def _in_powers(reals: FloatArray) -> tuple[IntArray, float, int] | None:
    """Whole numbers of a power of two, what that is, and its fraction bits."""
    for bits in range(FLOAT_BITS):
        whole = reals.astype(np.float64) * 2.0**bits
        if (np.abs(whole) > 1 << FLOAT_BITS).any() or not np.isfinite(whole).all():
            return None
        if (whole == np.rint(whole)).all():
            return whole.astype(np.int64), 2.0**-bits, bits
    return None


def _in_one_step(reals: FloatArray, width: int) -> tuple[IntArray, float, int] | None:
    """The same of any step (codes times a constant), in as many bits and a sign."""
    found = in_steps(reals) if np.isfinite(reals).all() else None
    if found is None or np.abs(found[0]).max() >> width:
        return None
    return found[0], float(found[1]), 0


def _stepped(run: TensorBuilder, level: Level, codes: Codes, real: Real, name: str) -> Codes:
    ops = [op for step in real.steps for op in _settled_step(step, level)]
    edge = run.chain(f"{name}.steps", codes.edge, ops, f"{name}.codes")
    return replace(codes, edge=edge, layout=real.layout)


def _settled_step(step: After, level: Level | None = None) -> list[Op]:
    """On codes with the meaning of `level`, or on sums, of which 0 is 0."""
    zero = 0 if level is None else level.zero_point
    match step:
        case Pool():
            return [MaxPool(window=step.window)]
        case Moved():
            return list(step.ops)
        case Padded():
            return [replace(step.op, code=_code(step, level))]
    if _is_relu(step):
        return [Relu(zero_point=zero)]
    raise HwsimError(f"{step.name} must be followed by a quantizer")


def _code(step: Padded, level: Level | None) -> int:
    """The code that means the very value of a padding."""
    if step.value == 0:
        return 0 if level is None else level.zero_point
    if level is not None and math.isfinite(step.value):
        code, fmt = round(step.value / level.scale) + level.zero_point, level.codes.format
        real = np.float32(code - level.zero_point) * np.float32(level.scale)
        if fmt.min <= code <= fmt.max and float(real) == step.value:
            return code
    raise HwsimError(
        f"{step.name}: it must be followed by a quantizer, since no code means {step.value:g}"
    )
