"""What every operator means, on nested lists of plain integers, one sample at a time.

Slow, and shares no code with hwsim: only the fields of its dataclasses are read.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from itertools import product
from types import SimpleNamespace
from typing import Any

from support.oracle import (
    c_divide,
    cast,
    f32,
    fitted,
    real,
    requantize,
    rounded,
    scaled_add,
    stepwise,
    whole,
)


def accumulate(op: Any, terms: list[tuple[int, int]], channel: int, fx: int, out: Any) -> int:
    """A sum of (input, weight) products and a bias, exactly or step by step."""
    frac = fx + op.weight_format.frac_bits
    bias = real(int(op.bias[channel]), op.bias_frac)
    acc = op.accumulator
    if not hasattr(acc, "format"):
        total = bias + sum(real((x - op.zero_point) * w, frac) for x, w in terms)
        return whole(total * Fraction(2) ** out.frac_bits)
    return stepwise(acc, bias, [real(x * w, frac) for x, w in terms])


def each(x: Any, f: Any, *others: Any) -> Any:
    """`f` of every code, with the codes of other tensors and the channel (the innermost index)."""
    if isinstance(x[0], list):
        return [each(row, f, *(o[k] for o in others)) for k, row in enumerate(x)]
    return [f(code, *(o[k] for o in others), k) for k, code in enumerate(x)]


def stretched(x: Any, shape: tuple[int, ...], wanted: tuple[int, ...]) -> Any:
    """A tensor of `shape` repeated along the axes that are missing or 1 long in it."""
    if not wanted:
        return x
    if len(shape) < len(wanted) or shape[0] < wanted[0]:
        inner = x if len(shape) < len(wanted) else x[0]
        rest = shape if len(shape) < len(wanted) else shape[1:]
        return [stretched(inner, rest, wanted[1:])] * wanted[0]
    return [stretched(row, shape[1:], wanted[1:]) for row in x]


def flat(x: Any) -> list[int]:
    """All codes, row-major."""
    return [code for item in x for code in flat(item)] if isinstance(x, list) else [x]


def shaped(codes: list[int], shape: tuple[int, ...]) -> Any:
    """The inverse of `flat`."""
    if len(shape) == 1:
        return list(codes)
    size = len(codes) // shape[0]
    return [shaped(codes[k * size : (k + 1) * size], shape[1:]) for k in range(shape[0])]


def windows(window: Any, x: Any) -> Any:
    """Per output position a list of (dy, dx, codes of all channels, or None outside).

    A window of one axis moves over the rows, as if they were a map of one row.
    """
    if len(window.kernel) == 1:
        ((k,), (s,), (before, after)) = window.kernel, window.stride, window.padding
        row = SimpleNamespace(kernel=(1, k), stride=(1, s), padding=(0, before, 0, after))
        return windows(row, [x])
    (kh, kw), (sh, sw), (top, left, bottom, right) = window.kernel, window.stride, window.padding
    height, width = len(x), len(x[0])

    def pick(y: int, z: int) -> Any:
        return x[y][z] if 0 <= y < height and 0 <= z < width else None

    rows = range(-top, height + bottom - kh + 1, sh)
    columns = range(-left, width + right - kw + 1, sw)
    return [
        [
            [(dy, dx, pick(y + dy, z + dx)) for dy, dx in product(range(kh), range(kw))]
            for z in columns
        ]
        for y in rows
    ]


def stored(op: Any) -> Any:
    """Weights as nested lists; encoded ones from the words that hardware stores."""
    if op.encoding is None:
        return op.weights.tolist()

    def weight(word: int) -> int:
        assert 0 <= word < 1 << op.encoding.bits
        if hasattr(op.encoding, "entries"):
            return int(op.encoding.entries[word])
        total = 0
        for term in op.encoding.exponents:
            field = 1 << len(bin(len(term))) - 2
            number, word = word % field, word // field
            total += 2 ** term[number - 1] if number else 0
        return -total if word else total

    def each(words: Any) -> Any:
        return [each(part) for part in words] if isinstance(words, list) else weight(words)

    return each(op.encoding.words(op.weights).tolist())


def convolution(op: Any, x: Any, fx: int, out: Any) -> Any:
    """Each output channel over the input channels of its group."""
    weights = stored(op)
    if op.kind == "conv1d":
        weights = [weights]
    inputs, outputs = len(weights[0][0]), len(weights[0][0][0])
    per_group = outputs // op.groups

    def one(position: Any, o: int) -> int:
        base = o // per_group * inputs
        terms = [
            (op.zero_point if codes is None else codes[base + c], weights[dy][dx][c][o])
            for dy, dx, codes in position
            for c in range(inputs)
        ]
        return accumulate(op, terms, o, fx, out)

    rows = [[[one(p, o) for o in range(outputs)] for p in row] for row in windows(op.window, x)]
    return rows[0] if op.kind == "conv1d" else rows


def dense(op: Any, x: Any, fx: int, out: Any) -> Any:
    """Over the innermost axis."""
    if isinstance(x[0], list):
        return [dense(op, row, fx, out) for row in x]
    weights = stored(op)
    return [
        accumulate(op, [(code, row[o]) for code, row in zip(x, weights, strict=True)], o, fx, out)
        for o in range(len(weights[0]))
    ]


def matmul(op: Any, types: list[Any], outer: tuple[int, ...], xs: list[Any]) -> Any:
    """Sums of products of rows and columns, matrix by matrix."""
    held = [
        stretched(x, kind.shape, (*outer, *kind.shape[-2:]))
        for x, kind in zip(xs, types, strict=True)
    ]

    def product_of(a: Any, b: Any, depth: int) -> Any:
        if depth:
            return [product_of(p, q, depth - 1) for p, q in zip(a, b, strict=True)]
        za, zb = op.zero_points
        columns = list(zip(*b, strict=True))
        return [
            [sum((p - za) * (q - zb) for p, q in zip(row, c, strict=True)) for c in columns]
            for row in a
        ]

    return product_of(*held, len(outer))


def pool(op: Any, x: Any, fx: int) -> Any:
    """Maximum or sum of each channel over each window."""

    def one(position: Any, c: int) -> int:
        inside = [codes[c] for _, _, codes in position if codes is not None]
        if op.kind == "maxpool":
            return max(inside)
        if hasattr(op.accumulator, "format"):
            every = [0 if codes is None else codes[c] for _, _, codes in position]
            return stepwise(op.accumulator, Fraction(0), [real(code, fx) for code in every])
        return sum(code - op.zero_point for code in inside)

    line = len(op.window.kernel) == 1
    channels = range(len(x[0] if line else x[0][0]))
    rows = [[[one(p, c) for c in channels] for p in row] for row in windows(op.window, x)]
    return rows[0] if line else rows


def reduced(op: Any, x: Any, shape: tuple[int, ...], fx: int) -> Any:
    """The codes along some axes made one."""
    codes, groups = flat(x), {}
    for place, index in enumerate(product(*map(range, shape))):
        kept = tuple(k for axis, k in enumerate(index) if axis not in op.axes)
        groups.setdefault(kept, []).append(codes[place])
    values = [combined(op, groups[kept], fx) for kept in sorted(groups)]
    return shaped(values, tuple(1 if k in op.axes else n for k, n in enumerate(shape)))


def combined(op: Any, codes: list[int], fx: int) -> int:
    """One code of several."""
    if op.reduction.value in ("max", "min"):
        return sorted(codes)[-1 if op.reduction.value == "max" else 0]
    acc = op.accumulator
    if type(acc).__name__ == "Float32":
        total = Fraction(0)
        for code in codes:
            total = f32(total + float_of(code))
        return pattern(total)
    if not hasattr(acc, "format"):
        return sum(code - op.zero_point for code in codes)
    if hasattr(acc, "order"):
        return stepwise(acc, Fraction(0), [real(code, fx) for code in codes])
    modes = acc.rounding.value, acc.overflow.value
    return balanced(acc, [cast(real(code, fx), acc.format, *modes) for code in codes])


def float_of(bits: int) -> Fraction:
    """The float32 number of a bit pattern."""
    (number,) = struct.unpack("<f", struct.pack("<I", bits))
    return Fraction(number)


def pattern(number: Fraction) -> int:
    """The bit pattern of a float32 number."""
    (bits,) = struct.unpack("<I", struct.pack("<f", float(number)))
    return int(bits)


def quotient(op: Any, a: int, b: int) -> int:
    """One code over another, or one float32 number over another."""
    top, bottom = (float_of(a), float_of(b)) if op.floats else (Fraction(a), Fraction(b))
    whole = rounded(op.factor * top / bottom, op.rounding.value)
    return fitted(whole + op.zero_point, op.out, "SAT")


def doubling_high(a: int, b: int) -> int:
    """SaturatingRoundingDoublingHighMul of gemmlowp."""
    ab = a * b
    return c_divide(ab + (2**30 if ab >= 0 else 1 - 2**30), 2**31)


def by_power(x: int, right: int) -> int:
    """RoundingDivideByPOT of gemmlowp: ties away from zero."""
    return rounded(Fraction(x, 2**right), "RND_INF")


def saturating_left(x: int, left: int) -> int:
    """SaturatingRoundingMultiplyByPOT of gemmlowp."""
    threshold = 2 ** (31 - left) - 1
    return 2**31 - 1 if x > threshold else -(2**31) if x < -threshold else x * 2**left


def share(op: Any, term: int, total: int) -> int:
    """The last step of TensorFlow Lite's softmax: reference kernel, or in float32."""
    if op.division.value == "float32":
        scaled = f32(float_of(total) / 2**op.bits)
        value = f32(float_of(term) * f32(1 / scaled))
        return fitted(math.floor(value + Fraction(1, 2)) + op.zero_point, op.out, "SAT")
    headroom = 32 - total.bit_length()
    shifted = total * 2**headroom - 2**31  # x of 1 + x, 31 fraction bits
    denominator = (shifted + 2**31) // 2
    x = 1515870810 + doubling_high(denominator, -1010580540)
    for _ in range(3):
        product = doubling_high(denominator, x)
        x += saturating_left(doubling_high(x, 2**29 - product), 2)
    inverse = saturating_left(x, 1)
    value = by_power(doubling_high(inverse, term), 12 + 31 - op.bits - headroom)
    return fitted(value + op.zero_point, op.out, "SAT")


def balanced(acc: Any, codes: list[int]) -> int:
    """A tree of sums: the left part is the largest power of two below the number of terms."""
    if len(codes) == 1:
        return codes[0]
    left = max(2**k for k in range(len(codes)) if 2**k < len(codes))
    return fitted(
        balanced(acc, codes[:left]) + balanced(acc, codes[left:]), acc.format, acc.overflow.value
    )


def transposed(x: Any, axes: tuple[int, ...]) -> Any:
    """Axis k of the result is axis `axes[k]`."""
    sizes, probe = [], x
    while isinstance(probe, list):
        sizes.append(len(probe))
        probe = probe[0]
    shape = tuple(sizes[a] for a in axes)

    def at(index: tuple[int, ...]) -> int:
        code = x
        for position in sorted(range(len(axes)), key=lambda k: axes[k]):
            code = code[index[position]]
        return int(code)

    return shaped([at(index) for index in product(*map(range, shape))], shape)


def joined(xs: list[Any], axis: int) -> Any:
    """Concatenated along an axis, or for -1 along the innermost."""
    if axis > 0 or (axis < 0 and isinstance(xs[0][0], list)):
        return [joined(list(rows), axis - (axis > 0)) for rows in zip(*xs, strict=True)]
    return [part for x in xs for part in x]


def split(x: Any, axis: int, sizes: tuple[int, ...]) -> list[Any]:
    """Parts of consecutive indices along an axis."""
    if axis:
        parts = [split(row, axis - 1, sizes) for row in x]
        return [list(rows) for rows in zip(*parts, strict=True)]
    rows = iter(x)
    return [[next(rows) for _ in range(size)] for size in sizes]


def selected(x: Any, axis: int, indices: Any) -> Any:
    """The parts at some indices of an axis."""
    if axis:
        return [selected(row, axis - 1, indices) for row in x]
    return [x[index] for index in indices]


def padded(op: Any, x: Any, axis: int = 0) -> Any:
    """A code before, after and between the parts of every axis."""
    if not isinstance(x, list):
        return x
    parts = [padded(op, row, axis + 1) for row in x]
    fill = filled(parts[0], op.code)
    before, after, between = (
        numbers[axis] if numbers else 0 for numbers in (op.before, op.after, op.between)
    )
    out = [fill] * before
    for place, part in enumerate(parts):
        out += ([fill] * between if place else []) + [part]
    return out + [fill] * after


def filled(x: Any, code: int) -> Any:
    """As large as `x`, all one code."""
    return [filled(row, code) for row in x] if isinstance(x, list) else code


def first_largest(x: Any) -> Any:
    """Index of the largest code of the innermost axis."""
    return [first_largest(r) for r in x] if isinstance(x[0], list) else [x.index(max(x))]


def cast_channel(op: Any, value: Fraction, fmt: Any) -> int:
    """A real in its channel's format, as a code of the format that holds all of them."""
    if fmt is None:
        return 0
    code = cast(value, fmt, op.rounding.value, op.overflow.value)
    return whole(real(code, fmt.frac_bits) * Fraction(2) ** op.out.frac_bits)


def per_channel(values: Any, channel: int) -> Any:
    """One value for all channels, or one a channel."""
    return values[channel if len(values) > 1 else 0]


def divide(op: Any, x: Any) -> Any:
    """Toward zero, by one divisor or one a position."""
    by = op.divisors.tolist()
    if len(flat(by)) == 1:
        return each(x, lambda code, _: c_divide(code, flat(by)[0]))

    def one(part: Any, n: Any) -> Any:
        if isinstance(n, list):
            return [one(p, m) for p, m in zip(part, n, strict=True)]
        return [c_divide(code, n) for code in part]

    return one(x, by)


def run(op: Any, types: list[Any], out: Any, xs: list[Any]) -> Any:
    """The output tensor of one sample, or a tuple of several; `out` is the type of the first."""
    x, fx = xs[0], types[0].format.frac_bits
    match op.kind:
        case "dense":
            return dense(op, x, fx, out.format)
        case "conv1d" | "conv2d":
            return convolution(op, x, fx, out.format)
        case "maxpool" | "avgpool":
            return pool(op, x, fx)
        case "reduce":
            return reduced(op, x, types[0].shape, fx)
        case "relu":
            top = math.inf if op.maximum is None else op.maximum
            return each(x, lambda code, _: min(max(code, op.zero_point), top))
        case "table":
            entries = op.values.tolist()
            first = types[0].format.min if op.first is None else op.first
            return each(x, lambda code, _: entries[code - first])
        case "thresholds":
            rows, base, step = op.values.tolist(), op.base.tolist(), op.step.tolist()
            return each(
                x,
                lambda code, c: (
                    per_channel(base, c)
                    + per_channel(step, c) * sum(t <= code for t in per_channel(rows, c))
                ),
            )
        case "chosen_thresholds":
            low, base, step = types[0].format.min, op.base.tolist(), op.step.tolist()
            reached = [
                lambda number, row=row: sum(held <= number for held in row)
                for row in op.values.tolist()
            ]
            a, b = (stretched(v, t.shape, out.shape) for v, t in zip(xs, types, strict=True))
            return each(a, lambda p, q, _: base[p - low] + step[p - low] * reached[p - low](q), b)
        case "literal":
            given = (
                shaped(op.values.reshape(-1).tolist(), op.values.shape)
                if op.values.ndim
                else [int(op.values)]
            )
            return stretched(given, op.values.shape or (1,), types[0].shape)
        case "channel_table":
            tables = op.values.tolist()
            return each(x, lambda code, c: tables[c][code - op.first])
        case "pair_table":
            rows, lows = op.values.tolist(), [t.format.min for t in types]
            a, b = (stretched(v, t.shape, out.shape) for v, t in zip(xs, types, strict=True))
            return each(a, lambda p, q, _: rows[p - lows[0]][q - lows[1]], b)
        case "cast":
            modes = op.rounding.value, op.overflow.value
            if op.channels is not None:
                return each(x, lambda code, c: cast_channel(op, real(code, fx), op.channels[c]))
            return each(x, lambda code, _: cast(real(code, fx), op.out, *modes))
        case "requantize":
            return each(x, lambda code, c: requantize(op, code, per_channel(op.multiplier, c)))
        case "add" | "sub":
            fb, scale = types[1].format.frac_bits, Fraction(2) ** out.format.frac_bits
            a, b = (stretched(v, t.shape, out.shape) for v, t in zip(xs, types, strict=True))
            sign = 1 if op.kind == "add" else -1
            return each(a, lambda p, q, _: whole((real(p, fx) + sign * real(q, fb)) * scale), b)
        case "maximum" | "minimum":
            fb, scale = types[1].format.frac_bits, Fraction(2) ** out.format.frac_bits
            a, b = (stretched(v, t.shape, out.shape) for v, t in zip(xs, types, strict=True))
            best = max if op.kind == "maximum" else min
            return each(a, lambda p, q, _: whole(best(real(p, fx), real(q, fb)) * scale), b)
        case "scaled_add":
            a, b = (stretched(v, t.shape, out.shape) for v, t in zip(xs, types, strict=True))
            return each(a, lambda p, q, _: scaled_add(op, p, q), b)
        case "mul":
            a, b = (stretched(v, t.shape, out.shape) for v, t in zip(xs, types, strict=True))
            za, zb = op.zero_points
            return each(a, lambda p, q, _: (p - za) * (q - zb), b)
        case "rsqrt":
            return each(x, lambda code, _: round(2.0**op.bits / math.sqrt(code + op.offset)))
        case "share":
            a, b = (stretched(v, t.shape, out.shape) for v, t in zip(xs, types, strict=True))
            return each(a, lambda p, q, _: share(op, p, q), b)
        case "quotient":
            a, b = (stretched(v, t.shape, out.shape) for v, t in zip(xs, types, strict=True))
            return each(a, lambda p, q, _: quotient(op, p, q), b)
        case "matmul":
            return matmul(op, types, out.shape[:-2], xs)
        case "batchnorm":
            fs, scale = fx + op.scale_format.frac_bits, Fraction(2) ** out.format.frac_bits
            sums = list(zip(op.scale.tolist(), op.bias.tolist(), strict=True))
            return each(
                x,
                lambda code, c: whole(
                    (real(code * sums[c][0], fs) + real(sums[c][1], op.bias_frac)) * scale
                ),
            )
        case "divide":
            return divide(op, x)
        case "concat":
            return joined(xs, op.axis)
        case "split":
            return tuple(split(x, op.axis, op.sizes))
        case "flatten":
            return flat(x)
        case "reshape":
            return shaped(flat(x), op.shape)
        case "transpose":
            return transposed(x, op.axes)
        case "select":
            return selected(x, op.axis, op.indices)
        case "pad":
            return padded(op, x)
        case "argmax":
            return first_largest(x)
    raise AssertionError(f"the oracle knows no operator {op.kind!r}")


def run_all(op: Any, types: list[Any], outs: list[Any], xs: list[Any]) -> list[Any]:
    """The output tensors of one sample, a list of one where there is one."""
    made = run(op, types, outs[0], xs)
    return list(made) if isinstance(made, tuple) else [made]
