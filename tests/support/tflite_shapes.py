"""TensorFlow Lite tensors of any rank: broadcasts, constants, first axes of any length."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from support.tflite_maker import Build, Maker, Shape
from support.tflite_models import Written

PAIRS: tuple[tuple[Shape, Shape], ...] = (
    ((1, 5, 9, 7), (1, 1, 1, 1)),
    ((1, 5, 9, 1), (1, 5, 9, 19)),
    ((1, 1, 9, 7), (1, 5, 9, 7)),
    ((1, 5, 9, 20), (20,)),
    ((4, 5), (4, 1)),
    ((1, 2, 3, 4, 5), (1, 1, 3, 1, 5)),
    ((3, 1), (1, 3)),
    ((37,), (37,)),
    ((1, 3, 1, 21), (1, 1, 4, 21)),
    ((1, 17), (1, 1)),
    ((2, 3, 4), (2, 3, 4)),
    ((2, 1, 5, 1), (1, 3, 1, 6)),
)
"""Shapes that broadcast: runs of every kind, and two tensors that both repeat."""

CONSTANT = (None, 0, 1)
"""Which operand is a constant."""


def _spread(m: Maker, op: str, shapes: tuple[Shape, Shape], constant: int | None) -> list[int]:
    held = [
        m.codes(shape, top=5) if place == constant else m.whole(shape, top=4 + place)
        for place, shape in enumerate(shapes)
    ]
    rank = max(map(len, shapes))
    wide = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    made = tuple(max(pair) for pair in zip(*wide, strict=True))
    if op in ("MAXIMUM", "MINIMUM"):
        known = m.lite.tensors[held[0]]
        m.lite.tensors[held[1]].scales = known.scales
        m.lite.tensors[held[1]].zero_points = known.zero_points
        return m.node(op, held, m.made(made, like=held[0]))
    return m.node(op, held, m.made(made, top=8), activation="NONE")


def _moved(op: str, shape: Shape, made: Shape, *given: Any, **options: Any) -> Build:
    """An operator that moves codes, of whole shapes."""

    def build(m: Maker) -> list[int]:
        x = m.whole(shape)
        return m.node(op, [x, *(m.ints(value) for value in given)], m.made(made, like=x), **options)

    return build


def _joined(op: str, shapes: list[Shape], made: Shape, constant: int, **options: Any) -> Build:
    def build(m: Maker) -> list[int]:
        first = m.whole(shapes[0])
        rest = [
            m.codes(shape, like=first) if place == constant else m.whole(shape, like=first)
            for place, shape in enumerate(shapes[1:], 1)
        ]
        return m.node(op, [first, *rest], m.made(made, like=first), **options)

    return build


def _dense(m: Maker, shape: Shape, made: Shape, keep: bool) -> list[int]:
    x, w = m.whole(shape), m.weights((5, shape[-1] if keep else 12), 0, 5)
    return m.node("FULLY_CONNECTED", [x, w, -1], m.made(made, top=8), keep_dims=keep)


def _reduce(m: Maker, op: str, shape: Shape, axes: list[int], made: Shape, keep: bool) -> list[int]:
    x = m.whole(shape)
    top = {"MEAN": 2.0, "SUM": 30.0}.get(op)
    y = m.made(made, like=x) if top is None else m.made(made, top=top)
    return m.node(op, [x, m.ints(axes)], y, keep_dims=keep)


def _maps(m: Maker, op: str) -> list[int]:
    """An operator on three maps."""
    x = m.whole((3, 5, 6, 4))
    window = {"padding": 0, "stride_w": 2, "stride_h": 2}
    if op == "CONV_2D":
        w = m.weights((9, 3, 3, 4), 0, 9)
        return m.node(op, [x, w, m.bias(x, w, 9)], m.made((3, 3, 3, 9), top=8), **window)
    if op == "DEPTHWISE_CONV_2D":
        w = m.weights((1, 3, 3, 12), 3, 12)
        y = m.made((3, 3, 3, 12), top=8)
        return m.node(op, [x, w, m.bias(x, w, 12)], y, multiplier=3, **window)
    if op == "TRANSPOSE_CONV":
        w, sizes = m.weights((9, 3, 3, 4), 0, 9), (3, 10, 12, 9)
        y = m.made(sizes, top=6)
        return m.node(op, [m.ints(sizes), w, x, m.bias(x, w, 9)], y, **window)
    if op.endswith("POOL_2D"):
        return m.node(op, [x], m.made((3, 3, 3, 4), like=x), filter_h=3, filter_w=3, **window)
    y = m.made((3, 7, 9, 4), like=x)
    return m.node(op, [x, m.ints((7, 9))], y, align_corners=False, half_pixel=True)


def _atrous(m: Maker, dilation: int) -> list[int]:
    """A convolution over time whose dilation is left as blocks."""
    x = m.whole((1, 1, 13, 6))
    held = -(-13 // dilation) * dilation - 13
    blocks = m.ints([1, dilation])
    ends = m.ints([[0, 0], [2 * dilation, held]])
    wide = (13 + 2 * dilation + held) // dilation
    y = m.made((dilation, 1, wide, 6), like=x)
    m.node("SPACE_TO_BATCH_ND", [x, blocks, ends], y)
    w = m.weights((5, 1, 3, 6), 0, 5)
    z = m.made((dilation, 1, wide - 2, 5), top=8)
    m.node("CONV_2D", [y, w, m.bias(x, w, 5)], z, padding=1, stride_w=1, stride_h=1)
    back = m.made((1, 1, 13, 5), like=z)
    return m.node("BATCH_TO_SPACE_ND", [z, blocks, m.ints([[0, 0], [0, held]])], back)


def _filled(m: Maker) -> list[int]:
    """Padded with a code of its own."""
    x = m.whole((1, 4, 3, 2))
    code = m.codes((), like=x)
    y = m.made((1, 7, 4, 2), like=x)
    return m.node("PADV2", [x, m.ints([[0, 0], [1, 2], [0, 1], [0, 0]]), code], y)


def _computed_shape(m: Maker) -> list[int]:
    """A reshape to what is computed of the input's own shape."""
    x = m.whole((1, 4, 3, 2))
    plain = [
        m.lite.add(Written(f"n{k}", shape, "int32")) for k, shape in enumerate(((4,), (), (2,)))
    ]
    m.node("SHAPE", [x], plain[0], dtype=2)
    ends = [m.ints([0]), m.ints([1]), m.ints([1])]
    m.node("STRIDED_SLICE", [plain[0], *ends], plain[1], **_masks(shrink_mask=1))
    m.node("PACK", [plain[1], m.ints(np.array(-1))], plain[2], axis=0, count=2)
    return m.node("RESHAPE", [x, plain[2]], m.made((1, 24), like=x))


def _masks(**known: int) -> dict[str, int]:
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_mask")
    return dict.fromkeys(names, 0) | known


def _all() -> Iterator[tuple[str, Build]]:
    ops = ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM")
    for op, shapes, constant in itertools.product(ops, PAIRS, CONSTANT):
        yield f"{op} broadcast", lambda m, o=op, s=shapes, c=constant: _spread(m, o, s, c)
    for constant in (0, 1):
        shapes = [(2, 3, 4), (5, 3, 4)]
        yield "CONCATENATION", _joined("CONCATENATION", shapes, (7, 3, 4), constant, axis=0)
        shapes = [(1, 3, 4), (1, 3, 4), (1, 3, 4)]
        yield "CONCATENATION", _joined("CONCATENATION", shapes, (3, 3, 4), constant, axis=0)
        yield "CONCATENATION", _joined("CONCATENATION", shapes, (1, 3, 12), constant, axis=-1)
        yield "PACK", _joined("PACK", [(3, 4), (3, 4)], (2, 3, 4), constant, axis=0, count=2)
        yield "PACK", _joined("PACK", [(3,), (3,)], (3, 2), constant, axis=-1, count=2)
    yield "TRANSPOSE", _moved("TRANSPOSE", (1, 5, 3), (5, 1, 3), [1, 0, 2])
    yield "TRANSPOSE", _moved("TRANSPOSE", (4, 5), (5, 4), [1, 0])
    yield "TRANSPOSE", _moved("TRANSPOSE", (1, 2, 3, 4, 5), (5, 3, 1, 4, 2), [4, 2, 0, 3, 1])
    yield "RESHAPE", _moved("RESHAPE", (1, 6, 4), (6, 4), [6, 4])
    yield "RESHAPE", _moved("RESHAPE", (6, 4), (1, 24), [1, 24])
    yield "RESHAPE", _moved("RESHAPE", (2, 6), (12,), [12])
    yield "GATHER", _moved("GATHER", (6, 4), (3, 4), [5, 0, 0], axis=0)
    places = [[[5, 0], [0, 3]], [[2, 2], [2, 2]]]
    yield "GATHER_ND", _moved("GATHER_ND", (6, 4, 3), (2, 2, 3), places)
    yield "GATHER_ND", _moved("GATHER_ND", (1, 4, 3), (1, 2), [[[0, 3, 1], [0, 0, 2]]])
    yield "SLICE", _moved("SLICE", (6, 4), (2, 3), [3, 1], [2, -1])
    yield "PAD", _moved("PAD", (2, 3), (4, 4), [[1, 1], [0, 1]])
    yield "PAD", _moved("PAD", (1, 2, 3), (2, 2, 4), [[0, 1], [0, 0], [1, 0]])
    yield "MIRROR_PAD", _moved("MIRROR_PAD", (4, 3), (6, 4), [[1, 1], [0, 1]], mode=0)
    for given, made, masks in (
        (([0, 4], [2, 0], [1, -2]), (2, 2), _masks()),
        (([1, 0], [2, 5], [1, 1]), (5,), _masks(shrink_mask=1)),
        (([0, -1], [3, 0], [2, -1]), (2, 5), _masks(end_mask=2)),
        (([0, 0, 1], [0, 0, 3], [1, 1, 1]), (1, 3, 2), _masks(new_axis_mask=1, ellipsis_mask=2)),
        (([0, 2], [0, 3], [1, 1]), (3,), _masks(ellipsis_mask=1, shrink_mask=2)),
    ):
        yield "STRIDED_SLICE", _moved("STRIDED_SLICE", (3, 5), made, *given, **masks)
    for op in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "AVERAGE_POOL_2D", "MAX_POOL_2D",
               "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):  # fmt: skip
        yield op, lambda m, o=op: _maps(m, o)
    yield "SPACE_TO_DEPTH", _moved("SPACE_TO_DEPTH", (2, 4, 6, 3), (2, 2, 3, 12), block=2)
    yield "DEPTH_TO_SPACE", _moved("DEPTH_TO_SPACE", (2, 4, 6, 8), (2, 8, 12, 2), block=2)
    for dilation in (2, 3):
        yield "SPACE_TO_BATCH_ND", lambda m, d=dilation: _atrous(m, d)
    crops = [2, 2], [[0, 0], [0, 1]]
    yield "BATCH_TO_SPACE_ND", _moved("BATCH_TO_SPACE_ND", (4, 2, 3, 5), (1, 4, 5, 5), *crops)
    yield "PADV2", _filled
    yield "RESHAPE", _computed_shape
    yield "TILE", _moved("TILE", (1, 2, 3), (2, 2, 9), [2, 1, 3])
    yield "BROADCAST_TO", _moved("BROADCAST_TO", (1, 3, 1), (2, 3, 4), [2, 3, 4])
    yield "REVERSE_V2", _moved("REVERSE_V2", (1, 5, 3), (1, 5, 3), [1])
    for keep, shape, made in (
        (True, (4, 12), (4, 5)), (True, (1, 3, 2, 12), (1, 3, 2, 5)), (False, (2, 2, 3), (1, 5)),
        (False, (2, 12), (2, 5)), (False, (1, 2, 2, 3), (1, 5)), (False, (2, 3, 4), (2, 5)),
    ):  # fmt: skip
        yield "FULLY_CONNECTED", lambda m, s=shape, y=made, k=keep: _dense(m, s, y, k)
    for op in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
        for shape, axes, made, keep in (
            ((3, 4, 5), [0], (4, 5), False), ((3, 4, 5), [0, 2], (1, 4, 1), True),
            ((1, 4, 5), [0, 1], (5,), False), ((6, 7), [-1], (6,), False),
            ((2, 3, 4, 19), [1, 2], (2, 1, 1, 19), True), ((6,), [0], (), False),
        ):  # fmt: skip
            yield op, lambda m, o=op, s=shape, a=axes, y=made, k=keep: _reduce(m, o, s, a, y, k)


SHAPES: dict[str, list[Build]] = {}
"""Models of each operator, by its name."""

for _name, _build in _all():
    SHAPES.setdefault(_name, []).append(_build)
