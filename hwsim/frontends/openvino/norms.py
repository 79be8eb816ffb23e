"""Normalizations of an IR as nodes of ONNX: means and variances taken off, and batch norms."""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.openvino.lowering import Lowering
from hwsim.frontends.openvino.model import IrLayer

F32 = np.float32
INSIDE = "inside_sqrt"


def mvn(state: Lowering, layer: IrLayer) -> None:
    """MVN along the last axis, or along all places of each channel."""
    if not layer.flag("normalize_variance"):
        raise HwsimError(f"{layer}: 'normalize_variance' must be true")
    if layer.text("eps_mode", INSIDE).lower() != INSIDE:
        raise HwsimError(f"{layer}: 'eps_mode' must be inside_sqrt")
    shape = state.shape(layer, 0)
    axes = sorted(axis % len(shape) for axis in state.integers(layer, 1))
    given, epsilon = state.tensor(layer, 0), {"epsilon": layer.real("eps")}
    if axes == [len(shape) - 1]:
        ones = state.new(layer, "ones", np.ones(_length(layer, shape[-1]), F32))
        state.node(layer, "LayerNormalization", [given, ones], {**epsilon, "axis": -1})
    elif axes == list(range(2, len(shape))):
        channels = _length(layer, shape[1])
        names = [
            state.new(layer, what, np.full(channels, value, F32))
            for what, value in (("ones", 1), ("zeros", 0))
        ]
        state.node(layer, "InstanceNormalization", [given, *names], epsilon)
    else:
        raise HwsimError(f"{layer}: it must be along the last axis or all places, not axes {axes}")


def _length(layer: IrLayer, size: int | None) -> int:
    if size is None:
        raise HwsimError(f"{layer}: the axes that are normalized must have known lengths")
    return size


def batch_norm(state: Lowering, layer: IrLayer) -> None:
    """BatchNormInference: a factor and an offset a channel, as the runtime takes it apart."""
    gamma, beta, mean, variance = (state.values(layer, place).astype(F32) for place in range(1, 5))
    epsilon = F32(layer.real("epsilon"))
    with np.errstate(all="ignore"):
        factor = gamma / np.sqrt(variance + epsilon)
        offset = beta - mean * factor
    if not (np.isfinite(factor).all() and np.isfinite(offset).all()):
        raise HwsimError(f"{layer}: its factors and offsets must be finite")
    along = (1, -1, *(1,) * (len(state.shape(layer, 0)) - 2))
    factors, offsets = (
        state.new(layer, what, values.reshape(along))
        for what, values in (("factor", factor), ("offset", offset))
    )
    scaled = [state.between(layer, "scaled")]
    made = state.node(layer, "Mul", [state.tensor(layer, 0), factors], outputs=scaled)
    state.node(layer, "Add", [made, offsets])
