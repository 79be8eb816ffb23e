"""Steps of random TensorFlow Lite models: what moves codes and does no arithmetic."""

from __future__ import annotations

import math

import numpy as np

from support.tflite_net import ACTIVATIONS, MOST, Net, is_map


def concat(n: Net) -> bool:
    x = n.pick()
    if x is None:
        return False
    shape = n.shape(x)
    axis = n.number(1, len(shape))

    def fits(index: int) -> bool:
        other = n.shape(index)
        if len(other) != len(shape) or n.meaning(index) != n.meaning(x):
            return False
        return other[: axis - 1] == shape[: axis - 1] and other[axis:] == shape[axis:]

    found = [index for index in n.pool if fits(index)]
    several = [x, *(int(n.choice(found)) for _ in range(n.number(1, 2)))]
    made = list(shape)
    made[axis - 1] = sum(n.shape(index)[axis - 1] for index in several)
    if math.prod(made) > MOST:
        return False
    n.read.update(several)
    fused = n.choice(ACTIVATIONS) if n.chance(0.03) else "NONE"  # which only XNNPACK takes
    y = n.y(tuple(made), 1, like=x)
    return n.node("CONCATENATION", several, y, axis=axis, activation=fused)


def pack(n: Net) -> bool:
    x = n.pick(lambda shape: len(shape) <= 2 and math.prod(shape) <= MOST // 2)
    if x is None:
        return False
    axis, shape = n.number(1, len(n.shape(x)) + 1), list(n.shape(x))
    shape.insert(axis - 1, 2)
    return n.node("PACK", [x, x], n.y(tuple(shape), 1, like=x), count=2, axis=axis)


def unpack(n: Net) -> bool:
    x = n.pick(lambda shape: len(shape) > 1 and min(shape) <= 4)
    if x is None:
        return False
    shape = n.shape(x)
    axis = shape.index(min(shape))
    made = shape[:axis] + shape[axis + 1 :]
    outputs = [n.y(made, 1, like=x) for _ in range(shape[axis])]
    return n.node("UNPACK", [x], *outputs, count=shape[axis], axis=axis + 1)


def split(n: Net) -> bool:
    x = n.pick(lambda shape: any(size > 1 for size in shape))
    if x is None:
        return False
    shape = n.shape(x)
    axis = int(n.choice([i for i, size in enumerate(shape) if size > 1]))
    size = shape[axis]
    equal = [k for k in (2, 3) if size % k == 0]
    if equal and n.chance(0.5):
        parts = [size // equal[0]] * equal[0]
    else:
        first = n.number(1, size - 1)
        parts = [first, size - first]
    made = [n.y((*shape[:axis], part, *shape[axis + 1 :]), 1, like=x) for part in parts]
    place = n.ints(np.array(axis + 1).reshape(()))
    if len(set(parts)) == 1:
        return n.node("SPLIT", [place, x], *made, count=len(parts))
    given = [x, n.ints([parts[0], -1] if n.chance(0.5) else parts), place]
    return n.node("SPLIT_V", given, *made, count=len(parts))


def slices(n: Net) -> bool:
    x = n.pick()
    if x is None:
        return False
    shape = n.shape(x)
    begin = [n.number(0, size - 1) for size in shape]
    if n.chance(0.5):
        size = [n.number(1, s - b) for s, b in zip(shape, begin, strict=True)]
        given = [x, n.ints([0, *begin]), n.ints([1, *size])]
        return n.node("SLICE", given, n.y(tuple(size), 1, like=x))
    steps = [n.choice((1, 1, 2, -1)) for _ in shape]
    ends = [-1 - s if step < 0 else s for s, step in zip(shape, steps, strict=True)]
    made = [len(range(s)[b : (None if step < 0 else e) : step])
            for s, b, e, step in zip(shape, begin, ends, steps, strict=True)]  # fmt: skip
    masks = {"begin_mask": 0, "end_mask": 1, "ellipsis_mask": 0, "new_axis_mask": 0}
    given = [x, n.ints([0, *begin]), n.ints([1, *ends]), n.ints([1, *steps])]
    return n.node("STRIDED_SLICE", given, n.y(tuple(made), 1, like=x), shrink_mask=0, **masks)


def gather(n: Net) -> bool:
    x = n.pick()
    if x is None:
        return False
    shape = n.shape(x)
    axis = n.number(0, len(shape) - 1)
    order = n.rng.integers(0, shape[axis], n.number(1, 5)).tolist()
    made = (*shape[:axis], len(order), *shape[axis + 1 :])
    return n.node("GATHER", [x, n.ints(order)], n.y(made, 1, like=x), axis=axis + 1)


def pad(n: Net) -> bool:
    x = n.pick(lambda shape: math.prod(shape) <= 800)
    if x is None:
        return False
    shape = n.shape(x)
    mirrors = n.chance(0.3)
    rows = [[n.number(0, 2 if not mirrors else max(min(size - 1, 2), 0)) for _ in range(2)]
            for size in shape]  # fmt: skip
    if is_map(shape) and n.chance(0.6):
        rows[2] = [0, 0]
    made = tuple(size + sum(row) for size, row in zip(shape, rows, strict=True))
    y, table = n.y(made, 1, like=x), n.ints([[0, 0], *rows])
    if mirrors:
        return n.node("MIRROR_PAD", [x, table], y, mode=n.number(0, 1))
    if n.chance(0.3):
        code = n.constant((), *n.meaning(x))
        return n.node("PADV2", [x, table, code], y)
    return n.node("PAD", [x, table], y)


def turn(n: Net) -> bool:
    x = n.pick(lambda shape: len(shape) > 1)
    if x is None:
        return False
    shape = n.shape(x)
    order = n.rng.permutation(len(shape)).tolist()
    made = tuple(shape[axis] for axis in order)
    return n.node("TRANSPOSE", [x, n.ints([0, *(axis + 1 for axis in order)])],
                  n.y(made, 1, like=x))  # fmt: skip


def reshape(n: Net) -> bool:
    x = n.pick()
    if x is None:
        return False
    shape = n.shape(x)
    if 1 in shape and len(shape) > 1 and n.chance(0.5):
        axis = shape.index(1)
        made = shape[:axis] + shape[axis + 1 :]
        return n.node("SQUEEZE", [x], n.y(made, 1, like=x), axes=[axis + 1])
    if len(shape) < 3 and n.chance(0.5):
        axis = n.number(1, len(shape) + 1)
        made = (*shape[: axis - 1], 1, *shape[axis - 1 :])
        given = [x, n.ints(np.array(axis).reshape(()))]
        return n.node("EXPAND_DIMS", given, n.y(made, 1, like=x))
    size = math.prod(shape)
    first = int(n.choice([k for k in range(1, min(size, 12) + 1) if size % k == 0]))
    second = int(n.choice([k for k in range(1, 13) if size // first % k == 0]))
    made = n.choice(((size,), (first, size // first), (first, second, size // first // second)))
    return n.node("RESHAPE", [x, n.ints([1, *made])], n.y(made, 1, like=x), shape=[1, *made])


def repeat(n: Net) -> bool:
    """Codes once more, or in the reverse order."""
    x = n.pick(lambda shape: math.prod(shape) <= 300)
    if x is None:
        return False
    shape = n.shape(x)
    kind = n.number(0, 2)
    if kind == 0:
        axis = n.ints([n.number(1, len(shape))])
        return n.node("REVERSE_V2", [x, axis], n.y(shape, 1, like=x))
    times = [n.number(1, 2) for _ in shape]
    if kind == 1:
        made = tuple(size * count for size, count in zip(shape, times, strict=True))
        return n.node("TILE", [x, n.ints([1, *times])], n.y(made, 1, like=x))
    made = tuple(3 if size == 1 else size for size in shape)
    return n.node("BROADCAST_TO", [x, n.ints([1, *made])], n.y(made, 1, like=x))


def blocks(n: Net) -> bool:
    x = n.pick(lambda s: is_map(s) and ((s[0] % 2 == 0 and s[1] % 2 == 0) or s[2] % 4 == 0))
    if x is None:
        return False
    height, width, channels = n.shape(x)
    if height % 2 == 0 and width % 2 == 0 and (channels % 4 or n.chance(0.5)):
        y = n.y((height // 2, width // 2, channels * 4), 1, like=x)
        return n.node("SPACE_TO_DEPTH", [x], y, block=2)
    y = n.y((height * 2, width * 2, channels // 4), 1, like=x)
    return n.node("DEPTH_TO_SPACE", [x], y, block=2)
