"""Graphs of all that can be written for hls4ml, with random formats, in one project."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Cast,
    Concat,
    Conv1D,
    Conv2D,
    Dense,
    Divide,
    Flatten,
    Maximum,
    MaxPool,
    Minimum,
    Mul,
    Op,
    Pad,
    Quant,
    Relu,
    Requantize,
    Reshape,
    Scheme,
    Stepwise,
    Sub,
    Table,
    TensorType,
    Thresholds,
    Transpose,
    Window,
)

ROUNDINGS = [mode for mode in Rounding if mode.value not in ("CEIL", "UP")]
OVERFLOWS = list(Overflow)


class Heads:
    """Nodes under construction; each method appends one and gives its edge."""

    def __init__(self, rng: np.random.Generator, kind: TensorType, **port: Any) -> None:
        self.rng, self.nodes, self.outputs = rng, list[Node](), list[str]()
        self.port = InputPort(name="x", tensor="x", type=kind, **port)

    def add(self, op: Op, *sources: str) -> str:
        """One node with a name of its own, not yet one of C++."""
        name = f"{op.kind}.{len(self.nodes)}"
        self.nodes.append(Node(name, op, sources or ("x",), name))
        return name

    def format(self, least: int = 3, most: int = 12, *, signed: bool | None = None) -> Format:
        """A random one; integer bits may be below zero or above the width."""
        width = int(self.rng.integers(least, most + 1))
        odd = self.rng.random() < 0.2
        whole = int(self.rng.integers(-2, width + 3) if odd else self.rng.integers(1, width + 1))
        some = bool(self.rng.integers(4)) if signed is None else signed
        return Format(some, whole, width - whole)

    def modes(self) -> dict[str, Any]:
        """A rounding and an overflow."""
        rounding = ROUNDINGS[self.rng.integers(len(ROUNDINGS))]
        return {"rounding": rounding, "overflow": OVERFLOWS[self.rng.integers(4)]}

    def cast(self, source: str, fmt: Format | None = None) -> str:
        """To a random format, or to one by random modes."""
        return self.add(Cast(out=fmt or self.format(), **self.modes()), source)

    def weights(self, *shape: int) -> dict[str, Any]:
        """Codes, biases and their formats."""
        fmt = self.format(2, 7, signed=True)
        biases = self.rng.integers(-30, 31, shape[-1])
        return {
            "weights": self.rng.integers(fmt.min, fmt.max + 1, shape),
            "bias": biases,
            "weight_format": fmt,
            "bias_frac": int(self.rng.integers(0, 9)),
        }

    def steps(self, terms: int = 0) -> dict[str, Any]:
        """An accumulator that is cast at each step; with `terms` in an order of reuse."""
        order = None
        if terms and self.rng.random() < 0.5:
            reuse = 2 if terms % 2 == 0 else 3
            order = tuple(k for first in range(reuse) for k in range(first, terms, reuse))
        fmt = self.format(6, 16)
        return {"accumulator": Stepwise(format=fmt, order=order, **self.modes())}

    def end(self, *edges: str) -> None:
        """Edges that outputs show."""
        self.outputs += edges

    def graph(self) -> Graph:
        """All of it."""
        ports = [OutputPort(name=f"out{n}", tensor=e) for n, e in enumerate(self.outputs)]
        return Graph((self.port,), tuple(self.nodes), tuple(ports))


def image_heads(seed: int, *, stream: bool) -> Graph:
    """Windows, functions of two tensors and moves over an image of 2 channels."""
    rng = np.random.default_rng(seed)
    make = Heads(rng, TensorType((6, 6, 2), Format(True, 4, 6)), overflow=Overflow.SAT)
    same = Window((3, 3), (1, 1), (1, 1, 1, 1))
    exact = make.cast(make.add(Conv2D(**make.weights(3, 3, 2, 4), window=same)))
    steps = Conv2D(**make.weights(3, 3, 2, 4), window=same, **make.steps(18))
    stepped = make.cast(make.add(steps), make.format(signed=True))
    norm = BatchNorm(
        scale=rng.integers(-9, 10, 4),
        bias=rng.integers(-90, 91, 4),
        scale_format=Format(True, 2, 3),
        bias_frac=5,
    )
    left = make.add(Relu(), make.add(norm, exact))
    right = make.cast(make.add(Relu(), stepped), make.format(signed=False))
    for op in (Add(), Sub(), Mul(), Maximum(), Minimum())[: 2 if stream else 5]:
        make.end(make.cast(make.add(op, left, right)))
    pooled = make.add(MaxPool(window=Window((2, 2), (2, 2), (0, 0, 0, 0))), right)
    grouped = make.weights(2, 2, 1, 4)
    make.end(
        make.add(Conv2D(**grouped, window=Window((2, 2), (1, 1), (0, 0, 0, 0)), groups=4), pooled)
    )
    wide = {"accumulator": Stepwise(format=Format(True, 9, 3), rounding=Rounding.RND)}
    summed = AvgPool(window=Window((3, 3), (3, 3), (0, 0, 0, 0)), **wide)
    divided = make.add(Divide(divisors=np.array([9])), make.add(summed, right))
    make.end(make.cast(divided))
    mean = make.add(AvgPool(window=Window((2, 2), (2, 2), (0, 0, 0, 0))), left)
    flat = make.add(Flatten(), make.cast(mean))
    make.end(make.cast(make.add(Dense(**make.weights(36, 3)), flat)))
    if not stream:
        make.end(make.add(Pad(before=(1, 0, 0), after=(2, 1, 0)), right))
        padded = Window((3, 3), (1, 1), (1, 1, 1, 1))
        make.end(make.cast(make.add(MaxPool(window=padded), right)))
        fmt = make.format()
        both = make.add(Concat(), make.cast(left, fmt), make.cast(right, fmt))
        turned = make.add(Transpose(axes=(2, 0, 1)), both)
        make.end(make.add(Concat(), *[make.cast(turned, fmt) for _ in range(3)]))
        make.end(make.add(Conv2D(**make.weights(1, 2, 2, 4), window=ROW, groups=2), exact))
    return make.graph()


ROW = Window((1, 2), (2, 1), (0, 0, 0, 0))


def line_heads(seed: int, *, stream: bool = False) -> Graph:
    """Dense layers, tables and windows along one axis."""
    rng = np.random.default_rng(seed)
    make = Heads(rng, TensorType((8, 3), Format(True, 3, 5)), rounding=Rounding.TRN)
    conv = Conv1D(**make.weights(3, 3, 4), window=Window((3,), (1,), (1, 1)), **make.steps(9))
    line = make.cast(make.add(conv), make.format(3, 8))
    make.end(make.add(MaxPool(window=Window((2,), (2,), (0, 0))), line))
    make.end(make.cast(make.add(Dense(**make.weights(4, 5)), line)))
    flat = make.add(Reshape(shape=(24,)))
    for terms in (0, 24):
        make.end(make.cast(make.add(Dense(**make.weights(24, 4), **make.steps(terms)), flat)))
    narrow = make.cast("x" if stream else flat, Format(True, 2, 3))
    values = rng.integers(-64, 64, 32)
    make.end(make.add(Table(values=values, out=Format(True, 3, 4)), narrow))
    make.end(make.add(Relu(maximum=9), narrow))
    return make.graph()


def quantized(seed: int) -> Graph:
    """As a runtime of integers has it: scales that are powers of two, zero points, by channel."""
    rng = np.random.default_rng(seed)
    u8, half = Format.uint(8), Quant((2.0**-5,), 128)
    make = Heads(rng, TensorType((5, 5, 2), u8, half))
    scales = tuple(2.0 ** -int(n) for n in rng.integers(4, 8, 4))
    conv = Conv2D(
        weights=rng.integers(-127, 128, (3, 3, 2, 4)),
        bias=rng.integers(-900, 900, 4),
        weight_format=Format.int(8),
        weight_scale=scales,
        zero_point=128,
        window=Window((3, 3), (1, 1), (1, 1, 1, 1)),
    )
    to8 = Requantize(
        scheme=Scheme.F32_RNE_OUT,
        multiplier=tuple(s * 2.0**-5 / 2.0**-3 for s in scales),
        out=Format.int(8),
        zero_point=-128,
        quant=Quant((2.0**-3,), -128),
    )
    mapped = make.add(to8, make.add(conv))
    relu = make.add(Relu(zero_point=-128), mapped)
    dense = Dense(
        weights=rng.integers(-127, 128, (100, 6)),
        bias=rng.integers(-900, 900, 6),
        weight_format=Format.int(8),
        weight_scale=(2.0**-7,),
        zero_point=-128,
    )
    last = Requantize(
        scheme=Scheme.SINGLE,
        multiplier=(2.0**-3 * 2.0**-7 / 2.0**0,),
        out=Format.int(8),
        quant=Quant((1.0,)),
    )
    make.end(mapped, make.add(last, make.add(dense, make.add(Flatten(), relu))))
    odd = make.add(replace(conv, weight_scale=(0.3,)))  # a scale that nothing but thresholds reads
    counted = Thresholds(
        values=np.sort(rng.integers(-90000, 90000, (4, 3)), axis=1),
        base=np.array([-1, 2, 0, 0]),
        step=np.array([1, -1, 1, 2]),
        out=Format.int(4),
    )
    make.end(make.add(counted, odd))
    return make.graph()


def strategy_heads(seed: int, *, rank: int) -> Graph:
    """Sums of all kinds on a map or a line: pointwise, padded, grouped, depthwise, of one term."""
    rng = np.random.default_rng(seed)
    make = Heads(rng, TensorType((4,) * rank + (4,), Format(True, 4, 4)), overflow=Overflow.SAT)
    kind = (Conv1D, Conv2D)[rank - 1]

    def conv(source: str, size: int, inside: int, out: int, pad: int = 0, **given: Any) -> str:
        kernel = (size,) * rank
        window = Window(kernel, (1,) * rank, (pad,) * (2 * rank))
        weights = make.weights(*kernel, inside, out)
        return make.add(kind(**weights, window=window, groups=4 // inside, **given), source)

    deep = make.cast(conv("x", 3, 4, 4, 1), Format(True, 3, 3))
    flat = make.add(Flatten())
    size = 4**rank * 4
    two = tuple(k for first in range(2) for k in range(first, size, 2))
    ends = [
        conv("x", 1, 4, 3),
        conv(deep, 3, 1, 4, 1),
        conv(deep, 2, 2, 4),
        make.add(Dense(**make.weights(4, 5))),
        make.add(Dense(**make.weights(4, 1)), deep),
        make.add(Dense(**make.weights(size, 3)), flat),
        make.add(
            Dense(
                **make.weights(size, 2),
                **make.steps(),
            ),
            flat,
        ),
    ]
    steps = Stepwise(format=Format(True, 4, 5), order=two, overflow=Overflow.SAT)
    ends.append(make.add(Dense(**make.weights(size, 2), accumulator=steps), flat))
    wraps = Stepwise(format=Format(True, 3, 6))
    ends.append(conv("x", 2, 4, 2, accumulator=wraps))
    make.end(*[make.cast(end) for end in ends])
    return make.graph()
