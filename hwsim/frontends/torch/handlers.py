"""Which function reads which operator."""

from __future__ import annotations

from hwsim.frontends.torch import (
    moving,
    normalizing,
    pairs,
    pool,
    quantizing,
    resizing,
    softmax,
    unary,
    weighted,
)
from hwsim.frontends.torch.importer import Handler

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(unary.FUNCTIONS, unary.unary),
    **{
        f"aten.{name}": pairs.paired
        for name in ("add", "add_", "div", "div_", "maximum", "minimum", "mul", "mul_", "sub",
                     "sub_")
    },
    **{
        f"aten.{name}": unary.identity
        for name in ("_to_copy", "alias", "clone", "contiguous", "detach", "dropout", "dropout_",
                     "feature_dropout", "lift_fresh_copy", "to")
    },
    **{
        f"aten.{name}": moving.reshape
        for name in ("_unsafe_view", "flatten", "reshape", "squeeze", "unflatten", "unsqueeze",
                     "view")
    },
    "aten._adaptive_avg_pool2d": pool.adaptive_avg_pool,
    "aten.adaptive_avg_pool1d": pool.adaptive_avg_pool,
    "aten.adaptive_avg_pool2d": pool.adaptive_avg_pool,
    "aten.adaptive_max_pool1d": pool.adaptive_max_pool,
    "aten.adaptive_max_pool2d": pool.adaptive_max_pool,
    "aten.addmm": weighted.addmm,
    "aten.amax": pool.largest,
    "aten.amin": pool.largest,
    "aten.as_strided": moving.as_strided,
    "aten.avg_pool1d": pool.avg_pool,
    "aten.avg_pool2d": pool.avg_pool,
    "aten.batch_norm": normalizing.batch_norm,
    "aten.bmm": pairs.matmul,
    "aten._log_softmax": softmax.softmax,
    "aten._softmax": softmax.softmax,
    "aten.cat": moving.cat,
    "aten.chunk": moving.split,
    "aten.constant_pad_nd": moving.pad,
    "aten.conv1d": weighted.conv,
    "aten.conv2d": weighted.conv,
    "aten.conv_transpose1d": weighted.conv_transpose,
    "aten.conv_transpose2d": weighted.conv_transpose,
    "aten.convolution": weighted.conv,
    "aten.expand": moving.expand,
    "aten.layer_norm": normalizing.layer_norm,
    "aten.linear": weighted.linear,
    "aten.log_softmax": softmax.softmax,
    "aten.matmul": pairs.matmul,
    "aten.max_pool1d": pool.max_pool,
    "aten.max_pool2d": pool.max_pool,
    "aten.max_pool2d_with_indices": pool.max_pool,
    "aten.mean": pool.mean,
    "aten.native_layer_norm": normalizing.layer_norm,
    "aten.pad": moving.pad,
    "aten.permute": moving.permute,
    "aten.prelu": pairs.prelu,
    "aten.rsub": pairs.paired,
    "aten.select": moving.select,
    "aten.slice": moving.slice_,
    "aten.softmax": softmax.softmax,
    "aten.split": moving.split,
    "aten.split_with_sizes": moving.split,
    "aten.stack": moving.stack,
    "aten.sum": pool.mean,
    "aten.sym_size": moving.size,
    "aten.t": moving.permute,
    "aten.transpose": moving.permute,
    "aten.unbind": moving.split,
    "aten.upsample_bilinear2d": resizing.upsample_linear,
    "aten.upsample_linear1d": resizing.upsample_linear,
    "aten.upsample_nearest1d": moving.upsample_nearest,
    "aten.upsample_nearest2d": moving.upsample_nearest,
    "quantized_decomposed.dequantize_per_channel": quantizing.dequantize_per_channel,
    "quantized_decomposed.dequantize_per_tensor": quantizing.dequantize_per_tensor,
    "quantized_decomposed.quantize_per_channel": quantizing.quantize_per_channel,
    "quantized_decomposed.quantize_per_tensor": quantizing.quantize_per_tensor,
}  # fmt: skip
"""By the operator's name without its overload."""
