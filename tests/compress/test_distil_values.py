"""What is no score of a class: numbers, maps, several labels, learned from a teacher alone."""

from __future__ import annotations

import json

import digits
import numpy as np
import onnxruntime
import pytest
import torch
from support.cli_calls import run
from support.seeds import seeded
from torch import nn

import hwsim
from hwsim.compress.any_float import any_float
from hwsim.errors import HwsimError

pytestmark = pytest.mark.needs("torch", "array_api_compat", "onnxruntime")
X = digits.load().train_images[:384].reshape(-1, 1, 8, 8).astype(np.float32)


def network(kind: str) -> nn.Module:
    torch.manual_seed(seeded(4))
    body = (nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
    if kind == "one number":
        return nn.Sequential(*body, nn.Linear(16, 1)).eval()
    if kind == "several labels":
        return nn.Sequential(*body, nn.Linear(16, 5), nn.Sigmoid()).eval()
    if kind == "a map":
        down = nn.Conv2d(1, 6, 3, 2, 1)
        return nn.Sequential(down, nn.ReLU(), nn.ConvTranspose2d(6, 2, 4, 2, 1)).eval()
    picking = nn.Sequential(*body, nn.Linear(16, 10))
    return Picking(picking).eval()


class Picking(nn.Module):
    """A classifier that gives the class, not the scores."""

    def __init__(self, scores: nn.Module) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, x):
        return self.scores(x).argmax(1)


def error(graph, proto) -> float:
    """The squared distance from what ONNX Runtime makes of the float network, by its variance."""
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (wanted,) = session.run(None, {session.get_inputs()[0].name: X})
    return float(((hwsim.emulate(graph, X) - wanted) ** 2).mean() / wanted.var())


@pytest.mark.parametrize("teacher", ["float", "integers"])
@pytest.mark.parametrize("kind", ["one number", "several labels", "a map"])
def test_numbers_come_nearer_to_a_teachers_and_codes_are_the_emulators(kind, teacher):
    proto = any_float(network(kind), X[:2]).proto
    graph = hwsim.quantize(proto, X, bits="w2a4").graph
    whole = proto if teacher == "float" else hwsim.quantize(proto, X, bits="w8a8").graph
    found = hwsim.distil(
        graph, X, teacher=whole, start=proto, epochs=6, rate=1e-2, batch=64, seed=1, check=True
    )
    before, after = (error(one, proto) for one in (graph, found.graph))
    assert after < 0.75 * before, (before, after)
    assert found.before is None and found.epochs[-1].loss < found.epochs[0].loss


@pytest.mark.parametrize("ends", [[], [nn.Softmax(-1)]])
def test_a_teacher_that_picks_a_class_teaches_the_scores_that_it_picks_from(ends):
    module = network("class")
    graph = hwsim.quantize(module, X, bits="w3a4").graph
    picking = Picking(nn.Sequential(module.scores, *ends)).eval()
    how = {"epochs": 1, "rate": 1e-2, "batch": 64, "check": True}
    found = [hwsim.distil(graph, X, teacher=t, **how).graph for t in (module.scores, picking)]
    assert found[0].hash() == found[1].hash() != graph.hash()


def test_labels_beside_the_samples_are_no_matter_where_a_teacher_gives_numbers(tmp_path, capsys):
    proto = any_float(network("a map"), X[:2]).proto
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    made = hwsim.quantize(proto, X, bits="w3a4")
    made.save(tmp_path / "q.hwsim")
    how = {"epochs": 1, "rate": 1e-2, "batch": 64, "teacher": proto}
    alone = hwsim.distil(made.graph, X, **how).graph.hash()
    classes = np.arange(len(X)) % 10
    for labels in (classes, np.linspace(0, 1, len(X)), np.ones((len(X), 3))):
        again = hwsim.distil(made.graph, X, labels, test=(X, labels), **how)
        assert again.graph.hash() == alone and again.before is None
    np.savez(tmp_path / "d.npz", x=X, y=np.linspace(0, 1, len(X)))
    call = ("distil", tmp_path / "q.hwsim", "--data", tmp_path / "d.npz", "--epochs", 1)
    more = ("--rate", 1e-2, "--batch", 64, "--teacher", tmp_path / "m.onnx", "--json")
    status, said, err = run(capsys, *call, *more, "-o", tmp_path / "t.hwsim")
    assert status == 0, err
    assert json.loads(said)["hash"] == alone
    recipe = tmp_path / "r.toml"
    steps = "".join(
        f"[[step]]\ndo = {text}\n"
        for text in (
            '"quantize"\nbits = "w3a4"\nsamples = 384',
            '"prune"\namount = 0.2\nby = "activation"',
            '"distil"\nepochs = 1\nfrom = "codes"',
            '"attribute"',
        )
    )
    data = 'train = "d.npz"\ntest = "d.npz"\n'
    recipe.write_text(f'model = "m.onnx"\nout = "made"\n[data]\n{data}{steps}')
    rows = hwsim.run_recipe(recipe).rows
    assert [row.do for row in rows] == ["model", "quantize", "prune", "distil", "attribute"]


def test_a_class_of_sigmoids_keeps_its_labels():
    graph = hwsim.quantize(network("several labels"), X, bits="w3a4").graph
    labels = np.arange(len(X)) % 5
    found = hwsim.distil(graph, X, labels, teacher=graph, epochs=1, batch=64)
    assert found.before is not None and found.before.samples == round(0.1 * len(X))


@pytest.mark.parametrize("kind", ["one number", "several labels"])
def test_labels_that_are_no_classes_are_told_where_they_are_learned_from(kind):
    graph = hwsim.quantize(network(kind), X[:64]).graph
    shape = (64,) if kind == "one number" else (64, 5)
    with pytest.raises(HwsimError, match=r"is learned from a teacher, without labels$"):
        hwsim.finetune(graph, X[:64], np.full(shape, 0.5))
