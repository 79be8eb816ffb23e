"""A Graph that is written for hls4ml gives the emulator's codes in hls4ml's compiled simulation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.cli_calls import refused, run, tiny
from support.hls4ml_heads import dense_heads, layers
from support.hls4ml_models import Model, csim
from support.hls4ml_written import image_heads, line_heads, quantized
from support.seeds import seeded
from support.small_graphs import network

import hwsim
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import ArgMax, Cast, Dense, MaxPool, Mul, Quant, TensorType, Window

pytestmark = pytest.mark.needs("hls4ml")
SAMPLES = 2000


def data(graph: Graph, seed: int):
    """Reals on and off the grid, some far outside every format."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2, (SAMPLES, *graph.inputs[0].type.shape))
    x[: SAMPLES // 4] = np.round(x[: SAMPLES // 4] * 16) / 16
    x[SAMPLES // 4 : SAMPLES // 3] *= 20
    return x


def reals(graph: Graph, x) -> dict:
    """What each output shows, exactly, one row a sample."""
    edges = hwsim.trace(graph, x)
    found = {}
    for port in graph.outputs:
        kind = graph.types()[port.tensor]
        codes = edges[port.tensor].astype(np.float64) - kind.zero_point
        found[port.name] = (codes * np.array(kind.scales())).reshape(len(x), -1)
    return found


def check(graph: Graph, folder, seed: int, *, read: bool = True, **options) -> int:
    """The compiled simulation of a graph's project equals the emulator, and so does the reader."""
    x = data(graph, seed)
    want = list(reals(graph, x).values())
    model = hwsim.to_hls4ml(graph, folder, **options)
    if read:
        again = list(reals(hwsim.load(model), x).values())
        for a, b in zip(want, again, strict=True):
            assert (a == b).all()
    compared = varied = 0
    for port, a, (name, b) in zip(graph.outputs, want, csim(model, x).items(), strict=True):
        assert (a == b).all(), f"{port.name} ({name}): {int((a != b).sum())} of {a.size} differ"
        compared += a.size
        varied += len(np.unique(a)) > 1
    assert 2 * varied > len(want)  # some formats are so odd that they hold nothing
    return compared


pytestmark = [pytestmark, pytest.mark.filterwarnings("ignore::hwsim.InputSaturation")]


def test_an_image_network_gives_the_emulators_codes(tmp_path):
    assert check(image_heads(1, stream=False), tmp_path, 1) > 100_000


def test_dense_layers_and_tables_give_the_emulators_codes_under_vivado(tmp_path):
    assert check(line_heads(2), tmp_path, 2, backend="Vivado") > 100_000


def same_again(graph: Graph, folder, seed: int, **options) -> None:
    """What is written and read back gives the same reals, whatever the input."""
    x = data(graph, seed)
    again = hwsim.load(hwsim.to_hls4ml(graph, folder, **options))
    want, got = reals(graph, x), reals(again, x)
    for a, b in zip(want.values(), got.values(), strict=True):
        assert (a == b).all() and len(np.unique(a)) > 1


def test_powers_of_two_of_a_runtime_are_read_back_as_they_were(tmp_path):
    for io_type in ("io_parallel", "io_stream"):
        same_again(quantized(3), tmp_path, 3, io_type=io_type)


def test_one_weight_code_off_is_noticed(tmp_path):
    """The comparisons would see a difference: the mutant of the tests above."""
    graph = quantized(3)
    (op,) = [node.op for node in graph.nodes if node.op.kind == "dense"]
    (name,) = [node.name for node in graph.nodes if node.op.kind == "dense"]
    wrong = op.weights.copy()
    wrong[0, 0] += 1 if wrong[0, 0] < 0 else -1
    other = graph.with_op(name, replace(op, weights=wrong))
    again = hwsim.load(hwsim.to_hls4ml(other, tmp_path))
    x = data(graph, 3)
    pairs = zip(reals(graph, x).values(), reals(again, x).values(), strict=True)
    assert any((a != b).any() for a, b in pairs)


def looked_up(folder) -> Graph:
    """A classifier of hls4ml with tables: softmax, sigmoid, tanh, softplus."""
    model = Model(5, (4, 4, 2), given="fixed<12,5>")
    types = {"weight": "fixed<8,3>", "bias": "fixed<8,3>", "accum": "fixed<24,10>"}
    conv = model.conv("x", 3, (3, 3), types | {"result": "fixed<14,6>"}, pads=(1, 1, 1, 1))
    scores = model.dense(model.reshape(conv, 48), 5, types | {"result": "fixed<16,6>"})
    options = {"axis": -1, "n_in": 5, "activation": "softmax"}
    model.add("Softmax", [scores], (5,), {"result": "fixed<16,6>"}, {}, **options)
    for name in ("sigmoid", "tanh", "softplus"):
        model.activation(scores, name, {"result": "fixed<12,4>"})
    return hwsim.load(model.build(folder))


def test_a_softmax_and_other_tables_are_read_back_as_they_were(tmp_path):
    same_again(looked_up(tmp_path / "first"), tmp_path / "again", 6)


@pytest.mark.slow
def test_a_softmax_and_other_tables_give_the_emulators_codes(tmp_path):
    assert check(looked_up(tmp_path / "first"), tmp_path / "again", 6) == SAMPLES * 20


def test_a_flatten_that_a_stream_would_lose_is_refused(tmp_path):
    graph = line_heads(2)
    with pytest.raises(HwsimError, match="flattened in a stream must be read by dense layers"):
        hwsim.to_hls4ml(graph, tmp_path, io_type="io_stream")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 13))
@pytest.mark.parametrize("backend", ["Vitis", "Vivado"])
def test_image_networks_give_the_emulators_codes(seed, backend, tmp_path):
    for stream in (False, True):
        io_type = "io_stream" if stream else "io_parallel"
        graph = image_heads(seed, stream=stream)
        check(graph, tmp_path / io_type, seed, backend=backend, io_type=io_type)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 22))
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_lines_and_runtimes_of_integers_give_the_emulators_codes(seed, io_type, tmp_path):
    stream = io_type == "io_stream"
    check(line_heads(seed, stream=stream), tmp_path / "line", seed, io_type=io_type)
    options = {"strategy": "Resource", "reuse_factor": 2}
    check(quantized(seed), tmp_path / "int", seed, io_type=io_type, **options)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30, 32))
@pytest.mark.parametrize("stream", [False, True])
def test_what_was_read_from_hls4ml_goes_back(seed, stream, tmp_path):
    io_type = "io_stream" if stream else "io_parallel"
    first = layers(seed, stream).build(tmp_path / "first", stream=stream)
    check(hwsim.load(first), tmp_path / "again", seed, io_type=io_type)
    heads = dense_heads(seed, Strategy="Resource", ReuseFactor=4)
    check(hwsim.load(heads.build(tmp_path / "heads")), tmp_path / "more", seed)


def test_weights_go_through_decimal_text_unchanged(tmp_path):
    fmt = Format(True, 3, 1)
    weights = np.arange(fmt.min, fmt.max + 1).repeat(2).reshape(8, 4)
    op = Dense(weights=weights, bias=np.arange(4), weight_format=fmt, bias_frac=3)
    port = InputPort(name="x", tensor="x", type=TensorType((8,), Format.int(6)))
    graph = Graph((port,), (Node("d", op, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))
    (node,) = hwsim.load(hwsim.to_hls4ml(graph, tmp_path)).nodes
    left = node.op.weight_format.frac_bits - fmt.frac_bits
    assert (node.op.weights == weights * 2.0**left).all()


def test_it_is_a_command_that_writes_the_project(tmp_path, capsys):
    graph = line_heads(4)
    graph.save(tmp_path / "m.hwsim")
    call = ("to-hls4ml", tmp_path / "m.hwsim", "-o", tmp_path / "project", "--backend", "Vivado")
    status, out, _ = run(capsys, *call, "--json")
    facts = json.loads(out)
    assert status == 0 and facts["backend"] == "Vivado" and len(facts["layers"]) > 5
    assert (tmp_path / "project" / "firmware" / "myproject.cpp").is_file()
    status, out, _ = run(capsys, *call)
    assert status == 0 and "Conv1D" in out and "UnaryLUT" in out


def test_all_that_cannot_be_written_is_listed_and_nothing_is_written(tmp_path, capsys):
    graph = network()
    nodes = (*graph.nodes, Node("best", ArgMax(), ("scores",), "class"))
    graph = replace(graph, nodes=nodes, outputs=(OutputPort(name="y", tensor="class"),))
    graph.save(tmp_path / "m.hwsim")
    said = refused(capsys, "to-hls4ml", tmp_path / "m.hwsim", "-o", tmp_path / "project")
    for part in (
        "input 'x': input 'x' must have scales that are powers of two, not 0.05",
        "node 'to8' (requantize)",
        "node 'best' (argmax): hls4ml has no layer that computes it",
    ):
        assert part in said
    assert not (tmp_path / "project").exists()


def test_bad_calls_are_refused_in_a_sentence(tmp_path):
    for given, sentence in (
        ({"backend": "Quartus"}, "backend must be Vitis or Vivado, not 'Quartus'"),
        ({"io_type": "io"}, "io_type must be io_parallel or io_stream, not 'io'"),
        ({"strategy": "DA"}, "Resource, Resource_Unrolled or Distributed_Arithmetic, not 'DA'"),
        (
            {"strategy": "Distributed_Arithmetic", "reuse_factor": 2},
            "reuse_factor must be 1 for Distributed_Arithmetic, not 2",
        ),
        ({"reuse_factor": 0}, "reuse_factor must be a whole number from 1 on, not 0"),
    ):
        with pytest.raises(HwsimError, match=sentence):
            hwsim.to_hls4ml(tiny(), tmp_path, **given)


def test_scales_that_are_no_powers_of_two_are_left_to_the_user_where_asked(tmp_path):
    weights = np.arange(12).reshape(4, 3) - 6
    op = Dense(
        weights=weights, bias=np.array([5, 0, -7]), weight_format=Format.int(4), zero_point=3
    )
    kind = TensorType((4,), Format.uint(8), Quant((0.1,), 3))
    port = InputPort(name="x", tensor="x", type=kind)
    graph = Graph((port,), (Node("d", op, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))
    with pytest.raises(HwsimError, match=r"input 'x' must have scales .* integers=True"):
        hwsim.to_hls4ml(graph, tmp_path)
    again = hwsim.load(hwsim.to_hls4ml(graph, tmp_path, integers=True))
    codes = np.random.default_rng(seeded(5)).integers(0, 256, (200, 4))
    want = hwsim.emulate(graph, codes, codes=True)
    assert (hwsim.emulate(again, codes - 3.0) == want).all()


def test_a_cast_by_channel_has_no_like(tmp_path):
    cast = Cast.by_channel(
        [Format.int(4), Format.int(5)], rounding=hwsim.Rounding.TRN, overflow=hwsim.Overflow.SAT
    )
    graph = tiny()
    nodes = (*graph.nodes, Node("cast", cast, ("y",), "z"))
    graph = replace(graph, nodes=nodes, outputs=(OutputPort(name="z", tensor="z"),))
    with pytest.raises(HwsimError, match=r"node 'cast' \(cast\): .* not to one for each channel"):
        hwsim.to_hls4ml(graph, tmp_path)


def test_windows_that_overlap_are_written_for_streams_of_lines_alone(tmp_path):
    for shape, kernel in (((6, 2), (3,)), ((6, 6, 2), (3, 3))):
        port = InputPort(name="x", tensor="x", type=TensorType(shape, Format.int(4)))
        pool = Node("m", MaxPool(window=Window(kernel, (1,) * len(kernel))), ("x",), "y")
        graph = Graph((port,), (pool,), (OutputPort(name="y", tensor="y"),))
        hwsim.to_hls4ml(graph, tmp_path / f"parallel{len(kernel)}")
        if len(kernel) == 1:
            made = hwsim.to_hls4ml(graph, tmp_path / "stream", io_type="io_stream")
            x = np.random.default_rng(seeded(6)).integers(-8, 8, (20, *shape)).astype(np.float32)
            assert (
                hwsim.emulate(hwsim.load(made), x) == hwsim.emulate(graph, x).reshape(20, -1)
            ).all()
            continue
        with pytest.raises(HwsimError, match="a stride of its size to be streamed"):
            hwsim.to_hls4ml(graph, tmp_path / "stream", io_type="io_stream")


def test_one_signed_bit_that_saturates_symmetrically_has_no_like(tmp_path):
    """Here only 0 is left of it; ap_fixed leaves -1, too."""
    one = Cast(out=Format(True, 1, 0), overflow=Overflow.SAT_SYM)
    port = InputPort(name="x", tensor="x", type=TensorType((3,), Format.int(4)))
    graph = Graph((port,), (Node("one", one, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))
    assert hwsim.emulate(graph, np.array([[-3.0, 0.0, 3.0]])).tolist() == [[0.0, 0.0, 0.0]]
    with pytest.raises(HwsimError, match=r"one signed bit must not saturate symmetrically"):
        hwsim.to_hls4ml(graph, tmp_path / "project")


def test_tensors_that_broadcast_have_no_like(tmp_path):
    port = InputPort(name="x", tensor="x", type=TensorType((3, 2), Format.int(4)))
    other = replace(port, name="z", tensor="z", type=TensorType((2,), Format.int(4)))
    nodes = (Node("mul", Mul(), ("x", "z"), "y"),)
    graph = Graph((port, other), nodes, (OutputPort(name="y", tensor="y"),))
    with pytest.raises(HwsimError, match=r"one shape, .* not \(3, 2\) and \(2,\)"):
        hwsim.to_hls4ml(graph, tmp_path)


def test_a_missing_hls4ml_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "hls4ml", None)
    with pytest.raises(HwsimError, match="to_hls4ml needs hls4ml, which must be installed"):
        hwsim.to_hls4ml(tiny(), tmp_path)


def test_a_transpose_that_keeps_the_order_may_be_left_out_by_hls4ml(tmp_path, rng):
    """A map of one channel, channels first: hls4ml takes it channels last, the same numbers."""
    graph = hwsim.load("examples/hls4ml/digits.hwsim")
    x = np.round(rng.uniform(0, 2, (200, 1, 8, 8)) * 16) / 16
    again = hwsim.load(hwsim.to_hls4ml(graph, tmp_path))
    assert again.inputs[0].type.shape == (8, 8, 1)
    want, got = hwsim.emulate(graph, x), hwsim.emulate(again, x.reshape(200, 8, 8, 1))
    assert np.array_equal(want, got)
