"""TensorFlow Lite files that cannot be read: each is one sentence that names the file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.tflite_models import Lite, Written

import hwsim
from hwsim import HwsimError

F32 = "float32"
WAY = "the way: a representative_dataset and TFLITE_BUILTINS_INT8 for tf.lite.TFLiteConverter"


def floats() -> bytes:
    """A model that nobody quantized."""
    lite = Lite()
    x, y = lite.add(Written("x", (1, 4), F32)), lite.add(Written("y", (1, 2), F32))
    w = lite.constant("w", np.ones((2, 4), np.float32))
    lite.node("FULLY_CONNECTED", [x, w, -1], [y])
    return lite.build([x], [y])


def hybrid() -> bytes:
    """Weights of int8 and floats for all else: what dynamic-range quantization gives."""
    lite = Lite()
    x, y = lite.add(Written("x", (1, 4), F32)), lite.add(Written("y", (1, 2), F32))
    w = lite.constant("w", np.ones((2, 4), np.int8), 0.25)
    lite.node("FULLY_CONNECTED", [x, w, -1], [y])
    return lite.build([x], [y])


def half_weights() -> bytes:
    """The same behind codes, whose floats only the end may have."""
    lite = Lite()
    x, d = lite.codes("x", (1, 4), 0.5, 0), lite.add(Written("d", (1, 4), F32))
    y, w = lite.add(Written("y", (1, 2), F32)), lite.add(Written("w", (2, 4), F32))
    lite.node("DEQUANTIZE", [x], [d])
    lite.node("DEQUANTIZE", [lite.constant("halves", np.ones((2, 4), np.float16))], [w])
    lite.node("FULLY_CONNECTED", [d, w, -1], [y])
    return lite.build([x], [y])


def half_floats() -> bytes:
    """Weights of float16, which DEQUANTIZE makes float32."""
    lite = Lite()
    x, y = lite.add(Written("x", (1, 4), F32)), lite.add(Written("y", (1, 2), F32))
    w = lite.add(Written("w", (2, 4), F32))
    lite.node("DEQUANTIZE", [lite.constant("halves", np.ones((2, 4), np.float16))], [w])
    lite.node("FULLY_CONNECTED", [x, w, -1], [y])
    return lite.build([x], [y])


def several_floats() -> bytes:
    """Two float heads that are joined: no one scale says what their codes mean."""
    lite = Lite()
    a, b = lite.codes("a", (1, 4), 0.5, 0), lite.codes("b", (1, 4), 0.25, 0)
    p, q = lite.add(Written("p", (1, 4), F32)), lite.add(Written("q", (1, 4), F32))
    y = lite.add(Written("y", (1, 8), F32))
    lite.node("DEQUANTIZE", [a], [p])
    lite.node("DEQUANTIZE", [b], [q])
    lite.node("CONCATENATION", [p, q], [y], axis=1)
    return lite.build([a, b], [y])


def branches() -> bytes:
    lite = Lite()
    x, y = lite.codes("x", (1, 4), 0.5, 0), lite.codes("y", (1, 4), 0.5, 0)
    lite.node("WHILE", [x], [y])
    lite.node("IF", [y], [x])
    return lite.build([x], [y])


def custom() -> bytes:
    lite = Lite()
    x, y = lite.codes("x", (1, 4), 0.5, 0), lite.codes("boxes", (1, 4), 0.5, 0)
    lite.node("CUSTOM", [x], [y])
    return lite.build([x], [y])


def unary(op: str = "RELU", **changes: object) -> bytes:
    """An operator of one input; changes go to the tensor that it makes."""
    lite = Lite()
    x, y = lite.codes("x", (1, 4), 0.5, 0), lite.codes("y", (1, 4), 0.5, 0)
    for key, value in changes.items():
        setattr(lite.tensors[y], key, value)
    lite.node(op, [x], [y])
    return lite.build([x], [y])


def empty() -> bytes:
    lite = Lite()
    x, y = lite.codes("x", (1, 0), 0.5, 0), lite.codes("y", (1, 0), 0.5, 0)
    lite.node("RELU", [x], [y])
    return lite.build([x], [y])


def layer(**changes: object) -> bytes:
    """A convolution; changes go to the tensor of its weights."""
    lite = Lite()
    x, y = lite.codes("x", (1, 4, 4, 3), 0.5, 0), lite.codes("y", (1, 4, 4, 2), 0.5, 0)
    w = lite.constant("w", np.ones((2, 1, 1, 3), np.int8), 0.25, 0.5)
    for key, value in changes.items():
        setattr(lite.tensors[w], key, value)
    lite.node("CONV_2D", [x, w, -1], [y], padding=0, stride_w=1, stride_h=1)
    return lite.build([x], [y])


def added(activation: int) -> bytes:
    lite = Lite()
    x, y = lite.codes("x", (1, 4), 0.5, 0), lite.codes("y", (1, 4), 0.5, 0)
    lite.node("ADD", [x, x], [y], activation=activation)
    return lite.build([x], [y])


def long() -> bytes:
    """Codes of int32, of which only QUANTIZE knows anything."""
    lite = Lite()
    x, y = lite.codes("x", (1, 4), 0.5, 0, "int32"), lite.codes("y", (1, 4), 0.5, 0)
    lite.node("RELU", [x], [y])
    return lite.build([x], [y])


def constants_only() -> bytes:
    lite = Lite()
    w = lite.constant("w", np.ones((1, 4), np.int8), 0.25)
    y = lite.codes("y", (1, 4), 0.5, 0)
    lite.node("RELU", [w], [y])
    return lite.build([], [y])


NOTHING = np.zeros((0, 1, 1, 3), np.int8)
CASES: list[tuple[str, Callable[[], bytes], str]] = [
    ("floats", floats, f"quantized, but computes in floats: tensor 'y' is float32; {WAY}"),
    ("hybrid", hybrid, f"but quantizes its weights alone: tensor 'y' is float32; {WAY}"),
    ("half floats", half_floats, f"but computes in floats: tensor 'w' is float32; {WAY}"),
    ("half weights", half_weights, "'halves' must stay whole numbers"),
    ("joined floats", several_floats, "'p'.* must be quantized: of models that compute in floats"),
    ("control flow", branches, r"has IF \('x'\), WHILE \('y'\); what helps: branches and loops"),
    ("custom", custom, r"has CUSTOM \('boxes'\); docs/tflite.md lists what is supported"),
    ("no scale", lambda: unary(scales=(), zero_points=()), "'y' must be quantized, with a scale"),
    ("several scales", lambda: unary(scales=(0.5, 1.0), zero_points=(0, 0)), "must have one scale"),
    ("a zero point beyond", lambda: unary(zero_points=(200,)), "point from -128 to 127, not 200"),
    ("another size", lambda: unary(shape=(1, 5)), r"output must be of shape \(4,\), not \(5"),
    ("a tiny scale", lambda: unary(scales=(1e-12,)), "RELU 'y': scales must have a ratio below"),
    ("nothing", empty, r"'x' must hold something, not be of shape \(1, 0\)"),
    ("weights' zero", lambda: layer(zero_points=(1, 0)), "its weights must have zero point 0"),
    ("weights' scales", lambda: layer(scales=(1.0, 2, 3), zero_points=(0,)), "1 scale or 2, not"),
    ("weights of nothing", lambda: layer(shape=(0, 1, 1, 3), data=NOTHING),
     r"CONV_2D 'y': 'w' must hold something, not be of shape \(0, 1, 1, 3\)"),
    ("weights without a scale", lambda: layer(scales=(), zero_points=()),
     "CONV_2D 'y': tensor 'w' must be quantized, with a scale"),
    ("another kernel set", lambda: unary("GELU"),
     r"m.tflite: GELU 'y': it must be read like a kernel set that can run it: reference, builtin"),
    ("a tanh that is fused", lambda: added(4), "its fused activation must clamp, not be TANH"),
    ("int32", long, "'x' must be of int8 or uint8 or int16, not int32"),
    ("no input", constants_only, "must depend on an input"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "said"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_a_file_that_cannot_be_read_is_one_sentence(build, said, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(build())
    with pytest.raises(HwsimError, match=said) as refused:
        hwsim.load(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("op", "like", "can"),
    [
        ("RELU_N1_TO_1", "tflm", "reference, builtin, xnnpack"),
        ("ELU", "reference", "tflm, builtin, xnnpack"),
        ("EXP", "tflm", "reference, builtin, xnnpack"),
    ],
)
def test_a_kernel_set_without_an_operator_is_told_which_have_it(op, like, can, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(unary(op))
    with pytest.raises(HwsimError, match=f"{op} 'y': .* a kernel set that can run it: {can}$"):
        hwsim.load(path, like=like)
    hwsim.load(path, like=can.split(", ")[0])
