"""ONNX files: which of the two front ends reads one."""

from __future__ import annotations

from pathlib import Path

from hwsim.errors import HwsimError
from hwsim.frontends import onnx_file, onnx_qdq, qonnx
from hwsim.graph import Graph

LINEAR_OPS = ("QuantizeLinear", "DequantizeLinear")


def read(path: Path) -> Graph:
    """The Graph of an ONNX file with QDQ, QLinear or QONNX quantization."""
    model = onnx_file.read(path)
    ops = {(node.domain, node.op) for node in model.nodes}
    if any(op in qonnx.QUANTIZERS for op in ops):
        return qonnx.read(model)
    if not any(op in LINEAR_OPS or op.startswith(("QLinear", "QGemm")) for _, op in ops):
        raise HwsimError(
            f"{path} must be quantized, but has no QuantizeLinear, QLinear operator or Quant node; "
            "onnxruntime.quantization.quantize_static or Brevitas (QONNX export) can quantize it"
        )
    return onnx_qdq.read(model)
