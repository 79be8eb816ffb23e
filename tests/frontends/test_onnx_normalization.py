"""Constant arithmetic ahead of the first quantizer, and codes cut by Clip: the runtime's codes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from support.onnx_builder import Builder, activation
from support.onnx_run import run_ort

import hwsim

X = activation("uint8", scale=0.031, zero_point=-9)
Y = activation("uint8", scale=0.17, zero_point=5)


def normalized(b: Builder, x: str) -> str:
    """Pixels to 0..1, then by mean and deviation of each channel."""
    x = b.node("Div", [x, b.constant("full", np.float32(255))], "unit")
    mean = b.rng.uniform(0.4, 0.5, (1, 3, 1, 1)).astype(np.float32)
    x = b.node("Sub", [x, b.constant("mean", mean)], "centred")
    spread = b.rng.uniform(0.2, 0.3, (3, 1, 1)).astype(np.float32)
    return b.node("Div", [x, b.constant("spread", spread)], "normal")


def model(seed: int, *, pixels: str, clip: bool) -> onnx.ModelProto:
    """Normalization, a convolution, a ReLU; with `clip` all codes in 4 bits (QCDQ)."""
    b = Builder(seed)
    x = b.input("x", (3, 6, 6), pixels)
    if pixels != "float32":
        x = b.node("Cast", [x], "reals", to=onnx.TensorProto.FLOAT)
    x = normalized(b, x)

    def quantized(name: str, kind: object) -> str:
        scale, zero = b.parameters(name, kind)
        code = b.node("QuantizeLinear", [name, scale, zero], f"{name}_q")
        if clip:
            ends = [b.constant(f"{name}_{end}", np.array(v, np.uint8)) for end, v in LIMITS.items()]
            code = b.node("Clip", [code, *ends], f"{name}_c")
        return b.node("DequantizeLinear", [code, scale, zero], f"{name}_dq")

    x = quantized(x, X)
    w = b.weights((4, 3, 3, 3), 4, pow2=False, dtype="int8").real(b, "w", 0)
    y = b.node("Relu", [b.node("Conv", [x, w], "conv", kernel_shape=(3, 3))], "y")
    return b.finish(quantized(y, Y), rank=4)


LIMITS = {"low": 112, "high": 127 + 16}


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.parametrize("clip", [False, True], ids=["8 bits", "QCDQ"])
@pytest.mark.parametrize("pixels", ["float32", "uint8"])
def test_normalized_pixels_give_the_runtimes_codes(pixels: str, clip: bool, seed: int) -> None:
    made = model(seed, pixels=pixels, clip=clip)
    graph = hwsim.load(made)
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (64, 3, 6, 6)).astype(pixels)
    if pixels == "float32":
        x[::2] += rng.uniform(0, 1, x[::2].shape).astype(np.float32)
    ran = run_ort(made, {"x": x})
    (name,) = ran.codes
    got = hwsim.emulate(graph, x)
    assert len(np.unique(got)) > 4
    assert (got != ran.outputs[name]).sum() == 0
    (port,) = graph.inputs
    steps = ["div", "sub", "div"] if pixels == "float32" else []
    assert [step.op for step in port.steps] == steps
    assert port.element == (None if pixels == "float32" else pixels)
