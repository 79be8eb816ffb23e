"""Blocks of random quantized networks: each takes tensors and gives its output."""

from __future__ import annotations

import numpy as np

from support.qdq_moves import move
from support.qdq_network import Network, Tensor, halved
from support.qdq_styles import Shape


def ended(n: Network, name: str, shape: Shape, scale: float, pool: bool = False) -> Tensor:
    """What follows a layer: perhaps a ReLU or Clip, a max pool, and a quantizer."""
    kind = n.pick(("none", "Relu", "Relu", "Clip"))
    if kind != "none" and n.style.relu_quantized:
        name = n.quantized(name, shape, n.quantity(scale)).name
    q = n.quantity(scale, rectified=kind != "none")
    if kind == "Relu":
        name = n.do("Relu", name)
    elif kind == "Clip":
        top = (q.info.max - q.zero_point) * q.scale * (1.0 if n.chance(0.6) else 0.4)
        low = n.constant(n.new("low"), np.float32(0))
        name = n.do("Clip", name, low, n.constant(n.new("high"), np.float32(top)))
    if pool and min(shape[1:]) > 1 and n.chance(0.5):
        name, shape = max_pooled(n, name), halved(shape)
    if pool and n.chance(0.15):
        name, shape = move(n, name, shape)
    return n.quantized(name, shape, q)


def moved(n: Network, x: Tensor) -> Tensor:
    """Elements cut, repeated, padded or turned, with a quantizer behind them or without."""
    name, shape = move(n, n.read(x), x.shape)
    kind = n.pick(("same scale", "same scale", "other scale", "none"))
    if kind == "none" and not n.wide:
        return Tensor(name, shape, x.q)
    other = kind == "other scale" and not n.wide
    return n.quantized(name, shape, n.quantity(x.q.scale) if other else x.q)


def conv(n: Network, x: Tensor) -> Tensor:
    channels, height, width = x.shape
    name = n.do("Relu", x.name) if n.chance(0.1) else x.name
    depthwise = n.chance(0.25)
    out = channels if depthwise else int(n.rng.integers(2, 6))
    size = int(n.rng.choice([1, 3])) if min(height, width) >= 3 else 1
    pad = int(size == 3 and (n.chance(0.5) or min(height, width) < 4))
    if size == 3 and not pad and n.chance(0.2):
        name = n.do("Pad", name, n.ints(0, 0, 1, 0, 0, 0, 1, 2))
        height, width = height + 2, width + 2
    stride = 2 if n.chance(0.2) and min(height, width) > 4 else 1
    group = channels if depthwise else 1
    w, scale = n.kernel((out, channels // group, size, size), 0, out)
    sums = (np.float32(x.q.scale) * scale).astype(np.float32)
    inputs = [name, w, *filter(None, [n.bias(sums, out)])]
    name = n.do("Conv", *inputs, group=group, kernel_shape=[size, size],
                   pads=[pad] * 4, strides=[stride] * 2)  # fmt: skip
    if len(inputs) == 2 and n.chance(0.2):
        row = n.rng.normal(0, 20 * float(sums.max()), (1, out, 1, 1)).astype(np.float32)
        name = n.do("Add", name, n.constant(n.new("row"), row))
    shape = (out, *((s + 2 * pad - size) // stride + 1 for s in (height, width)))
    spread = n.spread(sums, size * size * channels // group)
    return ended(n, name, shape, spread, pool=True)


def pooled(n: Network, x: Tensor) -> Tensor:
    if min(x.shape[1:]) < 2:
        return function(n, x)
    kind = n.pick(("MaxPool", "AveragePool", "same scale"))
    # ONNX Runtime refuses averages whose scale has an axis.
    mean = kind == "AveragePool" and not n.style.scale_shape
    op = "AveragePool" if mean else "MaxPool"
    name = n.do(op, x.name, kernel_shape=[2, 2], strides=[2, 2])
    q = x.q if kind == "same scale" or n.wide else n.quantity(x.q.scale)
    return n.quantized(name, halved(x.shape), q)


def function(n: Network, x: Tensor) -> Tensor:
    if n.wide:
        return conv(n, x) if len(x.shape) == 3 else x
    op = n.pick(("Sigmoid", "LeakyRelu", "Tanh", "Relu", "HardSigmoid"))
    scale = {"LeakyRelu": x.q.scale, "Relu": x.q.scale}.get(op, 1 / 128)
    name = n.do(op, n.read(x))
    return n.quantized(name, x.shape, n.quantity(scale, rectified=True))


def residual(n: Network, x: Tensor) -> Tensor:
    if n.wide:
        return conv(n, x)
    other = function(n, x) if n.chance(0.5) or len(x.shape) < 3 else same_conv(n, x)
    pair = (n.read(x), n.read(other))
    name = n.do("Add", *(pair if n.chance(0.5) else pair[::-1]))
    return ended(n, name, x.shape, max(x.q.scale, other.q.scale) * 1.4)


def same_conv(n: Network, x: Tensor) -> Tensor:
    w, scale = n.kernel((x.shape[0], x.shape[0], 1, 1), 0, x.shape[0])
    sums = (np.float32(x.q.scale) * scale).astype(np.float32)
    name = n.do("Conv", n.read(x), w, *filter(None, [n.bias(sums, x.shape[0])]))
    return n.quantized(name, x.shape, n.quantity(n.spread(sums, x.shape[0])))


def joined(n: Network, x: Tensor) -> Tensor:
    if n.wide:
        return conv(n, x)
    other = function(n, x)
    shape = (x.shape[0] * 2, *x.shape[1:])
    name = n.do("Concat", n.read(x), other.name, axis=1)
    return n.quantized(name, shape, n.quantity(max(x.q.scale, other.q.scale)))


def flattened(n: Network, x: Tensor) -> Tensor:
    """A map as a vector, perhaps averaged first."""
    name, shape, averaged = x.name, x.shape, n.chance(0.4) and not n.wide
    if averaged:
        mean = n.chance(0.2) and n.style.opset < 18
        name = n.do("ReduceMean", name, axes=[2, 3]) if mean else n.do("GlobalAveragePool", name)
        shape = (shape[0], 1, 1)
        if n.chance(0.5):
            name = n.quantized(name, shape, n.quantity(x.q.scale / 2)).name
    how, size = n.pick(n.style.flat), int(np.prod(shape))
    if how == "Squeeze" and averaged:
        name = n.do("Squeeze", name, n.ints(2, 3))
    elif how == "Reshape":
        target = (0, -1) if n.chance(0.5) else (-1, size)
        name = n.do("Reshape", name, n.ints(*target))
    elif how == "shape chain":
        first = n.constant(n.new("i"), 0)
        count = n.do("Gather", n.do("Shape", name), first, axis=0)
        batch = n.do("Unsqueeze", count, n.ints(0))
        name = n.do("Reshape", name, n.do("Concat", batch, n.ints(-1), axis=0))
    else:
        name = n.do("Flatten", name)
    if averaged:
        return n.quantized(name, (size,), n.quantity(x.q.scale / 2))
    if n.style.flat_quantized or n.chance(0.3):
        return n.quantized(name, (size,), x.q)
    return Tensor(name, (size,), x.q)


def dense(n: Network, x: Tensor, units: int) -> tuple[str, float]:
    """A Gemm, or a MatMul and perhaps an Add; not yet quantized; and a scale for its sums."""
    how = n.pick(n.style.gemm)
    turned = how == "Gemm" and n.chance(0.6)
    terms = x.shape[-1]
    w, scale = n.kernel((units, terms) if turned else (terms, units), int(not turned), units)
    sums = (np.float32(x.q.scale) * scale).astype(np.float32)
    bias = n.bias(sums, units)
    if how == "Gemm":
        name = n.do("Gemm", x.name, w, *filter(None, [bias]), transB=int(turned))
    else:
        name = n.do("MatMul", x.name, w)
        if bias:
            name = n.do("Add", *((name, bias) if n.chance(0.7) else (bias, name)))
    return name, n.spread(sums, terms)


def max_pooled(n: Network, name: str) -> str:
    return n.do("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
