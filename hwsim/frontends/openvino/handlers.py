"""How nodes of an OpenVINO model are read: those of ONNX, and FakeQuantize."""

from __future__ import annotations

from dataclasses import replace

from hwsim.frontends.onnx.handlers import FLOAT_HANDLERS
from hwsim.frontends.onnx.importer import Handler, Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.qdq import dequantize_linear
from hwsim.frontends.openvino import codes as codes_of
from hwsim.frontends.openvino import wrong
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.openvino.lowering import DOMAIN
from hwsim.frontends.openvino.pools import average_pool
from hwsim.frontends.openvino.quantizers import fake_quantize
from hwsim.frontends.openvino.readers import shown_only
from hwsim.frontends.openvino.resized import resize
from hwsim.frontends.openvino.sums import add, minimum, paired
from hwsim.frontends.openvino.weights import conv, conv_transpose, matmul
from hwsim.frontends.shared.values import Level, Real, Unary


def clip(run: Importer, node: OnnxNode) -> None:
    """Clip; one at the end of the model cuts the codes that it reads."""
    value = run.values.get(node.inputs[0])
    FLOAT_HANDLERS["", "Clip"](run, node)
    made = run.values[node.output]
    if not (isinstance(run, OvImporter) and isinstance(value, Real) and isinstance(made, Real)):
        return
    level, steps = value.source, made.steps
    one = isinstance(level, Level) and not value.steps and len(steps) == 1
    if not one or not shown_only(run, node) or not isinstance(steps[0], Unary):
        return
    assert isinstance(level, Level)
    if level.scales is None and steps[0].low is not None and steps[0].high is not None:
        cut = codes_of.cut(steps[0], run.meaning(level), level.zero_point)
        run.values[node.output] = replace(made, steps=(cut,))


HANDLERS: dict[tuple[str, str], Handler] = {
    **FLOAT_HANDLERS,
    **wrong.MEANS,
    ("", "DequantizeLinear"): dequantize_linear,
    ("", "Add"): add,
    ("", "AveragePool"): average_pool,
    ("", "Clip"): clip,
    ("", "Conv"): conv,
    ("", "ConvTranspose"): conv_transpose,
    ("", "MatMul"): matmul,
    ("", "Div"): paired,
    ("", "Min"): minimum,
    ("", "Mul"): paired,
    ("", "Pad"): wrong.pad,
    ("", "Resize"): resize,
    ("", "Sub"): paired,
    (DOMAIN, "FakeQuantize"): fake_quantize,
}
