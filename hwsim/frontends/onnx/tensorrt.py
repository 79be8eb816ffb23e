"""What TensorRT asks of a QDQ file: int8, zero points of 0, float biases, float32 scales.

Source: NVIDIA's documentation of explicit quantization (docs/frontends.md says what it promises).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.functions import CONTRIBUTED, FUNCTIONS, Maker
from hwsim.frontends.onnx.model import OnnxModel, OnnxNode
from hwsim.frontends.onnx.ort.graph_copy import DQ, Q
from hwsim.frontends.shared.values import Unary

CODES = "int8"
HELP = {
    "uint8": "quantize_static does so with QInt8, ActivationSymmetric and WeightSymmetric",
    "int32": "a bias stays float there: quantize_static does so with QuantizeBias False",
}
SYMMETRIC = "quantize_static does so with ActivationSymmetric and WeightSymmetric"
UNDOUBTED = ("Abs", "Ceil", "Floor", "Neg", "Relu", "Round", "Sign", "ThresholdedRelu")
"""Functions of one number that have no last bits to differ in."""


def refuse_others(model: OnnxModel) -> None:
    """Raise HwsimError at the first quantizer that TensorRT does not take."""
    for node in model.nodes:
        if node.op not in (Q, DQ):
            continue
        place = f"{model.path}: {node}"
        scale, zero = (model.constants.get(node.input(i)) for i in (1, 2))
        if scale is not None and scale.dtype != "float32":
            raise HwsimError(
                f"{place}: TensorRT's sums are followed in float32 alone: its scale must be "
                f"float32, not {scale.dtype}"
            )
        dtype = _type(model, node)
        if dtype not in ("", CODES):
            raise HwsimError(
                f"{place}: TensorRT quantizes to signed codes: they must be {CODES}, not {dtype}; "
                f"{HELP.get(dtype, 'say what else the model is to be like')}"
            )
        if zero is not None and zero.any():
            raise HwsimError(
                f"{place}: TensorRT quantizes symmetrically: its zero point must be 0, not "
                f"{zero.ravel()[zero.ravel() != 0][0]}; {SYMMETRIC}"
            )


def _type(model: OnnxModel, node: OnnxNode) -> str:
    """The type of a quantizer's codes; empty where another node says it, or none does."""
    zero = model.constants.get(node.input(2))
    if zero is not None:
        return str(zero.dtype)
    if node.op == Q:
        return "uint8" if not node.integer("output_dtype", 0) else ""
    codes = model.constants.get(node.input(0))
    return "" if codes is None else str(codes.dtype)


def _unsure(make: Maker) -> Callable[[OnnxNode], Unary]:
    return lambda node: replace(make(node), rough=True)


ROUGH: Mapping[str, Callable[[OnnxNode], Unary]] = {
    name: _unsure(make)
    for name, make in {**FUNCTIONS, **CONTRIBUTED}.items()
    if name not in UNDOUBTED
}
"""Functions whose last bits NVIDIA's documentation leaves open."""
