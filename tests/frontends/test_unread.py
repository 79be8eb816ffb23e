"""Models that no front end reads: each refusal says what the model is, and the way in."""

from __future__ import annotations

import importlib
import re
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import hwsim
from hwsim import HwsimError
from hwsim.frontends import FILES, OBJECTS
from hwsim.frontends.onnx.qdq import HANDLERS
from hwsim.frontends.onnx.refusals import ADVICE, unsupported
from hwsim.frontends.unread import UNREAD, spelled

MODEL = "examples/models/digits_cnn_int8.onnx"


def sentence(model: object) -> str:
    with pytest.raises(HwsimError) as refused:
        hwsim.load(model)
    text = str(refused.value)
    assert "\n" not in text and len(text) < 400
    return text


@pytest.mark.parametrize(
    ("name", "kind", "way"),
    [
        ("m.pt", "a PyTorch file", "torch.onnx.export"),
        ("M.PTH", "a PyTorch file", "quantize_static"),
        ("m.keras", "a Keras model", "format='onnx'"),
        ("m.h5", "a Keras model", "hls4ml"),
        ("m.pb", "a TensorFlow model", "--saved-model"),
        ("m.ort", "an optimized ONNX Runtime file", "the .onnx file"),
    ],
)
def test_files_of_other_kinds_are_named_with_the_way_from_them(name, kind, way):
    text = sentence(name)
    assert text.startswith(
        f"a model must be a file that ends in {' or '.join(FILES)}, not {name!r}"
    )
    assert kind in text and way in text.partition("the way:")[2]


def test_a_tensorflow_folder_is_known_by_its_file_and_other_names_have_no_way(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    assert "--saved-model" in sentence(tmp_path)
    assert sentence("m.bin").endswith("not 'm.bin'")


def onnx_file(tmp_path, *ops: str):
    """A model of one matrix product in so many operators, none of them a static quantizer."""
    nodes = []
    if "DynamicQuantizeLinear" in ops:
        nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]))
        nodes.append(helper.make_node("MatMulInteger", ["q", "w", "z"], ["y"]))
        weights, kind = np.eye(4, dtype=np.int8), TensorProto.INT32
    else:
        nodes.append(helper.make_node("MatMul", ["x", "w"], ["y"]))
        weights, kind = np.eye(4, dtype=np.float32), TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("y", kind, [None, 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph), path)
    return path


def test_a_float_model_is_told_what_quantizes_it(tmp_path):
    text = sentence(onnx_file(tmp_path))
    assert "m.onnx must be quantized, but has no QuantizeLinear" in text
    assert "quantize_static" in text


def test_a_dynamically_quantized_model_is_told_why_and_what_else(tmp_path):
    text = sentence(onnx_file(tmp_path, "DynamicQuantizeLinear"))
    assert "DynamicQuantizeLinear, MatMulInteger finds them anew for each input" in text
    assert "instead of quantize_dynamic use onnxruntime.quantization.quantize_static" in text


def test_a_model_in_memory_is_the_model_of_its_file():
    assert hwsim.load(onnx.load(MODEL)).hash() == hwsim.load(MODEL).hash()


def test_a_model_in_memory_never_reads_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.bin").write_bytes(bytes(64))
    proto = onnx.load(onnx_file(tmp_path))
    (weights,) = proto.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="w.bin")
    assert "'w' must be in it, not in a file beside it" in sentence(proto)


def test_other_objects_are_named(tmp_path):
    assert sentence(3).endswith("not int")

    class Model:
        __module__ = "keras.src.models.model"

    assert "which is a Keras model" in sentence(Model())


@pytest.mark.needs("torch")
def test_a_torch_module_is_told_the_exporter():
    import torch

    text = sentence(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    assert "must be quantized" in text
    assert "not a float Sequential; the way: hwsim.quantize(module, images), or torch" in text


def test_a_suffix_that_is_read_is_not_also_refused():
    assert not FILES.keys() & UNREAD.keys()


@pytest.mark.parametrize("module", sorted({*FILES.values(), *OBJECTS.values()}))
def test_each_front_end_reads_what_its_tables_say(module):
    found = importlib.import_module(module)
    assert callable(found.read if module in FILES.values() else found.read_object)
    assert callable(found.read_object if module in OBJECTS.values() else found.read)


def test_a_refusal_names_all_that_is_read():
    text = sentence(3)
    *others, last = map(spelled, OBJECTS)
    assert text == f"a model must be a file, {', '.join(others)} or {last}, not int"


def test_an_installed_package_reads_objects_of_its_class_and_of_those_that_derive_from_it(
    tmp_path, monkeypatch
):
    package, info = tmp_path / "hwsim_thing", tmp_path / "hwsim_thing-1.dist-info"
    package.mkdir(), info.mkdir()
    (package / "__init__.py").write_text("")
    (package / "read.py").write_text("def read_object(model):\n    return model.graph\n")
    (info / "METADATA").write_text("Name: hwsim-thing\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[hwsim.frontends]\nthing.Network = hwsim_thing.read\n.thing = hwsim_thing.read\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()

    class Network:
        __module__ = "thing.models"
        graph = hwsim.load(MODEL)

    class Trained(Network):
        pass

    assert hwsim.load(Trained()) is Network.graph
    assert sentence(3).startswith(
        f"a model must be a file, {', '.join(map(spelled, OBJECTS))} or a thing Network, not"
    )
    known = " or ".join((*FILES, ".thing"))
    assert f"that ends in {known}, not 'm.bin'" in sentence("m.bin")
    sys.modules.pop("hwsim_thing.read"), sys.modules.pop("hwsim_thing")


WRONG = {
    "nowhere.module": "must name a module that can be imported, not 'nowhere.module' "
    "(ModuleNotFoundError: No module named 'nowhere')",
    "broken_reader": "must name a module that can be imported, not 'broken_reader' "
    "(RuntimeError: half installed)",
    "math": "must name a module with 'read', not 'math'",
}


@pytest.mark.parametrize("named", WRONG)
def test_an_installed_package_that_reads_nothing_is_named_in_one_sentence(
    named, tmp_path, monkeypatch
):
    info = tmp_path / "half-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: half\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[hwsim.frontends]\n.half = {named}\n")
    (tmp_path / "broken_reader.py").write_text("raise RuntimeError('half installed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert sentence("m.half") == f"the entry point '.half' of hwsim.frontends {WRONG[named]}"


@pytest.mark.parametrize(
    ("op", "help_"),
    [
        ("LSTM", "write its steps out in Linear, Sigmoid, Tanh and Mul"),
        ("com.microsoft.DynamicQuantizeLSTM", "or let hls4ml convert the PyTorch or Keras model"),
        ("com.microsoft.DynamicQuantizeMatMul", "become fixed ones by onnxruntime.quantization"),
        ("com.microsoft.SkipLayerNormalization", "quantize the model as it was exported"),
        ("com.microsoft.nchwc.Conv", "what ONNX Runtime's optimizers write"),
        ("com.microsoft.MatMulNBits", "weights alone are quantized in such a model"),
        ("com.microsoft.QLinearWhere", "in the format QuantFormat.QDQ"),
        ("NonMaxSuppression", "what comes after the scores can be done outside of the model"),
    ],
)
def test_operators_without_a_rule_are_named_with_what_helps(op, help_):
    text = unsupported("m.onnx", [(op, "a"), (op, "b")])
    assert f"but has {op} ('a', 'b'); what helps: " in text
    assert help_ in text and "onnx.utils.extract_model" in text


def test_every_quantized_operator_of_onnxruntime_is_read_or_has_advice():
    """Of its own domain: those of the installed version, by name."""
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    names = {s.name for s in get_all_operator_schema() if s.domain == "com.microsoft"}
    quantized = {n for n in names if re.search(r"^Q[A-Z]|uantiz|Integer|Ordere|NBits|BFP", n)}
    known = {name for domain, name in HANDLERS if domain in ("com.microsoft", "")}
    assert len(quantized) > 30
    assert quantized - known - set(ADVICE) == set()
