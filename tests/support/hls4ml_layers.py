"""Layers of hls4ml beyond those of `Model`: added to its layer list, each gives its name."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.hls4ml_models import Model

SIDES = ("top", "left", "bottom", "right")
AXES = ("height", "width")

Types = dict[str, str]


def sizes(what: str, values: tuple[int, ...]) -> dict[str, int]:
    """`what_height` and `what_width`, or `what_width` alone."""
    return {f"{what}_{axis}": v for axis, v in zip(AXES[-len(values) :], values, strict=True)}


def sides(what: str, values: tuple[int, ...]) -> dict[str, int]:
    """`pad_top` … or `pad_left` and `pad_right`; `crop` likewise."""
    names = SIDES if len(values) == 4 else SIDES[1::2]
    return {f"{what}_{side}": v for side, v in zip(names, values, strict=True)}


def moved(
    shape: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], pads: tuple[int, ...]
) -> tuple[int, ...]:
    """The positions of a window on a padded map."""
    rank = len(kernel)
    return tuple(
        (shape[a] + pads[a] + pads[a + rank] - kernel[a]) // stride[a] + 1 for a in range(rank)
    )


def _windowed(
    model: Model,
    source: str,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pads: tuple[int, ...],
) -> tuple[tuple[int, ...], dict[str, Any]]:
    shape = model.shapes[source]
    out = moved(shape, kernel, stride, pads)
    fields: dict[str, Any] = {
        "data_format": "channels_last",
        "n_chan": shape[-1],
        "padding": "same" if any(pads) else "valid",
        **sizes("in", shape[:-1]),
        **sizes("out", out),
        **sizes("filt", kernel),
        **sizes("stride", stride),
        **sides("pad", pads),
    }
    return out, fields


def depthwise(
    model: Model,
    source: str,
    kernel: tuple[int, ...],
    types: Types,
    *,
    stride: tuple[int, ...] = (),
    pads: tuple[int, ...] = (),
    **options: Any,
) -> str:
    """A depthwise convolution along one axis or two."""
    rank, channels = len(kernel), model.shapes[source][-1]
    stride, pads = stride or (1,) * rank, pads or (0,) * (2 * rank)
    out, fields = _windowed(model, source, kernel, stride, pads)
    return model.add(
        f"DepthwiseConv{rank}D",
        [source],
        (*out, channels),
        types,
        options,
        **fields,
        n_filt=channels,
        depth_multiplier=1,
        use_bias=True,
        depthwise_data=model.weights(*kernel, channels, 1),
        bias_data=model.weights(channels),
        depthwise_quantizer=None,
        bias_quantizer=None,
    )


def separable(
    model: Model,
    source: str,
    filters: int,
    kernel: tuple[int, ...],
    types: Types,
    *,
    stride: tuple[int, ...] = (),
    pads: tuple[int, ...] = (),
    **options: Any,
) -> str:
    """A separable convolution, which hls4ml takes apart into two."""
    rank, channels = len(kernel), model.shapes[source][-1]
    stride, pads = stride or (1,) * rank, pads or (0,) * (2 * rank)
    out, fields = _windowed(model, source, kernel, stride, pads)
    return model.add(
        f"SeparableConv{rank}D",
        [source],
        (*out, filters),
        types,
        options,
        **fields,
        n_filt=filters,
        depth_multiplier=1,
        use_bias=True,
        depthwise_data=model.weights(*kernel, channels, 1),
        pointwise_data=model.weights(*(1,) * rank, channels, filters),
        bias_data=model.weights(filters),
        depthwise_quantizer=None,
        pointwise_quantizer=None,
        bias_quantizer=None,
    )


def zero_padding(model: Model, source: str, pads: tuple[int, ...], types: Types) -> str:
    """Zeros around a line or a map."""
    shape, rank = model.shapes[source], len(pads) // 2
    out = tuple(shape[a] + pads[a] + pads[a + rank] for a in range(rank))
    return model.add(
        f"ZeroPadding{rank}D",
        [source],
        (*out, shape[-1]),
        types,
        data_format="channels_last",
        n_chan=shape[-1],
        **sizes("in", shape[:-1]),
        **sizes("out", out),
        **sides("pad", pads),
    )


def cropping(model: Model, source: str, crops: tuple[int, ...], types: Types) -> str:
    """A line or a map without its ends."""
    shape, rank = model.shapes[source], len(crops) // 2
    out = tuple(shape[a] - crops[a] - crops[a + rank] for a in range(rank))
    return model.add(
        f"Cropping{rank}D",
        [source],
        (*out, shape[-1]),
        types,
        data_format="channels_last",
        n_chan=shape[-1],
        **sizes("in", shape[:-1]),
        **sizes("out", out),
        **sides("crop", crops),
    )


def upsampling(model: Model, source: str, out: tuple[int, ...]) -> str:
    """The nearest position of a line or a map, for another size of it."""
    shape = model.shapes[source]
    flat = {} if len(out) == 2 else {"in_height": 1, "out_height": 1}
    return model.add(
        "Resize",
        [source],
        (*out, shape[-1]),
        data_format="channels_last",
        n_chan=shape[-1],
        algorithm="nearest",
        **flat,
        **sizes("in", shape[:-1]),
        **sizes("out", out),
    )


def pool(
    model: Model,
    source: str,
    kind: str,
    kernel: tuple[int, ...],
    types: Types,
    *,
    stride: tuple[int, ...] = (),
    pads: tuple[int, ...] = (),
    count_pad: bool = False,
) -> str:
    """A max or average pool with a stride and padding of its own."""
    rank, shape = len(kernel), model.shapes[source]
    stride, pads = stride or kernel, pads or (0,) * (2 * rank)
    out = moved(shape, kernel, stride, pads)
    ends = {"n_in": shape[0], "n_out": out[0]}
    if rank == 2:
        ends = {**sizes("in", shape[:-1]), **sizes("out", out)}
    return model.add(
        f"{kind}Pooling{rank}D",
        [source],
        (*out, shape[-1]),
        types,
        data_format="channels_last",
        n_filt=shape[-1],
        padding="same" if any(pads) else "valid",
        count_pad=count_pad,
        **ends,
        **sizes("pool", kernel),
        **sizes("stride", stride),
        **sides("pad", pads),
    )


def concatenate(model: Model, a: str, b: str, axis: int, types: Types) -> str:
    """Along any axis, counted with the batch's, or from the end."""
    shape = list(model.shapes[a])
    at = axis - 1 if axis > 0 else axis
    shape[at] += model.shapes[b][at]
    rank = len(shape)
    return model.add(
        "Concatenate", [a, b], tuple(shape), types, op=f"concatenate{rank}d", axis=axis
    )


def dot(model: Model, a: str, b: str, types: Types) -> str:
    """The sum of the products of two vectors."""
    return model.add("Dot", [a, b], (1,), types, op="dot1d", axes=[1, 1])


def batchnorm_flat(model: Model, source: str, types: Types) -> str:
    """A factor and an offset for every element of a tensor."""
    shape = model.shapes[source]
    size = int(np.prod(shape))
    return model.add(
        "BatchNormalization",
        [source],
        shape,
        types,
        n_in=size,
        n_out=size,
        n_filt=-1,
        use_gamma=True,
        use_beta=True,
        gamma_data=model.weights(size),
        beta_data=model.weights(size),
        mean_data=model.weights(size),
        variance_data=np.abs(model.weights(size)) + 0.1,
        epsilon=1e-3,
    )
