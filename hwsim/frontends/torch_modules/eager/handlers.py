"""Which function reads which operator."""

from __future__ import annotations

from hwsim.frontends.torch_modules.eager import (
    average,
    ends,
    functions,
    moving,
    pairs,
    pool,
    softmax,
    weighted,
)
from hwsim.frontends.torch_modules.eager.importer import Handler

SAME = ("alias", "clone", "detach", "lift_fresh")

UNARY = (
    "celu", "celu_", "clamp", "clamp_", "clamp_max", "clamp_min", "clip", "elu", "elu_", "exp",
    "gelu", "hardshrink", "hardsigmoid", "hardsigmoid_", "hardswish", "hardswish_", "hardtanh",
    "hardtanh_", "leaky_relu", "leaky_relu_", "log_sigmoid_forward", "mish", "neg", "relu",
    "relu_", "relu6", "sigmoid", "sigmoid_", "silu", "silu_", "softplus", "sqrt", "square",
    "tanh", "tanh_", "threshold", "threshold_",
)  # fmt: skip
"""Functions of aten of one number, of quantized tensors or of reals between two quantizers."""

HANDLERS: dict[str, Handler] = {
    **{f"aten::{name}": functions.function("self") for name in UNARY},
    **{f"quantized::{name}": functions.function("self") for name in ("celu", "elu")},
    **{
        f"quantized::{name}": functions.function("qx")
        for name in ("clamp", "leaky_relu", "relu6", "sigmoid", "threshold")
    },
    **{
        f"quantized::{name}": functions.function("qa")
        for name in ("add_scalar", "add_scalar_relu", "mul_scalar", "mul_scalar_relu")
    },
    **{f"quantized::{name}": pairs.both for name in ("add", "add_relu", "mul", "mul_relu")},
    "quantized::hardswish": functions.function("input"),
    **{
        f"aten::{name}": functions.with_a_number
        for name in ("add", "add_", "div", "div_", "mul", "mul_", "pow", "rsub", "sub", "sub_")
    },
    "aten::_adaptive_avg_pool2d": average.adaptive_pool,
    "aten::adaptive_avg_pool2d": average.adaptive_pool,
    "aten::avg_pool1d": average.average_pool,
    "aten::avg_pool2d": average.average_pool,
    **{
        f"quantized::{name}": functions.by_channel
        for name in (
            "batch_norm",
            "batch_norm1d",
            "batch_norm1d_relu",
            "batch_norm2d",
            "batch_norm2d_relu",
            "batch_norm_relu",
            "prelu",
        )
    },
    "aten::cat": pairs.cat,
    "aten::mean": average.mean,
    "quantized::cat": pairs.cat,
    "quantized::cat_relu": pairs.cat,
    **{f"aten::{name}": moving.same for name in SAME},
    "aten::_log_softmax": softmax.of_reals,
    "aten::_softmax": softmax.of_reals,
    "aten::_unsafe_view": moving.relaid(moving.view),
    "aten::channel_shuffle": moving.channel_shuffle,
    "aten::constant_pad_nd": moving.pad,
    "aten::dequantize": ends.dequantize,
    "aten::expand": moving.expand,
    "aten::flip": moving.flip,
    "aten::index_select": moving.index_select,
    "aten::native_channel_shuffle": moving.channel_shuffle,
    "aten::permute": moving.relaid(moving.permute),
    "aten::pixel_shuffle": moving.pixel_shuffle,
    "aten::pixel_unshuffle": moving.pixel_unshuffle,
    "aten::quantize_per_tensor": ends.quantize,
    "aten::quantized_max_pool1d": pool.max_pool,
    "aten::quantized_max_pool2d": pool.max_pool,
    "aten::reflection_pad1d": moving.reflection_pad,
    "aten::reflection_pad2d": moving.reflection_pad,
    "aten::repeat": moving.repeat,
    "aten::replication_pad1d": moving.replication_pad,
    "aten::replication_pad2d": moving.replication_pad,
    "aten::roll": moving.roll,
    "aten::select": moving.select,
    "aten::slice": moving.slice_,
    "aten::split": moving.parts,
    "aten::split_with_sizes": moving.parts,
    "aten::squeeze": moving.relaid(moving.view),
    "aten::transpose": moving.relaid(moving.transpose),
    "aten::unbind": moving.parts,
    "aten::unsqueeze": moving.relaid(moving.view),
    "aten::upsample_nearest1d": moving.upsample_nearest,
    "aten::upsample_nearest2d": moving.upsample_nearest,
    "aten::view": moving.relaid(moving.view),
    "quantized::conv1d": weighted.conv1d,
    "quantized::conv1d_relu": weighted.conv1d,
    "quantized::conv2d": weighted.conv2d,
    "quantized::conv2d_relu": weighted.conv2d,
    "quantized::conv_transpose1d": weighted.conv_transpose1d,
    "quantized::conv_transpose2d": weighted.conv_transpose2d,
    "quantized::linear": weighted.linear,
    "quantized::linear_relu": weighted.linear,
    "quantized::softmax": softmax.of_codes,
}
"""By the operator's name."""
