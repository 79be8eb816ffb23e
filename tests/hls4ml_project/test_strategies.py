"""Every strategy and reuse factor is written as one that hls4ml's C++ runs, and said."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from support.hls4ml_models import csim
from support.hls4ml_written import strategy_heads
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.hls4ml_project.project import OtherStrategy
from hwsim.hls4ml_project.strategy import KernelFamily, Strategy
from hwsim.hls4ml_project.write import RULES
from hwsim.ops import Add, Conv2D, Dense, TensorType, Window

pytestmark = [
    pytest.mark.needs("hls4ml"),
    pytest.mark.filterwarnings("ignore::hwsim.InputSaturation"),
    pytest.mark.filterwarnings("ignore::hwsim.hls4ml_project.project.OtherStrategy"),
]
SAMPLES = 500


def of_backend(terms: int, outputs: int, reuse: int) -> int:
    """The reuse factor that hls4ml takes for a dense layer."""
    import hls4ml

    backend = hls4ml.backends.get_backend("Vitis")
    valid = backend.get_valid_reuse_factors(terms, outputs)
    return int(backend.get_closest_reuse_factor(valid, reuse))


def test_reuse_factors_are_those_that_hls4ml_takes_for_a_dense_layer():
    compared = 0
    for terms, outputs in ((1, 1), (4, 3), (4, 6), (9, 4), (12, 5), (16, 16), (7, 1)):
        for reuse in (1, 2, 3, 4, 5, 6, 7, 8, 13, 24, 30, 100, 1000):
            made = Strategy("Resource", reuse, False).options(KernelFamily.DENSE, terms, outputs)
            assert made["ReuseFactor"] == of_backend(terms, outputs, reuse), (terms, outputs, reuse)
            compared += made["ReuseFactor"] != reuse
    assert compared > 40


def pointwise(folder, **options):
    """A 1 x 1 convolution of 4 channels, as hls4ml has it."""
    op = Conv2D(
        weights=np.arange(8).reshape(1, 1, 4, 2) - 4,
        bias=np.zeros(2, int),
        weight_format=Format.int(4),
        window=Window((1, 1), (1, 1), (0, 0, 0, 0)),
    )
    port = InputPort(name="x", tensor="x", type=TensorType((2, 2, 4), Format.int(4)))
    graph = Graph((port,), (Node("c", op, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))
    return hwsim.to_hls4ml(graph, folder, **options)


def test_a_reuse_factor_that_stops_csim_becomes_the_nearest_and_is_said(tmp_path):
    with pytest.warns(OtherStrategy) as said:
        made = pointwise(tmp_path, strategy="Resource", reuse_factor=3)
    assert str(said[0].message) == (
        "node 'c' has Resource with a reuse factor of 2 instead of Resource with a reuse factor of "
        "3, for which hls4ml has no kernel"
    )
    assert made.graph["y"].get_attr("reuse_factor") == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for reuse in (1, 2, 4):
            pointwise(tmp_path, strategy="Resource", reuse_factor=reuse)
        pointwise(tmp_path, reuse_factor=3)


def test_distributed_arithmetic_needs_da4ml_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "da4ml", None)
    with pytest.raises(HwsimError, match="the strategy Distributed_Arithmetic needs da4ml"):
        pointwise(tmp_path, strategy="Distributed_Arithmetic")


def compare(graph: Graph, folder, seed: int, **options) -> int:
    """How many codes of csim were compared, all of them the emulator's."""
    rng = np.random.default_rng(seeded(seed))
    x = rng.normal(0, 4, (SAMPLES, *graph.inputs[0].type.shape))
    want = hwsim.emulate(graph, x)
    found = csim(hwsim.to_hls4ml(graph, folder, **options), x)
    for port, got in zip(graph.outputs, found.values(), strict=True):
        assert (want[port.name].reshape(SAMPLES, -1) == got).all(), port.tensor
    return sum(got.size for got in found.values())


def test_a_stream_of_resource_gives_the_emulators_codes(tmp_path):
    """Every convolution with its own padding, at a reuse factor that suits few of them."""
    options = {"io_type": "io_stream", "strategy": "Resource", "reuse_factor": 3}
    assert compare(strategy_heads(40, rank=2), tmp_path, 40, **options) > 50_000


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize("backend", ["Vitis", "Vivado"])
@pytest.mark.parametrize("strategy", ["Latency", "Resource", "Resource_Unrolled"])
def test_every_strategy_gives_the_emulators_codes(strategy, backend, io_type, rank, tmp_path):
    for reuse in (1,) if strategy == "Latency" else (2, 3, 1000):
        options = {"io_type": io_type, "backend": backend, "strategy": strategy}
        folder = tmp_path / str(reuse)
        compare(strategy_heads(41, rank=rank), folder, 41, reuse_factor=reuse, **options)


@pytest.mark.slow
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_distributed_arithmetic_gives_the_emulators_codes(io_type, tmp_path):
    pytest.importorskip("da4ml")
    for rank in (1, 2):
        options = {"io_type": io_type, "strategy": "Distributed_Arithmetic"}
        compare(strategy_heads(42, rank=rank), tmp_path / str(rank), 42, **options)


def test_a_project_with_other_codes_is_not_given(tmp_path, monkeypatch):
    """What is written is read again: a rule that writes something else is noticed."""
    rule = RULES["dense"]

    def wrong(draft, node):
        rule(draft, node)
        draft.layers[-1]["bias_data"] = draft.layers[-1]["bias_data"] + 1

    monkeypatch.setitem(RULES, "dense", wrong)
    op = Dense(weights=np.ones((3, 2), int), bias=np.zeros(2, int), weight_format=Format.int(3))
    port = InputPort(name="x", tensor="x", type=TensorType((3,), Format.int(4)))
    graph = Graph((port,), (Node("d", op, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))
    with pytest.raises(HwsimError, match="must have its codes in hls4ml too, and 128 of"):
        hwsim.to_hls4ml(graph, tmp_path)


def test_a_stream_of_more_readers_than_hls4ml_copies_it_for_is_refused(tmp_path):
    port = InputPort(name="x", tensor="x", type=TensorType((2, 3), Format.int(4)))
    nodes = [Node(f"n{k}", Add(), ("x", "x"), f"y{k}") for k in range(4)]
    ports = tuple(OutputPort(name=f"y{k}", tensor=f"y{k}") for k in range(4))
    graph = Graph((port,), tuple(nodes), ports)
    hwsim.to_hls4ml(graph, tmp_path)
    with pytest.raises(HwsimError, match="edge 'x': what is streamed must have at most 7 readers"):
        hwsim.to_hls4ml(graph, tmp_path, io_type="io_stream")
