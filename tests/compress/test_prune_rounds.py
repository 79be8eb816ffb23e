"""Pruning in rounds with training between them: what goes, what stays gone, and what it keeps."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import digits
import numpy as np
import pytest
from support.cli_calls import refused, run
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.prune.masks import WholeChannels, parse_pattern, weighted_layers
from hwsim.compress.prune.prune import Earlier, Pruning, prune
from hwsim.compress.prune.rounds import LayerEmptied, Round, Rounds, prune_in_rounds
from hwsim.compress.prune.shrink import ChannelMap
from hwsim.compress.training.loop import Training
from hwsim.compress.training.start import float_weights
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Dense, Relu, TensorType

needs_torch = pytest.mark.needs("torch", "array_api_compat")
MODEL = Path(digits.__file__).parent / "models" / "digits_cnn_int8.onnx"
FLOAT = MODEL.with_name("digits_cnn_int8.float.onnx")
DATA = digits.load()
FEW = DATA.train_images[:256], DATA.train_labels[:256]


@pytest.fixture(scope="module")
def graph() -> Graph:
    return hwsim.load(MODEL)


def zeros(found: Graph) -> int:
    return sum(int((op.weights == 0).sum()) for op in weighted_layers(found).values())


@needs_torch
@pytest.mark.parametrize("by", ["magnitude", "movement"])
def test_what_is_gone_stays_gone_while_more_goes(by, graph):
    seen: list[Round] = []
    how = Pruning(amount=0.75, by=by)
    rounds = Rounds.of("iterative", 3, 1, rate=3e-3, batch=64, seed=1, device="cpu")
    found = prune_in_rounds(graph, how, rounds, *FEW, say=seen.append)
    shares = [one.amount for one in seen if one.epoch is None]
    assert shares == pytest.approx([1 - 0.25 ** (k / 3) for k in (1, 2, 3)])
    assert [one.epoch.number for one in seen if one.epoch] == [1, 1, 1]
    sizes = {name: op.weights.size for name, op in weighted_layers(graph).items()}
    for name, mask in found.masks.items():
        assert int((~mask).sum()) == int(np.floor(0.75 * sizes[name] + 0.5))
        assert not weighted_layers(found.graph)[name].weights[~mask].any()
    first = prune_in_rounds(graph, Pruning(amount=shares[0], by=by),
                            Rounds(training=rounds.training), *FEW)  # fmt: skip
    for name, mask in first.masks.items():
        assert not (found.masks[name] & ~mask).any()


def test_earlier_masks_go_again_whatever_their_scores(graph, rng):
    before = {n: rng.random(op.weights.shape) < 0.7 for n, op in weighted_layers(graph).items()}
    found = prune(graph, Pruning(amount=0.5), earlier=Earlier(graph, before))
    alone = prune(graph, Pruning(amount=0.5))
    for name, mask in found.masks.items():
        assert not (mask & ~before[name]).any()
        assert (alone.masks[name] & ~before[name]).any()  # which it would have kept


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_channels_in_rounds_are_as_many_as_at_once(scope, graph):
    how = Pruning(amount=0.55, pattern=WholeChannels(), scope=scope)
    at_once = prune(graph, how).graph
    found = prune_in_rounds(graph, how, Rounds(schedule="gradual", count=5)).graph
    assert len(ChannelMap.of(found).groups) == len(ChannelMap.of(at_once).groups)
    if scope == "layer":
        sizes = [[op.outputs for op in weighted_layers(g).values()] for g in (found, at_once)]
        assert sizes[0] == sizes[1]


@needs_torch
def test_training_between_rounds_keeps_what_one_cut_loses(graph):
    train, test = (DATA.train_images, DATA.train_labels), (DATA.test_images, DATA.test_labels)
    rounds = {"rounds": 3, "epochs_a_round": 2, "rate": 3e-3, "batch": 64}
    cut = hwsim.prune(graph, 0.8, x=train[0]).graph
    found = hwsim.prune(graph, 0.8, x=train[0], labels=train[1], start=FLOAT, **rounds).graph
    taught = hwsim.prune(graph, 0.8, x=train[0], teacher=FLOAT, **rounds).graph
    right = [hwsim.accuracy(one, *test).top1 for one in (cut, found, taught)]
    assert right[0] < 0.8 and right[1] > 0.9 and right[2] > 0.88
    assert all(zeros(one) >= zeros(cut) - 3 for one in (found, taught))


@needs_torch
def test_the_command_gives_what_the_verb_gives(tmp_path, capsys, graph):
    np.savez(tmp_path / "d.npz", x=FEW[0], y=FEW[1])
    call = ("prune", MODEL, "--amount", 0.6, "--by", "taylor", "--data", tmp_path / "d.npz")
    more = ("--rounds", 2, "--epochs-a-round", 1, "--rate", 2e-3, "--batch", 64, "--seed", 3)
    out = tmp_path / "m.hwsim"
    status, said, err = run(capsys, *call, *more, "--from", FLOAT, "-o", out, "--json")
    assert status == 0, err
    found = hwsim.prune(
        graph, 0.6, by="taylor", x=FEW[0], labels=FEW[1], rounds=2, epochs_a_round=1,
        rate=2e-3, batch=64, seed=3, start=FLOAT,
    )  # fmt: skip
    assert json.loads(said)["hash"] == found.graph.hash() == hwsim.load(out).hash()


@needs_torch
def test_what_cannot_be_pruned_in_rounds_is_one_sentence(tmp_path, capsys):
    out = tmp_path / "m.hwsim"
    np.save(tmp_path / "x.npy", FEW[0])
    data = ("--data", tmp_path / "x.npy")
    for more, said in (
        (("--rounds", 0), "a schedule's steps must be 1 or more, not 0"),
        (("--schedule", "fast"), "a schedule must be one of one-shot, iterative, gradual, not"),
        (("--epochs-a-round", -1), "epochs a round must be at least 0, not -1"),
        (("--epochs-a-round", 1), "training between rounds must have samples with labels or a"),
        (("--epochs-a-round", 1, *data), "training between rounds must have samples with labels"),
        (("--epochs-a-round", 1, "--rate", 0), "rate must be more than 0, not 0"),
    ):
        assert said in refused(capsys, "prune", MODEL, *more, "-o", out)
    said = refused(capsys, "prune", FLOAT, "--rounds", 2, "-o", tmp_path / "m.onnx")
    assert said.endswith(
        "a float model must be pruned in one round without training; quantize it first"
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.npy"]


def test_rounds_without_training_are_the_last_ones_cut(graph):
    how = Pruning(amount=0.5, pattern=parse_pattern("4x8"))
    found = prune_in_rounds(graph, how, Rounds(schedule="gradual", count=4))
    assert found.graph.hash() == prune(graph, how).graph.hash()
    assert Rounds.of("gradual", 1, 0, rate=1e-3).training is None
    assert isinstance(Rounds.of("gradual", 1, 2, rate=1e-3).training, Training)


class Stopped(Exception):
    """A pruning that a test stops."""


PATTERNS = (("unstructured", "movement"), ("channels", "magnitude"))


@needs_torch
@pytest.mark.parametrize(("pattern", "by"), PATTERNS)
def test_rounds_that_are_stopped_anywhere_go_on_to_the_same_network(pattern, by, graph, tmp_path):
    how = Pruning(amount=0.5, by=by, pattern=parse_pattern(pattern))
    rounds = Rounds.of("iterative", 2, 2, rate=3e-3, batch=64, seed=5, device="cpu")
    reals = float_weights(graph, FloatModel.read(FLOAT))
    whole = prune_in_rounds(graph, how, rounds, *FEW, reals=reals)
    file, stopped = tmp_path / "state.safetensors", 0
    while stopped < 20:
        seen: list[Round] = []

        def say(one, seen=seen):
            seen.append(one)
            if len(seen) == 2:
                raise Stopped

        try:
            found = prune_in_rounds(graph, how, rounds, *FEW, reals=reals, checkpoint=file, say=say)
        except Stopped:
            stopped += 1
            continue
        break
    assert stopped == 5  # behind each epoch, and where the second round begins
    assert found.graph.hash() == whole.graph.hash()
    assert {n: m.tobytes() for n, m in found.masks.items()} == {
        n: m.tobytes() for n, m in whole.masks.items()
    }
    assert found.whole == whole.whole
    assert [one.name for one in tmp_path.iterdir()] == [file.name]
    again = prune_in_rounds(graph, how, rounds, *FEW, reals=reals, checkpoint=file, say=seen.append)
    assert again.graph.hash() == whole.graph.hash() and len(seen) < 4
    other = Pruning(amount=0.6, by=by, pattern=parse_pattern(pattern))
    with pytest.raises(HwsimError, match="must be a checkpoint of this training"):
        prune_in_rounds(graph, other, rounds, *FEW, reals=reals, checkpoint=file)


def test_a_layer_that_loses_all_its_weights_is_told(graph):
    name, op = next(iter(weighted_layers(graph).items()))
    small = graph.with_op(name, replace(op, weights=np.sign(op.weights)))
    with pytest.warns(LayerEmptied, match=f"no weight but 0 is left in {name!r}, so that"):
        hwsim.prune(small, 0.5, scope="global")
    with warnings.catch_warnings():
        warnings.simplefilter("error", LayerEmptied)
        hwsim.prune(small, 0.5)


def two_outputs() -> Graph:
    """Classes and a regression of the same hidden codes."""
    rng = np.random.default_rng(seeded(8))
    pixels = TensorType((64,), Format(False, 1, 7))
    dense = {
        name: Dense(
            weights=rng.integers(-7, 8, shape), bias=np.zeros(shape[1], int),
            weight_format=Format.int(4), bias_frac=7, weight_scale=(0.05,),
        )
        for name, shape in (("hidden", (64, 12)), ("class", (12, 10)), ("real", (12, 1)))
    }  # fmt: skip
    nodes = (
        Node("hidden", dense["hidden"], ("x",), ("h",)),
        Node("relu", Relu(), ("h",), ("r",)),
        Node("class", dense["class"], ("r",), ("c",)),
        Node("real", dense["real"], ("r",), ("y",)),
    )
    return Graph(
        inputs=(InputPort(name="x", tensor="x", type=pixels),), nodes=nodes,
        outputs=(OutputPort(name="class", tensor="c"), OutputPort(name="real", tensor="y")),
    )  # fmt: skip


@needs_torch
def test_of_several_outputs_the_named_one_scores_and_labels_are_read_where_they_are_used():
    graph = two_outputs()
    x, y = DATA.train_images[:128].reshape(-1, 64) / 16, DATA.train_labels[:128]
    for by in ("taylor", "movement"):
        with pytest.raises(HwsimError, match="output must name the one that classifies, class or"):
            hwsim.prune(graph, 0.5, by=by, x=x, labels=y)
        found = hwsim.prune(graph, 0.5, by=by, x=x, labels=y, output="class").graph
        assert zeros(found) > zeros(graph)
    with pytest.raises(HwsimError, match="from 0 to 9, as output 'class' has, not 14"):
        hwsim.prune(graph, 0.5, by="taylor", x=x, labels=y + 5, output="class")
    reals = np.linspace(0, 1, 128)  # which magnitudes and activity have no use for
    plain = hwsim.prune(graph, 0.5, by="activation", x=x).graph
    assert hwsim.prune(graph, 0.5, by="activation", x=x, labels=reals).graph.hash() == plain.hash()
