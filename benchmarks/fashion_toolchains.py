"""Toolchains that quantize `fashion_network`'s CNN, each with the runtime of its own files."""

from __future__ import annotations

from fashion_lite import lite_ways
from fashion_onnx import onnx_ways, openvino_ways, tensorrt_ways, tvm_ways
from fashion_torch import brevitas_ways, eager_ways, executorch_ways, pt2e_ways
from fashion_ways import Toolchain

TOOLCHAINS = (
    Toolchain(needs=(), ways=onnx_ways),
    Toolchain(needs=("tvm",), ways=tvm_ways),
    Toolchain(needs=("openvino", "nncf"), ways=openvino_ways),
    Toolchain(needs=("tvm",), ways=tensorrt_ways),
    Toolchain(needs=("ai_edge_quantizer", "ai_edge_litert", "tflite_micro"), ways=lite_ways),
    Toolchain(needs=("torchao",), ways=pt2e_ways),
    Toolchain(needs=("executorch",), ways=executorch_ways),
    Toolchain(needs=(), ways=eager_ways),
    Toolchain(needs=("brevitas",), ways=brevitas_ways),
)
