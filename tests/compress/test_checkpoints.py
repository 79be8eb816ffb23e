"""The best epoch is kept, and a training that was killed goes on to the same graph."""

from __future__ import annotations

import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from support.digits_trained import FEW, IMAGES, LABELS, quantized

import hwsim
from hwsim.compress.training.loop import Training, finetune
from hwsim.errors import HwsimError
from hwsim.graph import Graph

pytestmark = pytest.mark.needs("torch", "array_api_compat")


def test_the_best_epoch_is_kept_and_patience_ends_a_training():
    graph = quantized("w4a4")
    scores, seen = iter([0.5, 0.4, 0.7, 0.6, 0.6, 0.9]), []
    said = []

    def judge(one: Graph) -> float:
        seen.append(one.hash())
        return next(scores)

    how = Training(epochs=6, batch=160, patience=2)
    best = finetune(graph, IMAGES[:FEW], LABELS[:FEW], how, judge=judge, say=said.append)
    assert [epoch.best for epoch in said] == [False, True, False, False]
    assert best.hash() == seen[2]
    worse = iter([0.9, 0.1])
    how = Training(epochs=1, batch=160)
    kept = finetune(graph, IMAGES[:FEW], LABELS[:FEW], how, judge=lambda g: next(worse))
    assert kept.hash() == graph.hash()


class KilledError(Exception):
    """What ends a training in a test."""


def killed_after(number: int):
    def say(epoch):
        if epoch.number == number:
            raise KilledError

    return say


def test_a_training_killed_between_epochs_goes_on_to_the_same_graph(tmp_path):
    graph, file = quantized("w4a4"), tmp_path / "state.safetensors"
    given = (graph, IMAGES[:FEW], LABELS[:FEW], Training(epochs=4, batch=64, seed=6))
    more = {"learn_steps": True}
    whole = finetune(*given, **more)
    for number in (1, 3):
        with pytest.raises(KilledError):
            finetune(*given, checkpoint=file, say=killed_after(number), **more)
    epochs = []
    again = finetune(*given, checkpoint=file, say=epochs.append, **more)
    assert [epoch.number for epoch in epochs] == [4]
    assert again.hash() == whole.hash()
    assert finetune(*given, checkpoint=file, **more).hash() == whole.hash()  # nothing left to do

    file.unlink()
    with pytest.raises(KilledError):
        finetune(*given, checkpoint=file, say=killed_after(2), **more)
    with safe_open(file, framework="numpy") as held:
        arrays = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        metadata = held.metadata()
    lost = {n: a * 0 if n.endswith("exp_avg") else a for n, a in arrays.items()}
    save_file(lost, file, metadata)
    assert finetune(*given, checkpoint=file, **more).hash() != whole.hash()  # moments count


def test_the_best_so_far_outlives_a_kill(tmp_path):
    graph, file = quantized("w4a4"), tmp_path / "state.safetensors"
    given = (graph, IMAGES[:FEW], LABELS[:FEW], Training(epochs=3, batch=64, seed=6))
    hashes = []
    finetune(*given, judge=lambda g: hashes.append(g.hash()) or len(hashes))
    score = dict(zip(hashes, (0.1, 0.9, 0.5, 0.4), strict=True))
    best = finetune(*given, judge=lambda g: score[g.hash()])
    with pytest.raises(KilledError):
        finetune(*given, judge=lambda g: score[g.hash()], checkpoint=file, say=killed_after(2))
    again = finetune(*given, judge=lambda g: score[g.hash()], checkpoint=file)
    assert best.hash() == again.hash() == hashes[1]


def test_a_checkpoint_of_another_training_or_none_is_refused(tmp_path):
    graph, file = quantized("w4a4"), tmp_path / "state.safetensors"
    data = (IMAGES[:FEW], LABELS[:FEW])
    finetune(graph, *data, Training(epochs=1), checkpoint=file)
    before = file.read_bytes()
    for other in (Training(epochs=1, seed=1), Training(epochs=2), Training(epochs=1, rate=1e-4)):
        with pytest.raises(HwsimError, match="must be a checkpoint of this training"):
            finetune(graph, *data, other, checkpoint=file)
    with pytest.raises(HwsimError, match="must be a checkpoint of this training"):
        finetune(graph, data[0], data[1][::-1].copy(), Training(epochs=1), checkpoint=file)
    assert file.read_bytes() == before
    images = data[0].copy()
    images[1, 0, 3, 3] += 1 / 16  # one pixel of one image
    with pytest.raises(HwsimError, match="must be a checkpoint of this training"):
        finetune(graph, images, data[1], Training(epochs=1), checkpoint=file)
    for more in ({"augment": lambda batch, rng: batch}, {"judge": lambda one: 0.5}):
        with pytest.raises(HwsimError, match="must be a checkpoint of this training"):
            finetune(graph, *data, Training(epochs=1), checkpoint=file, **more)
    assert file.read_bytes() == before
    for text in (b"", before[: len(before) // 2], b"x" * 100):
        file.write_bytes(text)
        with pytest.raises(HwsimError, match="must be a checkpoint of hwsim's training"):
            finetune(graph, *data, Training(epochs=1), checkpoint=file)
        assert file.read_bytes() == text


def test_a_checkpoint_belongs_to_whether_the_best_is_kept_and_on_what_it_is_counted(tmp_path):
    graph, file = quantized("w4a4"), tmp_path / "state.safetensors"
    train, test = (IMAGES[:FEW], LABELS[:FEW]), (IMAGES[FEW:400], LABELS[FEW:400])
    asked = {"epochs": 1, "checkpoint": file}
    turned = test[0][::-1].copy()
    for best, others in (
        (True, ({"test": test}, {"test": (turned, test[1]), "best": True})),
        (False, ({"test": test, "best": True},)),
    ):
        found = hwsim.finetune(graph, *train, test=test, best=best, **asked)
        for other in others:
            with pytest.raises(HwsimError, match="must be a checkpoint of this training"):
                hwsim.finetune(graph, *train, **asked, **other)
        again = hwsim.finetune(graph, *train, test=test, best=best, **asked)
        assert again.graph.hash() == found.graph.hash()
        file.unlink()
    hwsim.finetune(graph, *train, test=test, **asked)
    hwsim.finetune(graph, *train, test=(turned, test[1]), **asked)  # which decides nothing


@pytest.mark.parametrize("test", [None, (IMAGES[FEW:400], None)])
def test_the_best_epoch_of_samples_without_labels_is_refused_in_a_sentence(test):
    graph = quantized("w4a4")
    labels = None if test is None else LABELS[:FEW]
    asked = {"teacher": graph, "test": test, "best": True, "epochs": 1}
    with pytest.raises(HwsimError, match=r"best epoch must be chosen by labels, and .* none"):
        hwsim.distil(graph, IMAGES[:FEW], labels, **asked)
