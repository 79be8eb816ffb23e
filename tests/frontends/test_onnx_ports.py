"""Ports that hold codes themselves, or reals, in any mix: what ONNX Runtime takes and gives."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.cli_calls import run
from support.onnx_builder import Q
from support.onnx_compare import assert_same_arrays, load
from support.onnx_nets import Net, feed, typed
from support.onnx_qlinear import qlinear_conv
from support.onnx_run import run_ort

import hwsim
from hwsim import Graph, HwsimError
from hwsim.graph import OutputPort
from hwsim.reporting.folder import read_graph
from hwsim.verification import codes_of

QUANTITIES = {
    "uint8": Q("uint8", 0.03, 117),
    "int8": Q("int8", 0.03, -5),
    "uint16": Q("uint16", 0.0003, 31_000),
    "int16": Q("int16", 0.0003, -700),
}
REAL = "float32"
DIGITS = Path("examples/hls4ml/digits.hwsim")


def dense_net(source: str, given: str, answer: str) -> onnx.ModelProto:
    """A dense layer of type `source` whose ports are of its type or real."""
    n, q = Net(source), QUANTITIES[source]
    y = Q(source, q.scale * 20, q.zero_point)
    x = n.input("x", (12,), given)
    if given == REAL:
        x = n.do("QuantizeLinear", x, *n.parameters("x", q))
    else:
        n.parameters("x", q)
    x = n.do("DequantizeLinear", x, "x_scale", "x_zero_point")
    w = n.constant("w", n.rng.integers(-127, 128, (12, 7)).astype(np.int8))
    w = n.do("DequantizeLinear", w, *n.parameters("ws", Q("int8", 0.01, 0)))
    out = n.do("QuantizeLinear", n.do("MatMul", x, w), *n.parameters("y", y))
    if answer == REAL:
        out = n.do("DequantizeLinear", out, "y_scale", "y_zero_point")
    return typed(n, (out, 2, answer))


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.parametrize("ends", ["integers in and out", "integers in", "integers out", "reals"])
@pytest.mark.parametrize("source", ["uint8", "int8"])
def test_arrays_come_back_as_the_runtime_gives_them(
    source: str, ends: str, tmp_path: Path, seed: int
) -> None:
    given = source if "in" in ends.split() else REAL
    answer = source if "out" in ends.split() else REAL
    model = dense_net(source, given, answer)
    assert_same_arrays(load(model, tmp_path), model, feed(model, seed))


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.parametrize("source", ["uint16", "int16"])
def test_ports_of_16_bits_take_and_give_their_own_type(
    source: str, tmp_path: Path, seed: int
) -> None:
    """The layer itself runs in float32 there, so only the way in and out is compared."""
    model = dense_net(source, source, source)
    graph, x = load(model, tmp_path), feed(model, seed)["x"]
    assert [p.element for p in (*graph.inputs, *graph.outputs)] == [source, source]
    got = hwsim.emulate(graph, x)
    assert got.dtype == np.dtype(source)
    assert np.array_equal(got, hwsim.emulate(graph, x, codes=True))


def test_a_qlinear_map_of_uint8_keeps_its_layout(tmp_path: Path, seed: int) -> None:
    model = qlinear_conv(ends=False)
    assert_same_arrays(load(model, tmp_path), model, feed(model, seed))


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("rank", [2, 4])
def test_argmax_has_the_runtimes_shape_and_type(
    rank: int, keep: int, tmp_path: Path, seed: int
) -> None:
    n = Net()
    x = n.dense(n.start(12), 7, 12) if rank == 2 else n.conv(n.start(3, 6, 5), 3, 4)
    out = n.do("ArgMax", x, axis=1, keepdims=keep)
    model = n.model((out, rank - 1 + keep, "int64"))
    assert_same_arrays(load(model, tmp_path), model, feed(model, seed))


def integer_graph(tmp_path: Path) -> Graph:
    return load(dense_net("uint8", "uint8", "uint8"), tmp_path)


def test_wider_integers_at_an_integer_port_are_codes_and_reals_are_reals(
    tmp_path: Path, seed: int
) -> None:
    graph, q = integer_graph(tmp_path), QUANTITIES["uint8"]
    x = np.random.default_rng(seed).integers(0, 256, (9, 12)).astype(np.uint8)
    expected = hwsim.emulate(graph, x)
    for same in (x.astype(np.int64), x.astype(np.int16), x.tolist(), q.real(x)):
        assert np.array_equal(hwsim.emulate(graph, same), expected)
    edge = graph.inputs[0].tensor
    assert np.array_equal(hwsim.trace(graph, x)[edge], x)


@pytest.mark.parametrize("bad", [-1, 256])
def test_a_code_out_of_range_is_refused(tmp_path: Path, bad: int) -> None:
    graph, x = integer_graph(tmp_path), np.zeros((2, 12), np.int64)
    x[1, 3] = bad
    ends = f"{min(bad, 0)} to {max(bad, 0)}"
    with pytest.raises(HwsimError, match=f"'x' must hold uint8 codes from 0 to 255, not {ends}$"):
        hwsim.emulate(graph, x)


def test_pixels_in_uint8_at_a_port_of_reals_stay_reals(tmp_path: Path) -> None:
    graph = load(dense_net("uint8", REAL, REAL), tmp_path)
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 12) % 4
    assert np.array_equal(hwsim.emulate(graph, pixels), hwsim.emulate(graph, pixels * 1.0))


def test_another_array_namespace_gives_the_same_arrays(tmp_path: Path, seed: int) -> None:
    xp = pytest.importorskip("array_api_strict")
    n = Net("uint8")
    x = n.do("Reshape", n.input("x", (90,), "uint8"), n.ints(-1, 3, 6, 5))
    n.parameters("x", QUANTITIES["uint8"])
    x = n.conv(n.do("DequantizeLinear", x, "x_scale", "x_zero_point"), 3, 4, 0.02)
    turned = n.do("Transpose", n.do("Tanh", x), perm=[0, 2, 3, 1])
    best = n.do("ArgMax", x, axis=1, keepdims=0)
    model = n.model((turned, 4, REAL), (best, 3, "int64"))
    graph, codes = load(model, tmp_path), feed(model, seed)["x"]
    assert_same_arrays(graph, model, {"x": codes})
    expected = hwsim.emulate(graph, codes)
    got = hwsim.emulate(graph, xp.asarray(codes), xp=xp)
    for name, array in expected.items():
        assert str(got[name].dtype) == f"array_api_strict.{array.dtype}"
        assert np.array_equal(np.asarray(got[name]), array)


# output_dtype


KINDS = {
    "UINT8": TensorProto.UINT8, "INT8": TensorProto.INT8, "INT16": TensorProto.INT16,
    "UINT16": TensorProto.UINT16, "INT4": TensorProto.INT4, "UINT4": TensorProto.UINT4,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.parametrize("where", ["activation", "weights"])
@pytest.mark.parametrize("kind", KINDS)
def test_output_dtype_without_a_zero_point_is_the_type_of_the_codes(
    kind: str, where: str, tmp_path: Path, seed: int
) -> None:
    n, wide = Net(), "16" in kind
    typed_one: dict[str, Any] = {"output_dtype": KINDS[kind]}
    scale = n.constant("s", np.float32(0.0011 if wide else 0.31 if "4" in kind else 0.0213))
    x, w = n.input("x", (12,)), n.constant("w", n.rng.normal(0, 1, (12, 7)).astype(np.float32))
    if where == "weights":
        w = n.do("DequantizeLinear", n.do("QuantizeLinear", w, scale, **typed_one), scale)
        x = n.qdq(x, Q("uint8", 0.03, 120))
    else:
        x = n.do("DequantizeLinear", n.do("QuantizeLinear", x, scale, **typed_one), scale)
        w = n.qdq(w, Q("int8", 0.02, 0))
    out = n.round(n.do("MatMul", x, w), 0.9)
    model = typed(n, (out, 2, REAL))
    assert_same_arrays(load(model, tmp_path), model, feed(model, seed))


def test_output_dtype_and_zero_point_must_agree(tmp_path: Path) -> None:
    n = Net()
    x = n.do("QuantizeLinear", n.input("x", (3,)), *n.parameters("q", Q("int8", 0.1, 0)))
    n.nodes[-1].attribute.append(helper.make_attribute("output_dtype", TensorProto.UINT8))
    graph = helper.make_graph(
        n.nodes, "g", n.inputs, [helper.make_tensor_value_info(x, 2, ["N", 3])], n.constants
    )
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    with pytest.raises(HwsimError, match="'output_dtype' must be int8 like its zero point, not"):
        hwsim.load(tmp_path / "m.onnx")


# On the command line, in files and in a build


def test_the_command_line_takes_and_writes_the_runtimes_arrays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    model = dense_net("uint8", "uint8", "uint8")
    onnx.save(model, tmp_path / "m.onnx")
    feeds = feed(model, seed)
    np.save(tmp_path / "x.npy", feeds["x"])
    where = ["--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"]
    assert run(capsys, "emulate", tmp_path / "m.onnx", *where)[0] == 0
    (expected,) = run_ort(model, feeds).outputs.values()
    got = np.load(tmp_path / "y.npy")
    assert got.dtype == expected.dtype and np.array_equal(got, expected)
    facts = json.loads(run(capsys, "inspect", tmp_path / "m.onnx", "--json")[1])
    assert [p["element"] for p in (*facts["inputs"], *facts["outputs"])] == ["uint8", "uint8"]


def test_a_build_names_its_element_types_and_verify_reads_the_users_array(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    model = dense_net("uint8", "uint8", REAL)
    onnx.save(model, tmp_path / "m.onnx")
    x = feed(model, seed)["x"]
    folder = tmp_path / "build"
    assert run(capsys, "build", tmp_path / "m.onnx", "--out", folder, "--rtl-only")[0] == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [p["element"] for p in manifest["inputs"] + manifest["outputs"]] == ["uint8", "real"]
    assert "| uint8 |" in (folder / "README.md").read_text()
    assert np.array_equal(codes_of(read_graph(folder), {"x": x})["x"], x)


def test_a_saved_graph_keeps_element_types_and_views(tmp_path: Path, seed: int) -> None:
    graph = integer_graph(tmp_path)
    graph.save(tmp_path / "g.hwsim")
    again = Graph.load(tmp_path / "g.hwsim")
    assert (again.inputs, again.outputs) == (graph.inputs, graph.outputs)
    assert again.hash() == graph.hash()


def test_a_graph_saved_before_ports_had_types_loads_with_its_hash() -> None:
    data = DIGITS.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    document = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["hwsim"])
    assert "element" not in document["inputs"][0]
    assert hwsim.load(DIGITS).hash() == document["sha256"]


def test_an_output_has_a_real_for_each_code(tmp_path: Path) -> None:
    graph = integer_graph(tmp_path)
    (port,) = graph.outputs
    squares = tuple(float(code * code) for code in range(256))
    shown = replace(graph, outputs=(replace(port, element=None, reals=squares),))
    x = np.arange(24, dtype=np.uint8).reshape(2, 12)
    codes = hwsim.emulate(graph, x).astype(np.float32)
    assert np.array_equal(hwsim.emulate(shown, x), codes * codes)
    shown.save(tmp_path / "g.hwsim")
    assert Graph.load(tmp_path / "g.hwsim").outputs == shown.outputs
    with pytest.raises(HwsimError, match="must have a real for each of 256 codes, not 255"):
        replace(shown, outputs=(replace(port, element=None, reals=squares[1:]),))


def test_a_port_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(HwsimError, match=r"port 'y' must be of one of the types uint8, .*'float8'"):
        OutputPort(name="y", tensor="y", element="float8")
