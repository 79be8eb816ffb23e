"""Which function reads which operator."""

from __future__ import annotations

from hwsim.frontends.torch_modules.eager import ends, moving, pool, weighted
from hwsim.frontends.torch_modules.eager.importer import Handler

SAME = ("alias", "clone", "detach", "lift_fresh")

HANDLERS: dict[str, Handler] = {
    **{f"aten::{name}": moving.same for name in SAME},
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
}
"""By the operator's name."""
