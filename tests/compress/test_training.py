"""A graph in training has the emulator's codes on every edge, and its weights move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.cases import CASES, tensor
from support.mixed_networks import mixed
from support.seeds import seeded

from hwsim import accuracy, load
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.compress.training import TrainableGraph, loop, network
from hwsim.compress.training.namespace import namespace
from hwsim.emulator.run import emulate
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.ops import Weighted

pytestmark = pytest.mark.needs("torch", "array_api_compat")
torch = pytest.importorskip("torch")
NETWORKS = 40
MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
LABELS = load_digits().target


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_torch_is_one_more_namespace_for_every_operator(case, seed):
    inputs, graph = case.inputs(6, seed), case.graph()
    want = case.by_name(emulate(graph, inputs, codes=True))
    found = case.by_name(emulate(graph, inputs, xp=namespace(), codes=True))
    for name, codes in want.items():
        assert np.array_equal(np.asarray(found[name]), codes)


def trainable(seed: int) -> tuple[TrainableGraph, dict[str, object]] | None:
    """A random network, if training takes it, and codes for its inputs."""
    graph, rng = mixed(seed), np.random.default_rng(seed)
    try:
        found = TrainableGraph(graph, learn_steps=True)
    except HwsimError:
        return None
    codes = {
        p.tensor: rng.integers(p.type.lo, p.type.hi + 1, (4, *p.type.shape)) for p in graph.inputs
    }
    return found, {edge: torch.tensor(a, dtype=torch.float32) for edge, a in codes.items()}


def trained_steps(found: TrainableGraph, codes: dict[str, object], graph: Graph) -> int:
    """Compare, move the weights, compare again: how many steps moved something."""
    optimizer = torch.optim.Adam(found.parameters().values(), lr=0.05)
    for step in range(3):
        loop.expect_equal(found, codes)
        edges = found.run(codes)
        loss = sum((edges[port.tensor].double() ** 2).mean() for port in graph.outputs)
        if not loss.requires_grad:
            return step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loop.expect_equal(found, codes)
    return 3


def test_random_networks_in_training_have_the_emulators_codes_on_every_edge(seed):
    moved = compared = 0
    for one in range(seed, seed + NETWORKS):
        pair = trainable(one)
        if pair is not None:
            compared += 1
            moved += trained_steps(*pair, pair[0].graph)
    assert compared >= NETWORKS // 5
    assert moved >= 3


def test_a_forward_pass_that_only_simulates_rounding_is_told_by_its_edge(monkeypatch, seed):
    monkeypatch.setattr(network, "through", lambda smooth, codes: smooth)
    pairs = [pair for one in range(seed, seed + NETWORKS) if (pair := trainable(one)) is not None]
    with pytest.raises(HwsimError, match=r"edge '\w+' of training must hold the emulator's codes"):
        any(loop.expect_equal(*pair) for pair in pairs)


PAST_FLOAT64 = "dense-past-2-to-53"


def test_sums_past_float64_are_refused_by_their_node():
    case = next(case for case in CASES if case.id == PAST_FLOAT64)
    with pytest.raises(HwsimError, match=r"^node 'op' \(dense\) must have codes and sums below 2"):
        TrainableGraph(case.graph())


def test_wide_inputs_are_encoded_to_the_last_bit():
    case = next(case for case in CASES if case.id == "dense-wider")
    wide = replace(case, types=(tensor(4, "s26"),))
    codes = np.array([[-(2**25), 2**25 - 1, 2**24 + 1, 0]])
    found = TrainableGraph(wide.graph()).encode({"a": codes})
    assert found["a"].tolist() == codes.tolist()


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if isinstance(c.op, Weighted) and c.id != PAST_FLOAT64],
    ids=lambda c: c.id,
)
def test_a_training_begins_with_the_codes_of_the_graph(case):
    found = TrainableGraph(case.graph(), narrow=False)
    for name, layer in found.learned.items():
        weights, bias = layer.codes()
        assert np.array_equal(weights.double().detach().numpy(), layer.op.weights)
        assert np.array_equal(bias.double().detach().numpy(), layer.op.bias)
        assert found.frozen().node(name).op.matrix().tolist() == case.op.matrix().tolist()


def digits_in(bits: str) -> Graph:
    """The digits' network with so many bits, quantized after its training."""
    model = FloatModel.read(MODELS / "digits_cnn_int8.float.onnx")
    return load(quantize(model, [{"image": IMAGES[:512]}], Widths.parse(bits)))


def test_fine_tuning_gives_back_accuracy_and_each_batch_has_the_emulators_codes():
    graph, held = digits_in("w2a3"), slice(1400, None)
    how = loop.Training(epochs=4, rate=2e-3, check=True, seed=1)
    better = loop.finetune(graph, IMAGES[:1400], LABELS[:1400], how)
    before, after = (accuracy(g, IMAGES[held], LABELS[held]).top1 for g in (graph, better))
    assert after > before + 0.02


def test_weights_outside_of_a_mask_stay_zero():
    graph = digits_in("w4a4")
    name, op = next((n.name, n.op) for n in graph.nodes if n.op.kind == "conv2d")
    mask = np.random.default_rng(seeded(3)).random(op.weights.shape) < 0.5
    how = loop.Training(epochs=1, seed=2)
    tuned = loop.finetune(graph, IMAGES[:256], LABELS[:256], how, masks={name: mask})
    assert not tuned.node(name).op.weights[~mask].any()
    assert (tuned.node(name).op.weights != op.weights).any()
    with pytest.raises(HwsimError, match=r"a mask of node '\w+' must have shape"):
        loop.finetune(graph, IMAGES[:9], LABELS[:9], how, masks={name: mask[1:]})
