"""Digits' networks, quantized and attributed: what the tests of attribution share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from sklearn.datasets import load_digits

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Cast, Dense, TensorType

MODELS = Path(hwsim.__file__).resolve().parent.parent / "examples" / "models"
DIGITS = load_digits()
IMAGES = (DIGITS.images / 16).astype(np.float32)[:, None]
SEEN, LABELS = IMAGES[1000:1400], DIGITS.target[1000:1400]
CNN = MODELS / "digits_cnn_int8.float.onnx"


def quantized(bits: str, path: Path = CNN) -> onnx.ModelProto:
    """A digits' network after training, by powers of two."""
    batches = ({"image": IMAGES[at : at + 64]} for at in range(0, 512, 64))
    return quantize(FloatModel.read(path), batches, Widths.parse(bits))


def attributed(model, reference: Path = CNN, labels=LABELS):
    """Where its accuracy went on 400 of the digits."""
    return hwsim.attribute(model, reference, SEEN, labels)


def layer(found, edge: str):
    """The layer of an edge."""
    return next(one for one in found.layers if one.edge == edge)


def chain(rng: np.random.Generator) -> tuple[Graph, onnx.ModelProto, dict[str, np.ndarray]]:
    """x, a dense layer `h` and its codes `r`, a dense layer `y`; floats near the integers."""
    codes = {"w1": rng.integers(-7, 8, (6, 5)), "b1": rng.integers(-40, 40, 5)}
    codes |= {"w2": rng.integers(-7, 8, (5, 4)), "b2": rng.integers(-40, 40, 4)}
    fracs = {"w1": 3, "b1": 7, "w2": 3, "b2": 5}
    floats = {
        name: (c * 2.0 ** -fracs[name] + rng.normal(0, 0.03, c.shape)).astype(np.float32)
        for name, c in codes.items()
    }
    four = Format(True, 1, 3)
    first, second = (
        Dense(weights=codes[f"w{n}"], bias=codes[f"b{n}"], weight_format=four, bias_frac=frac)
        for n, frac in ((1, 7), (2, 5))
    )
    narrow = Cast(out=Format(True, 3, 2), rounding=Rounding.RND_CONV, overflow=Overflow.SAT)
    nodes = (
        Node("h", first, ("x",), "h"),
        Node("r", narrow, ("h",), "h.quantized"),
        Node("y", second, ("h.quantized",), "y"),
    )
    port = InputPort(name="x", tensor="x", type=TensorType((6,), Format(True, 2, 4)))
    graph = Graph((port,), nodes, (OutputPort(name="y", tensor="y"),))
    f32 = onnx.TensorProto.FLOAT
    made = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
            onnx.helper.make_node("Gemm", ["h", "w2", "b2"], ["y"]),
        ],
        "chain",
        [onnx.helper.make_tensor_value_info("x", f32, ["n", 6])],
        [onnx.helper.make_tensor_value_info("y", f32, ["n", 4])],
        [numpy_helper.from_array(a, name) for name, a in floats.items()],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    proto = onnx.helper.make_model(made, opset_imports=opset, ir_version=8)
    reals = {f"{name}_int": c * 2.0 ** -fracs[name] for name, c in codes.items()}
    return graph, proto, {**{n: a.astype(np.float64) for n, a in floats.items()}, **reals}
