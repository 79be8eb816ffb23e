"""Dense and convolution layers: weights, and the order of their sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow
from hwsim.frontends.hls4ml.importer import LayerBuilder, accumulator, window_of
from hwsim.frontends.hls4ml.types import read_weights
from hwsim.ops import CONVOLUTIONS, Dense, Window


def read_dense(build: LayerBuilder, layer: Any) -> None:
    """Products and partial sums in `accum_t`, in the strategy's order (`nnet_dense_*.h`)."""
    source = build.edge(layer.inputs[0])
    terms, outputs = int(layer.get_attr("n_in")), int(layer.get_attr("n_out"))
    weights, bias, modes = _constants(layer, (1, 0))
    op = Dense(
        weights=weights.reshape(terms, outputs),
        bias=bias,
        accumulator=accumulator(layer, _order(layer, terms, outputs)),
        **modes,
    )
    build.finish(layer, build.add(f"{layer.outputs[0]}/sum", op, source))


def read_conv(build: LayerBuilder, layer: Any) -> None:
    """The dense kernel on every window; terms go (height, width, channel), or (width, channel)."""
    name = layer.inputs[0]
    padding = build.paddings.get(name)
    source = build.edges[name]
    plain = window_of(layer, "filt")
    added = zip(plain.padding, padding or plain.padding, strict=True)
    window = plain
    if padding is not None:
        window = Window(plain.kernel, plain.stride, tuple(a + b for a, b in added))
    for name in ("dilation", "dilation_height", "dilation_width"):
        if int(layer.get_attr(name, 1) or 1) != 1:
            raise HwsimError(f"a convolution's {name} must be 1, not {layer.get_attr(name)}")
    channels, outputs = int(layer.get_attr("n_chan")), int(layer.get_attr("n_filt"))
    rank = len(window.kernel)
    weights, bias, modes = _constants(layer, (*range(1, rank + 2), 0))
    terms = window.size * channels
    op = CONVOLUTIONS[rank](
        weights=weights.reshape(*window.kernel, channels, outputs),
        bias=bias,
        window=window,
        accumulator=accumulator(layer, _order(layer, terms, outputs)),
        **modes,
    )
    build.finish(layer, build.add(f"{layer.outputs[0]}/sum", op, source))


def _constants(layer: Any, back: tuple[int, ...]) -> tuple[Any, Any, dict[str, Any]]:
    """Codes of weights and biases; `back` undoes the turn that the Resource strategy makes."""
    for name, variable in layer.weights.items():
        kind = type(variable).__name__
        if kind not in ("WeightVariable", "StaticWeightVariable", "BramWeightVariable"):
            raise HwsimError(f"{name} must be plain weights, not a {kind}")
    weights, precision = read_weights("weight", layer.weights["weight"])
    bias, bias_precision = read_weights("bias", layer.weights["bias"])
    if layer.get_attr("_weights_transposed", False):
        weights = np.transpose(weights, back)
    if precision.format.width == 1:
        raise HwsimError("weights must have at least 2 bits, not be binary")
    modes = {"weight_format": precision.format, "bias_frac": bias_precision.format.frac_bits}
    return weights, bias, modes


def _order(layer: Any, terms: int, outputs: int) -> tuple[int, ...] | None:
    """The order of the sums that strategy and reuse factor impose; None for the natural one."""
    strategy = str(layer.get_attr("strategy") or "latency").lower()
    reuse = int(layer.get_attr("reuse_factor") or 1)
    if strategy == "latency":
        return None
    if strategy != "resource":
        raise HwsimError(f"the strategy must be Latency or Resource, not {strategy}")
    if reuse <= terms:
        if terms % reuse:
            raise HwsimError(f"a reuse factor up to {terms} must divide it, and {reuse} does not")
        return tuple(k for start in range(reuse) for k in range(start, terms, reuse))
    if reuse % terms == 0:
        return None
    # Each output has an order of its own then (`dense_resource_rf_gt_nin`): only a proof helps.
    acc = accumulator(layer)
    if acc.overflow is Overflow.WRAP:
        return None
    raise HwsimError(
        f"a reuse factor above {terms} must be a multiple of it where sums do not wrap, not {reuse}"
    )
