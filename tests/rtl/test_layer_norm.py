"""A layer norm as a whole design: in Verilator the emulator's integers, almost the runtime's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx_compare import load
from support.onnx_run import run_ort

import hwsim
from hwsim.ops import Rsqrt
from rtl.layers import unsupported

TOKENS, WIDTH = 3, 6


def layer_norm(rng: np.random.Generator) -> onnx.ModelProto:
    """One LayerNormalization between quantizers of uint8 codes."""
    held = {
        "xs": np.float32(0.031),
        "xz": np.uint8(117),
        "ys": np.float32(0.023),
        "yz": np.uint8(131),
        "factor": rng.uniform(0.5, 2, WIDTH).astype(np.float32),
        "offset": rng.uniform(-1, 1, WIDTH).astype(np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["r"]),
        helper.make_node("LayerNormalization", ["r", "factor", "offset"], ["n"], name="norm"),
        helper.make_node("QuantizeLinear", ["n", "ys", "yz"], ["y"]),
    ]
    shape = ("n", TOKENS, WIDTH)
    ports = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in "xy"]
    constants = [numpy_helper.from_array(np.asarray(a), name) for name, a in held.items()]
    graph = helper.make_graph(nodes, "layer_norm", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.needs("amaranth", "yosys", "verilator")
def test_a_layer_norm_gives_the_emulators_integers_in_verilator(tmp_path: Path, rng):
    made = layer_norm(rng)
    graph = load(made, tmp_path)
    feeds = {"x": rng.integers(0, 256, (2000, TOKENS, WIDTH)).astype(np.uint8)}
    want = run_ort(made, feeds).outputs["y"]
    assert (hwsim.emulate(graph, feeds) != want).sum() <= want.size // 500
    assert any(isinstance(node.op, Rsqrt) for node in graph.nodes) and not unsupported(graph)
    hwsim.build(graph, tmp_path / "out", rtl_only=True, fps=50_000)
    found = hwsim.verify(tmp_path / "out", {"x": feeds["x"][:40]})
    assert found.ok, found
