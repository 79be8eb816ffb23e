"""Float weights that ONNX Runtime makes int8 by itself: of layers between quantized tensors.

Source: ONNX Runtime 1.32 `weight_bias_quantization.cc` and `qmath.h`, checked by experiment
(docs/frontends.md).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.frontends.onnx.model import OnnxModel, OnnxNode
from hwsim.frontends.onnx.ort.graph_copy import DQ
from hwsim.frontends.onnx.ort.optimizer import optimized

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def with_integer_weights(model: OnnxModel) -> OnnxModel:
    """The model with the DequantizeLinear that the runtime puts before such weights."""
    floats = [n for n in model.nodes if n.op in LAYERS and _is_float(model, n)]
    if not floats:
        return model
    copy = optimized(model)
    made = {name: step for step in copy.steps if step.weight_codes for name in step.origins}
    nodes: list[OnnxNode] = []
    constants = dict(model.constants)
    for node in model.nodes:
        step = made.get(node.output) if node in floats else None
        if step is not None:
            maker = copy.makers[step.inputs[1]]
            named = [f"{node.output}.{part}" for part in ("codes", "scale", "zero", "weights")]
            held = (copy.constants[name] for name in maker.inputs)
            constants |= dict(zip(named, held, strict=False))
            dequantizer = OnnxNode(
                f"{node.name}.weights", DQ, "", tuple(named[:3]), (named[3],), {}
            )
            nodes.append(dequantizer)
            node = replace(node, inputs=(node.inputs[0], named[3], *node.inputs[2:]))
        nodes.append(node)
    return replace(model, nodes=tuple(nodes), constants=constants)


def _is_float(model: OnnxModel, node: OnnxNode) -> bool:
    weights = model.constants.get(node.input(1))
    return not node.domain and weights is not None and weights.dtype == np.float32
