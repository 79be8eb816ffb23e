"""Damaged, hostile and unsuitable model files: one sentence each, nothing else, little memory."""

from __future__ import annotations

import os
import pickle
import re
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import digits
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import onnx_models as om

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference

MODELS = Path(digits.__file__).parent / "models"
GOOD = (MODELS / "digits_dw_skip.onnx").read_bytes()
MEGABYTE = 1 << 20


def write(folder: Path, data: bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refusal(path: Path) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(hwsim.HwsimError) as caught:
        hwsim.load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.exit_status == 2
    return text


def altered(folder: Path, change: Callable[[onnx.ModelProto], None], **spec: Any) -> Path:
    """A good one-operator model with a change."""
    model = om.conv(**spec)
    change(model)
    return write(folder, model.SerializeToString())


def set_constant(model: onnx.ModelProto, name: str, value: Any) -> None:
    for constant in model.graph.initializer:
        if constant.name == name:
            constant.CopyFrom(numpy_helper.from_array(np.asarray(value), name))
            return
    raise AssertionError(f"no constant {name!r}")


def constant(model: onnx.ModelProto, name: str) -> TensorProto:
    return next(c for c in model.graph.initializer if c.name == name)


# Files


@pytest.mark.parametrize("kept", [1, 7, 100, 1000, 5000, len(GOOD) - 1])
def test_a_truncated_file_is_refused(kept: int, tmp_path: Path) -> None:
    text = refusal(write(tmp_path, GOOD[:kept]))
    assert text.startswith(f"{tmp_path / 'model.onnx'} must be ")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, b"")
    assert refusal(path) == f"{path} must be an ONNX model, but is empty"


def test_random_bytes_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    for size in (1, 10, 1000, 20_000):
        for _ in range(20):
            assert "must be" in refusal(write(tmp_path, rng.bytes(size)))


@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_cnn_asym", "digits_dw_skip"])
def test_flipped_bits_give_a_graph_or_one_sentence(
    name: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Half of them anywhere, half of them near names, since most bytes are weights."""
    good = (MODELS / f"{name}.onnx").read_bytes()
    structure = [i for i, b in enumerate(good) if not _inside_weights(good, i)]
    refused = 0
    for trial in range(400):
        data = bytearray(good)
        for _ in range(1 + trial % 3):
            place = (
                structure[rng.integers(len(structure))] if trial % 2 else rng.integers(len(data))
            )
            data[place] ^= 1 << rng.integers(8)
        path = write(tmp_path, bytes(data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = outcome(path)
        assert not text or str(path) in text
        refused += text != ""
    assert refused > 40


def outcome(path: Path) -> str:
    """The sentence that refuses a file; empty where it gives a graph."""
    try:
        hwsim.load(path)
    except hwsim.HwsimError as error:
        return str(error)
    return ""


def _inside_weights(data: bytes, place: int) -> bool:
    """Whether a byte lies in a long run without any name."""
    return not re.search(rb"[A-Za-z_]{4}", data[max(place - 24, 0) : place + 24])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: None, "must be an ONNX model that can be read (No such file or directory)"),
        (lambda p: p.mkdir(), "must be an ONNX model, not a folder"),
        (lambda p: os.mkfifo(p), "must be an ONNX model, not a special file"),
    ],
)
def test_what_is_not_a_file_is_refused(
    make: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    make(path)
    assert refusal(path) == f"{path} {said}"


class Touch:
    """A pickle that would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["model.onnx", "model.pkl", "model.hwsim"])
def test_a_pickle_is_refused_and_not_run(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, pickle.dumps(Touch(tmp_path / "made")), name)
    assert "must be" in refusal(path)
    assert not (tmp_path / "made").exists()


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, "model.bin")
    ends = ".onnx or .hwsim or .tflite or .xml or .pt2 or .pte"
    assert refusal(path) == f"a model must be a file that ends in {ends}, not '{path}'"


# Content


def test_all_unsupported_operators_are_listed_at_once(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        unknown = [
            helper.make_node("TopK", ["y"], ["s"], name="first"),
            helper.make_node("TopK", ["s"], ["t"], name="second"),
            helper.make_node("Odd", ["t"], ["u"], name="third", domain="my.own"),
        ]
        model.graph.node.extend(unknown)

    text = refusal(altered(tmp_path, change))
    assert "has TopK ('first', 'second'); my.own.Odd ('third'); what helps: what comes" in text
    assert (
        text.endswith("docs/frontends.md lists what is supported") and "GlobalMaxPool" not in text
    )


def test_of_many_unsupported_nodes_some_are_named_and_the_others_counted(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        for k in range(8):
            model.graph.node.append(helper.make_node("Odd", ["y"], [f"o{k}"], name=f"n{k}"))

    text = refusal(altered(tmp_path, change))
    assert "has Odd ('n0', 'n1', 'n2', 'n3', 'n4' and 3 more); what helps: onnx.utils" in text


def test_a_float_model_is_told_what_can_quantize_it() -> None:
    path = MODELS / "digits_dw_skip.float.onnx"
    text = refusal(path)
    assert text.startswith(f"{path} must be quantized, but has no QuantizeLinear")
    assert "onnxruntime.quantization" in text
    assert "Brevitas" in text


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("quantized", [True, False])
def test_a_recurrent_layer_is_told_how_it_can_be_written_out(
    op: str, quantized: bool, tmp_path: Path
) -> None:
    def change(model: onnx.ModelProto) -> None:
        if not quantized:
            del model.graph.node[:]
        model.graph.node.append(helper.make_node(op, ["x", "w", "r"], ["h"], hidden_size=4))

    text = refusal(altered(tmp_path, change))
    assert "write its steps out in Linear, Sigmoid, Tanh and Mul before quantize_static" in text
    assert "hls4ml" in text


@pytest.mark.parametrize("tensor", ["x_scale", "w_scale", "conv_scale"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -0.25])
def test_a_scale_must_be_finite_and_above_zero(value: float, tensor: str, tmp_path: Path) -> None:
    path = altered(
        tmp_path, lambda m: set_constant(m, tensor, np.float32(value)), per_channel=False
    )
    text = refusal(path)
    assert re.fullmatch(
        rf"{re.escape(str(path))}: \w+ '\w+': a scale must be a finite number above 0, not {value}",
        text,
    )


def rewire(model: onnx.ModelProto, op: str, position: int, name: str) -> None:
    next(n for n in model.graph.node if n.op_type == op).input[position] = name


def attribute(model: onnx.ModelProto, op: str, name: str, value: Any) -> None:
    node = next(n for n in model.graph.node if n.op_type == op)
    for old in [a for a in node.attribute if a.name == name]:
        node.attribute.remove(old)
    node.attribute.append(helper.make_attribute(name, value))


def float_weights(model: onnx.ModelProto) -> None:
    plain = numpy_helper.from_array(np.full((8, 4, 3, 3), np.nan, np.float32), "plain")
    model.graph.initializer.append(plain)
    rewire(model, "Conv", 1, "plain")


BAD_CONTENT: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "a tensor that nothing makes": (
        lambda m: rewire(m, "Conv", 0, "nowhere"),
        "Conv 'conv': input 0 must be a known tensor, not 'nowhere'",
    ),
    "a node that reads what it makes": (
        lambda m: rewire(m, "DequantizeLinear", 1, "x_dq"),
        "DequantizeLinear 'x_dq': tensor 'x_dq' must be made by a node before it",
    ),
    "a layer on the bare input": (
        lambda m: rewire(m, "Conv", 0, "x"),
        r"Conv 'conv': input 0 \('x'\) must be a quantized tensor \(behind QuantizeLinear",
    ),
    "float weights that are no numbers": (
        float_weights,
        "Conv 'conv': its weights must be finite floats",
    ),
    "a scale that is computed": (
        lambda m: rewire(m, "QuantizeLinear", 1, "x"),
        r"QuantizeLinear 'x_q': input 1 \('x'\) must be constant",
    ),
    "scales for other channels": (
        lambda m: set_constant(m, "w_scale", np.ones(5, np.float32)),
        "DequantizeLinear 'w_dq': ",
    ),
    "a zero point of another type": (
        lambda m: set_constant(m, "w_zero_point", np.zeros(8, np.uint8)),
        "DequantizeLinear 'w_dq': its zero point must be int8 like its codes, not uint8",
    ),
    "groups that do not fit": (
        lambda m: attribute(m, "Conv", "group", 3),
        r"Conv 'conv': weights of shape \(8, 4, 3, 3\) in 3 groups must fit an input of 4 channels",
    ),
    "strides of zero": (
        lambda m: attribute(m, "Conv", "strides", [0, 1]),
        "Conv 'conv': kernel and strides must be two numbers from 1 each",
    ),
    "an attribute of another type": (
        lambda m: attribute(m, "Conv", "group", "two"),
        "Conv 'conv': attribute 'group' must be an integer, not 'two'",
    ),
    "a bias that is not finite": (
        lambda m: set_constant(m, "bias_scale", np.full(8, 3e38, np.float32)),
        "Conv 'conv': its bias must be finite",
    ),
    "a kernel larger than its input": (
        lambda m: set_constant(m, "w_q", np.ones((8, 4, 9, 9), np.int8)),
        r"Conv 'conv': 'kernel_shape' must be \(9, 9\), not \(3, 3\)",
    ),
    "no batch": (
        lambda m: m.graph.input[0].type.tensor_type.shape.Clear(),
        "input 'x' must have a batch axis and then fixed sizes",
    ),
    "a free size": (
        lambda m: m.graph.input[0].type.tensor_type.shape.dim[2].Clear(),
        r"input 'x' must have a batch axis and then fixed sizes, not \(None, 4, None, 6\)",
    ),
    "a sequence as input": (
        lambda m: m.graph.input[0].type.sequence_type.elem_type.tensor_type.Clear(),
        "port 'x' must be a tensor",
    ),
    "an output that nothing makes": (
        lambda m: setattr(m.graph.output[0], "name", "nowhere"),
        "output 'nowhere': it must be computed from the graph's inputs",
    ),
    "no nodes": (lambda m: m.graph.ClearField("node"), "must be an ONNX model, but holds no graph"),
    "a node without an output": (
        lambda m: m.graph.node[0].ClearField("output"),
        "node 'x_q' must have an output",
    ),
}


@pytest.mark.parametrize("case", BAD_CONTENT)
def test_unsuitable_content_is_named(case: str, tmp_path: Path) -> None:
    change, said = BAD_CONTENT[case]
    path = altered(tmp_path, change)
    text = refusal(path)
    assert text.startswith(str(path))
    assert re.search(said, text), text


# External data


def external(model: onnx.ModelProto, **entries: str) -> None:
    """Let the weights live in another file."""
    w = constant(model, "w_q")
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        w.external_data.add(key=key, value=value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The model's folder, with a file outside that must not be read and a link that leads there."""
    inside = tmp_path / "model"
    inside.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(288))
    (inside / "link.bin").symlink_to(secret)
    (inside / "data.bin").write_bytes(bytes(300))
    return inside


@pytest.mark.parametrize("location", ["../secret.bin", "a/../../secret.bin", "link.bin"])
def test_external_data_outside_the_folder_is_refused(location: str, folder: Path) -> None:
    text = refusal(altered(folder, lambda m: external(m, location=location)))
    assert text.endswith(
        "tensor 'w_q' must have its external data in the model's folder, but "
        f"{location!r} leaves it"
    )


@pytest.mark.parametrize("location", ["/etc/hostname", "", r"C:\data.bin"])
def test_external_data_by_an_absolute_path_is_refused(location: str, folder: Path) -> None:
    text = refusal(altered(folder, lambda m: external(m, location=location)))
    assert text.endswith(f"tensor 'w_q' must name a file in the model's folder, not {location!r}")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"location": "none.bin"}, "cannot be read (No such file or directory)"),
        ({"location": "."}, "must have its external data in a regular file below 2 GiB"),
        ({"location": "data.bin"}, "must hold 288 bytes for shape (8, 4, 3, 3), not 300"),
        ({"location": "data.bin", "offset": "200"}, "must hold 288 bytes"),
        ({"location": "data.bin", "offset": "-5"}, "must lie inside 'data.bin' (300 bytes)"),
        ({"location": "data.bin", "length": "1" * 30}, "must lie inside 'data.bin' (300 bytes)"),
        (
            {"location": "data.bin", "length": "many"},
            "must have whole numbers as offset and length",
        ),
    ],
)
def test_external_data_must_fit(entries: dict[str, str], said: str, folder: Path) -> None:
    assert said in refusal(altered(folder, lambda m: external(m, **entries)))


def test_external_data_beside_the_model_is_read(folder: Path) -> None:
    model = om.conv()
    codes = numpy_helper.to_array(constant(model, "w_q"))
    (folder / "weights.bin").write_bytes(b"skip" + codes.tobytes())
    external(model, location="weights.bin", offset="4", length=str(codes.size))
    graph = hwsim.load(write(folder, model.SerializeToString()))
    assert np.array_equal(graph.nodes[0].op.weights, codes.transpose(2, 3, 1, 0))  # type: ignore[attr-defined]


# Small files that ask for much


def huge_dims(model: onnx.ModelProto) -> None:
    constant(model, "w_q").dims[:] = [1 << 20, 1 << 20, 3, 3]


def huge_empty_tensor(model: onnx.ModelProto) -> None:
    w = constant(model, "w_q")
    w.ClearField("raw_data")
    w.dims[:] = [1 << 30]


def huge_input(model: onnx.ModelProto) -> None:
    for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]:
        dim.dim_value = 1 << 16


def huge_dilation(model: onnx.ModelProto) -> None:
    attribute(model, "Conv", "dilations", [1 << 20, 1 << 20])


def huge_pads(model: onnx.ModelProto) -> None:
    attribute(model, "Conv", "pads", [1 << 20, 1 << 20, 1 << 20, 1 << 20])


def negative_dims(model: onnx.ModelProto) -> None:
    constant(model, "w_q").dims[:] = [-1, 4, 3, 3]


def unlike_data(model: onnx.ModelProto) -> None:
    constant(model, "w_q").raw_data = bytes(287)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (huge_dims, "tensor 'w_q' must hold 9895604649984 bytes for shape"),
        (huge_empty_tensor, "tensor 'w_q' must hold 1073741824 values for shape"),
        (huge_input, "input 'x' must have at most 67108864 elements"),
        (huge_dilation, "Conv 'conv': its dilated kernel must have at most 67108864 elements"),
        (huge_pads, "Conv 'conv': its padded input must have at most 67108864 elements"),
        (negative_dims, "tensor 'w_q' must have a shape without negative entries"),
        (unlike_data, "tensor 'w_q' must hold 288 bytes for shape (8, 4, 3, 3), not 287"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_a_tiny_file_cannot_take_much_memory(
    change: Callable[[onnx.ModelProto], None], said: str, tmp_path: Path
) -> None:
    path = altered(tmp_path, change)
    tracemalloc.start()
    try:
        text = refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert said in text
    assert peak < 16 * MEGABYTE


def test_a_pool_over_a_huge_kernel_is_refused(tmp_path: Path) -> None:
    model = om.pool("AveragePool")
    attribute(model, "AveragePool", "kernel_shape", [1 << 20, 1 << 20])
    attribute(model, "AveragePool", "pads", [(1 << 20) - 1] * 4)
    attribute(model, "AveragePool", "count_include_pad", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)
        text = refusal(write(tmp_path, model.SerializeToString()))
    assert "AveragePool 'pool': its padded input must have at most 67108864 elements" in text


def test_a_zero_point_that_is_no_whole_number_is_refused(tmp_path: Path) -> None:
    model = om.conv()
    node = next(n for n in model.graph.node if n.op_type == "QuantizeLinear")
    set_constant(model, node.input[2], np.float32(np.nan))
    refusal(write(tmp_path, model.SerializeToString()))


def test_a_slice_without_ends_is_refused(tmp_path: Path) -> None:
    model = om.conv()
    node = next(n for n in model.graph.node if n.op_type == "DequantizeLinear")
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "starts"))
    name, node.output[0] = node.output[0], "whole"
    at = list(model.graph.node).index(node)
    model.graph.node.insert(at + 1, helper.make_node("Slice", ["whole", "starts"], [name]))
    refusal(write(tmp_path, model.SerializeToString()))
