"""Layers with weights, pools and functions of an IR as nodes of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import Attribute
from hwsim.frontends.openvino.constants import fake_quantized
from hwsim.frontends.openvino.lowering import DOMAIN, IrConstant, Lowering, Rule
from hwsim.frontends.openvino.model import IrLayer

AUTO_PADS = {"same_upper": "SAME_UPPER", "same_lower": "SAME_LOWER", "valid": "VALID"}


def window(layer: IrLayer) -> dict[str, Attribute]:
    """Strides, dilations and padding as ONNX has them."""
    found: dict[str, Attribute] = {"strides": list(layer.integers("strides"))}
    if "dilations" in layer.data:
        found["dilations"] = list(layer.integers("dilations"))
    auto = layer.text("auto_pad", "explicit").lower()
    if auto in AUTO_PADS:
        return found | {"auto_pad": AUTO_PADS[auto]}
    if auto not in ("explicit", "notset"):
        raise HwsimError(f"{layer}: 'auto_pad' must be one of OpenVINO's, not {auto[:20]!r}")
    begin, end = layer.integers("pads_begin", ""), layer.integers("pads_end", "")
    return found | {"pads": [*begin, *end]}


def weights_of(state: Lowering, layer: IrLayer, position: int) -> IrConstant:
    """Constant weights."""
    held = state.constant(layer, position)
    if held is None:
        raise HwsimError(f"{layer}: its weights must be constant")
    return held


def convolution(state: Lowering, layer: IrLayer) -> None:
    """Convolution."""
    weights = state.weights(layer, weights_of(state, layer, 1), 0)
    state.node(layer, "Conv", [state.tensor(layer, 0), weights], window(layer))


def group_convolution(state: Lowering, layer: IrLayer) -> None:
    """GroupConvolution: its weights have the groups as their first axis."""
    held = weights_of(state, layer, 1)
    if held.array.ndim < 3:
        raise HwsimError(f"{layer}: its weights must have groups, outputs, inputs and a kernel")
    groups = held.array.shape[0]
    merged = held.changed(_merged, _merged)
    weights = state.weights(layer, merged, 0)
    attributes = window(layer) | {"group": groups}
    state.node(layer, "Conv", [state.tensor(layer, 0), weights], attributes)


def _merged(array: Any) -> Any:
    """Groups and outputs as one axis."""
    return array.reshape((-1, *array.shape[2:]))


def matmul(state: Lowering, layer: IrLayer) -> None:
    """MatMul, of constant weights on the right or of two tensors."""
    turns = [layer.flag("transpose_a"), layer.flag("transpose_b")]
    held = state.constant(layer, 1)
    names = [state.tensor(layer, 0)]
    if held is not None:
        if turns[1]:
            held = held.changed(_turned, _turned)
        while held.array.ndim > 2 and held.array.shape[0] == 1:
            held = held.changed(lambda a: a[0], lambda a: a[0])
        names.append(state.weights(layer, held, held.array.ndim - 1))
        turns[1] = False
    else:
        names.append(state.tensor(layer, 1))
    for place, turned in enumerate(turns):
        if turned:
            rank = len(state.shape(layer, place))
            order = [*range(rank - 2), rank - 1, rank - 2]
            out = state.between(layer, f"turned{place}")
            names[place] = state.node(
                layer, "Transpose", [names[place]], {"perm": order}, outputs=[out]
            )
    state.node(layer, "MatMul", names)


def _turned(array: Any) -> Any:
    return np.swapaxes(array, -1, -2) if array.ndim > 1 else array


def fake_quantize(state: Lowering, layer: IrLayer) -> None:
    """FakeQuantize, of a constant or of a computed tensor."""
    ends = [state.values(layer, place) for place in range(1, 5)]
    held = state.constant(layer, 0)
    if held is not None:
        state.held[layer.id, 0] = fake_quantized(layer, held, ends)
        return
    names = [state.new(layer, f"end{i}", end.astype(np.float32)) for i, end in enumerate(ends)]
    levels: Mapping[str, Attribute] = {"levels": layer.integer("levels")}
    given = [state.tensor(layer, 0), *names]
    state.node(layer, "FakeQuantize", given, levels, domain=DOMAIN)


def function(op: str, attributes: Callable[[IrLayer], dict[str, Attribute]] | None = None) -> Rule:
    """A rule of a function of one value."""

    def rule(state: Lowering, layer: IrLayer) -> None:
        given = {} if attributes is None else attributes(layer)
        state.node(layer, op, [state.tensor(layer, 0)], given)

    return rule


def clamp(state: Lowering, layer: IrLayer) -> None:
    """Clamp."""
    ends = [state.new(layer, name, np.float64(layer.real(name))) for name in ("min", "max")]
    state.node(layer, "Clip", [state.tensor(layer, 0), *ends])


def reduced(op: str) -> Rule:
    """A rule of a reduction along constant axes."""

    def rule(state: Lowering, layer: IrLayer) -> None:
        axes = state.new(layer, "axes", np.array(state.integers(layer, 1), np.int64))
        keep = int(layer.flag("keep_dims"))
        state.node(layer, op, [state.tensor(layer, 0), axes], {"keepdims": keep})

    return rule


def max_pool(state: Lowering, layer: IrLayer) -> None:
    """MaxPool; its indices must not be read."""
    kernel = list(layer.integers("kernel"))
    state.node(
        layer,
        "MaxPool",
        [state.tensor(layer, 0)],
        _pooling(state, layer) | {"kernel_shape": kernel},
    )


def avg_pool(state: Lowering, layer: IrLayer) -> None:
    """AvgPool."""
    found = _pooling(state, layer) | {"kernel_shape": list(layer.integers("kernel"))}
    found["count_include_pad"] = int(not layer.flag("exclude-pad"))
    state.node(layer, "AveragePool", [state.tensor(layer, 0)], found)


def _pooling(state: Lowering, layer: IrLayer) -> dict[str, Attribute]:
    rounding = layer.text("rounding_type", "floor")
    if rounding not in ("floor", "ceil", "ceil_torch"):
        raise HwsimError(f"{layer}: 'rounding_type' must be floor or ceil, not {rounding[:20]!r}")
    found = window(layer) | {"ceil_mode": int(rounding != "floor")}
    made, shape = layer.outputs[0].shape[2:], state.shape(layer, 0)[2:]
    begin = layer.integers("pads_begin", "") or (0,) * len(shape)
    for size, count, stride, before in zip(
        shape, made, layer.integers("strides"), begin, strict=True
    ):
        if rounding != "ceil" or size is None or count is None:
            continue
        if (count - 1) * stride >= size + before:
            raise HwsimError(f"{layer}: its last window must begin on the map or before it")
    return found


def deconvolution(state: Lowering, layer: IrLayer) -> None:
    """ConvolutionBackpropData, its output shape left to its strides and pads."""
    if len(layer.inputs) > 2:
        raise HwsimError(f"{layer}: its output's shape must follow from strides and pads")
    weights = state.weights(layer, weights_of(state, layer, 1), 1)
    found = window(layer)
    extra = layer.integers("output_padding", "")
    if extra:
        found["output_padding"] = list(extra)
    state.node(layer, "ConvTranspose", [state.tensor(layer, 0), weights], found)


def swish(state: Lowering, layer: IrLayer) -> None:
    """Swish, of a constant beta perhaps."""
    beta = float(state.values(layer, 1).reshape(())) if len(layer.inputs) > 1 else 1.0
    state.node(layer, "Swish", [state.tensor(layer, 0)], {"alpha": beta})


def gelu(layer: IrLayer) -> dict[str, Attribute]:
    """Which of its two forms."""
    return {"approximate": "tanh" if layer.text("approximation_mode", "ERF") == "TANH" else "none"}


def h_sigmoid(state: Lowering, layer: IrLayer) -> None:
    """HSigmoid, in the steps by which it is computed."""
    names = {value: state.new(layer, f"of{value}", np.float32(value)) for value in (0, 3, 6)}
    moved = [state.between(layer, "moved")]
    given = state.node(layer, "Add", [state.tensor(layer, 0), names[3]], outputs=moved)
    cut = [state.between(layer, "cut")]
    given = state.node(layer, "Clip", [given, names[0], names[6]], outputs=cut)
    sixth = state.new(layer, "sixth", np.nextafter(np.float32(1 / 6), np.float32(0)))
    state.node(layer, "Mul", [given, sixth])


def hard_sigmoid(state: Lowering, layer: IrLayer) -> None:
    """HardSigmoid by two constants."""
    alpha, beta = (float(state.values(layer, place).reshape(())) for place in (1, 2))
    state.node(layer, "HardSigmoid", [state.tensor(layer, 0)], {"alpha": alpha, "beta": beta})


def prelu(state: Lowering, layer: IrLayer) -> None:
    """PRelu: slopes of one axis are those of the channels."""
    slopes = state.values(layer, 1).astype(np.float32)
    rank = len(state.shape(layer, 0))
    if slopes.ndim == 1 and slopes.size > 1 and rank > 2:
        slopes = slopes.reshape(-1, *(1,) * (rank - 2))
    state.node(layer, "PRelu", [state.tensor(layer, 0), state.new(layer, "slopes", slopes)])


def pairwise(op: str) -> Rule:
    """A rule of an operator on two tensors."""

    def rule(state: Lowering, layer: IrLayer) -> None:
        state.node(layer, op, [state.tensor(layer, 0), state.tensor(layer, 1)])

    return rule


def identity(state: Lowering, layer: IrLayer) -> None:
    """What changes nothing."""
    held = state.constant(layer, 0)
    if held is not None:
        state.held[layer.id, 0] = held
    else:
        state.node(layer, "Identity", [state.tensor(layer, 0)])


def softmax(layer: IrLayer) -> dict[str, Attribute]:
    """Its axis."""
    return {"axis": layer.integer("axis", "1")}


def elu(layer: IrLayer) -> dict[str, Attribute]:
    """Its slope."""
    return {"alpha": layer.real("alpha")}
