"""Interpolate as a node of ONNX."""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import Attribute
from hwsim.frontends.openvino.lowering import Lowering
from hwsim.frontends.openvino.model import IrLayer
from hwsim.frontends.shared.values import FloatArray

MODES = {"nearest": "nearest", "linear": "linear", "linear_onnx": "linear"}
FOURTH = 4  # inputs of the older form: what is resized, sizes, scales, axes


def interpolate(state: Lowering, layer: IrLayer) -> None:
    """Interpolate to a known size, nearest or linear."""
    mode = layer.text("mode")
    if mode not in MODES or layer.flag("antialias"):
        raise HwsimError(f"{layer}: 'mode' must be nearest or linear, without antialias")
    if any(any(layer.integers(name, "")) for name in ("pads_begin", "pads_end")):
        raise HwsimError(f"{layer}: it must not pad")
    shape, before = layer.outputs[0].shape, state.shape(layer, 0)
    if any(size is None for size in shape[1:]):
        raise HwsimError(f"{layer}: its output's shape must be known")
    names = [state.tensor(layer, 0), "", ""]
    by_scales = layer.text("shape_calculation_mode", "sizes") == "scales"
    if by_scales:
        names[2] = state.new(layer, "scales", _scales(state, layer, before))
    else:
        sizes = [-1, *(size or -1 for size in shape[1:])]  # the batch stays as it is
        names.append(state.new(layer, "sizes", np.array(sizes, np.int64)))
    attributes: dict[str, Attribute] = {
        "mode": MODES[mode],
        "coordinate_transformation_mode": layer.text(
            "coordinate_transformation_mode", "half_pixel"
        ),
        "nearest_mode": layer.text("nearest_mode", "round_prefer_floor"),
    }
    state.node(layer, "Resize", names, attributes)


def _scales(state: Lowering, layer: IrLayer, before: tuple[int | None, ...]) -> FloatArray:
    """The file's factors, of all axes; HwsimError where the sizes are not those that they give."""
    older = len(layer.inputs) == FOURTH
    given = state.values(layer, 2 if older else 1).ravel().astype(np.float32)
    place = 3 if older else 2
    axes = state.integers(layer, place) if place < len(layer.inputs) else range(len(before))
    scales = np.ones(len(before), np.float32)
    for axis, factor in zip(axes, given, strict=True):
        scales[axis] = factor
    made = layer.outputs[0].shape
    for size, new, factor in zip(before[1:], made[1:], scales[1:], strict=True):
        if size is None or new != int(np.floor(np.float32(size) * factor)):
            raise HwsimError(f"{layer}: its scales must give the sizes of its output")
    return scales
