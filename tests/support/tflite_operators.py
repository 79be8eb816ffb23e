"""One TensorFlow Lite operator each, as a model, for the front end and the runtimes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from support.tflite_models import Lite

F32 = np.float32


@dataclass(slots=True)
class Maker:
    """A model that grows, and the setting of its scales."""

    rng: np.random.Generator
    powers: bool  # scales that are powers of two, hence ties
    odd: bool  # zero points anywhere
    lite: Lite = field(default_factory=Lite)
    inputs: list[int] = field(default_factory=list)

    def scale(self, top: float) -> float:
        """A step of which 255 cover about `top`."""
        if self.powers:
            return float(F32(2.0 ** round(np.log2(top / 255))))
        return float(F32(top / 255 * self.rng.uniform(0.7, 1.4)))

    def zero(self) -> int:
        return int(self.rng.integers(-60, 60)) if self.odd else 0

    def x(self, *shape: int, top: float = 4.0, like: int | None = None) -> int:
        """An input, of a meaning of its own or of another tensor's."""
        made = self.y(*shape, top=top, like=like)
        self.inputs.append(made)
        return made

    def y(self, *shape: int, top: float = 7.0, like: int | None = None) -> int:
        """A computed tensor."""
        name = f"t{len(self.lite.tensors)}"
        if like is None:
            return self.lite.codes(name, (1, *shape), self.scale(top), self.zero())
        known = self.lite.tensors[like]
        return self.lite.codes(name, (1, *shape), known.scales[0], known.zero_points[0])

    def fixed(self, scale: float, zero: int, *shape: int) -> int:
        """A computed tensor of a given meaning."""
        return self.lite.codes(f"t{len(self.lite.tensors)}", (1, *shape), scale, zero)

    def ints(self, *values: Any) -> int:
        """A constant of int32."""
        array = np.array(values[0] if len(values) == 1 else values, np.int32)
        return self.lite.constant(f"t{len(self.lite.tensors)}", array)

    def weights(self, shape: tuple[int, ...], axis: int, scales: int, top: float = 1.0) -> int:
        codes = self.rng.integers(-127, 128, shape).astype(np.int8)
        steps = [self.scale(top) for _ in range(scales)]
        return self.lite.constant(f"t{len(self.lite.tensors)}", codes, *steps, axis=axis)

    def bias(self, x: int, w: int, count: int) -> int:
        codes = self.rng.integers(-3000, 3000, count).astype(np.int32)
        given = self.lite.tensors[x].scales[0]
        steps = [float(F32(given * step)) for step in self.lite.tensors[w].scales]
        return self.lite.constant(f"t{len(self.lite.tensors)}", codes, *steps)

    def node(self, op: str, inputs: Sequence[int], *outputs: int, **options: Any) -> list[int]:
        self.lite.node(op, list(inputs), list(outputs), **options)
        return list(outputs)


Build = Callable[[Maker], list[int]]
Shape = tuple[int, ...]
ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")


def _conv(m: Maker, activation: str, scales: int) -> list[int]:
    x, w = m.x(7, 6, 5), m.weights((9, 3, 2, 5), 0, 9 if scales else 1)
    y = m.y(4, 3, 9, top=8)
    return m.node(
        "CONV_2D", [x, w, m.bias(x, w, 9)], y, activation=activation, padding=0, stride_w=2,
        stride_h=2,
    )  # fmt: skip


def _dilated(m: Maker) -> list[int]:
    x, w = m.x(9, 8, 3), m.weights((4, 3, 2, 3), 0, 4)
    y = m.y(5, 5, 4, top=8)
    return m.node(
        "CONV_2D", [x, w, m.bias(x, w, 4)], y, padding=1, stride_w=1, stride_h=1, dilation_h=2,
        dilation_w=3,
    )  # fmt: skip


def _depthwise(m: Maker, activation: str, scales: int) -> list[int]:
    x, w = m.x(7, 6, 5), m.weights((1, 3, 3, 10), 3, 10 if scales else 1)
    y = m.y(7, 6, 10, top=8)
    return m.node(
        "DEPTHWISE_CONV_2D", [x, w, m.bias(x, w, 10)], y, activation=activation, padding=0,
        stride_w=1, stride_h=1, multiplier=2,
    )  # fmt: skip


def _dense(m: Maker, activation: str, scales: int) -> list[int]:
    x, w = m.x(24), m.weights((11, 24), 0, 11 if scales else 1)
    return m.node(
        "FULLY_CONNECTED", [x, w, m.bias(x, w, 11)], m.y(11, top=8), activation=activation
    )


def _transpose_conv(m: Maker, padding: int, kernel: int, stride: int) -> list[int]:
    x, w = m.x(4, 5, 3), m.weights((10, kernel, kernel, 3), 0, 10)
    sizes = [n * stride if not padding else (n - 1) * stride + kernel for n in (4, 5)]
    given = [m.ints((1, *sizes, 10)), w, x, m.bias(x, w, 10)]
    y = m.y(*sizes, 10, top=6)
    return m.node("TRANSPOSE_CONV", given, y, padding=padding, stride_w=stride, stride_h=stride)


def _pair(m: Maker, op: str, activation: str, shape: tuple[int, ...]) -> list[int]:
    return m.node(op, [m.x(*shape), m.x(*shape, top=5)], m.y(*shape), activation=activation)


def _pool(m: Maker, op: str, activation: str, padding: int) -> list[int]:
    x = m.x(7, 6, 3, top=9)
    y = m.y(*((4, 3, 3) if padding == 0 else (3, 2, 3)), like=x)
    return m.node(
        op, [x], y, padding=padding, stride_w=2, stride_h=2, filter_w=3, filter_h=3,
        activation=activation,
    )  # fmt: skip


def _unary(m: Maker, op: str, size: int = 256, **options: Any) -> list[int]:
    return m.node(op, [m.x(size, top=8)], m.y(size), **options)


def _to(m: Maker, op: str, scale: float, zero: int, size: int = 256, **options: Any) -> list[int]:
    return m.node(op, [m.x(size, top=8)], m.fixed(scale, zero, size), **options)


def _prelu(m: Maker) -> list[int]:
    x = m.x(4, 4, 6, top=8)
    return m.node("PRELU", [x, m.weights((1, 1, 6), 0, 1)], m.y(4, 4, 6))


def _reduce(m: Maker, op: str, axes: tuple[int, ...], keep: bool) -> list[int]:
    x = m.x(5, 4, 19)
    shape = [1 if keep and axis + 1 in axes else size for axis, size in enumerate((5, 4, 19))]
    if not keep:
        shape = [size for axis, size in enumerate(shape) if axis + 1 not in axes]
    top = {"MEAN": 2.0, "SUM": 30.0}.get(op)
    y = m.y(*shape, like=x) if top is None else m.y(*shape, top=top)
    return m.node(op, [x, m.ints(list(axes))], y, keep_dims=keep)


def _resize(m: Maker, op: str, sizes: tuple[int, int], align: bool, half: bool) -> list[int]:
    x = m.x(5, 4, 3)
    given = [x, m.ints(sizes)]
    return m.node(op, given, m.y(*sizes, 3, like=x), align_corners=align, half_pixel=half)


def _matmul(m: Maker, adj_x: bool, adj_y: bool, zero: bool) -> list[int]:
    x = m.x(*((2, 4, 5) if adj_x else (2, 5, 4)))
    turned = (2, 6, 4) if adj_y else (2, 4, 6)
    other = m.fixed(m.scale(4), 0, *turned) if zero else m.y(*turned, top=4)
    m.inputs.append(other)
    return m.node("BATCH_MATMUL", [x, other], m.y(2, 5, 6, top=12), adj_x=adj_x, adj_y=adj_y)


def _same(
    op: str, shape: tuple[int, ...], made: tuple[int, ...], *given: Any, **options: Any
) -> Build:
    """An operator that moves codes: constants behind the input, one meaning."""

    def build(m: Maker) -> list[int]:
        x = m.x(*shape)
        return m.node(op, [x, *(m.ints(value) for value in given)], m.y(*made, like=x), **options)

    return build


def _joined(
    op: str, first: tuple[int, ...], second: tuple[int, ...], made: tuple[int, ...], **options: Any
) -> Build:
    def build(m: Maker) -> list[int]:
        x = m.x(*first)
        return m.node(op, [x, m.x(*second, like=x)], m.y(*made, like=x), **options)

    return build


def _split(m: Maker) -> list[int]:
    axis = m.ints(np.array(1).reshape(()))
    x = m.x(6, 4, 3)
    return m.node("SPLIT", [axis, x], *(m.y(3, 4, 3, like=x) for _ in range(2)), count=2)


def _split_v(m: Maker) -> list[int]:
    x = m.x(6, 4, 3)
    given = [x, m.ints([1, 3, -1]), m.ints(np.array(1).reshape(()))]
    return m.node("SPLIT_V", given, *(m.y(n, 4, 3, like=x) for n in (1, 3, 2)), count=3)


def _unpack(m: Maker) -> list[int]:
    x = m.x(4, 2, 3)
    return m.node("UNPACK", [x], *(m.y(4, 3, like=x) for _ in range(2)), count=2, axis=2)


PADS = [[0, 0], [1, 2], [0, 1], [0, 0]]
SLICE = {"begin_mask": 0, "end_mask": 2, "ellipsis_mask": 0, "new_axis_mask": 0}
AXES = ((1, 2), (3,), (1,), (1, 2, 3))


def _all() -> Iterator[tuple[str, Build]]:
    for activation, scales in itertools.product(ACTIVATIONS, (0, 1)):
        for name, make in (("CONV_2D", _conv), ("DEPTHWISE_CONV_2D", _depthwise)):
            yield name, lambda m, f=make, a=activation, s=scales: f(m, a, s)
        yield "FULLY_CONNECTED", lambda m, a=activation, s=scales: _dense(m, a, s)
    yield "CONV_2D dilated", _dilated
    for padding, (kernel, stride) in itertools.product((0, 1), ((3, 2), (2, 2), (3, 1), (4, 2))):
        yield "TRANSPOSE_CONV", lambda m, p=padding, k=kernel, s=stride: _transpose_conv(m, p, k, s)
    for activation in ("NONE", "RELU6"):
        for op, shape in itertools.product(("ADD", "SUB", "MUL"), ((4, 5, 6), (4, 4, 4), (7,))):
            yield op, lambda m, o=op, a=activation, s=shape: _pair(m, o, a, s)
        for op, padding in itertools.product(("AVERAGE_POOL_2D", "MAX_POOL_2D"), (0, 1)):
            yield op, lambda m, o=op, a=activation, p=padding: _pool(m, o, a, p)
    for op in ("RELU", "RELU6", "RELU_N1_TO_1", "HARD_SWISH"):
        yield op, lambda m, o=op: _unary(m, o)
    yield "LEAKY_RELU", lambda m: _unary(m, "LEAKY_RELU", alpha=0.13)
    yield "QUANTIZE", lambda m: _unary(m, "QUANTIZE")
    yield "QUANTIZE", lambda m: _unary(m, "QUANTIZE", 251)
    yield "TANH", lambda m: _to(m, "TANH", 2.0**-7, 0)
    yield "LOGISTIC", lambda m: _to(m, "LOGISTIC", 2.0**-8, -128)
    yield "SOFTMAX", lambda m: _to(m, "SOFTMAX", 2.0**-8, -128, 13, beta=1.0)
    yield "SOFTMAX", lambda m: _to(m, "SOFTMAX", 2.0**-8, -128, 200, beta=0.4)
    yield "PRELU", _prelu
    for op, axes, keep in itertools.product(
        ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), AXES, (False, True)
    ):
        yield op, lambda m, o=op, a=axes, k=keep: _reduce(m, o, a, k)
    for op, sizes, (align, half) in itertools.product(
        ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
        ((10, 8), (7, 13), (3, 2)),
        ((False, False), (True, False), (False, True)),
    ):
        yield op, lambda m, o=op, s=sizes, a=align, h=half: _resize(m, o, s, a, h)
    for flags in itertools.product((False, True), repeat=3):
        yield "BATCH_MATMUL", lambda m, f=flags: _matmul(m, *f)
    for op in ("MAXIMUM", "MINIMUM"):
        yield op, _joined(op, (6, 4, 3), (6, 4, 3), (6, 4, 3))
    yield "CONCATENATION", _joined("CONCATENATION", (4, 4, 3), (4, 4, 2), (4, 4, 5), axis=3)
    yield "PACK", _joined("PACK", (4, 3), (4, 3), (4, 2, 3), count=2, axis=2)
    yield "PAD", _same("PAD", (4, 4, 3), (7, 5, 3), PADS)
    for mode in (0, 1):
        yield "MIRROR_PAD", _same("MIRROR_PAD", (4, 4, 3), (7, 5, 3), PADS, mode=mode)
    ends = [0, 1, 4, 0], [1, 6, 0, 2], [1, 2, -1, 1]
    yield (
        "STRIDED_SLICE",
        _same("STRIDED_SLICE", (6, 5, 3), (3, 4, 2), *ends, shrink_mask=0, **SLICE),
    )
    ends = [0, -2, 0, 0], [1, -1, 3, 3], [1, 1, 2, 1]
    yield "STRIDED_SLICE", _same("STRIDED_SLICE", (6, 5, 3), (2, 3), *ends, shrink_mask=2, **SLICE)
    yield "SLICE", _same("SLICE", (6, 5, 3), (3, 3, 3), [0, 1, 2, 0], [1, 3, -1, 3])
    yield "TRANSPOSE", _same("TRANSPOSE", (6, 4, 3), (4, 6, 3), [0, 2, 1, 3])
    yield "GATHER", _same("GATHER", (6, 4, 3), (6, 4, 3), [3, 1, 1, 0], axis=2)
    yield "SPACE_TO_DEPTH", _same("SPACE_TO_DEPTH", (6, 4, 3), (3, 2, 12), block=2)
    yield "DEPTH_TO_SPACE", _same("DEPTH_TO_SPACE", (3, 4, 8), (6, 8, 2), block=2)
    yield "RESHAPE", _same("RESHAPE", (6, 4), (3, 8), [1, 3, 8])
    yield "SPLIT", _split
    yield "SPLIT_V", _split_v
    yield "UNPACK", _unpack


OPERATORS: dict[str, list[Build]] = {}
"""Models of each operator, by its name."""

for _name, _build in _all():
    OPERATORS.setdefault(_name, []).append(_build)
