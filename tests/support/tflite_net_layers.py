"""Steps of random TensorFlow Lite models: layers with weights, and pools."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from support.tflite_net import ACTIVATIONS, F32, Net, Shape, is_map


def weights(n: Net, shape: Shape, axis: int, count: int) -> int:
    codes = n.rng.integers(-127, 128, shape).astype(np.int8)
    steps = [2.0 ** n.number(-9, -5) if n.chance(n.powers) else n.rng.uniform(0.002, 0.03)
             for _ in range(count)]  # fmt: skip
    held = [float(F32(step)) for step in steps]
    return n.lite.constant(f"t{len(n.lite.tensors)}", codes, *held, axis=axis)


def bias(n: Net, x: int, w: int, count: int, top: int) -> int:
    codes = n.rng.integers(-top, top, count)
    given = n.lite.tensors[x].scales[0]
    held = [float(F32(given * step)) for step in n.lite.tensors[w].scales]
    kind = np.int64 if n.wide else np.int32
    return n.lite.constant(f"t{len(n.lite.tensors)}", codes.astype(kind), *held)


def spread(n: Net, x: int, w: int, terms: int) -> tuple[float, int]:
    """About how far sums reach, and a bias that matters."""
    step = n.meaning(x)[0] * float(np.median(n.lite.tensors[w].scales))
    one = (8000 if n.wide else 50) * 70
    return step * one * math.sqrt(terms) * float(n.rng.uniform(0.7, 3)), int(one * math.sqrt(terms))


def window(n: Net, shape: Shape, dilated: bool = False) -> dict[str, Any] | None:
    """A kernel, strides and padding over a map, and the map that they make."""
    kernel = n.number(1, min(4, shape[0])), n.number(1, min(4, shape[1]))
    stride = (1, 1) if n.chance(0.5) else (n.number(1, 3), n.number(1, 3))
    spread = (n.number(1, 2), n.number(1, 2)) if dilated and n.chance(0.2) else (1, 1)
    if spread != (1, 1):
        stride = (1, 1)
    padding = n.number(0, 1)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, spread, strict=True)]
    if padding and any(size < length for size, length in zip(shape, reach, strict=False)):
        return None
    made = [-(-(size if not padding else size - length + 1) // step)
            for size, length, step in zip(shape, reach, stride, strict=False)]  # fmt: skip
    return {"kernel": kernel, "stride": stride, "spread": spread, "padding": padding, "made": made}


def _options(view: dict[str, Any], dilation: bool = True) -> dict[str, Any]:
    found = {"padding": view["padding"], "stride_h": view["stride"][0]}
    found["stride_w"] = view["stride"][1]
    if dilation:
        found |= {"dilation_h": view["spread"][0], "dilation_w": view["spread"][1]}
    return found


def conv(n: Net) -> bool:
    x = n.pick(is_map)
    view = None if x is None else window(n, n.shape(x), dilated=True)
    if x is None or view is None:
        return False
    channels, count = n.shape(x)[2], n.number(1, 20)
    w = weights(n, (count, *view["kernel"], channels), 0, count if n.chance(0.7) else 1)
    top, most = spread(n, x, w, math.prod(view["kernel"]) * channels)
    y = n.y((*view["made"], count), top)
    given = [x, w, bias(n, x, w, count, most)]
    return n.node("CONV_2D", given, y, activation=n.choice(ACTIVATIONS), **_options(view))


def depthwise(n: Net) -> bool:
    x = n.pick(lambda shape: is_map(shape) and shape[2] <= 12)
    view = None if x is None else window(n, n.shape(x), dilated=True)
    if x is None or view is None:
        return False
    times = n.choice((1, 1, 1, 2, 3))
    count = n.shape(x)[2] * times
    w = weights(n, (1, *view["kernel"], count), 3, count if n.chance(0.7) else 1)
    top, most = spread(n, x, w, math.prod(view["kernel"]))
    y = n.y((*view["made"], count), top)
    given = [x, w, bias(n, x, w, count, most)]
    return n.node("DEPTHWISE_CONV_2D", given, y, activation=n.choice(ACTIVATIONS),
                  multiplier=times, **_options(view))  # fmt: skip


def dense(n: Net) -> bool:
    x = n.pick(lambda shape: shape[-1] <= 200)
    if x is None:
        return False
    given, count = n.shape(x), n.number(1, 20)
    keep = len(given) > 1 and n.chance(0.6)
    terms = given[-1] if keep else math.prod(given)
    if terms > 400:
        return False
    w = weights(n, (count, terms), 0, count if n.chance(0.4) else 1)
    top, most = spread(n, x, w, terms)
    y = n.y((*given[:-1], count) if keep else (count,), top)
    return n.node("FULLY_CONNECTED", [x, w, bias(n, x, w, count, most)], y,
                  activation=n.choice(ACTIVATIONS), keep_dims=keep)  # fmt: skip


def transpose_conv(n: Net) -> bool:
    x = n.pick(lambda shape: is_map(shape) and shape[0] * shape[1] <= 25)
    if x is None:
        return False
    height, width, channels = n.shape(x)
    count, kernel, stride = n.number(1, 12), n.number(1, 4), n.number(1, 3)
    if stride > kernel:
        return False
    padding = n.number(0, 1)
    sizes = [s * stride if not padding else (s - 1) * stride + kernel for s in (height, width)]
    w = weights(n, (count, kernel, kernel, channels), 0, count if n.chance(0.7) else 1)
    top, most = spread(n, x, w, channels * max(kernel // stride, 1) ** 2)
    y = n.y((*sizes, count), top)
    given = [n.ints((1, *sizes, count)), w, x, bias(n, x, w, count, most)]
    return n.node("TRANSPOSE_CONV", given, y, padding=padding, stride_h=stride, stride_w=stride)


def atrous(n: Net) -> bool:
    """A layer between blocks that go to the batch and come back: a dilation by hand."""
    x = n.pick(lambda shape: is_map(shape) and min(shape[:2]) >= 2 and shape[2] <= 8)
    if x is None:
        return False
    (height, width, channels), block = n.shape(x), 2
    ends = [[0, height % block], [0, width % block]]
    rows, columns = -(-height // block), -(-width // block)
    many, fewer = (block * block, rows, columns, channels), (block * block, rows, columns, channels)
    kept = len(n.pool)
    blocks = n.ints([block, block])
    first = n.lite.codes(f"t{len(n.lite.tensors)}", many, *n.meaning(x), n.dtype)
    if not n.node("SPACE_TO_BATCH_ND", [x, blocks, n.ints(ends)], first):
        return False
    kernel = 1, n.number(1, 3), n.number(1, 3), channels
    w = weights(n, kernel, 3, channels)
    top, most = spread(n, first, w, kernel[1] * kernel[2])
    second = n.lite.codes(f"t{len(n.lite.tensors)}", fewer, n.step(top), n.zero(), n.dtype)
    given = [first, w, bias(n, first, w, channels, most)]
    n.node("DEPTHWISE_CONV_2D", given, second, activation="RELU", padding=0, stride_h=1, stride_w=1,
           multiplier=1)  # fmt: skip
    back = n.y((rows * block - ends[0][1], columns * block - ends[1][1], channels), 1, like=second)
    del n.pool[kept:]
    return n.node("BATCH_TO_SPACE_ND", [second, blocks, n.ints(ends)], back)


def pool(n: Net) -> bool:
    x = n.pick(is_map)
    view = None if x is None else window(n, n.shape(x))
    if x is None or view is None:
        return False
    op = n.choice(("AVERAGE_POOL_2D", "MAX_POOL_2D"))
    y = n.y((*view["made"], n.shape(x)[2]), 1, like=x)
    kernel = {"filter_h": view["kernel"][0], "filter_w": view["kernel"][1]}
    return n.node(op, [x], y, activation=n.choice(ACTIVATIONS), **kernel,
                  **_options(view, dilation=False))  # fmt: skip
