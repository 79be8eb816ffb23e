"""What is written as QONNX gives a Graph's codes in QONNX's own executor, or is refused by name."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cases import CASES, weights
from support.mixed_networks import mixed
from support.published import folder
from support.qonnx_nets import executed
from support.seeds import seeded
from support.small_graphs import one
from support.tflite_networks import network

import hwsim
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.onnx_export import to_model
from hwsim.onnx_export.qonnx_ends import OtherOverflow
from hwsim.ops import (
    BatchNorm,
    Cast,
    Conv2D,
    Dense,
    Mul,
    Quant,
    Requantize,
    Scheme,
    TensorType,
    Window,
)

pytestmark = pytest.mark.needs("qonnx")
MODELS = Path(hwsim.__file__).resolve().parent.parent / "examples" / "models"
F32 = np.float32


UNREAD = {
    "add-one-scale", "avgpool-global", "avgpool-zero-point-113", "batchnorm-fine-bias",
    "channeltable-few", "conv1d-zero-point", "conv2d-depthwise-zero-point", "conv2d-zero-point",
    "dense-odd-zero-point", "dense-powers-zero-point", "dense-table-zero-point", "dense-zero-point",
    "mul-zero-points", "scaledadd-narrow",
}  # fmt: skip
"""Ends that nothing rounds, which QONNX's executor runs and hwsim's reader does not take."""


def written(graph: Graph, samples: int = 3) -> tuple[str | None, Any]:
    """What is said of a graph that is refused, and else what there is to say of its file."""
    try:
        return None, to_model(graph, form="qonnx", samples=samples)[1]
    except HwsimError as error:
        return str(error), None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_operator_alone_is_written_and_equal_or_refused_by_name(case):
    said, facts = written(case.graph())
    if said is None:
        again = [] if case.id in UNREAD else ["hwsim, read again"]
        assert facts["check"]["by"] == ["QONNX's executor", *again]
        assert (facts["check"]["unread"] is None) is bool(again)
        assert facts["check"]["compared"] >= 3
    else:
        assert said.startswith("everything must have its like in QONNX")
        assert f"node 'op' ({case.op.kind}): " in said or "input 'a': " in said


def test_most_of_the_catalogue_has_its_like():
    kinds = {case.op.kind for case in CASES if written(case.graph(), samples=0)[0] is None}
    assert {"dense", "conv2d", "conv1d", "requantize", "cast", "table", "thresholds"} <= kinds
    assert {"add", "mul", "maximum", "scaled_add", "matmul", "avgpool", "reduce"} <= kinds


@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_cnn_asym"])
def test_a_model_from_qdq_is_written_with_thresholds_for_its_requantizers(name):
    graph = hwsim.load(MODELS / f"{name}.onnx")
    model = hwsim.to_onnx(graph, form="qonnx", samples=0)
    x = np.random.default_rng(seeded(12)).uniform(-1.2, 1.2, (30, 1, 8, 8)).astype(F32)
    want = hwsim.emulate(graph, x)
    assert np.array_equal(want, executed(model, x))
    assert np.array_equal(want, hwsim.emulate(hwsim.load(model), x))


@pytest.mark.parametrize("rounding", Rounding, ids=lambda rounding: rounding.value)
def test_every_rounding_of_sums_is_a_quant_or_thresholds(rounding):
    rng = np.random.default_rng([seeded(6), len(rounding.value)])
    conv = Conv2D(
        weights=rng.integers(-32, 32, (3, 3, 2, 4)),
        bias=rng.integers(-99, 99, 4),
        weight_format=Format.parse("s6.5"),
        bias_frac=9,
        window=Window((3, 3), (2, 1), (1, 0, 1, 2)),
    )
    factors = {"scale": np.array([3, -2, 1, 7]), "bias": np.array([5, 0, -9, 1])}
    norm = BatchNorm(**factors, scale_format=Format.parse("s4.2"), bias_frac=3)
    cast = Cast(out=Format.parse("s7.3"), rounding=rounding, overflow=Overflow.SAT_SYM)
    graph = one(conv, cast, norm, cast, x=TensorType((5, 6, 2), Format.parse("s8.5")))
    model, facts = to_model(graph, form="qonnx", samples=0)
    sided = rounding in (Rounding.RND, Rounding.RND_MIN_INF)
    assert ("MultiThreshold" in facts["nodes"]) is sided
    x = rng.integers(-140, 140, (60, 5, 6, 2)).astype(F32) / F32(32)
    assert np.array_equal(hwsim.emulate(graph, x), executed(model, x))


@pytest.mark.parametrize("scheme", [s for s in Scheme if s is not Scheme.SHIFT])
def test_every_scheme_of_requantizers_is_its_thresholds(scheme):
    rng = np.random.default_rng([seeded(8), len(scheme.value)])
    x = TensorType((24,), Format.int(8), Quant((0.11,), -7))
    dense = Dense(**weights(f"qonnx-{scheme.value}", "s8", 24, 6), zero_point=-7)
    to8 = Requantize(
        scheme=scheme,
        multiplier=tuple(rng.uniform(0.001, 0.004, 6)),
        out=Format.uint(8),
        zero_point=133,
        quant=Quant((0.25,), 133),
    )
    graph = one(dense, to8, x=x)
    model = hwsim.to_onnx(graph, form="qonnx", samples=0)
    reals = rng.uniform(-15, 15, (150, 24)).astype(F32)
    assert np.array_equal(hwsim.emulate(graph, reals), executed(model, reals))


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_are_equal_or_refused_by_name(seed):
    graph = mixed(seeded(300 + seed))
    said, facts = written(graph, samples=4)
    if said is None:
        assert facts["check"]["compared"] > 0
    else:
        assert any(f"node {node.name!r}" in said for node in graph.nodes)


@pytest.mark.parametrize("like", ["tflm", "reference", "builtin", "xnnpack"])
def test_random_tflite_networks_are_equal_in_all_forms_or_refused_by_name(like, tmp_path):
    rng, path = np.random.default_rng([seeded(4), len(like)]), tmp_path / "m.tflite"
    forms = set()
    for _ in range(4):
        net, outputs = network(int(rng.integers(1 << 30)))
        path.write_bytes(net.lite.build(net.inputs, outputs))
        try:
            graph = hwsim.load(path, like=like)
        except HwsimError:
            continue
        assert to_model(graph, samples=4)[1]["check"]["compared"] > 0
        assert to_model(graph, form="qdq", mixed=True, samples=4)[1]["check"]["compared"] > 0
        said, facts = written(graph, samples=4)
        forms.add(said is None)
        assert said is None or "node '" in said or "no state" in said
        assert said is not None or facts["check"]["compared"] > 0
    assert forms


def test_a_node_that_reads_a_tensor_twice_is_run_too():
    x = TensorType((6,), Format.parse("s5.2"))
    port = InputPort(name="x", tensor="x", type=x)
    nodes = (Node("square", Mul(), ("x", "x"), "y"),)
    graph = Graph((port,), nodes, (OutputPort(name="y", tensor="y"),))
    assert to_model(graph, form="qonnx")[1]["check"]["by"][0] == "QONNX's executor"


def test_an_input_that_wraps_is_announced():
    x = TensorType((4,), Format.parse("s8.4"))
    graph = one(Dense(**weights("w", "s4", 4, 2)), x=x, overflow=Overflow.WRAP)
    with pytest.warns(OtherOverflow, match="reals outside of -8 to 7.9375 saturate in QONNX"):
        hwsim.to_onnx(graph, form="qonnx")


def test_sums_past_float32_and_states_are_refused():
    wide = one(Dense(**weights("big", "s16", 9, 2)), x=TensorType((9,), Format.int(16)))
    said, _ = written(wide)
    assert said is not None and "must lie below 2**24" in said


@pytest.mark.needs("models")
@pytest.mark.parametrize(
    "name", ["tflite/ad01_int8.tflite", "qonnx/TFC_2W2A.onnx", "qonnx/unsw_nb15-mlp-w2a2.onnx"]
)
def test_published_models_are_written_and_equal(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = hwsim.load(folder() / name)
        _, facts = to_model(graph, form="qonnx", samples=4)
    assert facts["check"]["by"] == ["QONNX's executor", "hwsim, read again"]
