"""Codebooks whose entries are learned: gradients of the weights that took them, whole numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.seeds import seeded

import hwsim
from hwsim.compress.quantize.nonlinear import WeightSet, encoded, reals_of
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Codebook, Dense, TensorType, Weighted

pytestmark = pytest.mark.needs("torch", "array_api_compat")
MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
LABELS = load_digits().target
HELD = slice(1400, None)


@pytest.fixture(scope="module")
def digits() -> Graph:
    return hwsim.load(MODELS / "digits_cnn_int8.onnx")


def layers(graph: Graph) -> list[Weighted]:
    return [node.op for node in graph.nodes if isinstance(node.op, Weighted)]


def dense(weights: np.ndarray, entries: tuple[int, ...]) -> Graph:
    """One dense layer of weights from a table, in steps of 2^-5."""
    op = Dense(
        weights=weights,
        bias=np.zeros(weights.shape[1], np.int64),
        weight_format=Format(True, 3, 5),
        encoding=Codebook(entries=entries),
    )
    kind = TensorType((len(weights),), Format.int(6))
    return Graph(
        inputs=(InputPort(name="x", tensor="x", type=kind),),
        outputs=(OutputPort(name="y", tensor="y"),),
        nodes=(Node(name="fc", op=op, inputs=("x",), outputs=("y",)),),
    )


def test_an_entrys_gradient_is_the_sum_of_its_weights_gradients():
    import torch

    from hwsim.compress.training import TrainableGraph

    rng = np.random.default_rng(seeded(3))
    entries = (-40, -7, 3, 60)
    places = rng.integers(0, 4, (5, 6))
    graph = dense(np.array(entries)[places], entries)
    network = TrainableGraph(graph, learn_entries=True)
    x = rng.integers(-32, 32, (7, 5))
    to = rng.normal(size=(7, 6)).astype(np.float32)
    found = network({"x": torch.tensor(x, dtype=torch.float32)})
    (found * torch.tensor(to)).sum().backward()
    moved = network.parameters()
    # y = x @ w in reals, so the gradient of a weight's real is x.T @ to
    wanted = x.T @ to
    assert np.allclose(moved["fc.weights"].grad, wanted, rtol=1e-5)
    sums = [wanted[places == place].sum() for place in range(4)]
    assert np.allclose(moved["fc.entries"].grad, sums, rtol=1e-4, atol=1e-3)
    assert not np.allclose(moved["fc.entries"].grad, sums[::-1], rtol=1e-2)


def test_entries_that_meet_are_one_and_may_part_again():
    import torch

    from hwsim.compress.training import TrainableGraph, loop

    rng = np.random.default_rng(seeded(4))
    entries = (-40, -7, 3, 60)
    network = TrainableGraph(dense(rng.choice(entries, (5, 6)), entries), learn_entries=True)
    codes = {"x": torch.tensor(rng.integers(-32, 32, (7, 5)), dtype=torch.float32)}
    moved = network.parameters()["fc.entries"]
    for now, table in (
        ([-40, 3, 3, 60], (-40, 3, 60)),
        ([60.4, -7, 3, -40], (-40, -7, 3, 60)),  # they may pass one another
        ([9, 9, 9, 9.4], (9, 10)),
        ([-400, 0, 1, 400], (-128, 0, 1, 127)),  # the ends of the weights' format
    ):
        with torch.no_grad():
            moved.copy_(torch.tensor(now) / 32)
        loop.expect_equal(network, codes)
        (op,) = layers(network.frozen())
        assert op.encoding == Codebook(entries=table)
        assert (op.weights == op.encoding.nearest(op.weights)).all()


@pytest.mark.parametrize("text", ["codebook2", "codebook3"])
def test_learned_entries_beat_fixed_ones_and_are_codes_of_the_emulator(digits, text):
    from hwsim.compress.training import loop

    graph = encoded(digits, WeightSet.parse(text))
    how = loop.Training(epochs=2, rate=1e-3, check=True, seed=1)
    fixed, learned = (
        loop.finetune(
            graph, IMAGES[:1400], LABELS[:1400], how, reals=reals_of(digits), learn_entries=learns
        )
        for learns in (False, True)
    )
    for old, kept, new in zip(layers(graph), layers(fixed), layers(learned), strict=True):
        assert kept.encoding == old.encoding != new.encoding
        assert new.encoding.bits <= old.encoding.bits
    before, *after = (
        hwsim.accuracy(one, IMAGES[HELD], LABELS[HELD]).top1 for one in (graph, fixed, learned)
    )
    assert after[1] >= max(before, after[0] - 0.01)


def test_pruned_weights_stay_0_and_so_does_their_entry(digits):
    from hwsim.compress.training import loop

    rng, graph = np.random.default_rng(seeded(5)), encoded(digits, WeightSet.parse("codebook3"))
    masks = {}
    for node in graph.nodes:
        if isinstance(node.op, Weighted):
            masks[node.name] = rng.random(node.op.weights.shape) < 0.5
            entries = tuple(sorted({*node.op.encoding.entries, 0}))
            weights = np.where(masks[node.name], node.op.weights, 0)
            op = replace(node.op, weights=weights, encoding=Codebook(entries=entries))
            graph = graph.with_op(node.name, op)
    how = loop.Training(epochs=1, rate=3e-3, check=True)
    found = loop.finetune(graph, IMAGES[:256], LABELS[:256], how, masks=masks, learn_entries=True)
    for name, mask in masks.items():
        op = found.node(name).op
        assert 0 in op.encoding.entries and not op.weights[~mask].any() and op.weights.any()


def test_a_graph_without_a_codebook_has_no_entries_to_learn(digits):
    for graph in (digits, encoded(digits, WeightSet.parse("pot4"))):
        with pytest.raises(HwsimError, match="whose codebooks are learned must have one"):
            hwsim.finetune(graph, IMAGES[:64], LABELS[:64], learn_entries=True)


def test_a_training_goes_on_from_its_entries(digits, tmp_path):
    from hwsim.compress.training import loop

    graph = encoded(digits, WeightSet.parse("codebook2"))
    how = loop.Training(epochs=2, rate=2e-3)
    given = (graph, IMAGES[:256], LABELS[:256], how)
    whole = loop.finetune(*given, learn_entries=True)
    file = tmp_path / "state"

    def stop(epoch: loop.Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.finetune(*given, learn_entries=True, checkpoint=file, say=stop)
    with pytest.raises(HwsimError, match="must be a checkpoint of this training"):
        loop.finetune(*given, checkpoint=file)
    assert loop.finetune(*given, learn_entries=True, checkpoint=file).hash() == whole.hash()
