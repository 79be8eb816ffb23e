"""Attention as a whole design: heads, a softmax of codes, in Verilator as in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx_compare import load
from support.onnx_run import run_ort

import hwsim
from rtl.layers import unsupported

HEADS, TOKENS, WIDTH = 2, 4, 3


def attention() -> onnx.ModelProto:
    """`softmax(q k^T) v` of uint8 codes, each step quantized."""
    scales = {"q": 0.05, "k": 0.04, "v": 0.03, "s": 0.09, "p": 1 / 256, "y": 0.02}
    zeros = {"q": 121, "k": 134, "v": 127, "s": 99, "p": 0, "y": 140}
    constants = [numpy_helper.from_array(np.float32(s), f"{n}s") for n, s in scales.items()]
    constants += [numpy_helper.from_array(np.uint8(z), f"{n}z") for n, z in zeros.items()]

    def quantized(name: str, real: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("QuantizeLinear", [real, f"{name}s", f"{name}z"], [name]),
            helper.make_node("DequantizeLinear", [name, f"{name}s", f"{name}z"], [f"{name}r"]),
        ]

    nodes = [
        *(helper.make_node("DequantizeLinear", [n, f"{n}s", f"{n}z"], [f"{n}r"]) for n in "qkv"),
        helper.make_node("Transpose", ["kr"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["qr", "kt"], ["scores"], name="scores"),
        *quantized("s", "scores"),
        helper.make_node("Softmax", ["sr"], ["shares"], name="softmax"),
        *quantized("p", "shares"),
        helper.make_node("MatMul", ["pr", "vr"], ["mixed"], name="mixed"),
        quantized("y", "mixed")[0],
    ]
    shape = ("n", HEADS, TOKENS, WIDTH)
    ports = [helper.make_tensor_value_info(n, TensorProto.UINT8, shape) for n in "qkv"]
    shown = helper.make_tensor_value_info("y", TensorProto.UINT8, shape)
    graph = helper.make_graph(nodes, "attention", ports, [shown], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.needs("amaranth", "yosys", "verilator")
def test_attention_is_the_runtimes_in_the_emulator_and_in_verilator(tmp_path: Path, rng):
    made = attention()
    graph = load(made, tmp_path)
    shape = (400, HEADS, TOKENS, WIDTH)
    feeds = {name: rng.integers(0, 256, shape).astype(np.uint8) for name in "qkv"}
    ran = run_ort(made, feeds)
    assert ran.ops.count("QLinearMatMul") == 2 and "QLinearSoftmax" in ran.ops
    assert np.array_equal(hwsim.emulate(graph, feeds), ran.outputs["y"])
    assert not unsupported(graph)
    hwsim.build(graph, tmp_path / "out", rtl_only=True, fps=50_000)
    found = hwsim.verify(tmp_path / "out", {name: x[:40] for name, x in feeds.items()})
    assert found.ok, found
