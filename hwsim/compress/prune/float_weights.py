"""Weights of a float ONNX model that become 0, before anything is quantized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.choice.report import BitChoice
from hwsim.compress.float_model import FloatModel
from hwsim.compress.prune.masks import Mask, Score, WholeChannels, masks_of
from hwsim.compress.prune.prune import Pruning
from hwsim.compress.quantize.places import FloatLayer, places
from hwsim.errors import HwsimError


@dataclass(frozen=True, slots=True)
class PrunedFloat:
    """An ONNX model with weights of 0, where they stay by layer, and which layers stayed whole.

    Masks have output channels last and input channels before them, in the model's own order.
    `choice` says which amounts were chosen where a target was given.
    """

    proto: Any
    masks: Mapping[str, Mask]
    whole: Mapping[str, str]
    choice: BitChoice | None = None


def prune_float(model: FloatModel, how: Pruning) -> PrunedFloat:
    """The prepared model with the weights of least magnitude at 0.

    Raises HwsimError for another score than the magnitude, for channels, for a layer that there is
    not, and for a pattern that divides none.
    """
    scores = float_scores(model, how)
    amount = how.amount if how.amounts is None else how.amounts
    masks = masks_of(scores, how.pattern, amount=amount, scope=how.scope)
    whole = {name: f"{how.pattern} does not divide it" for name in scores if name not in masks}
    return PrunedFloat(masked_floats(model, masks).proto, masks, whole)


def float_scores(model: FloatModel, how: Pruning) -> dict[str, Score]:
    """The magnitudes of the weights of the layers that are pruned, output channels last.

    Raises HwsimError as `prune_float` does.
    """
    if how.by != "magnitude" or isinstance(how.pattern, WholeChannels):
        what = "channels" if isinstance(how.pattern, WholeChannels) else f"scores by {how.by}"
        raise HwsimError(
            f"{model.path} must be a quantized network for {what}; a float one is pruned by the "
            "magnitude of its weights"
        )
    constants = model.constants
    return {
        name: np.abs(constants[one.weights].transpose(_last(one, constants)).astype(np.float64))
        for name, one in _layers(model, how).items()
    }


def masked_floats(model: FloatModel, masks: Mapping[str, Mask]) -> FloatModel:
    """The model with weights of 0 wherever a layer's mask is false."""
    constants, new = model.constants, {}
    for one in places(model).layers:
        if one.name in masks:
            back = np.argsort(_last(one, constants))
            new[one.weights] = constants[one.weights] * masks[one.name].transpose(back)
    return model.with_constants(new)


def _layers(model: FloatModel, how: Pruning) -> dict[str, FloatLayer]:
    """Layers with weights of their own; of several with one tensor the first stands for all."""
    constants, found = model.constants, dict[str, FloatLayer]()
    for one in places(model).layers:
        if one.weights not in {other.weights for other in found.values()}:
            matrix = one.op == "MatMul"
            if not matrix or constants[one.weights].ndim == 2:
                found[one.name] = one
    if not found:
        raise HwsimError(f"{model.path} must have a layer with constant weights, not none")
    for name in how.layers or ():
        if name not in found:
            raise HwsimError(f"a layer to prune must be one of {list(found)}, not {name!r}")
    return {n: one for n, one in found.items() if how.layers is None or n in how.layers}


def _last(layer: FloatLayer, constants: Mapping[str, npt.NDArray[Any]]) -> tuple[int, ...]:
    """The axes in the order of a Graph's weights: kernel, input channels, output channels."""
    rank = constants[layer.weights].ndim
    return (*range(2, rank), 1 - layer.axis, layer.axis)


def facts_of_float(before: FloatModel, found: PrunedFloat) -> dict[str, Any]:
    """Figures: weights and how many are 0, of each layer and of all."""
    old = before.constants
    layers: dict[str, dict[str, Any]] = {}
    new = FloatModel(before.path, found.proto).constants
    for one in places(before).layers:
        if one.name in found.masks or one.name in found.whole:
            pair = old[one.weights], new[one.weights]
            layers[one.name] = {
                "weights": [int(w.size) for w in pair],
                "zeros": [int((w == 0).sum()) for w in pair],
                "whole": found.whole.get(one.name),
            }
    totals = {
        key: [sum(one[key][k] for one in layers.values()) for k in (0, 1)]
        for key in ("weights", "zeros")
    }
    return {"layers": layers, "totals": totals}
