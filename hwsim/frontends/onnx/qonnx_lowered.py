"""FINN's lowered forms of QONNX: Im2Col before a MatMul, XnorPopcountMatMul, QuantAvgPool2d.

Source: QONNX 1.0 `custom_op/general/im2col.py`, `xnorpopcount.py` and `quantavgpool2d.py`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx import matmul, pool, weighted
from hwsim.frontends.onnx.constants import mapped
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.qonnx_last import moved
from hwsim.frontends.onnx.qonnx_trunc import Truncation
from hwsim.frontends.shared.rounding import quantize
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import Arithmetic, Constant, Level, Mean, Real

F32 = np.float32
PRODUCTS = ("MatMul", "XnorPopcountMatMul")


def im2col(run: Importer, node: OnnxNode) -> None:
    """Im2Col, which the products that read it take in: together they are convolutions."""
    readers = [n for n in run.model.nodes if node.output in n.inputs]
    lowered = all(n.op in PRODUCTS and n.input(0) == node.output for n in readers)
    if not readers or not lowered or node.output in {port.name for port in run.model.outputs}:
        raise HwsimError(f"{node}: its result must be read by MatMul or XnorPopcountMatMul alone")
    if node.integer("pad_value", 0) and any(node.integers("pad_amount")):
        raise HwsimError(f"{node}: 'pad_value' must be 0, not {node.integer('pad_value', 0)}")


def product(run: Importer, node: OnnxNode) -> None:
    """MatMul, of the columns of an Im2Col too."""
    windows = _windows(run, node)
    if windows is None:
        matmul.matmul(run, node)
        return
    run.values[node.output] = _convolved(run, node, windows, _weights(run, node), None)


def xnor_popcount(run: Importer, node: OnnxNode) -> None:
    """XnorPopcountMatMul: in how many places 0s and 1s agree.

    That is the sum of x * (2 w - 1) and of 1 - w.
    """
    ones = run.constant(node, 1).array.astype(F32)
    if ones.ndim != 2 or not np.isin(ones, (0, 1)).all():
        raise HwsimError(f"{node}: its weights must be a matrix of 0 and 1")
    fmt = Format.int(2)
    signs = Constant(2 * ones - 1, (2 * ones - 1).astype(np.int64), fmt, np.ones((1, 1), F32))
    zeros = Constant((1 - ones).sum(axis=0))
    windows = _windows(run, node)
    if windows is None:
        _refuse_others(run, node, run.real(node, 0))
        run.values[node.output] = weighted.dense(run, node, run.real(node, 0), signs, zeros)
        return
    _refuse_others(run, node, run.real(windows, 0))
    run.values[node.output] = _convolved(run, node, windows, signs, zeros)


def _refuse_others(run: Importer, node: OnnxNode, real: Real) -> None:
    """Raise HwsimError for a tensor that may hold other reals than 0 and 1."""
    level = level_of(run, node, real)
    kind = run.types[level.codes.edge]
    if level.scale != 1.0 or level.zero_point or kind.lo < 0 or kind.hi > 1:
        raise HwsimError(f"{node}: its input must hold 0 and 1 alone")


def _windows(run: Importer, node: OnnxNode) -> OnnxNode | None:
    """The Im2Col that makes a product's first factor."""
    made = (n for n in run.model.nodes if n.op == "Im2Col" and node.input(0) == n.output)
    return next(made, None)


def _weights(run: Importer, node: OnnxNode) -> Constant:
    weights = weighted.weights_of(run, node, 1, 1)
    if weights.array.ndim != 2:
        raise HwsimError(f"{node}: its weights must be a matrix, not {weights.array.ndim} axes")
    return weights


def _convolved(
    run: Importer, node: OnnxNode, windows: OnnxNode, weights: Constant, bias: Constant | None
) -> Real:
    """The convolution whose columns `windows` would make, of a tensor with its channels last."""
    kernel = windows.integers("kernel_size")
    data = moved(windows, run.value(windows, 0), first=True)
    name = f"{windows.input(0)} ({node.name})"
    run.values[name] = data
    inner = OnnxNode(
        node.name,
        "Conv",
        "",
        (name,),
        (f"{node.output} ({node.name})",),
        {
            "kernel_shape": list(kernel),
            "strides": list(windows.integers("stride", (1, 1))),
            "pads": list(windows.integers("pad_amount", (0, 0, 0, 0))),
            "dilations": list(windows.integers("dilations", (1, 1))),
        },
    )
    real = run.real(inner, 0)
    rows, outputs = weights.array.shape
    channels = real.layout.shape[0]
    if len(kernel) != 2 or rows != math.prod(kernel) * channels:
        raise HwsimError(
            f"{node}: its weights must have a row for each of {channels} channels and of a kernel "
            f"of {kernel}, not {rows}"
        )
    shape = (*kernel, channels, outputs)
    taps = mapped(weights, lambda array: array.reshape(shape).transpose(3, 2, 0, 1))
    made = weighted.convolution(run, inner, real, taps, bias)
    back = moved(node, made, first=False)
    assert isinstance(back, Real)
    return back


def quant_avg_pool(run: Importer, node: OnnxNode) -> None:
    """QuantAvgPool2d: a window's sum of whole numbers, and its upper bits."""
    last = node.text("data_layout", "NCHW") == "NHWC"
    size, stride = node.integer("kernel", 1), node.integer("stride", 1)
    if size < 1 or stride < 1:
        raise HwsimError(f"{node}: its kernel and stride must be at least 1")
    name = f"{node.input(0)} ({node.name})"
    run.values[name] = moved(node, run.value(node, 0), first=True) if last else run.value(node, 0)
    pooling = {"kernel_shape": [size, size], "strides": [stride, stride]}
    inner = replace(node, op="AveragePool", domain="", inputs=(name,), attributes=pooling)
    real = pool.average(run, inner, run.real(inner, 0), whole=False)
    source, elements = real.source, size * size
    assert isinstance(source, Mean)
    level = source.input
    if level.scales is not None or level.scale != round(level.scale):
        raise HwsimError(f"{node}: its input must be whole numbers, not steps of {level.scale}")
    shift = _shift(node, elements)
    by = Truncation(1.0, 0, shift, 0, "FLOOR", 1.0, _format(run, level, elements, shift))
    real = real.then(Arithmetic(str(node), "mul", np.array([elements], F32)))
    codes = quantize(run, real, by, node.name, f"{node.output}.codes")
    whole = Real(Level(codes, 1.0, 0), codes.layout)
    run.values[node.output] = moved(node, whole, first=False) if last else whole


def _shift(node: OnnxNode, elements: int) -> int:
    """How many bits of a sum are left out."""
    bits, kept = node.integer("ibits", 1), node.integer("obits", 1)
    if not 1 <= bits <= 32 or not 1 <= kept <= 32:
        raise HwsimError(f"{node}: 'ibits' and 'obits' must be from 1 to 32, not {bits}, {kept}")
    return max((((1 << bits) - 1) * elements).bit_length() - kept, 0)


def _format(run: Importer, level: Level, elements: int, shift: int) -> Format:
    """The narrowest that holds the upper bits of all sums that there can be."""
    kind = run.types[level.codes.edge]
    ends = [(end - level.zero_point) * round(level.scale) * elements for end in (kind.lo, kind.hi)]
    return Format.holding(ends[0] >> shift, ends[1] >> shift)
