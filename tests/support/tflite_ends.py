"""TensorFlow Lite models with floats at their ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from support.tflite_maker import Build, Maker, Shape
from support.tflite_models import Written


def _floats(m: Maker, shape: Shape) -> int:
    """A tensor of floats."""
    return m.lite.add(Written(f"t{len(m.lite.tensors)}", shape, "float32"))


def _input(m: Maker, shape: Shape) -> int:
    made = _floats(m, shape)
    m.inputs.append(made)
    return made


def _constant(m: Maker, *values: float, shape: Shape = ()) -> int:
    data = np.array(values, np.float32).reshape(shape)
    return m.lite.constant(f"t{len(m.lite.tensors)}", data)


def _typed(m: Maker, shape: Shape, dtype: str, top: float = 4.0) -> int:
    """Codes of a type."""
    made = m.made(shape, top=top)
    tensor = m.lite.tensors[made]
    tensor.dtype = dtype
    if dtype == "uint8":
        tensor.zero_points = (tensor.zero_points[0] + 128,)
    if dtype == "int16":
        tensor.zero_points = (0,)
    return made


def _both(m: Maker, shape: Shape, dtype: str) -> list[int]:
    """Quantized, and floats again."""
    q = _typed(m, shape, dtype)
    m.node("QUANTIZE", [_input(m, shape)], q)
    return m.node("DEQUANTIZE", [q], _floats(m, shape))


def _network(m: Maker) -> list[int]:
    """A layer between floats, whose scores come as codes too."""
    q, y = m.made((1, 24)), m.made((1, 11), top=8)
    m.node("QUANTIZE", [_input(m, (1, 24))], q)
    w = m.weights((11, 24), 0, 11)
    m.node("FULLY_CONNECTED", [q, w, m.bias(q, w, 11)], y, activation="RELU6")
    return [*m.node("DEQUANTIZE", [y], _floats(m, (1, 11))), y]


def _several(m: Maker) -> list[int]:
    """Two inputs of floats and one of codes, read in another order; two outputs of floats."""
    first, second = _input(m, (1, 5, 3)), _input(m, (1, 5, 3))
    codes = m.x(5, 3)
    a, b = m.made((1, 5, 3)), m.made((1, 5, 3))
    m.node("QUANTIZE", [second], b)
    m.node("QUANTIZE", [first], a)
    y, z = m.made((1, 5, 3), top=8), m.made((1, 5, 3), top=9)
    m.node("ADD", [a, b], y, activation="NONE")
    m.node("MUL", [y, codes], z, activation="NONE")
    m.node("DEQUANTIZE", [z], _floats(m, (1, 5, 3)))
    last = len(m.lite.tensors) - 1
    m.node("DEQUANTIZE", [y], _floats(m, (1, 5, 3)))
    return [len(m.lite.tensors) - 1, last]


def _again(m: Maker, size: int, steps: bool) -> list[int]:
    """Codes, floats, codes; with steps in between."""
    x, real, y = m.x(size, top=8), _floats(m, (1, size)), m.made((1, size), top=6)
    m.node("DEQUANTIZE", [x], real)
    if steps:
        moved, kept = _floats(m, (1, size)), _floats(m, (1, size))
        m.node("MUL", [real, _constant(m, 0.3)], moved, activation="NONE")
        m.node("RELU6", [moved], kept)
        real = kept
    return m.node("QUANTIZE", [real], y)


def _moved_ends(m: Maker) -> list[int]:
    """Floats that get another shape before they are quantized and after they were codes."""
    x, shaped = _input(m, (1, 12)), _floats(m, (1, 3, 4))
    m.node("RESHAPE", [x, m.ints([1, 3, 4])], shaped, shape=[1, 3, 4])
    q, y = m.made((1, 3, 4)), m.made((1, 3, 4))
    m.node("QUANTIZE", [shaped], q)
    m.node("TANH", [q], m.fixed(2.0**-7, 0, 3, 4))
    y = len(m.lite.tensors) - 1
    real, turned = _floats(m, (1, 3, 4)), _floats(m, (1, 4, 3))
    m.node("DEQUANTIZE", [y], real)
    m.node("TRANSPOSE", [real, m.ints([0, 2, 1])], turned)
    return [turned]


def _scaled_ends(m: Maker) -> list[int]:
    """Float arithmetic with constants ahead of the quantizer and behind the codes."""
    x = _input(m, (1, 4, 6))
    steps = [_floats(m, (1, 4, 6)) for _ in range(2)]
    m.node("MUL", [x, _constant(m, 1 / 3)], steps[0], activation="NONE")
    m.node("SUB", [steps[0], _constant(m, *m.rng.normal(0, 1, 6), shape=(6,))], steps[1],
           activation="NONE")  # fmt: skip
    q = m.made((1, 4, 6))
    m.node("QUANTIZE", [steps[1]], q)
    real, less, cut = (_floats(m, (1, 4, 6)) for _ in range(3))
    m.node("DEQUANTIZE", [q], real)
    m.node("SUB", [_constant(m, 1.0), real], less, activation="NONE")
    m.node("RELU", [less], cut)
    return [cut]


def _all() -> Iterator[tuple[str, Build]]:
    shapes: tuple[Any, ...] = ((1, 37), (1, 4, 3, 5), (1, 64), (1, 7), (3, 5))
    for dtype, shape in itertools.product(("int8", "uint8", "int16"), shapes):
        yield f"floats to {dtype}", lambda m, d=dtype, s=shape: _both(m, s, d)
    for build in (_network, _several, _scaled_ends, _moved_ends):
        yield "floats to a network", build
    for size, steps in itertools.product((256, 251), (False, True)):
        yield "DEQUANTIZE and QUANTIZE", lambda m, n=size, s=steps: _again(m, n, s)


ENDS: dict[str, list[Build]] = {}
"""Models by what they show."""

for _name, _build in _all():
    ENDS.setdefault(_name, []).append(_build)
