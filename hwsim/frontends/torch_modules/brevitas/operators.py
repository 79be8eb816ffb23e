"""PyTorch's operators as those of ONNX."""

from __future__ import annotations

import numpy as np
import torch

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import Attribute
from hwsim.frontends.torch_modules.brevitas import movers
from hwsim.frontends.torch_modules.brevitas.exported import Export, Exporter
from hwsim.frontends.torch_modules.trace import Call


def _simple(op: str, name: str = "self") -> Export:
    """An operator of one tensor."""
    return lambda run, call: run.give(call, op, [run.operand(call, call[name])])


def _both(op: str) -> Export:
    """An operator of two tensors, or of one and a number."""

    def handle(run: Exporter, call: Call) -> None:
        if call.arguments.get("alpha", 1) != 1 or call.arguments.get("rounding_mode"):
            raise HwsimError(f"{call}: it must have no factor and no rounding of its own")
        run.give(call, op, [run.operand(call, call[name]) for name in ("self", "other")])

    return handle


def convolution(run: Exporter, call: Call) -> None:
    """Convolutions, transposed ones too."""
    rank = call["input"].ndim - 2
    stride, padding, dilation = (
        list(call.whole(name, rank)) for name in ("stride", "padding", "dilation")
    )
    inputs = [run.operand(call, call[name]) for name in ("input", "weight")]
    if call["bias"] is not None:
        inputs.append(run.operand(call, call["bias"]))
    common: dict[str, Attribute] = {
        "strides": stride,
        "pads": padding * 2,
        "dilations": dilation,
        "group": int(call["groups"]),
        "kernel_shape": [int(size) for size in call["weight"].shape[2:]],
    }
    if call["transposed"]:
        more = list(call.whole("output_padding", rank))
        run.give(call, "ConvTranspose", inputs, output_padding=more, **common)
    else:
        run.give(call, "Conv", inputs, **common)


def addmm(run: Exporter, call: Call) -> None:
    """A product of matrices and a bias."""
    if call["beta"] != 1 or call["alpha"] != 1:
        raise HwsimError(f"{call}: it must have no factors of its own")
    product = run.node(
        f"{call.title}.product", "MatMul", [run.operand(call, call[n]) for n in ("mat1", "mat2")]
    )
    run.give(call, "Add", [product, run.operand(call, call["self"])])


def mm(run: Exporter, call: Call) -> None:
    """A product of matrices."""
    second = "mat2" if "mat2" in call.arguments else "other"
    run.give(call, "MatMul", [run.operand(call, call[name]) for name in ("self", second)])


def batch_norm(run: Exporter, call: Call) -> None:
    """With the statistics that were learned."""
    if call["training"]:
        raise HwsimError(f"{call}: it must use its own statistics, as in evaluation mode")
    given = call["input"]
    count = int(given.shape[1])
    plain = {"weight": torch.ones(count), "bias": torch.zeros(count)}
    held = [plain[n] if call[n] is None else call[n] for n in ("weight", "bias")]
    tensors = [given, *held, call["running_mean"], call["running_var"]]
    inputs = [run.operand(call, tensor) for tensor in tensors]
    run.give(call, "BatchNormalization", inputs, epsilon=float(call["eps"]))


def elu(run: Exporter, call: Call) -> None:
    """ELU, and SELU, which PyTorch computes as one with factors of its own."""
    alpha, scale, inner = (float(call[name]) for name in ("alpha", "scale", "input_scale"))
    inputs = [run.operand(call, call["self"])]
    if (scale, inner) == (1.0, 1.0):
        run.give(call, "Elu", inputs, alpha=alpha)
    elif (alpha, inner) == (SELU_ALPHA, 1.0):
        run.give(call, "Selu", inputs)
    else:
        raise HwsimError(f"{call}: it must be an ELU or SELU")


def celu(run: Exporter, call: Call) -> None:
    """CELU by itself."""
    run.give(call, "Celu", [run.operand(call, call["self"])], alpha=float(call["alpha"]))


def power(run: Exporter, call: Call) -> None:
    """A square, which PyTorch multiplies."""
    if call["exponent"] != 2:
        raise HwsimError(f"{call}: its exponent must be 2, not {call['exponent']}")
    run.give(call, "Mul", [run.operand(call, call["self"])] * 2)


def softplus(run: Exporter, call: Call) -> None:
    """Without a factor of its own."""
    if (float(call["beta"]), float(call["threshold"])) != (1.0, 20.0):
        raise HwsimError(f"{call}: its beta must be 1 and its threshold 20")
    run.give(call, "Softplus", [run.operand(call, call["self"])])


def gelu(run: Exporter, call: Call) -> None:
    """By the error function, or by a tangent."""
    run.give(call, "Gelu", [run.operand(call, call["self"])], approximate=call["approximate"])


def prelu(run: Exporter, call: Call) -> None:
    """With slopes that broadcast to the tensor."""
    run.give(call, "PRelu", [run.operand(call, call[name]) for name in ("self", "weight")])


def reversed_sub(run: Exporter, call: Call) -> None:
    """A number less a tensor."""
    if call["alpha"] != 1:
        raise HwsimError(f"{call}: it must have no factor of its own")
    run.give(call, "Sub", [run.operand(call, call[name]) for name in ("other", "self")])


def layer_norm(run: Exporter, call: Call) -> None:
    """Rows of the last axes."""
    shape = [int(size) for size in call["normalized_shape"]]
    held = [
        fill(shape) if call[name] is None else call[name]
        for name, fill in (("weight", torch.ones), ("bias", torch.zeros))
    ]
    inputs = [run.operand(call, tensor) for tensor in (call["input"], *held)]
    run.give(call, "LayerNormalization", inputs, axis=-len(shape), epsilon=float(call["eps"]))


def group_norm(run: Exporter, call: Call) -> None:
    """Channels in groups."""
    count = int(call["C"])
    held = [
        fill(count) if call[name] is None else call[name]
        for name, fill in (("weight", torch.ones), ("bias", torch.zeros))
    ]
    inputs = [run.operand(call, tensor) for tensor in (call["input"], *held)]
    groups = int(call["group"])
    run.give(call, "GroupNormalization", inputs, num_groups=groups, epsilon=float(call["eps"]))


def _windows(call: Call) -> dict[str, Attribute]:
    """Attributes of both pools."""
    rank = call["self"].ndim - 2
    kernel = list(call.whole("kernel_size", rank))
    return {
        "kernel_shape": kernel,
        "strides": list(call.whole("stride", rank)) or kernel,
        "pads": list(call.whole("padding", rank)) * 2,
        "ceil_mode": int(call["ceil_mode"]),
    }


def max_pool(run: Exporter, call: Call) -> None:
    """The largest value."""
    dilations = list(call.whole("dilation", call["self"].ndim - 2))
    inputs = [run.operand(call, call["self"])]
    run.give(call, "MaxPool", inputs, dilations=dilations, **_windows(call))


def average_pool(run: Exporter, call: Call) -> None:
    """The mean of windows."""
    if call.arguments.get("divisor_override") is not None:
        raise HwsimError(f"{call}: it must divide by the size of its windows")
    counted = int(call["count_include_pad"])
    inputs = [run.operand(call, call["self"])]
    run.give(call, "AveragePool", inputs, count_include_pad=counted, **_windows(call))


def adaptive_pool(run: Exporter, call: Call) -> None:
    """The mean of equal windows."""
    shape, made = call["self"].shape[2:], call.output.shape[2:]
    if any(size % count for size, count in zip(shape, made, strict=True)):
        raise HwsimError(f"{call}: its output {tuple(made)} must divide its input {tuple(shape)}")
    kernel = [int(size // count) for size, count in zip(shape, made, strict=True)]
    inputs = [run.operand(call, call["self"])]
    run.give(call, "AveragePool", inputs, kernel_shape=kernel, strides=kernel)


def clip(run: Exporter, call: Call) -> None:
    """Between two numbers, either of which may be left out."""
    names = next(n for n in (("min_val", "max_val"), ("min", "max")) if n[0] in call.arguments)
    ends = [call[name] for name in names]
    inputs = [run.operand(call, call["self"])]
    inputs += ["" if end is None else run.operand(call, end) for end in ends]
    run.give(call, "Clip", inputs)


def clip_below(run: Exporter, call: Call) -> None:
    """Not below a number."""
    inputs = [run.operand(call, call[name]) for name in ("self", "min")]
    run.give(call, "Clip", inputs)


def clip_above(run: Exporter, call: Call) -> None:
    """Not above a number."""
    given, most = (run.operand(call, call[name]) for name in ("self", "max"))
    run.give(call, "Clip", [given, "", most])


def reduced(op: str) -> Export:
    """Along axes, which stay, 1 long, or go."""

    def handle(run: Exporter, call: Call) -> None:
        rank = call["self"].ndim
        axes = [int(axis) % rank for axis in (call.arguments.get("dim") or range(rank))]
        named = run.constant(f"{call.title}.axes", axes, np.int64)
        inputs = [run.operand(call, call["self"])]
        if op == "ReduceSum":  # whose axes are an input in this opset
            run.give(call, op, [*inputs, named], keepdims=int(call["keepdim"]))
        else:
            run.give(call, op, inputs, axes=axes, keepdims=int(call["keepdim"]))

    return handle


def _with(op: str, **names: str) -> Export:
    """An operator of one tensor with numbers as attributes, by their names in PyTorch."""

    def handle(run: Exporter, call: Call) -> None:
        numbers = {key: float(call[name]) for key, name in names.items()}
        run.give(call, op, [run.operand(call, call["self"])], **numbers)

    return handle


def softmax(op: str) -> Export:
    """Along one axis."""

    def handle(run: Exporter, call: Call) -> None:
        axis = int(call["dim"]) % call.output.ndim
        run.give(call, op, [run.operand(call, call["self"])], axis=axis)

    return handle


def _same(run: Exporter, call: Call) -> None:
    run.same(call)


SELU_ALPHA = 1.6732632423543772848170429916717
SIMPLE = {
    "abs": "Abs", "erf": "Erf", "exp": "Exp", "hardsigmoid": "HardSigmoid",
    "hardswish": "HardSwish", "log": "Log", "mish": "Mish", "neg": "Neg",
    "reciprocal": "Reciprocal", "relu": "Relu", "sigmoid": "Sigmoid", "silu": "Swish",
    "sqrt": "Sqrt", "tanh": "Tanh",
}  # fmt: skip
IN_PLACE = ("hardsigmoid", "hardswish", "relu", "sigmoid", "silu", "tanh")
PAIRS = {"add": "Add", "add_": "Add", "sub": "Sub", "sub_": "Sub", "mul": "Mul", "mul_": "Mul",
         "div": "Div", "div_": "Div"}  # fmt: skip
SAME = ("alias", "clone", "detach", "lift_fresh", "_to_copy")
VIEWS = ("view", "_unsafe_view", "reshape", "squeeze", "unsqueeze")

OPERATORS: dict[str, Export] = {
    **{f"aten::{name}": _simple(op) for name, op in SIMPLE.items()},
    **{f"aten::{name}_": _simple(SIMPLE[name]) for name in IN_PLACE},
    **{f"aten::{name}": _both(op) for name, op in PAIRS.items()},
    **{f"aten::{name}": _same for name in SAME},
    **{f"aten::{name}": movers.view for name in VIEWS},
    "aten::_adaptive_avg_pool2d": adaptive_pool,
    "aten::_log_softmax": softmax("LogSoftmax"),
    "aten::_prelu_kernel": prelu,
    "aten::_softmax": softmax("Softmax"),
    "aten::addmm": addmm,
    "aten::amax": reduced("ReduceMax"),
    "aten::amin": reduced("ReduceMin"),
    "aten::avg_pool1d": average_pool,
    "aten::avg_pool2d": average_pool,
    "aten::bmm": mm,
    "aten::cat": movers.cat,
    "aten::celu": celu,
    "aten::clamp": clip,
    "aten::clamp_": clip,
    "aten::clamp_max": clip_above,
    "aten::clamp_min": clip_below,
    "aten::constant_pad_nd": movers.pad,
    "aten::convolution": convolution,
    "aten::elu": elu,
    "aten::elu_": elu,
    "aten::gelu": gelu,
    "aten::hardtanh": clip,
    "aten::hardtanh_": clip,
    "aten::leaky_relu": _with("LeakyRelu", alpha="negative_slope"),
    "aten::leaky_relu_": _with("LeakyRelu", alpha="negative_slope"),
    "aten::max_pool1d": max_pool,
    "aten::max_pool2d_with_indices": max_pool,
    "aten::mean": reduced("ReduceMean"),
    "aten::mm": mm,
    "aten::native_batch_norm": batch_norm,
    "aten::native_group_norm": group_norm,
    "aten::native_layer_norm": layer_norm,
    "aten::permute": movers.permute,
    "aten::pixel_shuffle": movers.pixel_shuffle,
    "aten::pow": power,
    "aten::reflection_pad1d": movers.pad_by("reflect"),
    "aten::reflection_pad2d": movers.pad_by("reflect"),
    "aten::replication_pad1d": movers.pad_by("edge"),
    "aten::replication_pad2d": movers.pad_by("edge"),
    "aten::rsub": reversed_sub,
    "aten::select": movers.select,
    "aten::softplus": softplus,
    "aten::slice": movers.slice_,
    "aten::split": movers.parts,
    "aten::split_with_sizes": movers.parts,
    "aten::sum": reduced("ReduceSum"),
    "aten::transpose": movers.transpose,
    "aten::unbind": movers.unbind,
    "aten::upsample_bilinear2d": movers.upsample_linear,
    "aten::upsample_linear1d": movers.upsample_linear,
    "aten::upsample_nearest1d": movers.upsample_nearest,
    "aten::upsample_nearest2d": movers.upsample_nearest,
}
"""By the operator's name."""
