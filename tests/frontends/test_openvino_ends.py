"""The end of a QDQ file like OpenVINO: the very floats, of scales whose steps float32 rounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

pytest.importorskip("openvino")

from support.openvino_run import run_openvino
from support.qdq_parts import Parts

import hwsim

F32 = np.float32
SHAPE = (4, 6, 6)
ZEROS = (
    (np.int8(0), True), (np.int8(0), False), (np.uint8(0), True), (np.uint8(0), False),
    (np.int8(-128), False), (np.uint8(77), False),
)  # fmt: skip
"""Zero points, and whether scales are whole."""


def scale(rng: np.random.Generator, *, whole: bool) -> float:
    """One that is not its reciprocal's; whole: a 255th of 255 of it is itself."""
    while True:
        found = F32(rng.uniform(0.012, 0.02))
        step = F32(F32(127) * found - F32(-128) * found) / F32(255)
        if F32(1) / (F32(1) / found) != found and (step == found) == whole:
            return float(found)


def _pool(parts: Parts, x: str) -> str:
    return parts.do("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])


def _flat(parts: Parts, x: str) -> str:
    return parts.do("Flatten", x)


def _turned(parts: Parts, x: str) -> str:
    return parts.do("Transpose", x, perm=[0, 2, 3, 1])


def _dense(parts: Parts, x: str) -> str:
    return parts.dense(_flat(parts, x), 144, 5)


def _conv(parts: Parts, x: str) -> str:
    return parts.conv(x, 4, 5)


Ending = Callable[[Parts, str, float], str]
ENDINGS: dict[str, Ending] = {
    "input": lambda p, x, s: x,
    "ReLU of codes": lambda p, x, s: p.do("Relu", x),
    "Sigmoid": lambda p, x, s: p.do("Sigmoid", x),
    "ReLU of the same codes": lambda p, x, s: p.do("Relu", p.pair(x, s)),
    "average": lambda p, x, s: p.do("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]),
    "max pool": lambda p, x, s: _pool(p, x),
    "concatenation": lambda p, x, s: p.do("Concat", x, x, axis=1),
    "flattened": lambda p, x, s: _flat(p, x),
    "Add": lambda p, x, s: p.do("Add", x, p.pair(p.do("Sigmoid", x), 0.01)),
    "Conv": lambda p, x, s: _conv(p, x),
    "Conv without a bias": lambda p, x, s: p.conv(x, 4, 5, bias=False),
    "Conv, ReLU": lambda p, x, s: p.do("Relu", _conv(p, x)),
    "Conv, quantizer": lambda p, x, s: p.pair(_conv(p, x), 0.02),
    "Conv, same quantizer, ReLU": lambda p, x, s: p.do("Relu", p.pair(_conv(p, x), s)),
    "Conv, max pool": lambda p, x, s: _pool(p, _conv(p, x)),
    "Conv, same quantizer, max pool": lambda p, x, s: _pool(p, p.pair(_conv(p, x), s)),
    "Conv, flattened": lambda p, x, s: _flat(p, _conv(p, x)),
    "Conv, turned": lambda p, x, s: _turned(p, _conv(p, x)),
    "Gemm": lambda p, x, s: _dense(p, x),
    "Gemm, flattened": lambda p, x, s: _flat(p, _dense(p, x)),
}


def ended(kind: str, parts: Parts, step: float) -> onnx.ModelProto:
    """A file that ends so in a quantizer."""
    made = ENDINGS[kind](parts, parts.pair("x", 0.03), step)
    return parts.model(parts.pair(made, step), "batch", *SHAPE)


@pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
@pytest.mark.parametrize("kind", ENDINGS)
def test_the_last_quantizer_gives_the_very_floats(kind: str, rng: np.random.Generator) -> None:
    x = rng.normal(0, 1, (20, *SHAPE)).astype(F32)
    for zero, whole in ZEROS:
        model = ended(kind, Parts(rng, zero), scale(rng, whole=whole))
        (want,) = run_openvino(model, {"x": x}).values()
        got = np.asarray(hwsim.emulate(hwsim.load(model, like="openvino"), x), F32)
        assert np.array_equal(got, want), (zero, whole)
