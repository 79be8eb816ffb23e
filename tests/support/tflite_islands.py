"""Floats between codes: DEQUANTIZE, operators that a quantizer left as they were, QUANTIZE."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from support.tflite_maker import Build, Maker
from support.tflite_models import Written


def _island(m: Maker, op: str, **options: float) -> list[int]:
    """One operator on floats; some numbers more than the vector code takes at a time."""
    x, before, after = m.x(251, top=9), *(_floats(m, 251) for _ in range(2))
    m.node("DEQUANTIZE", [x], before)
    m.node(op, [before], after, **options)
    return m.node("QUANTIZE", [after], m.y(251, top=9))


def _floats(m: Maker, *shape: int) -> int:
    return m.lite.add(Written(f"t{len(m.lite.tensors)}", (1, *shape), "float32"))


def _prelu(m: Maker, slopes: int) -> list[int]:
    x, before, after = m.x(4, 3, 8, top=8), *(_floats(m, 4, 3, 8) for _ in range(2))
    m.node("DEQUANTIZE", [x], before)
    held = m.lite.constant("slopes", m.rng.normal(0.1, 0.3, (1, 1, slopes)).astype(np.float32))
    m.node("PRELU", [before, held], after)
    return m.node("QUANTIZE", [after], m.y(4, 3, 8, top=8))


def _largest(m: Maker, op: str) -> list[int]:
    x, before, after = m.x(4, 3, 8, top=8), _floats(m, 4, 3, 8), _floats(m, 8)
    m.node("DEQUANTIZE", [x], before)
    m.node(op, [before, m.ints([1, 2])], after, keep_dims=False)
    return m.node("QUANTIZE", [after], m.y(8, top=7))


def _image(m: Maker, dtype: str, *, mean: bool) -> list[int]:
    """Bytes without a meaning that become floats, and codes."""
    x = m.lite.add(Written(f"t{len(m.lite.tensors)}", (1, 5, 5, 3), dtype))
    m.inputs.append(x)
    reals, scaled = _floats(m, 5, 5, 3), _floats(m, 5, 5, 3)
    m.node("CAST", [x], reals)
    y = m.fixed(m.scale(2.0 if mean else 255.0), m.zero(), 5, 5, 3)
    if not mean:
        return m.node("QUANTIZE", [reals], y)
    m.node("MUL", [reals, m.lite.constant("by", np.array(1 / 127.5, np.float32))], scaled)
    return m.node("QUANTIZE", [scaled], y)


def _all() -> Iterator[tuple[str, Build]]:
    yield "LEAKY_RELU between floats", lambda m: _island(m, "LEAKY_RELU", alpha=0.13)
    for op in ("ABS", "HARD_SWISH"):
        yield f"{op} between floats", lambda m, o=op: _island(m, o)
    for slopes in (1, 8):
        yield "PRELU between floats", lambda m, s=slopes: _prelu(m, s)
    for op in ("REDUCE_MAX", "REDUCE_MIN"):
        yield f"{op} between floats", lambda m, o=op: _largest(m, o)
    for dtype, mean in itertools.product(("uint8", "int8"), (False, True)):
        yield "CAST and QUANTIZE", lambda m, d=dtype, n=mean: _image(m, d, mean=n)


ISLANDS: dict[str, list[Build]] = {}
"""Models of each operator, by its name."""

for _name, _build in _all():
    ISLANDS.setdefault(_name, []).append(_build)
