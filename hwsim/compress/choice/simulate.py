"""A float model some of whose weights and tensors are rounded as a quantizer would, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import along, ends_of, rounded
from hwsim.compress.quantize.places import FloatLayer
from hwsim.compress.quantize.qonnx_file import QuantNode

LARGE = 1.5 * 2.0**23
"""Added to a float32 of up to 22 bits and taken off again it leaves a whole number, ties to even.

ONNX has an operator for that only from its eleventh opset on.
"""


def with_weights(
    model: FloatModel, layers: Mapping[str, FloatLayer], weights: Mapping[str, QuantNode]
) -> FloatModel:
    """The model with the weights of some layers, by name, on their grids."""
    constants, new = model.constants, {}
    for name, by in weights.items():
        held = constants[layers[name].weights]
        new[layers[name].weights] = rounded(held.astype(np.float64), *along(by, held.ndim))
    return model.with_constants(new)


def with_tensors(model: FloatModel, tensors: Mapping[str, QuantNode]) -> FloatModel:
    """The model with a quantizer behind some tensors, in ONNX's own operators."""
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    made: dict[str, list[Any]] = {}
    instead = {}
    for name, by in tensors.items():
        scale, (low, high) = float(np.ravel(by.scale)[0]), ends_of(by)
        held = {
            "scale": scale,
            "low": low - by.zero_point,
            "high": high - by.zero_point,
            "minus": -scale,
            "zero": 0.0,
            "large": LARGE,
        }
        values = {part: f"{name}.choice.{part}" for part in held}
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value, np.float32), values[part])
            for part, value in held.items()
        )
        made[name] = _quantizer(helper, name, values, signs=by.signed and by.bits == 1)
        instead[name] = made[name][-1].output[0]
    nodes = [node for name in model.inputs for node in made.get(name, ())]
    for node in graph.node:
        fresh = onnx.NodeProto()
        fresh.CopyFrom(node)
        fresh.ClearField("input")
        fresh.input.extend(instead.get(name, name) for name in node.input)
        nodes.append(fresh)
        nodes += [one for name in node.output for one in made.get(name, ())]
    graph.ClearField("node")
    graph.node.extend(nodes)
    return FloatModel(model.path, proto)


def _quantizer(helper: Any, name: str, held: Mapping[str, str], *, signs: bool) -> list[Any]:
    """Nodes; the last one gives the reals of the codes."""

    def node(op: str, *inputs: str) -> Any:
        return helper.make_node(op, list(inputs), [f"{name}.choice.{op}"])

    if signs:
        return [
            node("Less", name, held["zero"]),
            node("Where", f"{name}.choice.Less", held["minus"], held["scale"]),
        ]
    return [
        node("Div", name, held["scale"]),
        node("Max", f"{name}.choice.Div", held["low"]),
        node("Min", f"{name}.choice.Max", held["high"]),
        node("Add", f"{name}.choice.Min", held["large"]),
        node("Sub", f"{name}.choice.Add", held["large"]),
        node("Mul", f"{name}.choice.Sub", held["scale"]),
    ]
