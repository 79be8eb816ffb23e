"""Steps of random TensorFlow Lite models: arithmetic of one tensor or two."""

from __future__ import annotations

import math

import numpy as np

from support.tflite_models import Written
from support.tflite_net import ACTIVATIONS, F32, MOST, Net, Shape, is_map
from support.tflite_net_layers import weights


def _second(n: Net, x: int, *, like: bool = False) -> int | None:
    """Another tensor that broadcasts to one: of its shape, smaller, or constant."""
    shape = n.shape(x)
    if n.chance(0.25):
        shapes = [shape, shape[-1:], (1,), (1,) * len(shape) + shape[-1:]]
        held = n.choice(shapes if not like else shapes[:1])
        held = (1, *shape) if held == shape else held
        meant = n.meaning(x) if like else (n.step(n.top(x)), n.zero())
        return n.constant(held, *meant)

    def fits(other: Shape) -> bool:
        if other == shape or like:
            return other == shape
        if len(other) != len(shape):
            return False
        return all(b in (1, a) for a, b in zip(shape, other, strict=True))

    found = [i for i in n.pool if fits(n.shape(i)) and (not like or n.meaning(i) == n.meaning(x))]
    if not found:
        return None
    other = int(n.choice(found))
    n.read.add(other)
    return other


def pair(n: Net) -> bool:
    x = n.pick()
    other = None if x is None else _second(n, x)
    if x is None or other is None:
        return False
    op = n.choice(("ADD", "ADD", "SUB", "MUL"))
    both = n.top(x), n.top(other)
    top = max(both) * 1.5 if op != "MUL" else both[0] * both[1] * 0.5
    y = n.y(n.shape(x), max(top, 1e-3) * float(n.rng.uniform(0.4, 1.5)))
    given = [x, other] if n.chance(0.7) or n.lite.tensors[other].data is None else [other, x]
    options = {"powers_of_two": False} if n.wide and op != "MUL" else {}
    return n.node(op, given, y, activation=n.choice(ACTIVATIONS), **options)


def extreme(n: Net) -> bool:
    x = n.pick()
    other = None if x is None else _second(n, x, like=True)
    if x is None or other is None:
        return False
    return n.node(n.choice(("MAXIMUM", "MINIMUM")), [x, other], n.y(n.shape(x), 1, like=x))


def reduction(n: Net) -> bool:
    x = n.pick(lambda shape: len(shape) > 1)
    if x is None:
        return False
    shape, keep = n.shape(x), n.chance(0.5)
    axes = sorted(set(n.rng.integers(1, len(shape) + 1, n.number(1, 2)).tolist()))
    made = tuple(1 if axis + 1 in axes else size for axis, size in enumerate(shape))
    if not keep:
        made = tuple(size for axis, size in enumerate(shape) if axis + 1 not in axes)
    if not made:
        return False
    op = n.choice(("MEAN", "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"))
    count = math.prod(shape[axis - 1] for axis in axes)
    top = n.top(x) * {"MEAN": count**-0.5, "SUM": count**0.5}.get(op, 1)
    y = n.y(made, top) if op in ("MEAN", "SUM") else n.y(made, 1, like=x)
    return n.node(op, [x, n.ints(axes)], y, keep_dims=keep)


def unary(n: Net) -> bool:
    x = n.pick()
    if x is None:
        return False
    op = n.choice(("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH", "QUANTIZE"))
    shape, top = n.shape(x), n.top(x) * float(n.rng.uniform(0.4, 1.6))
    options = {"alpha": float(F32(n.rng.uniform(-0.2, 1.2)))} if op == "LEAKY_RELU" else {}
    return n.node(op, [x], n.y(shape, top), **options)


def curve(n: Net) -> bool:
    x = n.pick()
    if x is None:
        return False
    op = n.choice(("LOGISTIC", "TANH"))
    scale, zero = (2.0**-8, -128) if op == "LOGISTIC" else (2.0**-7, 0)
    y = n.fixed(n.shape(x), 2.0**-15, 0) if n.wide else n.fixed(n.shape(x), scale, zero)
    return n.node(op, [x], y)


def softmax(n: Net) -> bool:
    x = n.pick(lambda shape: shape[-1] > 1)
    if x is None:
        return False
    shape = n.shape(x)
    y = n.fixed(shape, 2.0**-15, 0) if n.wide else n.fixed(shape, 2.0**-8, -128)
    return n.node("SOFTMAX", [x], y, beta=float(n.choice((1.0, 0.5, 2.0))))


def prelu(n: Net) -> bool:
    x = n.pick(is_map)
    if x is None:
        return False
    slopes = weights(n, (1, 1, n.shape(x)[2]), 0, 1)
    return n.node("PRELU", [x, slopes], n.y(n.shape(x), n.top(x)))


def resize(n: Net) -> bool:
    x = n.pick(lambda shape: is_map(shape) and math.prod(shape) <= 300)
    if x is None:
        return False
    op = n.choice(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"))
    sizes = n.number(1, 11), n.number(1, 11)
    align, half = n.choice(((False, False), (True, False), (False, True)))
    y = n.y((*sizes, n.shape(x)[2]), 1, like=x)
    return n.node(op, [x, n.ints(sizes)], y, align_corners=align, half_pixel=half)


def matmul(n: Net) -> bool:
    x = n.pick(lambda shape: len(shape) >= 2)
    if x is None:
        return False
    shape = n.shape(x)
    *batch, rows, inner = shape
    adj_x, adj_y = n.chance(0.3), n.chance(0.3)
    if adj_x:
        rows, inner = inner, rows
    wanted = (*batch, -1, inner) if adj_y else (*batch, inner, -1)

    def fits(other: Shape) -> bool:
        if len(other) != len(shape):
            return False
        return all(w in (-1, o) for w, o in zip(wanted, other, strict=True))

    found = [index for index in n.pool if fits(n.shape(index))]
    if not found:
        return False
    other = int(n.choice(found))
    n.read.add(other)
    columns = n.shape(other)[-2 if adj_y else -1]
    if math.prod(batch) * rows * columns > MOST:
        return False
    top = n.top(x) * n.top(other) * 0.3 * math.sqrt(inner)
    y = n.y((*batch, rows, columns), top)
    return n.node("BATCH_MATMUL", [x, other], y, adj_x=adj_x, adj_y=adj_y)


def arg(n: Net) -> bool:
    x = n.pick(lambda shape: len(shape) > 1)
    if x is None or n.wide:
        return False
    shape = n.shape(x)
    axis = n.number(1, len(shape))
    made = shape[: axis - 1] + shape[axis:]
    y = n.lite.add(Written(f"t{len(n.lite.tensors)}", (1, *made), "int32"))
    given = [x, n.ints(np.array(axis).reshape(()))]
    n.lite.node(n.choice(("ARG_MAX", "ARG_MIN")), given, [y], output_type=2)
    n.drawn.append(n.lite.nodes[-1][0])
    n.ends.append(y)
    return True
