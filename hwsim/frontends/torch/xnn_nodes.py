"""Nodes of the XNNPACK delegate as nodes of an exported program, by their name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.torch import xnn_layers, xnn_moves
from hwsim.frontends.torch.program import TensorName
from hwsim.frontends.torch.xnn_file import FLOAT32, XnnNode
from hwsim.frontends.torch.xnn_writer import Delegate, meaning_of

Rule = Callable[[Delegate, XnnNode], None]


def one(op: str, **more: Any) -> Rule:
    """An operator of one tensor."""

    def rule(run: Delegate, node: XnnNode) -> None:
        run.give(node, op, self=run.reals(node, node.fields["input"], "reals"), **more)

    return rule


def _two(op: str) -> Rule:
    def rule(run: Delegate, node: XnnNode) -> None:
        a, b = (run.reals(node, node.fields[f"input{n}"], f"reals{n}") for n in (1, 2))
        run.give(node, op, self=a, other=b)

    return rule


def _convert(run: Delegate, node: XnnNode) -> None:
    """Quantizes, dequantizes, or does both."""
    given, made = (run.value(node, node.fields[end]) for end in ("input", "output"))
    reals = run.reals(node, given.number, "reals")
    if run.quantized(node, made):
        run.names[made.number] = run.writer.add(
            "quantized_decomposed.quantize_per_tensor", node.name, made.shape, "int8",
            input=reals, **meaning_of(node, made),
        )  # fmt: skip
    elif made.kind == FLOAT32:
        run.names[made.number] = reals.name


def _pool(op: str) -> Rule:
    def rule(run: Delegate, node: XnnNode) -> None:
        f = node.fields
        ends = (f["top"], f["left"], f["bottom"], f["right"])
        apart = (f["dilation_h"] or 1, f["dilation_w"] or 1)
        if "max" not in op and (apart != (1, 1) or any(ends)):
            raise HwsimError(f"{node}: its windows must have no dilation and no padding")
        run.give(
            node,
            op,
            map=True,
            self=run.reals(node, f["input"], "reals", map=True),
            kernel_size=(f["kernel_h"], f["kernel_w"]),
            stride=(f["stride_h"], f["stride_w"]),
            ends=ends,
            dilation=apart,
        )

    return rule


def _prelu(run: Delegate, node: XnnNode) -> None:
    slopes = run.value(node, node.fields["input2"])
    if slopes.data is None or slopes.kind != FLOAT32:
        raise HwsimError(f"{node}: its slopes must be constant float32")
    held = run.writer.constant(f"{node.name}.slopes", slopes.data.reshape(-1).astype(np.float32))
    x = run.reals(node, node.fields["input1"], "reals", map=True)
    run.give(node, "aten.prelu", map=True, self=x, weight=held)


def _mean(run: Delegate, node: XnnNode) -> None:
    x = run.reals(node, node.fields["input"], "reals", map=True)
    run.give(node, "aten.mean", map=True, self=x, dim=(2, 3), keepdim=True)


ALIGNED, OLD = 8, 4  # flags of a resize


def _resize(run: Delegate, node: XnnNode) -> None:
    flags = node.fields["flags"]
    if flags & OLD:
        raise HwsimError(f"{node}: its places must not be those of old TensorFlow programs")
    x = run.reals(node, node.fields["input"], "reals", map=True)
    run.give(
        node, "aten.upsample_bilinear2d", map=True, input=x, align_corners=bool(flags & ALIGNED)
    )


def _softmax(run: Delegate, node: XnnNode) -> None:
    x = run.reals(node, node.fields["input"], "reals")
    run.give(node, "aten.softmax", self=x, dim=-1)


def _square(run: Delegate, node: XnnNode) -> None:
    x = run.reals(node, node.fields["input"], "reals")
    run.give(node, "aten.mul", self=x, other=x)


def _leaky(run: Delegate, node: XnnNode) -> None:
    one("aten.leaky_relu", negative_slope=float(node.fields["slope"]))(run, node)


def _elu(run: Delegate, node: XnnNode) -> None:
    one("aten.elu", alpha=float(node.fields["alpha"]))(run, node)


def _clamp(run: Delegate, node: XnnNode) -> None:
    """A clamp of its own, whose bounds are those of the node."""
    given = run.reals(node, node.fields["input"], "reals")
    value = run.value(node, node.fields["output"])
    name = run.clamped(node, given.name, value.shape)
    if run.quantized(node, value):
        name = run.writer.add(
            "quantized_decomposed.quantize_per_tensor", f"{node.name}.codes", value.shape, "int8",
            input=TensorName(name), **meaning_of(node, value),
        )  # fmt: skip
    run.names[value.number] = name


RULES: dict[str, Rule] = {
    "Abs": one("aten.abs"),
    "Add": _two("aten.add"),
    "AvgPooling2d": _pool("aten.avg_pool2d"),
    "BatchMatrixMultiply": xnn_layers.matmul,
    "Clamp": _clamp,
    "Concatenate2": xnn_moves.cat,
    "Concatenate3": xnn_moves.cat,
    "Concatenate4": xnn_moves.cat,
    "Concatenate5": xnn_moves.cat,
    "Conv2d": xnn_layers.conv,
    "Convert": _convert,
    "Copy": xnn_moves.copy,
    "ConvTranspose2d": xnn_layers.transposed,
    "DepthwiseConv2d": xnn_layers.conv,
    "Div": _two("aten.div"),
    "ELU": _elu,
    "Exp": one("aten.exp"),
    "FullyConnected": xnn_layers.dense,
    "Gelu": one("aten.gelu"),
    "GlobalAvgPooling2d": _mean,
    "Hardswish": one("aten.hardswish"),
    "LeakyReLU": _leaky,
    "Log": one("aten.log"),
    "MaxPooling2d": _pool("aten.max_pool2d"),
    "Maximum": _two("aten.maximum"),
    "Minimum": _two("aten.minimum"),
    "Multiply": _two("aten.mul"),
    "Negate": one("aten.neg"),
    "PReLU": _prelu,
    "ReciprocalSquareRoot": one("aten.rsqrt"),
    "Sigmoid": one("aten.sigmoid"),
    "Softmax": _softmax,
    "Square": _square,
    "SquareRoot": one("aten.sqrt"),
    "StaticConstantPad": xnn_moves.pad,
    "StaticResizeBilinear2D": _resize,
    "StaticReshape": xnn_moves.reshape,
    "StaticSlice": xnn_moves.slice_,
    "StaticTranspose": xnn_moves.transpose,
    "Subtract": _two("aten.sub"),
    "Tanh": one("aten.tanh"),
}
"""What writes each node."""
