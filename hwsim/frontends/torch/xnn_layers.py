"""The delegate's layers: convolutions, dense layers, products of two tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.torch.program import TensorName
from hwsim.frontends.torch.xnn_file import FLOAT32, XnnNode
from hwsim.frontends.torch.xnn_writer import Delegate


def conv(run: Delegate, node: XnnNode) -> None:
    """Conv2d with weights (out, height, width, in); depthwise (1, height, width, out)."""
    depthwise = node.op == "DepthwiseConv2d"
    move = (lambda w: w.transpose(3, 0, 1, 2)) if depthwise else (lambda w: w.transpose(0, 3, 1, 2))
    f = node.fields
    if len(run.value(node, f["filter"]).shape) != 4:
        raise HwsimError(f"{node}: its weights must have four axes")
    _even(node)
    x = run.reals(node, f["input"], "reals", map=True)
    if depthwise and _is_line(run, node):
        _line(run, node, x)
        return
    run.give(
        node,
        "aten.conv2d",
        map=True,
        input=x,
        weight=run.weights(node, move, 0),
        bias=run.bias(node),
        stride=(f["stride_h"], f["stride_w"]),
        padding=(f["top"], f["left"]),
        dilation=(f["dilation_h"], f["dilation_w"]),
        groups=f["groups"],
    )


def _is_line(run: Delegate, node: XnnNode) -> bool:
    """Whether it is what lowering makes of a batch's normalization."""
    value, f = run.value(node, node.fields["filter"]), node.fields
    still = (f["top"], f["left"], f["stride_h"], f["stride_w"]) == (0, 0, 1, 1)
    one = value.shape[:3] == (1, 1, 1) and value.shape[3] == f["groups"]
    return value.kind == FLOAT32 and value.data is not None and still and one


def _line(run: Delegate, node: XnnNode, x: TensorName) -> None:
    """A factor and an offset a channel, as a normalization by a mean of 0 and a variance of 1."""
    factor = run.weights(node, lambda w: w.reshape(-1), 0)
    zeros = np.zeros(node.fields["groups"], np.float32)
    mean = run.writer.constant(f"{node.name}.mean", zeros)
    variance = run.writer.constant(f"{node.name}.variance", zeros + np.float32(1))
    args = {"input": x, "weight": factor, "bias": run.bias(node), "eps": 0.0}
    ends = {"running_mean": mean, "running_var": variance}
    run.give(node, "aten.batch_norm", map=True, **args, **ends)


def transposed(run: Delegate, node: XnnNode) -> None:
    """ConvTranspose2d with weights (out, height, width, in / groups)."""
    f = node.fields
    _even(node)
    groups, out = f["groups"], f["group_out"]

    def move(w: Any) -> Any:
        """To (in, out / groups, height, width)."""
        cut = w.reshape(groups, out, *w.shape[1:])
        return cut.transpose(0, 4, 1, 2, 3).reshape(-1, out, *w.shape[1:3])

    run.give(
        node,
        "aten.conv_transpose2d",
        map=True,
        input=run.reals(node, f["input"], "reals", map=True),
        weight=run.weights(node, move, 1),
        bias=run.bias(node),
        stride=(f["stride_h"], f["stride_w"]),
        padding=(f["top"], f["left"]),
        output_padding=(f["adjust_h"], f["adjust_w"]),
        dilation=(f["dilation_h"], f["dilation_w"]),
        groups=groups,
    )


def _even(node: XnnNode) -> None:
    f = node.fields
    if (f["top"], f["left"]) != (f["bottom"], f["right"]):
        raise HwsimError(f"{node}: its padding must be the same on both sides")


def dense(run: Delegate, node: XnnNode) -> None:
    """A dense layer with weights (out, in)."""
    run.give(
        node,
        "aten.linear",
        input=run.reals(node, node.fields["input"], "reals"),
        weight=run.weights(node, lambda w: w, 0),
        bias=run.bias(node),
    )


def matmul(run: Delegate, node: XnnNode) -> None:
    """Matrices times matrices, both computed."""
    a, b = (run.reals(node, node.fields[f"input{n}"], f"reals{n}") for n in (1, 2))
    if node.fields["flags"]:
        raise HwsimError(f"{node}: its second operand must not be turned")
    run.give(node, "aten.bmm", self=a, mat2=b)
