"""TensorFlow Lite models of uint8, as the first quantizing trainings wrote them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from support.tflite_maker import ACTIVATIONS, F32, Build, Maker, Shape


def _made(m: Maker, shape: Shape, top: float = 4.0, like: int | None = None) -> int:
    """Codes of uint8, of a meaning of their own or of another tensor's."""
    made = m.made(shape, top=top, like=like)
    tensor = m.lite.tensors[made]
    tensor.dtype = "uint8"
    if like is None:
        tensor.zero_points = (tensor.zero_points[0] + 128,)
    return made


def _input(m: Maker, shape: Shape, top: float = 4.0, like: int | None = None) -> int:
    made = _made(m, shape, top, like)
    m.inputs.append(made)
    return made


def _meant(m: Maker, shape: Shape, scale: float, zero: int) -> int:
    made = _made(m, shape)
    m.lite.tensors[made].scales, m.lite.tensors[made].zero_points = (scale,), (zero,)
    return made


def _weights(m: Maker, shape: Shape) -> int:
    """Weights of one scale, with a zero point."""
    codes = m.rng.integers(1, 256, shape).astype(np.uint8)
    zero = int(m.rng.integers(90, 160)) if m.odd else 128
    return m.lite.constant(f"t{len(m.lite.tensors)}", codes, m.scale(1.0), zero=zero)


def _bias(m: Maker, x: int, w: int, count: int) -> int:
    step = float(F32(m.lite.tensors[x].scales[0] * m.lite.tensors[w].scales[0]))
    codes = m.rng.integers(-3000, 3000, count).astype(np.int32)
    return m.lite.constant(f"t{len(m.lite.tensors)}", codes, step)


WINDOW = {"padding": 0, "stride_w": 2, "stride_h": 2}


def _layer(m: Maker, op: str, activation: str, bias: bool, multiplier: int = 1) -> list[int]:
    if op == "FULLY_CONNECTED":
        x, w, made = _input(m, (1, 24)), _weights(m, (19, 24)), (1, 19)
        options: dict[str, int] = {}
    elif op == "CONV_2D":
        x, w, made = _input(m, (1, 7, 6, 5)), _weights(m, (11, 3, 2, 5)), (1, 4, 3, 11)
        options = WINDOW
    elif op == "TRANSPOSE_CONV":
        x, w, made = _input(m, (1, 4, 3, 5)), _weights(m, (11, 3, 3, 5)), (1, 8, 6, 11)
        y = _made(m, made, top=8)
        given = [m.ints(made), w, x] + ([_bias(m, x, w, 11)] if bias else [])
        return m.node(op, given, y, **WINDOW)
    else:
        channels = 5 if multiplier > 1 else 19
        x, w = _input(m, (1, 7, 6, channels)), _weights(m, (1, 3, 3, channels * multiplier))
        made, options = (1, 4, 3, channels * multiplier), WINDOW | {"multiplier": multiplier}
    given = [x, w, _bias(m, x, w, made[-1])] if bias else [x, w, -1]
    return m.node(op, given, _made(m, made, top=10), activation=activation, **options)


def _pair(m: Maker, op: str, shapes: tuple[Shape, Shape], activation: str) -> list[int]:
    given = [_input(m, shape, top) for shape, top in zip(shapes, (4.0, 6.0), strict=True)]
    return m.node(op, given, _made(m, shapes[0], top=8), activation=activation)


def _pool(m: Maker, op: str, activation: str, size: int) -> list[int]:
    x = _input(m, (1, 7, 6, size), top=9)
    y = _made(m, (1, 4, 3, size), like=x)
    return m.node(op, [x], y, filter_w=3, filter_h=3, activation=activation, **WINDOW)


def _one(m: Maker, op: str, size: int, scale: float | None = None, zero: int = 0) -> list[int]:
    x = _input(m, (1, size), top=8)
    y = _made(m, (1, size), top=7) if scale is None else _meant(m, (1, size), scale, zero)
    return m.node(op, [x], y, **({"beta": 1.0} if op == "SOFTMAX" else {}))


def _concat(m: Maker, same: bool) -> list[int]:
    x = _input(m, (1, 4, 3, 5))
    y = _input(m, (1, 4, 3, 6), like=x if same else None, top=5)
    return m.node("CONCATENATION", [x, y], _made(m, (1, 4, 3, 11), like=x), axis=3)


def _mean(m: Maker, keep: bool) -> list[int]:
    x = _input(m, (1, 5, 4, 19))
    y = _made(m, (1, 1, 1, 19) if keep else (1, 19), top=2)
    return m.node("MEAN", [x, m.ints([1, 2])], y, keep_dims=keep)


def _resize(m: Maker, op: str, half: bool) -> list[int]:
    x = _input(m, (1, 5, 4, 3))
    y = _made(m, (1, 10, 7, 3), like=x)
    return m.node(op, [x, m.ints((10, 7))], y, align_corners=False, half_pixel=half)


def _moved(
    m: Maker, op: str, shape: Shape, made: Shape, *given: object, **options: int
) -> list[int]:
    x = _input(m, shape)
    y = _made(m, made, like=x)
    return m.node(op, [x, *(m.ints(value) for value in given)], y, **options)


def _signed(m: Maker, back: bool, size: int) -> list[int]:
    """From uint8 to int8, or back; scales alike or not."""
    x = m.x(size, top=6) if back else _input(m, (1, size), top=6)
    y = _made(m, (1, size), top=5) if back else m.y(size, top=5)
    if m.odd:
        tensor, shift = m.lite.tensors[x], 128 if back else -128
        m.lite.tensors[y].scales = tensor.scales
        m.lite.tensors[y].zero_points = (tensor.zero_points[0] + shift,)
    return m.node("QUANTIZE", [x], y)


def _all() -> Iterator[tuple[str, Build]]:
    layers = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    for op, activation in itertools.product(layers, ACTIVATIONS):
        yield f"{op} of uint8", lambda m, o=op, a=activation: _layer(m, o, a, True)
    yield "DEPTHWISE_CONV_2D of uint8", lambda m: _layer(m, "DEPTHWISE_CONV_2D", "RELU6", True, 2)
    yield "DEPTHWISE_CONV_2D of uint8", lambda m: _layer(m, "DEPTHWISE_CONV_2D", "NONE", True, 8)
    yield "TRANSPOSE_CONV of uint8", lambda m: _layer(m, "TRANSPOSE_CONV", "NONE", True)
    pairs = (((1, 4, 5, 6), (1, 4, 5, 6)), ((1, 37), (1, 37)), ((1, 4, 3, 9), (1, 1, 1, 9)),
             ((1, 4, 3, 9), (1, 4, 3, 1)))  # fmt: skip
    for op, shapes in itertools.product(("ADD", "SUB", "MUL"), pairs):
        for activation in ("NONE", "RELU6"):
            yield f"{op} of uint8", lambda m, o=op, s=shapes, a=activation: _pair(m, o, s, a)
    for op, activation in itertools.product(("AVERAGE_POOL_2D", "MAX_POOL_2D"), ("NONE", "RELU6")):
        for size in (3, 19):
            yield f"{op} of uint8", lambda m, o=op, a=activation, n=size: _pool(m, o, a, n)
    for op, scale, zero in (
        ("LOGISTIC", 2.0**-8, 0), ("SOFTMAX", 2.0**-8, 0), ("TANH", 2.0**-7, 128),
        ("RELU", None, 0), ("RELU6", None, 0), ("HARD_SWISH", None, 0), ("QUANTIZE", None, 0),
    ):  # fmt: skip
        for size in (13, 251):
            yield f"{op} of uint8", lambda m, o=op, n=size, s=scale, z=zero: _one(m, o, n, s, z)
    for same in (False, True):
        yield "CONCATENATION of uint8", lambda m, s=same: _concat(m, s)
        yield "MEAN of uint8", lambda m, k=same: _mean(m, k)
        for op in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
            yield f"{op} of uint8", lambda m, o=op, h=same: _resize(m, o, h)
        for size in (64, 61):
            yield "QUANTIZE to and from uint8", lambda m, b=same, n=size: _signed(m, b, n)
    for op, shape, made, *given in (
        ("RESHAPE", (1, 6, 4), (1, 24), [1, 24]),
        ("PAD", (1, 4, 4, 3), (1, 7, 5, 3), [[0, 0], [1, 2], [0, 1], [0, 0]]),
        ("TRANSPOSE", (1, 6, 4, 3), (1, 4, 6, 3), [0, 2, 1, 3]),
        ("SLICE", (1, 6, 5), (1, 3, 3), [0, 1, 2], [1, 3, -1]),
    ):
        yield f"{op} of uint8", lambda m, o=op, s=shape, y=made, g=given: _moved(m, o, s, y, *g)


UINT8: dict[str, list[Build]] = {}
"""Models of each operator, by its name."""

for _name, _build in _all():
    UINT8.setdefault(_name, []).append(_build)
