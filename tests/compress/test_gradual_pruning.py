"""Weights that go while a graph is trained: how many when, which, and that none comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.prune.gradual import GradualPruning, ShrinkingMasks
from hwsim.compress.prune.masks import Blocks, NOfM, WholeChannels, count_of
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.compress.training.loop import Epoch, Training, finetune
from hwsim.compress.training.network import TrainableGraph
from hwsim.compress.training.start import float_weights
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.ops import Weighted

MODEL = Path(__file__).resolve().parents[2] / "examples" / "models" / "digits_cnn_int8.float.onnx"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
LABELS = load_digits().target.astype(np.int64)
FEW = 256
torch_needed = pytest.mark.needs("torch", "array_api_compat")
SHAPES = {"a": (3, 3, 4, 8), "b": (24, 8), "c": (2, 2, 8, 4)}


def whole() -> dict[str, np.ndarray]:
    return {name: np.ones(shape, bool) for name, shape in SHAPES.items()}


def drawn(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def weights_of(graph: Graph) -> dict[str, np.ndarray]:
    return {n.name: n.op.weights for n in graph.nodes if isinstance(n.op, Weighted)}


# How many, and when


@pytest.mark.parametrize("schedule", ["one-shot", "iterative", "gradual"])
@pytest.mark.parametrize(("steps", "rounds", "until"), [(1, 1, 0.5), (7, 20, 1), (400, 20, 0.5)])
def test_ever_more_goes_until_a_share_of_the_steps_and_the_last_is_the_amount(
    schedule, steps, rounds, until
):
    how = GradualPruning(amount=0.75, schedule=schedule, rounds=rounds, until=until)
    plan = how.plan(steps)
    assert list(plan) == sorted(plan) and list(plan.values()) == sorted(plan.values())
    assert plan[max(plan)] == 0.75 and max(plan) == min(steps - 1, steps * until)
    assert len(plan) == (1 if schedule == "one-shot" else min(rounds, max(plan) + 1))


# Which


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("by", ["magnitude", "taylor", "movement"])
def test_what_goes_is_what_scored_least_since_the_round_before_of_what_was_left(by, scope, rng):
    how = GradualPruning(amount=0.6, by=by, scope=scope, rounds=3, until=1)
    found, gone = ShrinkingMasks(how, 12, whole()), set()
    plan, seen = how.plan(12), []
    groups = [[name] for name in SHAPES] if scope == "layer" else [list(SHAPES)]
    for step in range(12):
        weights, gradients = drawn(rng), drawn(rng)
        assert found.due == (step in plan)
        if found.due:
            masks = found.begin(weights)
            for names in groups:
                worth = {}
                for name in names:
                    for at in np.ndindex(SHAPES[name]):
                        if by == "magnitude":
                            worth[name, at] = abs(weights[name][at])
                        else:
                            each = [w[name][at] * g[name][at] for w, g in seen]
                            worth[name, at] = sum(map(abs, each)) if by == "taylor" else -sum(each)
                left = sorted((s, place) for place, s in worth.items() if place not in gone)
                more = count_of(plan[step], len(worth)) - (len(worth) - len(left))
                gone |= {place for _, place in left[:more]}
            kept = {(n, at) for n in SHAPES for at in np.ndindex(SHAPES[n]) if masks[n][at]}
            assert not kept & gone
            assert len(kept) + len(gone) == sum(mask.size for mask in masks.values())
            seen = []
        found.step += 1
        seen.append((weights, gradients))
        found.see(weights, gradients)
    assert found.done


@pytest.mark.parametrize("pattern", [Blocks(2, 4), NOfM(1, 4)])
def test_patterns_stay_patterns_while_scores_change(pattern, rng):
    how = GradualPruning(amount=0.5, pattern=pattern, rounds=4, until=1)
    found = ShrinkingMasks(how, 8, whole())
    before = whole()
    for _ in range(8):
        if found.due:
            masks = found.begin(drawn(rng))
            assert all((masks[name] <= before[name]).all() for name in masks)
            before = {name: mask.copy() for name, mask in masks.items()}
        found.step += 1
    for mask in before.values():
        matrix = mask.reshape(-1, mask.shape[-1])
        if isinstance(pattern, Blocks):
            cells = matrix.reshape(len(matrix) // 4, 4, -1, 2)
            assert (cells.all(axis=(1, 3)) | ~cells.any(axis=(1, 3))).all()
            assert mask.mean() == 0.5
        else:
            assert (matrix.reshape(-1, 4, mask.shape[-1]).sum(axis=1) == 1).all()


def test_layers_that_are_named_lose_weights_and_others_none(rng):
    found = ShrinkingMasks(GradualPruning(amount=0.5, layers=("b",)), 4, whole())
    while not found.due:
        found.step += 1
    assert set(found.begin(drawn(rng))) == {"b"}


# In a training


@pytest.fixture(scope="module")
def start() -> tuple[Graph, dict[str, dict[str, np.ndarray]]]:
    model = FloatModel.read(MODEL)
    graph = hwsim.load(quantize(model, [{"image": IMAGES[:512]}], Widths.parse("w4a4")))
    return graph, float_weights(graph, model)


HOW = Training(epochs=3, batch=64, rate=2e-3, seed=1)
SHRINK = GradualPruning(amount=0.75, by="taylor", scope="global", rounds=5, until=0.6)


@torch_needed
@pytest.mark.parametrize("by", ["magnitude", "taylor", "movement"])
def test_masks_only_shrink_end_at_the_amount_and_codes_stay_the_emulators(start, by, monkeypatch):
    graph, reals = start
    kept, keep = [], TrainableGraph.keep

    def noted(self, name, mask):
        kept.append((name, mask.copy()))
        keep(self, name, mask)

    monkeypatch.setattr(TrainableGraph, "keep", noted)
    pruning = GradualPruning(amount=0.75, by=by, scope="global", rounds=5, until=0.6)
    how = Training(
        epochs=3, batch=64, rate=2e-3, seed=1, check=True
    )  # raises at a first difference
    tuned = finetune(graph, IMAGES[:FEW], LABELS[:FEW], how, reals=reals, pruning=pruning)
    last: dict[str, np.ndarray] = {}
    for name, mask in kept:
        assert (mask <= last.get(name, np.ones_like(mask))).all()
        last[name] = mask
    weights = weights_of(tuned)
    assert len(kept) == 5 * len(weights)
    assert sum(mask.sum() for mask in last.values()) == sum(
        mask.size for mask in last.values()
    ) - count_of(0.75, sum(mask.size for mask in last.values()))
    assert all((weights[name][~mask] == 0).all() for name, mask in last.items())
    assert all((weights[name] != 0).any() for name in weights)


@torch_needed
def test_masks_that_were_given_stay_beside_those_that_shrink(start, rng):
    graph, reals = start
    masks = {name: rng.random(w.shape) < 0.5 for name, w in weights_of(graph).items()}
    how = Training(epochs=1, batch=64)
    given = {"reals": reals, "masks": masks, "pruning": SHRINK}
    tuned = finetune(graph, IMAGES[:FEW], LABELS[:FEW], how, **given)
    assert all((w[~masks[name]] == 0).all() for name, w in weights_of(tuned).items())
    zeros = sum(int((w == 0).sum()) for w in weights_of(tuned).values())
    assert zeros >= 0.75 * sum(w.size for w in weights_of(tuned).values())


@torch_needed
def test_the_best_epoch_is_one_of_those_in_which_all_that_shall_go_has_gone(start):
    graph, reals = start
    seen: list[float] = []

    def dense_is_best(one: Graph) -> float:
        found = np.concatenate([w.reshape(-1) for w in weights_of(one).values()])
        seen.append(float((found == 0).mean()))
        return 1 - seen[-1]

    epochs: list[Epoch] = []
    given = {"reals": reals, "pruning": SHRINK, "judge": dense_is_best, "say": epochs.append}
    tuned = finetune(graph, IMAGES[:FEW], LABELS[:FEW], HOW, **given)
    assert [one.score is None for one in epochs] == [True, False, False]
    assert len(seen) == 2 and min(seen) >= 0.75
    assert dense_is_best(tuned) == 1 - min(seen[:2])


@torch_needed
@pytest.mark.parametrize("by", ["magnitude", "movement"])
def test_a_training_that_was_killed_goes_on_with_the_masks_and_scores_it_had(start, by, tmp_path):
    graph, reals = start
    pruning = GradualPruning(amount=0.8, by=by, rounds=7, until=0.9)
    given = {"reals": reals, "pruning": pruning}
    at_once = finetune(graph, IMAGES[:FEW], LABELS[:FEW], HOW, **given)
    file = tmp_path / "state.safetensors"

    def killed(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(graph, IMAGES[:FEW], LABELS[:FEW], HOW, **given, checkpoint=file, say=killed)
    later = finetune(graph, IMAGES[:FEW], LABELS[:FEW], HOW, **given, checkpoint=file)
    assert later.hash() == at_once.hash()
    other = GradualPruning(amount=0.8, by=by, rounds=6, until=0.9)
    with pytest.raises(HwsimError, match="must be a checkpoint of this training"):
        finetune(
            graph, IMAGES[:FEW], LABELS[:FEW], HOW, reals=reals, pruning=other, checkpoint=file
        )


# Refused


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"by": "luck"}, "scores of a training must be one of magnitude, taylor, movement, not"),
        ({"scope": "half"}, "a scope must be one of layer, global, not 'half'"),
        ({"amount": 1.0}, "an amount must be from 0 to below 1, not 1"),
        ({"schedule": "late"}, "a schedule must be one of one-shot, iterative, gradual, not"),
        ({"rounds": 0}, "a schedule's steps must be 1 or more, not 0"),
        ({"until": 0.0}, "until must be a share of the steps up to 1, not 0"),
        ({"pattern": WholeChannels()}, "channels must go before a training, not in the midst"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(HwsimError, match=sentence):
        GradualPruning(**{"amount": 0.5, **given})


def test_a_layer_that_there_is_not_is_refused():
    with pytest.raises(HwsimError, match=r"a layer to prune must be one of \['a', 'b', 'c'\]"):
        ShrinkingMasks(GradualPruning(amount=0.5, layers=("d",)), 4, whole())


def test_a_mask_that_comes_back_would_be_seen():
    """The mutant of the oracle above: scores of what has gone are not told from others."""
    rng = np.random.default_rng(seeded(5))
    how = GradualPruning(amount=0.5, rounds=2, until=1)
    found = ShrinkingMasks(how, 3, whole())
    first, second = ({n: m.copy() for n, m in masks_at(found, rng).items()} for _ in range(2))
    assert all((second[name] <= first[name]).all() for name in first)
    found.masks = whole()  # the mutant
    found.step = max(how.plan(3))
    third = found.begin(drawn(rng))
    assert any((third[name] > second[name]).any() for name in first)


def masks_at(found: ShrinkingMasks, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The masks of the next round."""
    while not found.due:
        found.step += 1
    masks = found.begin(drawn(rng))
    found.step += 1
    return masks
