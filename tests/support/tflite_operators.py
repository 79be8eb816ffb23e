"""One TensorFlow Lite operator each, as a model, for the front end and the runtimes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from support.tflite_maker import ACTIVATIONS, F32, Build, Maker, Shape
from support.tflite_models import Written


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


def weighted16(m: Maker, op: str, kind: Any, told: int, several: bool) -> list[int]:
    """A layer of int16 activations with a bias of a type, or none, and what the options say."""
    shapes: dict[str, tuple[Shape, Shape, Shape, int]] = {
        "CONV_2D": ((6, 6, 4), (9, 3, 3, 4), (6, 6, 9), 0),
        "DEPTHWISE_CONV_2D": ((6, 6, 5), (1, 3, 3, 10), (6, 6, 10), 3),
        "TRANSPOSE_CONV": ((4, 4, 3), (10, 3, 3, 3), (8, 8, 10), 0),
        "FULLY_CONNECTED": ((60,), (40, 60), (40,), 0),
    }
    given, held, made, axis = shapes[op]
    count = held[axis]
    x, w = m.x(*given), m.weights(held, axis, count if several else 1)
    bias = []
    if kind is not None:
        codes = m.rng.integers(-(1 << 20), 1 << 20, count).astype(kind)
        steps = [float(F32(m.lite.tensors[x].scales[0] * s)) for s in m.lite.tensors[w].scales]
        bias = [m.lite.constant("bias", codes, *steps)]
    options: dict[str, Any] = {}
    if op != "FULLY_CONNECTED":
        step = 2 if op == "TRANSPOSE_CONV" else 1
        options = {"padding": 0, "stride_w": step, "stride_h": step}
    if op == "DEPTHWISE_CONV_2D":
        options["multiplier"] = 2
    elif told:
        options["bias_type"] = told
    inputs = [m.ints((1, *made)), w, x] if op == "TRANSPOSE_CONV" else [x, w]
    return m.node(op, [*inputs, *bias], m.y(*made, top=8), **options)


def _aligned(m: Maker, op: str, activation: str, places: tuple[int, int]) -> list[int]:
    """Two tensors and their sum, one of them with its scale, for kernels of powers of two."""
    y = m.y(5, 6)
    scale = m.lite.tensors[y].scales[0]
    given = [m.fixed(scale / 2.0**right, 0, 5, 6) for right in places]
    m.inputs.extend(given)
    return m.node(op, given, y, activation=activation)


def _curve(m: Maker, op: str, scale: float) -> list[int]:
    """A function whose int16 kernels look at the scale."""
    x = m.fixed(scale, 0, 256)
    m.inputs.append(x)
    return m.node(op, [x], m.fixed(2.0**-15, 0, 256))


def _steep_pair(m: Maker, op: str, shape: tuple[int, ...]) -> list[int]:
    """A result that passes 16 bits before it is brought into its own."""
    x, other = m.x(*shape), m.x(*shape, top=5)
    return m.node(op, [x, other], m.y(*shape, top=0.01 if op != "MUL" else 0.002))


def _square(m: Maker, activation: str) -> list[int]:
    """A product of a tensor with itself."""
    x = m.x(256, top=4)
    return m.node("MUL", [x, x], m.y(256, top=8), activation=activation)


def _steep(m: Maker, scale: float) -> list[int]:
    """A logistic of few distinct numbers, hence of many that are nearly ties."""
    x = m.fixed(scale, 0, 256)
    m.inputs.append(x)
    meant = (2.0**-15, 0) if m.wide else (2.0**-8, -128)
    return m.node("LOGISTIC", [x], m.fixed(*meant, 256))


def _squared(m: Maker, first: Shape, second: Shape) -> list[int]:
    given = [m.x(*first), m.x(*second, top=3)]
    return m.node("SQUARED_DIFFERENCE", given, m.y(*first, top=20))


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
    if m.wide:
        scale, zero = 2.0**-15, 0
    return m.node(op, [m.x(size, top=8)], m.fixed(scale, zero, size), **options)


def _log_softmax(m: Maker, size: int, top: float) -> list[int]:
    return m.node("LOG_SOFTMAX", [m.x(size, top=top)], m.fixed(2.0**-4, 127, size))


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


def _positive(m: Maker, op: str) -> list[int]:
    """Of numbers that are not below zero: the runtimes stop at others."""
    step = m.step(m.rng.choice([2.0, 30.0]))
    x = m.fixed(step, 0 if m.wide else -128, 256)
    m.inputs.append(x)
    if m.wide:
        (x,) = m.node("ABS", [x], m.fixed(step, 0, 256))
    return m.node(op, [x], m.y(256, top=6))


def _quotient(m: Maker, shape: tuple[int, ...], activation: str) -> list[int]:
    """By constants of both signs, none of them zero."""
    x, by = m.x(4, 5, 6), m.fixed(m.step(4), m.zero())
    tensor = m.lite.tensors[by]
    codes = np.setdiff1d(np.arange(-128, 128), tensor.zero_points)
    tensor.shape, tensor.data = shape, m.rng.choice(codes, shape).astype(m.dtype)
    return m.node("DIV", [x, by], m.y(4, 5, 6, top=8), activation=activation)


def _arg(m: Maker, op: str, axis: int, kind: str) -> list[int]:
    x, made = m.x(5, 4, 3), [5, 4, 3]
    del made[axis - 1]
    y = m.lite.add(Written(f"t{len(m.lite.tensors)}", (1, *made), kind))
    number = {"int32": 2, "int64": 4}[kind]
    return m.node(op, [x, m.ints(np.array(axis))], y, output_type=number)


def _resize(m: Maker, op: str, sizes: tuple[int, int], align: bool, half: bool) -> list[int]:
    x = m.x(5, 4, 3)
    given = [x, m.ints(sizes)]
    return m.node(op, given, m.y(*sizes, 3, like=x), align_corners=align, half_pixel=half)


def _matmul(m: Maker, adj_x: bool, adj_y: bool, zero: bool) -> list[int]:
    x = m.x(*((2, 4, 5) if adj_x else (2, 5, 4)))
    turned = (2, 6, 4) if adj_y else (2, 4, 6)
    other = m.fixed(m.step(4), 0, *turned) if zero else m.y(*turned, top=4)
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
    for op in ("ELU", "EXP", "RELU_0_TO_1"):
        yield op, lambda m, o=op: _unary(m, o)
    for approximate in (False, True):
        yield "GELU", lambda m, a=approximate: _unary(m, "GELU", approximate=a)
    for op in ("ABS", "LOG"):
        yield op, lambda m, o=op: _unary(m, o)
    for op in ("RSQRT", "SQRT"):
        yield op, lambda m, o=op: _positive(m, o)
    for shape, activation in itertools.product(((1, 4, 5, 6), (6,), ()), ("NONE", "RELU6")):
        yield "DIV", lambda m, s=shape, a=activation: _quotient(m, s, a)
    yield "ELU", lambda m: m.node("ELU", [m.x(256, top=3)], m.y(256, top=4))
    for shape in ((16,), (3, 4, 5), (128,), (700,)):
        yield (
            "L2_NORMALIZATION",
            lambda m, s=shape: m.node(
                "L2_NORMALIZATION", [m.x(*s)], m.fixed(2.0**-7, 0, *s), activation=0
            ),
        )
    for shapes in (((4, 5, 6), (4, 5, 6)), ((4, 5, 6), (6,))):
        yield "SQUARED_DIFFERENCE", lambda m, s=shapes: _squared(m, *s)
    yield "LEAKY_RELU", lambda m: _unary(m, "LEAKY_RELU", alpha=0.13)
    yield "QUANTIZE", lambda m: _unary(m, "QUANTIZE")
    yield "QUANTIZE", lambda m: _unary(m, "QUANTIZE", 251)
    yield "TANH", lambda m: _to(m, "TANH", 2.0**-7, 0)
    yield "LOGISTIC", lambda m: _to(m, "LOGISTIC", 2.0**-8, -128)
    for scale in (2.0**-8, 2.0**-7):
        yield "LOGISTIC", lambda m, s=scale: _steep(m, s)
    for op, shape in itertools.product(("ADD", "SUB", "MUL"), ((4, 4, 4), (37,))):
        yield op, lambda m, o=op, s=shape: _steep_pair(m, o, s)
    for activation in ACTIVATIONS:
        yield "MUL", lambda m, a=activation: _square(m, a)
    yield "SOFTMAX", lambda m: _to(m, "SOFTMAX", 2.0**-8, -128, 13, beta=1.0)
    yield "SOFTMAX", lambda m: _to(m, "SOFTMAX", 2.0**-8, -128, 200, beta=0.4)
    for size, top in ((1, 8), (13, 2), (13, 60), (400, 3)):
        yield "LOG_SOFTMAX", lambda m, s=size, t=top: _log_softmax(m, s, t)
    yield "PRELU", _prelu
    for op, axes, keep in itertools.product(
        ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), AXES, (False, True)
    ):
        yield op, lambda m, o=op, a=axes, k=keep: _reduce(m, o, a, k)
    for op, axis, kind in itertools.product(("ARG_MAX", "ARG_MIN"), (1, 3), ("int32", "int64")):
        yield op, lambda m, o=op, a=axis, k=kind: _arg(m, o, a, k)
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
    yield "EXPAND_DIMS", _same("EXPAND_DIMS", (6, 4), (6, 1, 4), np.array(2))
    yield "SQUEEZE", _same("SQUEEZE", (6, 1, 4), (6, 4), axes=[2])
    yield "SPLIT", _split
    yield "SPLIT_V", _split_v
    yield "UNPACK", _unpack


def _wide() -> Iterator[tuple[str, Build]]:
    for op, right in itertools.product(("ADD", "SUB"), ((0, 0), (0, 3), (2, 0))):
        yield op, lambda m, o=op, r=right: _aligned(m, o, "NONE", r)
        yield op, lambda m, o=op, r=right: _aligned(m, o, "RELU6", r)
    near = 1.0004 / 4096  # taken for a power of two
    for op, scale in itertools.product(
        ("LOGISTIC", "TANH"), (2.0**-12, 2.0**-11, 2.0**-10, 2.0**-13, near, 3e-5, 0.01, 1.9, 3.3)
    ):
        yield op, lambda m, o=op, s=scale: _curve(m, o, s)


OPERATORS: dict[str, list[Build]] = {}
"""Models of each operator, by its name."""

for _name, _build in _all():
    OPERATORS.setdefault(_name, []).append(_build)

WIDE: dict[str, list[Build]] = {name: list(forms) for name, forms in OPERATORS.items()}
"""The same of int16 activations, and what only those have."""

for _name, _build in _wide():
    WIDE[_name].append(_build)
