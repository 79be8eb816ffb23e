"""PyTorch's operators as those of ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import Attribute
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


def max_pool(run: Exporter, call: Call) -> None:
    """The largest value."""
    rank = call["self"].ndim - 2
    kernel = list(call.whole("kernel_size", rank))
    run.give(
        call,
        "MaxPool",
        [run.operand(call, call["self"])],
        kernel_shape=kernel,
        strides=list(call.whole("stride", rank)) or kernel,
        pads=list(call.whole("padding", rank)) * 2,
        dilations=list(call.whole("dilation", rank)),
        ceil_mode=int(call["ceil_mode"]),
    )


def average_pool(run: Exporter, call: Call) -> None:
    """The mean of windows."""
    rank = call["self"].ndim - 2
    if call.arguments.get("divisor_override") is not None:
        raise HwsimError(f"{call}: it must divide by the size of its windows")
    kernel = list(call.whole("kernel_size", rank))
    run.give(
        call,
        "AveragePool",
        [run.operand(call, call["self"])],
        kernel_shape=kernel,
        strides=list(call.whole("stride", rank)) or kernel,
        pads=list(call.whole("padding", rank)) * 2,
        ceil_mode=int(call["ceil_mode"]),
        count_include_pad=int(call["count_include_pad"]),
    )


def adaptive_pool(run: Exporter, call: Call) -> None:
    """The mean of equal windows."""
    shape, made = call["self"].shape[2:], call.output.shape[2:]
    if any(size % count for size, count in zip(shape, made, strict=True)):
        raise HwsimError(f"{call}: its output {tuple(made)} must divide its input {tuple(shape)}")
    kernel = [int(size // count) for size, count in zip(shape, made, strict=True)]
    inputs = [run.operand(call, call["self"])]
    run.give(call, "AveragePool", inputs, kernel_shape=kernel, strides=kernel)


def mean(run: Exporter, call: Call) -> None:
    """The mean along axes."""
    rank = call["self"].ndim
    axes = [int(axis) % rank for axis in (call.arguments.get("dim") or range(rank))]
    inputs = [run.operand(call, call["self"])]
    run.give(call, "ReduceMean", inputs, axes=axes, keepdims=int(call.arguments["keepdim"]))


def view(run: Exporter, call: Call) -> None:
    """Another shape."""
    shape = run.constant(f"{call.title}.shape", run.shape(call), np.int64)
    run.give(call, "Reshape", [run.operand(call, call["self"]), shape])


def permute(run: Exporter, call: Call) -> None:
    """All axes in another order."""
    rank = call.output.ndim
    order = [int(axis) % rank for axis in call["dims"]]
    run.give(call, "Transpose", [run.operand(call, call["self"])], perm=order)


def transpose(run: Exporter, call: Call) -> None:
    """Two axes in each other's place."""
    order = list(range(call.output.ndim))
    first, second = (int(call[name]) for name in ("dim0", "dim1"))
    order[first], order[second] = order[second], order[first]
    run.give(call, "Transpose", [run.operand(call, call["self"])], perm=order)


def cat(run: Exporter, call: Call) -> None:
    """Tensors one behind the other."""
    axis = int(call["dim"]) % call.output.ndim
    run.give(call, "Concat", [run.operand(call, t) for t in call["tensors"]], axis=axis)


def clip(run: Exporter, call: Call) -> None:
    """Between two numbers, either of which may be left out."""
    names = next(n for n in (("min_val", "max_val"), ("min", "max")) if n[0] in call.arguments)
    ends = [call[name] for name in names]
    inputs = [run.operand(call, call["self"])]
    inputs += ["" if end is None else run.operand(call, end) for end in ends]
    run.give(call, "Clip", inputs)


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


def slice_(run: Exporter, call: Call) -> None:
    """A range of an axis."""
    axis, size = int(call["dim"]) % call["self"].ndim, int(call["self"].shape[int(call["dim"])])
    first, last, step = slice(call["start"], call["end"], call["step"]).indices(size)
    if axis == 0 and (first, last, step) == (0, size, 1):
        run.same(call)
        return
    named = (("start", first), ("end", last), ("axis", axis), ("step", step))
    ends = [run.constant(f"{call.title}.{n}", [v], np.int64) for n, v in named]
    run.give(call, "Slice", [run.operand(call, call["self"]), *ends])


def parts(run: Exporter, call: Call) -> None:
    """An axis in parts."""
    axis = int(call["dim"]) % call["self"].ndim
    sizes = [int(made.shape[axis]) for made in call.outputs]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    given = run.operand(call, call["self"])
    for made, first, size in zip(call.outputs, starts, sizes, strict=True):
        title = f"{call.title}.{first}"
        ends = [run.constant(title, [v], np.int64) for v in (first, first + size, axis, 1)]
        run.names[id(made)] = run.node(title, "Slice", [given, *ends])


def pad(run: Exporter, call: Call) -> None:
    """A constant around."""
    numbers, rank = [int(n) for n in call["pad"]], call["self"].ndim
    pairs = [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2)][::-1]
    each = [(0, 0)] * (rank - len(pairs)) + pairs
    amounts: Sequence[int] = [*(a for a, _ in each), *(b for _, b in each)]
    inputs = [
        run.operand(call, call["self"]),
        run.constant(f"{call.title}.amounts", amounts, np.int64),
        run.constant(f"{call.title}.value", float(call["value"])),
    ]
    run.give(call, "Pad", inputs, mode="constant")


def upsample_nearest(run: Exporter, call: Call) -> None:
    """Whole copies of each place."""
    scales = [made / size for made, size in zip(call.output.shape, call["self"].shape, strict=True)]
    if any(scale != int(scale) for scale in scales):
        raise HwsimError(f"{call}: its scales must be whole numbers, not {scales}")
    inputs = [run.operand(call, call["self"]), "", run.constant(f"{call.title}.scales", scales)]
    run.give(
        call,
        "Resize",
        inputs,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _same(run: Exporter, call: Call) -> None:
    run.same(call)


SIMPLE = {
    "aten::abs": "Abs", "aten::erf": "Erf", "aten::exp": "Exp", "aten::hardswish": "HardSwish",
    "aten::mish": "Mish", "aten::neg": "Neg", "aten::relu": "Relu", "aten::relu_": "Relu",
    "aten::sigmoid": "Sigmoid", "aten::sqrt": "Sqrt", "aten::tanh": "Tanh",
}  # fmt: skip
PAIRS = {"add": "Add", "add_": "Add", "sub": "Sub", "mul": "Mul", "mul_": "Mul", "div": "Div"}
SAME = ("alias", "clone", "detach", "lift_fresh", "_to_copy")
VIEWS = ("view", "_unsafe_view", "reshape", "squeeze", "unsqueeze")

OPERATORS: dict[str, Export] = {
    **{name: _simple(op) for name, op in SIMPLE.items()},
    **{f"aten::{name}": _both(op) for name, op in PAIRS.items()},
    **{f"aten::{name}": _same for name in SAME},
    **{f"aten::{name}": view for name in VIEWS},
    "aten::_adaptive_avg_pool2d": adaptive_pool,
    "aten::_log_softmax": softmax("LogSoftmax"),
    "aten::_softmax": softmax("Softmax"),
    "aten::addmm": addmm,
    "aten::avg_pool2d": average_pool,
    "aten::bmm": mm,
    "aten::cat": cat,
    "aten::clamp": clip,
    "aten::constant_pad_nd": pad,
    "aten::convolution": convolution,
    "aten::elu": _with("Elu", alpha="alpha"),
    "aten::hardtanh": clip,
    "aten::hardtanh_": clip,
    "aten::leaky_relu": _with("LeakyRelu", alpha="negative_slope"),
    "aten::leaky_relu_": _with("LeakyRelu", alpha="negative_slope"),
    "aten::max_pool2d_with_indices": max_pool,
    "aten::mean": mean,
    "aten::mm": mm,
    "aten::native_batch_norm": batch_norm,
    "aten::permute": permute,
    "aten::slice": slice_,
    "aten::split": parts,
    "aten::split_with_sizes": parts,
    "aten::transpose": transpose,
    "aten::upsample_nearest2d": upsample_nearest,
}
"""By the operator's name."""
