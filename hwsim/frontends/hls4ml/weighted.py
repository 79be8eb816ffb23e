"""Dense and convolution layers: weights, windows, and the sums of their products."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow
from hwsim.frontends.hls4ml import binary
from hwsim.frontends.hls4ml.exponents import with_cut_inputs
from hwsim.frontends.hls4ml.factors import (
    Factors,
    is_bit,
    is_sign,
    read_exact,
    read_factors,
    signs,
)
from hwsim.frontends.hls4ml.importer import LayerBuilder, accumulator, window_of
from hwsim.frontends.hls4ml.sums import EXACTLY, places, strategy_of, sums_of
from hwsim.frontends.hls4ml.types import read_weights
from hwsim.ops import CONVOLUTIONS, Conv, Dense, Stepwise, Weighted, Window

DILATIONS = ("dilation", "dilation_height", "dilation_width")


def read_dense(build: LayerBuilder, layer: Any) -> None:
    """Products and partial sums in `accum_t`, in the strategy's order (`nnet_dense_*.h`)."""
    source = build.edge(layer.inputs[0])
    terms, outputs = int(layer.get_attr("n_in")), int(layer.get_attr("n_out"))
    factors, biases = _constants(build, layer, source, terms * outputs)
    op = Dense(
        weights=_matrix(layer, factors.codes, terms, outputs),
        bias=biases.codes.reshape(outputs),
        weight_format=factors.format,
        bias_frac=biases.format.frac_bits,
        accumulator=sums_of(layer, terms),
    )
    op, source = with_cut_inputs(build, layer.outputs[0], op, source, factors)
    _finish(build, layer, op, source, terms)


def read_conv(build: LayerBuilder, layer: Any) -> None:
    """The dense kernel on every window; terms go (height, width, channel), or (width, channel)."""
    source, window = _windowed(build, layer)
    channels, outputs = int(layer.get_attr("n_chan")), int(layer.get_attr("n_filt"))
    rank, terms = len(window.kernel), window.size * channels
    _check_kernel(build, layer, terms, outputs)
    factors, biases = _constants(build, layer, source, terms * outputs)
    weights = _turned(layer, factors.codes, (*range(1, rank + 2), 0))
    op = CONVOLUTIONS[rank](
        weights=weights.reshape(*window.kernel, channels, outputs),
        bias=biases.codes.reshape(outputs),
        weight_format=factors.format,
        bias_frac=biases.format.frac_bits,
        window=window,
        accumulator=sums_of(layer, terms),
    )
    op, source = with_cut_inputs(build, layer.outputs[0], op, source, factors)
    _finish(build, layer, op, source, _counted(build, layer, terms))


def _check_kernel(build: LayerBuilder, layer: Any, terms: int, outputs: int) -> None:
    """HwsimError for a reuse factor that the kernels of hls4ml's convolutions cannot follow.

    In parallel they read past the window where it is above the terms. In a stream hls4ml corrects
    the factors of all but pointwise convolutions.
    """
    reuse = int(layer.get_attr("reuse_factor") or 1)
    if strategy_of(layer) not in ("resource", "resource_unrolled") or reuse <= terms:
        return
    if not build.stream:
        raise HwsimError(
            f"a convolution's reuse factor in io_parallel must be at most its {terms} terms, not "
            f"{reuse}: the C++ of hls4ml 1.3 stops there or reads past its window"
        )
    if reuse % terms or terms * outputs % reuse:
        raise HwsimError(
            f"a convolution's reuse factor above its {terms} terms must be a multiple of them that "
            f"divides its {terms * outputs} weights, not {reuse}: hls4ml 1.3 has no C++ for it"
        )


def read_depthwise(build: LayerBuilder, layer: Any) -> None:
    """Each channel by itself, position by position (`nnet_depthwise_product.h`)."""
    source, window = _windowed(build, layer)
    channels = int(layer.get_attr("n_chan"))
    if int(layer.get_attr("n_filt")) != channels:
        raise HwsimError("a depthwise layer's depth_multiplier must be 1: csim stops at any other")
    if strategy_of(layer) == "resource" and not build.stream:
        raise HwsimError(
            "a depthwise layer must have the strategy Latency under io_parallel: csim stops at "
            "Resource"
        )
    if strategy_of(layer) in EXACTLY:
        raise HwsimError("a depthwise layer must have a strategy other than Distributed_Arithmetic")
    factors, biases = _constants(build, layer, source, window.size * channels)
    op = CONVOLUTIONS[len(window.kernel)](
        weights=factors.codes.reshape(*window.kernel, 1, channels),
        bias=biases.codes.reshape(channels),
        weight_format=factors.format,
        bias_frac=biases.format.frac_bits,
        window=window,
        groups=channels,
        accumulator=accumulator(layer),
    )
    if strategy_of(layer) == "resource":
        op = _ordered(build, layer, op, source)
    _finish(build, layer, op, source, window.size * channels)


def _ordered(build: LayerBuilder, layer: Any, op: Conv, source: str) -> Conv:
    """With the order that the Resource strategy imposes, which must be one for all channels."""
    acc, size, channels = op.accumulator, op.window.size, op.groups
    assert isinstance(acc, Stepwise)
    reuse = int(layer.get_attr("reuse_factor") or 1)
    orders = {places(reuse, size, channels, channel) for channel in range(channels)}
    if len(orders) == 1:
        return replace(op, accumulator=replace(acc, order=orders.pop()))
    if acc.overflow is Overflow.WRAP or op.steps(build.types[source]).any_order.all():
        return op
    raise HwsimError(
        f"a depthwise layer's reuse factor must divide its {channels} channels, or be a multiple "
        f"of them, where sums saturate; not {reuse}"
    )


def _windowed(build: LayerBuilder, layer: Any) -> tuple[str, Window]:
    """The edge that a convolution's window moves on, and the window."""
    name = layer.inputs[0]
    for what in DILATIONS:
        if int(layer.get_attr(what, 1) or 1) != 1:
            raise HwsimError(f"a convolution's {what} must be 1, not {layer.get_attr(what)}")
    window, precision = window_of(layer, "filt"), layer.get_input_variable().type.precision
    if build.stream and str(layer.get_attr("implementation")).lower() == "encoded":
        _check_encoded(window)
    if name in build.paddings and not is_sign(precision):
        pads = tuple(a + b for a, b in zip(window.padding, build.paddings[name], strict=True))
        if all(pad < size for pad, size in zip(pads, window.kernel * 2, strict=True)):
            return build.edges[name], Window(window.kernel, window.stride, pads)
    source = build.map(layer)
    if any(window.padding) and is_sign(precision):  # zeros are codes here, and mean -1
        source = build.padded(f"{layer.outputs[0]}/padded", source, window.padding)
        window = Window(window.kernel, window.stride)
    return source, window


def _check_encoded(window: Window) -> None:
    """HwsimError for a window whose sides differ: the instructions are those of its height."""
    for what, sizes in (("kernel", window.kernel), ("stride", window.stride)):
        if len(set(sizes)) > 1:
            raise HwsimError(
                f"a convolution by the implementation Encoded must have a square {what}, not "
                f"{sizes}: the C++ of hls4ml 1.3 has no other; LineBuffer takes any"
            )


def _counted(build: LayerBuilder, layer: Any, terms: int) -> int:
    """The `n_in` of a convolution's products, which counts the whole line in one kernel."""
    whole = strategy_of(layer) == "latency" and not build.stream
    line = "PointwiseConv1D" in type(layer).__name__ or int(layer.get_attr("filt_width")) == 1
    if whole and line and layer.get_attr("n_partitions") == 1 and "1D" in layer.class_name:
        return terms * int(layer.get_attr("in_width"))
    return terms


def _constants(build: LayerBuilder, layer: Any, source: str, count: int) -> tuple[Factors, Factors]:
    """Weights, `count` of them, and biases as the strategy takes them.

    hls4ml can leave more where it fuses a batch norm for each element into a layer.
    """
    exactly = strategy_of(layer) in EXACTLY
    weights = layer.weights.get("weight")
    packed = weights is None or "Compressed" in type(weights.type).__name__
    if not packed and np.size(weights.data) != count:
        held = np.size(weights.data)
        raise HwsimError(f"a layer of this shape must have {count} weights, not {held}")
    if exactly:
        return read_exact(layer, "weight"), read_exact(layer, "bias")
    bias, precision = read_weights("bias", layer.weights["bias"])
    factors = read_factors(layer, "weight", build.types[source])
    return factors, Factors(bias, precision.format)


def _matrix(layer: Any, weights: Any, terms: int, outputs: int) -> Any:
    """Weights as (terms, outputs), in the order in which the kernel reads their file.

    The Resource strategy turns them by the shape that they have, which in a PyTorch model that is
    not converted to channels last is the other way round.
    """
    if strategy_of(layer) not in ("resource", "resource_unrolled"):
        return weights.reshape(terms, outputs)
    turned = weights if layer.get_attr("_weights_transposed", False) else weights.T
    return turned.reshape(outputs, terms).T


def _turned(layer: Any, weights: Any, back: tuple[int, ...]) -> Any:
    """Weights as they were before the Resource strategy turned them round."""
    return np.transpose(weights, back) if layer.get_attr("_weights_transposed", False) else weights


def _finish(build: LayerBuilder, layer: Any, op: Weighted, source: str, terms: int) -> None:
    """The layer's sums and their assignment to its result."""
    name, data = layer.outputs[0], layer.get_input_variable().type.precision
    weights = layer.weights["weight"]
    if is_bit(data) and is_bit(weights.type.precision):
        build.finish(layer, binary.add_sums(build, layer, op, source, terms))
        return
    source = signs(build, source, f"{name}/signs", data)
    build.finish(layer, build.add(f"{name}/sum", op, source))
