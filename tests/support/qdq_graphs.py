"""Random small quantized networks in the idioms of real exporters, written node by node.

``network(seed)`` draws a style (who exported it: types, zero points, scales, biases, ports, how a
map becomes a vector, where ReLUs and quantizers stand, how it ends) and then a chain of blocks in
that style. Every draw is valid ONNX that ONNX Runtime runs; nothing else is promised.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from support.onnx_builder import Array, Q
from support.qdq_blocks import (
    conv,
    dense,
    ended,
    flattened,
    function,
    joined,
    moved,
    pooled,
    residual,
)
from support.qdq_codes import of_codes
from support.qdq_network import Network, Tensor
from support.qdq_styles import Shape

BLOCKS = (conv, conv, pooled, residual, joined, function, moved)


def drawn(n: Network) -> onnx.ModelProto:
    x = start(n)
    if n.style.codes:
        return of_codes(n, x)
    if len(x.shape) == 3:
        for _ in range(int(n.rng.integers(1, 4))):
            x = BLOCKS[int(n.rng.integers(len(BLOCKS)))](n, x)
            shown(n, x)
        if n.chance(0.25):
            return finished(n, x)
        x = flattened(n, x)
    for _ in range(int(n.rng.integers(0, 2))):
        units = int(n.rng.integers(3, 8))
        name, scale = dense(n, x, units)
        x = ended(n, name, (*x.shape[:-1], units), scale)
    name, scale = dense(n, x, 5)
    if n.pick(n.style.tails) == "quantized":
        return finished(n, ended(n, name, (*x.shape[:-1], 5), scale))
    if n.chance(0.2):
        name = n.do("Relu", name)
    return n.model((name, len(x.shape) + 1, "float32"))


def shown(n: Network, x: Tensor) -> None:
    """Now and then a tensor inside is an output too, its reals or its codes."""
    if x.code and n.chance(0.04):
        pair = (x.name, "float32") if n.chance(0.6) else (x.code, n.dtype)
        n.more.append((pair[0], len(x.shape) + 1, pair[1]))


def finished(n: Network, x: Tensor) -> onnx.ModelProto:
    rank = len(x.shape) + 1
    if n.ports == "both" and x.code:
        return n.model((x.code, rank, x.q.dtype))
    if n.chance(0.05) and len(x.shape) == 1:
        keep = int(n.chance(0.5))
        best = n.do("ArgMax", x.name, axis=-1, keepdims=keep)
        return n.model((best, 1 + keep, "int64"))
    return n.model((x.name, rank, "float32"))


def start(n: Network) -> Tensor:
    q, draw = n.quantity(0.03), n.rng.random()
    if draw < 0.3 and not n.style.codes:
        rows = (5,) if draw < 0.06 and "MatMul" in n.style.gemm[:1] else ()
        return entered(n, (*rows, 12), q)
    shape = (int(n.rng.integers(1, 4)), 6, int(n.rng.integers(5, 8)))
    if n.style.transposed_input and n.ports == "none":
        x = n.port("x", (*shape[1:], shape[0]), "float32")
        return n.quantized(n.do("Transpose", x, perm=[0, 3, 1, 2]), shape, q)
    return entered(n, shape, q)


def entered(n: Network, shape: Shape, q: Q) -> Tensor:
    if n.ports != "both":
        return n.quantized(n.port("x", shape, "float32"), shape, q)
    code = n.port("x", shape, q.dtype)
    return Tensor(n.do("DequantizeLinear", code, *n.given(q)), shape, q, "", code)


def network(seed: int) -> onnx.ModelProto:
    """The network of a seed."""
    return drawn(Network(seed))


def feeds(model: onnx.ModelProto, seed: int, batch: int = 48) -> dict[str, Array]:
    """Random reals, some of them beyond the input's range, or any codes."""
    rng = np.random.default_rng(seed)
    found = {}
    for port in model.graph.input:
        kind = port.type.tensor_type
        dims = kind.shape.dim
        shape = (dims[0].dim_value or batch, *[d.dim_value for d in dims[1:]])
        if kind.elem_type == TensorProto.FLOAT:
            found[port.name] = rng.normal(0, 1.5, shape).astype(np.float32)
        else:
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            info = np.iinfo(dtype)
            found[port.name] = rng.integers(info.min, info.max + 1, shape).astype(dtype)
    return found
