"""A float model with QONNX's Quant nodes: any width, scales that are powers of two or any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.compress.float_model import FloatModel, Reals
from hwsim.compress.quantize.places import FloatLayer, Quantizable
from hwsim.frontends.onnx.channel_notes import note_of
from hwsim.frontends.onnx.model import CHANNEL_BITS

DOMAIN = "qonnx.custom_op.general"
MOST_BIAS = 2**31
SIGN = 2
"""Bits of the codes -1 and 1."""


@dataclass(frozen=True, slots=True)
class QuantNode:
    """`clip(round(x / scale) + zero_point)` of `bits`; one scale, or one a channel of `axis`.

    With `channel_bits` each channel has its own bits, `bits` are the most of them. QONNX's executor
    takes one number of bits a node, so that what it reads must lie on the narrower grids already.
    """

    scale: Reals
    bits: int
    signed: bool
    narrow: bool = False
    zero_point: int = 0
    axis: int | None = None
    channel_bits: tuple[int, ...] | None = None

    def total_bits(self, size: int) -> int:
        """Bits of so many weights."""
        if self.channel_bits is None:
            return size * self.bits
        return size // len(self.channel_bits) * sum(self.channel_bits)


def quantized(
    model: FloatModel,
    found: Quantizable,
    tensors: Mapping[str, QuantNode],
    weights: Mapping[str, QuantNode],
    new: Mapping[str, Reals] | None = None,
) -> Any:
    """A ModelProto with a Quant node behind each tensor and each layer's weights and bias.

    `new` are weights in the place of the model's, by tensor.
    """
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    values = {**model.constants, **(new or {})}
    graph.ClearField("initializer")
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in values.items())
    graph.ClearField("value_info")
    for port in (*graph.input, *graph.output):
        axes = port.type.tensor_type.shape.dim
        if axes and not axes[0].dim_value:
            axes[0].dim_value = 1  # QONNX's executor has no free batch
    nodes = list(graph.node)
    made: list[Any] = []
    instead: dict[str, str] = {}

    def quant(name: str, by: QuantNode, rank: int) -> None:
        shape = [1] * rank
        if by.axis is not None:
            shape[by.axis] = -1
        scale = np.asarray(by.scale, np.float32).reshape(shape if by.axis is not None else ())
        ends = {
            "scale": scale,
            "zero_point": np.float32(by.zero_point),
            "bits": np.float32(by.bits),
        }
        inputs = [name]
        for part, value in ends.items():
            inputs.append(f"{name}.{part}")
            graph.initializer.append(
                numpy_helper.from_array(np.asarray(value, np.float32), inputs[-1])
            )
        instead[name] = f"{name}.quantized"
        made.append(
            helper.make_node(
                "Quant", inputs, [instead[name]], f"{name}.quant", domain=DOMAIN,
                signed=int(by.signed), narrow=int(by.narrow), rounding_mode="ROUND",
            )
        )  # fmt: skip

    for name in model.inputs:
        if name in tensors:
            quant(name, tensors[name], 0)
    for name in found.constants:
        quant(name, tensors[name], 0)
    for layer in found.layers:
        if layer.weights not in instead:
            quant(layer.weights, weights[layer.name], values[layer.weights].ndim)
        if layer.bias is not None and layer.bias not in instead:
            quant(layer.bias, _of_bias(layer, tensors, weights, values[layer.bias]), 1)
    for node in nodes:
        fresh = onnx.NodeProto()
        fresh.CopyFrom(node)
        fresh.ClearField("input")
        fresh.input.extend(instead.get(name, name) for name in node.input)
        if node.output[0] in found.ending and node.output[0] in tensors:
            for place, name in enumerate(fresh.input):
                part = f"{node.output[0]}.{place}"
                quant(part, tensors[node.output[0]], 0)
                made[-1].input[0], fresh.input[place] = name, instead.pop(part)
        made.append(fresh)
        for name in node.output:
            if name in tensors and name not in found.ending:
                quant(name, tensors[name], 0)
    graph.ClearField("node")
    graph.node.extend(made)
    _show_codes(graph, {name: instead[name] for name in found.shown})
    proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    _note(proto, weights)
    return proto


def _show_codes(graph: Any, shown: Mapping[str, str]) -> None:
    """Give each quantized output its name in the model, and what is quantized another."""
    names = {name: f"{name}.real" for name in shown} | {by: name for name, by in shown.items()}
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]


def _note(proto: Any, weights: Mapping[str, QuantNode]) -> None:
    """Bits by channel in the model's metadata; a sign takes two, as its codes do."""
    kept = [entry for entry in proto.metadata_props if entry.key != CHANNEL_BITS]
    proto.ClearField("metadata_props")
    proto.metadata_props.extend(kept)
    mixed = {
        name: [max(n, SIGN) for n in by.channel_bits]
        for name, by in weights.items()
        if by.channel_bits is not None
    }
    if mixed:
        proto.metadata_props.add(key=CHANNEL_BITS, value=note_of(mixed))


def _of_bias(
    layer: FloatLayer,
    tensors: Mapping[str, QuantNode],
    weights: Mapping[str, QuantNode],
    bias: Reals,
) -> QuantNode:
    """The unit of the layer's sums, or times the power of two with which 32 bits hold it."""
    by = weights[layer.name]
    taken = np.asarray(tensors[layer.reads[0]].scale, np.float64)
    scale = np.asarray(by.scale, np.float64) * taken
    most = np.abs(bias.astype(np.float64))
    steps = (most if by.axis is not None else most.max()) / scale
    coarser = np.maximum(np.ceil(np.log2(np.maximum(steps, 1) / (MOST_BIAS - 1))), 0)
    unit = np.asarray(scale * 2.0**coarser, np.float32)
    return QuantNode(unit, 32, signed=True, axis=None if by.axis is None else 0)
