"""What Keras 3 exports: read without its transposes and norms in parts, with QONNX's codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from support.keras_files import FILES, KerasFile
from support.qonnx_nets import executed
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import WEIGHTED, FloatModel
from hwsim.ops import Thresholds, Transpose

pytest.importorskip("qonnx")


def samples(model: onnx.ModelProto, count: int) -> np.ndarray:
    axes = model.graph.input[0].type.tensor_type.shape.dim
    shape = tuple(axis.dim_value for axis in axes)[1:]
    return np.random.default_rng(seeded(1)).random((count, *shape), np.float32)


def reals(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {model.graph.input[0].name: x})[0]


def check(model: onnx.ModelProto) -> None:
    x = samples(model, 48)
    found = FloatModel.of(model, Path("keras.onnx"))
    wanted = reals(model, x)
    (run,) = found.run([{found.inputs[0]: x}], found.outputs)
    np.testing.assert_allclose(run[found.outputs[0]], wanted, rtol=1e-4, atol=1e-5)
    made = hwsim.quantize(model, x, bits="w8a8")
    ops = [type(node.op) for node in made.graph.nodes]
    assert not {Transpose, Thresholds} & set(ops)
    ours = hwsim.emulate(made.graph, x[:6])
    assert ours.tolist() == executed(made.proto, x[:6]).tolist()
    assert made.sqnr > 30


@pytest.mark.parametrize("name", FILES)
def test_a_file_keeps_its_numbers_and_has_no_transpose_and_no_threshold(name):
    check(FILES[name](seeded(2)))


@pytest.mark.parametrize("name", FILES)
def test_biases_and_norms_in_parts_are_in_the_layers(name):
    model = FloatModel.of(FILES[name](seeded(3)), Path("keras.onnx"))
    layers = [node for node in model.nodes if node.op_type in WEIGHTED]
    assert all(len(node.input) > 2 for node in layers)
    lines = [node for node in model.nodes if node.op_type in ("Mul", "Sub", "Add")]
    assert all(not model.constants.keys() & set(node.input) for node in lines)


def test_a_line_that_is_read_twice_stays_outside_and_the_numbers_stay():
    k = KerasFile(seeded(4))
    x = k.conv("keras_tensor", 1, 4, 3, pad=1)
    y = k.do("Mul", x, k.drawn(1, 1, 1, 4, middle=1.0))
    both = k.do("Add", k.do("Relu", y), x)
    model = k.file(k.dense(k.flat(both, 256), 256, 10), (8, 8, 1), (10,))
    found = FloatModel.of(model, Path("keras.onnx"))
    assert [node.op_type for node in found.nodes].count("Mul") == 1
    x = samples(model, 9)
    (run,) = found.run([{found.inputs[0]: x}], found.outputs)
    np.testing.assert_allclose(run[found.outputs[0]], reals(model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.needs("keras")
def test_keras_own_files_are_such(tmp_path):
    import keras
    from keras import layers

    keras.utils.set_random_seed(seeded(5) % 2**31)
    taken = keras.Input((8, 8, 1))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(taken)))
    x = layers.SeparableConv2D(12, 3, activation="relu")(layers.MaxPooling2D()(x))
    x = layers.Dense(10)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(taken, x)
    model.compile()
    model.predict(np.zeros((1, 8, 8, 1), np.float32), verbose=0)
    for weight in model.weights:  # norms that do something
        weight.assign(weight + 0.2)
    model.export(tmp_path / "keras.onnx", format="onnx", verbose=False)
    check(onnx.load(tmp_path / "keras.onnx"))
