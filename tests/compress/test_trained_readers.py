"""Networks of other tools' making are trained as they were read, with their codes throughout."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch")

from support import reader_networks

import hwsim
from hwsim.compress.training.loop import NothingMoved, Training, finetune
from hwsim.graph import Graph
from hwsim.ops import Thresholds, Weighted

pytestmark = [
    pytest.mark.needs("torch", "array_api_compat"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]
BREVITAS = (
    "cnv 2 bits", "cnv powers of two", "dense 1 bits", "dense 4 bits", "binary", "ternary",
    "residual", "line", "shifted", "channels",
)  # fmt: skip
SAMPLES = 48
QUICK = Training(epochs=5, batch=16, rate=0.05, check=True)
EACH = [
    pytest.param(name, id=name, marks=pytest.mark.needs(*needs))
    for name, (_, needs) in reader_networks.READERS.items()
]


def learned(graph: Graph, x: np.ndarray, seed: int, how: Training = QUICK) -> int:
    """How many layers move while a graph learns random classes, each batch's codes compared."""
    classes = graph.types()[graph.outputs[0].tensor].size
    labels = np.random.default_rng(seed).integers(0, classes, len(x))
    losses: list[float] = []
    tuned = finetune(graph, x, labels, how, say=lambda epoch: losses.append(epoch.loss))
    moved = 0
    for node in graph.nodes:
        if isinstance(node.op, Weighted):
            moved += not np.array_equal(tuned.node(node.name).op.weights, node.op.weights)
    assert min(losses[1:]) < losses[0]
    return moved


@pytest.mark.needs("brevitas")
@pytest.mark.parametrize("name", BREVITAS)
def test_a_brevitas_network_learns_as_it_is(name, seed, rng):
    from support import brevitas_networks as networks

    module, shape = networks.trained(name, seed), networks.NETWORKS[name][1]
    graph = hwsim.load(module, example=(1, *shape))
    layers = sum(isinstance(node.op, Weighted) for node in graph.nodes)
    assert learned(graph, rng.normal(0, 1, (SAMPLES, *shape)).astype(np.float32), seed) == layers


@pytest.mark.parametrize("name", EACH)
def test_a_network_of_each_reader_learns_as_it_is_with_the_settings_that_are_given(
    name, tmp_path, seed, rng
):
    graph = reader_networks.loaded(name, tmp_path, seed % 2**31)
    (port,) = graph.inputs
    codes = rng.integers(port.type.lo, port.type.hi + 1, (4 * SAMPLES, *port.type.shape))
    reals = (codes - port.type.zero_point) * np.float32(port.type.scales()[0])
    if port.axes is not None:
        reals = reals.transpose(0, *(axis + 1 for axis in port.axes))
    x = codes.astype(port.element) if port.element else reals.astype(np.float32)
    assert learned(graph, x, seed, Training(batch=16, check=True)) >= 2


def test_a_training_that_moves_no_weight_says_so(tmp_path, rng):
    graph = reader_networks.loaded("tflite tflm", tmp_path, 2)
    x = rng.normal(0, 1, (8, *graph.inputs[0].type.shape)).astype(np.float32)
    said = "no weight has another code after 1 epochs of training; more of them or a rate above"
    with pytest.warns(NothingMoved, match=f"{said} 1e-05 would move some"):
        tuned = finetune(graph, x, np.arange(8) % 3, Training(epochs=1, rate=1e-5))
    assert tuned.hash() == graph.hash()


def test_a_qonnx_network_of_thresholds_learns_as_it_is(seed, rng):
    from support.qonnx_nets import Net

    n = Net(seed)
    x = n.start(3, 8, 8, scale=0.031)
    for inputs, outputs in ((3, 6), (6, 8)):
        x = n.do("Conv", [x, n.weights((outputs, inputs, 3, 3), scale=0.07)], kernel_shape=[3, 3])
        x = n.quant(n.do("Relu", [n.norm(x, outputs)]), 0.11, 4, signed=0)
    x = n.do("Flatten", [x])
    out = n.do("MatMul", [x, n.weights((128, 5))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = hwsim.load(n.model(out, 5))
    assert any(isinstance(node.op, Thresholds) for node in graph.nodes)
    assert learned(graph, rng.normal(0, 1, (SAMPLES, 3, 8, 8)).astype(np.float32), seed) == 3


@pytest.mark.needs("hls4ml")
def test_an_hls4ml_network_with_narrow_accumulators_learns_as_it_is(seed, rng, tmp_path):
    from support.hls4ml_models import Model

    model = Model(seed, (10,), given="fixed<10,4>")
    accum = {"accum": "fixed<12,5,TRN,WRAP>", "weight": "fixed<7,2>", "bias": "fixed<8,3>"}
    first = model.dense("x", 16, {**accum, "result": "fixed<12,5>"})
    relu = model.activation(first, "relu", {"result": "ufixed<6,3,RND,SAT>"})
    model.dense(relu, 4, {**accum, "result": "fixed<12,5>"})
    graph = hwsim.load(model.build(tmp_path))
    assert learned(graph, rng.normal(0, 1, (SAMPLES, 10)).astype(np.float32), seed) == 2
