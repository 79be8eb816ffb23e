"""What ExecuTorch's XNNPACK delegate computes, a second time: in whole numbers and fractions.

It walks through a program of PyTorch itself (`torch.export`), not through a file, and knows the
operators of `exported.py` between quantizers. NumPy only holds and moves elements here.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np

from support.oracle import f32, rounded

Array = Any  # of Python's own numbers
CLAMPS = {"relu": (0, None), "relu6": (0, 6), "hardtanh": (-1, 1)}
MOVERS = ("flatten", "permute", "view", "unsqueeze", "transpose", "squeeze", "slice", "select")


def even(q: Fraction) -> int:
    return rounded(q, "RND_CONV")


def real(x: float) -> Fraction:
    return Fraction(float(np.float32(x)))


class Meaning:
    """A quantizer's scale, zero point and codes."""

    def __init__(self, node: Any) -> None:
        _, scale, zero, low, high, _ = node.args
        self.scale, self.zero, self.low, self.high = real(scale), int(zero), low, high

    def fit(self, code: int) -> int:
        return min(max(code, self.low), self.high)

    def code(self, x: Fraction) -> int:
        """Float32 numbers: times the reciprocal, to nearest even, then the zero point."""
        return self.fit(even(f32(x * f32(1 / self.scale))) + self.zero)

    def bound(self, x: float) -> int:
        return self.fit(even(f32(f32(real(x) / self.scale) + self.zero)))


def each(function: Any, *arrays: Array) -> Array:
    """A function of the elements of arrays that broadcast."""
    whole = np.broadcast_arrays(*arrays)
    flat = [function(*values) for values in zip(*(a.ravel() for a in whole), strict=True)]
    out = np.empty(len(flat), object)
    out[:] = flat
    return out.reshape(whole[0].shape)


class Walk:
    """The values of a program's nodes: codes of a meaning, or float32 numbers as fractions."""

    def __init__(self, program: Any, feeds: list[Array]) -> None:
        self.values: dict[Any, Array] = {}
        self.meanings: dict[Any, Meaning] = {}
        state = {**program.state_dict, **program.constants}
        inputs = iter(feeds)
        for spec, node in zip(
            program.graph_signature.input_specs,
            [n for n in program.graph.nodes if n.op == "placeholder"],
            strict=True,
        ):
            held = state[spec.target].numpy() if spec.target in state else next(inputs)
            cast = real if held.dtype == np.float32 else int
            self.values[node] = each(cast, held)
        for node in program.graph.nodes:
            if node.op == "call_function":
                self.step(node, node.target.__name__.partition(".")[0])
        self.outputs = [
            self.values[out] for out in next(iter(reversed(program.graph.nodes))).args[0]
        ]

    def step(self, node: Any, name: str) -> None:
        if name == "quantize_per_tensor":
            self.meanings[node] = Meaning(node)
            self.values[node] = self.quantized(node, Meaning(node))
        elif name == "dequantize_per_tensor":
            meaning = self.meanings[node] = Meaning(node)
            codes = self.values[node.args[0]]
            self.values[node] = each(lambda c: f32((c - meaning.zero) * meaning.scale), codes)
        elif name in ("dequantize_per_channel", *CLAMPS, "clamp", *WHOLE):
            self.values[node] = None  # looked at from the quantizer behind
        else:
            self.values[node] = FLOATS[name](self, node)

    def quantized(self, node: Any, out: Meaning) -> Array:
        source, bounds = node.args[0], []
        while name_of(source) in (*CLAMPS, "clamp") and self.values[source] is None:
            low, high = limits(source)
            bounds.append((low, high))
            source = source.args[0]
        name = name_of(source)
        if name in WHOLE:
            codes = WHOLE[name](self, source, out)
        elif name == "dequantize_per_tensor" and bounds:
            codes = each(
                lambda x: out.fit(even(f32(f32(x * f32(1 / out.scale)) + out.zero))),
                self.values[source],
            )
        else:
            codes = each(out.code, self.values[source])
        for low, high in bounds:
            least = out.low if low is None else out.bound(low)
            most = out.high if high is None else out.bound(high)
            codes = each(lambda c, a=least, b=most: min(max(c, a), b), codes)
        return codes

    def codes(self, node: Any) -> tuple[Array, Meaning]:
        """Codes behind a dequantizer."""
        return self.values[node.args[0]], self.meanings[node]

    def weights(self, node: Any) -> tuple[Array, list[Fraction]]:
        """Codes and one scale for each output channel."""
        codes = self.values[node.args[0]]
        if name_of(node) == "dequantize_per_tensor":
            return codes, [real(node.args[1])] * codes.shape[0]
        return codes, list(self.values[node.args[1]])


def name_of(node: Any) -> str:
    return "" if node.op != "call_function" else node.target.__name__.partition(".")[0]


def limits(node: Any) -> tuple[float | None, float | None]:
    name = name_of(node)
    if name == "clamp":
        return (*node.args[1:], None, None)[:2]
    low, high = CLAMPS[name]
    return (*node.args[1:], low, high)[:2] if name == "hardtanh" else (low, high)


def whole_bias(bias: Fraction, scale: Fraction) -> int:
    return even(f32(bias * f32(1 / scale)))


def scaled(total: int, scale: Fraction, out: Meaning) -> int:
    return out.fit(even(f32(f32(Fraction(total)) * f32(scale / out.scale))) + out.zero)


def biases(walk: Walk, node: Any, place: int, scales: list[Fraction]) -> list[int]:
    if len(node.args) <= place or node.args[place] is None:
        return [0] * len(scales)
    values = walk.values[node.args[place]]
    return [whole_bias(b, s) for b, s in zip(values, scales, strict=True)]


def convolution(walk: Walk, node: Any, out: Meaning) -> Array:
    x, given = walk.codes(node.args[0])
    w, own = walk.weights(node.args[1])
    rank = w.ndim - 2
    stride, padding, dilation, groups = (*node.args[3:], *(1, 0, 1, 1)[len(node.args) - 3 :])[:4]
    stride, dilation = (list(np.broadcast_to(v, rank)) for v in (stride, dilation))
    kernel = w.shape[2:]
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        ends = [(t // 2, t - t // 2) for t in total]
    else:
        ends = [(p, p) for p in np.broadcast_to(padding, rank)]
    scales = [f32(given.scale * s) for s in own]
    bias = biases(walk, node, 2, scales)
    x = each(int, np.pad(x, [(0, 0), (0, 0), *ends], constant_values=given.zero))
    sizes = [
        (n - d * (k - 1) - 1) // s + 1
        for n, d, k, s in zip(x.shape[2:], dilation, kernel, stride, strict=True)
    ]
    made = np.empty((x.shape[0], w.shape[0], *sizes), object)
    per = w.shape[0] // groups
    for n, c, *at in itertools.product(*map(range, made.shape)):
        total = bias[c]
        for i, *tap in itertools.product(*map(range, w.shape[1:])):
            place = [a * s + t * d for a, s, t, d in zip(at, stride, tap, dilation, strict=True)]
            code = x[(n, c // per * w.shape[1] + i, *place)]
            total += (code - given.zero) * w[(c, i, *tap)]
        made[(n, c, *at)] = scaled(total, scales[c], out)
    return made


def dense(walk: Walk, node: Any, out: Meaning) -> Array:
    x, given = walk.codes(node.args[0])
    w, own = walk.weights(node.args[1])
    scales = [f32(given.scale * s) for s in own]
    bias = biases(walk, node, 2, scales)
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        for c, channel in enumerate(w):
            total = bias[c] + sum((a - given.zero) * b for a, b in zip(row, channel, strict=True))
            rows.append(scaled(total, scales[c], out))
    made = np.empty(len(rows), object)
    made[:] = rows
    return made.reshape(*x.shape[:-1], len(w))


def added(walk: Walk, node: Any, out: Meaning) -> Array:
    """Whole multiples of both, one shift with ties up."""
    (a, first), (b, second) = (walk.codes(arg) for arg in node.args[:2])
    sign = -1 if name_of(node) == "sub" else 1
    ratios = [f32(m.scale / out.scale) for m in (first, second)]
    top = max(ratios)
    exponent = math.floor(math.log2(top))
    exponent += (top >= Fraction(2) ** (exponent + 1)) - (top < Fraction(2) ** exponent)
    shift = 20 - exponent
    ma, mb = (even(ratio * Fraction(2) ** shift) for ratio in ratios)

    def one(x: int, y: int) -> int:
        total = ma * (x - first.zero) + sign * mb * (y - second.zero)
        return out.fit((total + (1 << shift - 1) >> shift) + out.zero)

    return each(one, a, b)


def multiplied(walk: Walk, node: Any, out: Meaning) -> Array:
    (a, first), (b, second) = (walk.codes(arg) for arg in node.args[:2])
    scale = f32(first.scale * second.scale)
    return each(lambda x, y: scaled((x - first.zero) * (y - second.zero), scale, out), a, b)


def averaged(walk: Walk, node: Any, out: Meaning) -> Array:
    """Over a whole map: of raw codes, the zero points in one number beside it."""
    x, given = walk.codes(node.args[0])
    count = x.shape[2] * x.shape[3]
    d = f32(f32(given.scale / out.scale) / count)
    k = f32(out.zero - f32(f32(Fraction(given.zero * count)) * d))
    sums = x.reshape(*x.shape[:2], -1).sum(-1)[:, :, None, None]
    return each(lambda s: out.fit(even(f32(f32(Fraction(s) * d) + k))), sums)


WHOLE = {
    "add": added,
    "sub": added,
    "mul": multiplied,
    "conv1d": convolution,
    "conv2d": convolution,
    "linear": dense,
    "adaptive_avg_pool2d": averaged,
    "mean": averaged,
}


def moved(walk: Walk, node: Any) -> Array:
    """Movers, by NumPy."""
    x, (name, args) = walk.values[node.args[0]], (name_of(node), node.args[1:])
    match name:
        case "permute":
            return x.transpose(args[0])
        case "transpose":
            return x.swapaxes(*args)
        case "slice":
            at, low, high, step = (*args, *(0, None, None, 1)[len(args) :])
            return x[(slice(None),) * at + (slice(low, high, step),)]
        case "select":
            return x.take(args[1], args[0])
    return x.reshape(tuple(node.meta["val"].shape))


def pooled(walk: Walk, node: Any) -> Array:
    x = walk.values[node.args[0]]
    kernel, stride, padding = (*node.args[1:], *(None, None, 0)[len(node.args) - 1 :])[:3]
    stride = stride or kernel
    pads = np.broadcast_to(padding, 2)
    height, width = node.meta["val"].shape[2:]
    made = np.empty((*x.shape[:2], height, width), object)
    for n, c, i, j in itertools.product(*map(range, made.shape)):
        rows = range(i * stride[0] - pads[0], i * stride[0] - pads[0] + kernel[0])
        columns = range(j * stride[1] - pads[1], j * stride[1] - pads[1] + kernel[1])
        made[n, c, i, j] = max(
            x[n, c, a, b]
            for a, b in itertools.product(rows, columns)
            if 0 <= a < x.shape[2] and 0 <= b < x.shape[3]
        )
    return made


FLOATS = {
    **dict.fromkeys(MOVERS, moved),
    "cat": lambda walk, node: np.concatenate(
        [walk.values[part] for part in node.args[0]], (*node.args[1:], 0)[0]
    ),
    "max_pool2d": pooled,
}


def outputs(program: Any, feeds: list[Array]) -> list[Array]:
    """The program's float32 outputs."""
    found = Walk(program, feeds).outputs
    return [np.array(values.tolist(), dtype=object).astype(np.float32) for values in found]
