"""A recipe that runs: what it leaves, and what it takes again."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
from pathlib import Path

import digits
import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load
from support.cli_calls import refused, run
from support.digits_recipe import FLOAT, STEPS, TESTED, TRAINED, recipe
from support.seeds import seeded

import hwsim
from hwsim import storage
from hwsim.cli.compress import LiveTable

pytestmark = pytest.mark.needs("torch", "array_api_compat", "onnxruntime")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    file = recipe(folder)
    lines: list[str] = []
    found = hwsim.run_recipe(file, log=lines.append)
    return folder, file, found, lines


def test_each_step_has_its_figures_and_they_are_the_networks_own(done):
    folder, _, found, lines = done
    rows = {row.do: row for row in found.rows}
    assert [row.number for row in found.rows] == [0, 1, 2, 3, 4, 5] and len(lines) == 6
    data = digits.load()
    images, labels = data.test_images[:TESTED], data.test_labels[:TESTED]
    for do in ("quantize", "prune", "distil"):
        file = folder / "made" / rows[do].folder / "model.hwsim"
        wanted = hwsim.accuracy(file, images, labels)
        score = rows[do].figures["accuracy"]
        assert score == {"samples": TESTED, "right": wanted.right, "top1": wanted.top1}
        weights = [n.op.weights for n in hwsim.load(file).nodes if hasattr(n.op, "weights")]
        assert rows[do].figures["weights"] == sum(w.size for w in weights)
        assert rows[do].figures["zeros"] == sum(int((w == 0).sum()) for w in weights)
        assert rows[do].figures["weight_bits"] == 4 * rows[do].figures["weights"]
        assert rows[do].figures["plan"]["cycles"] > 0
    assert rows["model"].figures["weight_bits"] == 8 * rows["quantize"].figures["weight_bits"]
    beside = hwsim.accuracy(found.model, images, labels, reference=FLOAT).reference
    assert rows["model"].figures["accuracy"]["right"] == beside.right
    assert rows["attribute"].figures == rows["distil"].figures
    assert found.model.read_bytes() == file.read_bytes()


def test_what_was_pruned_stays_zero_through_the_training(done):
    folder, _, found, _ = done
    before, after = (
        hwsim.load(folder / "made" / row.folder / "model.hwsim") for row in found.rows[2:4]
    )
    pruned = moved = 0
    for node in before.nodes:
        if hasattr(node.op, "weights"):
            new = after.node(node.name).op.weights
            assert not new[node.op.weights == 0].any()
            pruned += int((node.op.weights == 0).sum())
            moved += int((new != node.op.weights).sum())
    assert pruned >= found.rows[0].figures["weights"] // 2 and moved > 50


def test_a_second_run_takes_all_and_a_later_change_the_steps_before_it(done, capsys):
    folder, file, found, _ = done
    status, out, _ = run(capsys, "compress", file, "--json")
    again = json.loads(out)
    assert status == 0 and all(row["kept"] for row in again["steps"])
    changed = recipe(folder, STEPS.replace("epochs = 3", "epochs = 1"))
    rows = hwsim.run_recipe(changed).rows
    assert [row.kept for row in rows] == [True, True, True, False, False, False]
    assert rows[3].figures != found.rows[3].figures
    back = hwsim.run_recipe(recipe(folder))
    assert all(row.kept for row in back.rows) and back.rows[3].figures == found.rows[3].figures


@pytest.mark.parametrize("what", ["seed", "data", "file"])
def test_a_step_is_done_again_where_what_it_depends_on_is_another(done, what):
    folder, file, found, _ = done
    if what == "seed":
        file = recipe(folder, STEPS.replace("epochs = 3", "epochs = 3\nseed = 9"))
    elif what == "data":
        with np.load(folder / "train.npz") as data:
            x, y = data["x"].copy(), data["y"]
        x[0] = 0
        np.savez(folder / "train.npz", x=x, y=y)
    else:
        spoilt = folder / "made" / found.rows[3].folder / "model.hwsim"
        spoilt.write_bytes(spoilt.read_bytes()[:-1])
    rows = hwsim.run_recipe(file).rows
    wanted = {"seed": [True] * 3 + [False] * 3, "data": [True] + [False] * 5}
    assert [r.kept for r in rows] == wanted.get(what, [True, True, True, False, True, True])
    (folder / "train.npz").unlink()
    recipe(folder)


def test_the_page_names_each_step_and_shows_the_figures(done):
    folder, _, found, _ = done
    text = (folder / "made" / "report.html").read_text()
    for row in found.rows[1:]:
        assert f"{row.number}. {row.do}" in text
    assert f"{found.rows[3].figures['weight_bits']:,}" in text
    for link in ("attribution.html", "plans.svg"):
        place = next(part for part in text.split('"') if part.endswith(link))
        assert (folder / "made" / place).is_file()


def test_two_runs_in_one_folder_are_one_too_many(done, capsys):
    folder, _, _, _ = done
    with (folder / "made" / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        said = refused(capsys, "compress", recipe(folder))
    out = folder / "made"
    assert said == f"{out} must be used by one run at a time, and another one has it"


def test_a_disk_that_fills_is_one_sentence_and_leaves_no_half_step(tmp_path, capsys, monkeypatch):
    file, real = recipe(tmp_path), storage.write_atomically

    def full(path, data):
        if path.name == "masks.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, data)

    monkeypatch.setattr("hwsim.recipe.job.write_atomically", full)
    said = refused(capsys, "compress", file, status=1)
    assert said.startswith(f"{file}, step 2 (prune): ") and "No space left on device" in said
    steps = sorted(one.name.split("-")[1] for one in (tmp_path / "made" / "steps").iterdir())
    assert steps == ["model", "quantize"]
    monkeypatch.undo()
    rows = hwsim.run_recipe(file).rows
    assert [row.kept for row in rows] == [True, True, False, False, False, False]


def test_a_quantized_model_is_compressed_too_and_channels_go_with_their_masks(tmp_path):
    model = Path(digits.__file__).parent.resolve() / "models" / "digits_cnn_asym.onnx"
    steps = """
        [[step]]
        do = "prune"
        amount = 0.4
        [[step]]
        do = "prune"
        pattern = "channels"
        by = "taylor"
        amount = 0.25
        [[step]]
        do = "finetune"
        epochs = 1
        [[step]]
        do = "encode"
        weights = "pot4"
        [[step]]
        do = "build"
        rtl_only = true
    """
    found = hwsim.run_recipe(recipe(tmp_path, steps, model=model))
    figures = [row.figures for row in found.rows]
    assert figures[2]["weights"] < 0.8 * figures[1]["weights"]
    assert figures[2]["macs"] < figures[1]["macs"]
    assert figures[3]["zeros"] >= figures[2]["zeros"] > 0.3 * figures[2]["weights"]
    assert figures[4]["weight_bits"] == 4 * figures[4]["weights"]
    assert found.rows[3].facts["begins_with"] == "codes"
    assert (tmp_path / "made" / found.rows[5].folder / "build" / "hwsim_top.v").is_file()


def test_a_step_prunes_in_rounds_as_the_verb_does_from_the_float_weights(tmp_path):
    steps = """
        [[step]]
        do = "quantize"
        bits = "w4a4"
        [[step]]
        do = "prune"
        amount = 0.6
        rounds = 2
        epochs_a_round = 1
        rate = 3e-3
        batch = 64
    """
    found = hwsim.run_recipe(recipe(tmp_path, steps))
    data = digits.load()
    x, y = data.train_images[:TRAINED], data.train_labels[:TRAINED]
    wanted = hwsim.prune(
        hwsim.quantize(FLOAT, x, bits="w4a4").graph, 0.6, x=x, labels=y, rounds=2,
        epochs_a_round=1, rate=3e-3, batch=64, seed=3, start=FLOAT,
    )  # fmt: skip
    assert hwsim.load(tmp_path / "made" / "model.hwsim").hash() == wanted.graph.hash()
    assert found.rows[2].figures["sparsity"] >= 0.6 - 1e-3


def test_a_float_network_is_pruned_before_it_is_quantized_and_trained(tmp_path):
    steps = """
        [[step]]
        do = "prune"
        amount = 0.2
        [[step]]
        do = "quantize"
        bits = "w3a8"
        equalize = true
        [[step]]
        do = "finetune"
        epochs = 2
        batch = 16
        rate = 3e-3
    """
    found = hwsim.run_recipe(recipe(tmp_path, steps))
    rows = found.rows
    assert rows[1].figures["sparsity"] == pytest.approx(0.2, abs=0.01)
    assert rows[3].facts["begins_with"] == "float weights"
    quantized, trained = (
        hwsim.load(tmp_path / "made" / row.folder / "model.hwsim") for row in rows[2:]
    )
    masks = load((tmp_path / "made" / rows[2].folder / "masks.safetensors").read_bytes())
    back = 0
    for name, mask in masks.items():
        old, new = (graph.node(name).op.weights for graph in (quantized, trained))
        assert not new[~mask].any() and not old[~mask].any()
        back += int(((old == 0) & (new != 0)).sum())
    assert sum(int((~mask).sum()) for mask in masks.values()) == rows[1].figures["zeros"]
    assert back > 0  # what only rounding made 0 may come back, what was pruned may not


def test_a_program_of_pytorch_is_the_float_network_its_teacher_and_its_reference(tmp_path):
    import torch
    from torch import nn

    torch.manual_seed(seeded(5))
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10)).eval()
    torch.export.save(torch.export.export(module, (torch.zeros(2, 1, 8, 8),)), tmp_path / "m.pt2")
    steps = """
        [[step]]
        do = "quantize"
        bits = "w6a8"
        [[step]]
        do = "distil"
        epochs = 1
        share = 1.0
        [[step]]
        do = "attribute"
    """
    found = hwsim.run_recipe(recipe(tmp_path, steps, model=tmp_path / "m.pt2"))
    assert found.rows[0].figures["weights"] == 64 * 24 + 24 * 10
    assert found.rows[2].facts["begins_with"] == "float weights"
    assert found.rows[3].facts["samples"] == TESTED
    assert all(row.kept for row in hwsim.run_recipe(tmp_path / "made.toml").rows)


def test_on_a_terminal_the_table_grows_and_says_how_far_the_step_is(done, monkeypatch):
    found, out = done[2], io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=150)
    monkeypatch.setattr("hwsim.cli.compress.console", lambda stderr: terminal)
    with LiveTable() as live:
        live.begins(0, "model")
        live.ends(found.rows[0])
        live.begins(1, "quantize")
        live.says("calibrating")
        terminal.print("a line above the table")  # has the display drawn anew
    text = out.getvalue()
    assert f"{100 * found.rows[0].figures['accuracy']['top1']:.2f} %" in text
    assert "step 1, quantize (0 s): calibrating" in text


def test_a_run_that_is_interrupted_leaves_the_table_of_what_was_done(done, monkeypatch):
    row, out = done[2].rows[0], io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=150)
    monkeypatch.setattr("hwsim.cli.compress.console", lambda stderr: terminal)
    live = LiveTable().__enter__()
    live.begins(0, "model")
    live.ends(row)
    out.seek(0)
    out.truncate()
    live.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert out.getvalue().rstrip().endswith(f"{row.seconds:.1f}")


def test_labels_that_are_no_classes_are_left_alone_unless_they_are_asked_for(tmp_path, capsys):
    file = recipe(tmp_path, '[[step]]\ndo = "quantize"\n')
    data = digits.load()
    reals = np.linspace(0, 1, TESTED)
    np.savez(tmp_path / "test.npz", x=data.test_images[:TESTED], y=reals)
    status, out, err = run(capsys, "compress", file)
    assert status == 0 and "note: no accuracy was counted: labels must be" in err
    assert "quantize" in out and "%" in out
    np.save(tmp_path / "y.npy", reals)
    file.write_text(file.read_text().replace("[data]", '[data]\ntest_labels = "y.npy"'))
    assert "labels must be" in refused(capsys, "compress", file)


def test_weights_that_were_not_rounded_to_the_nearest_are_encoded_from_their_codes(tmp_path):
    steps = """
        [[step]]
        do = "quantize"
        bits = "w8a8"
        rounding = "feedback"
        [[step]]
        do = "encode"
        weights = "pot4"
    """
    found = hwsim.run_recipe(recipe(tmp_path, steps))
    said = found.rows[2]
    graph = hwsim.load(tmp_path / "made" / found.rows[1].folder / "model.hwsim")
    assert said.facts["begins_with"] == "codes"
    assert said.notes[0].startswith("encoding begins with the codes: the weights of node ")
    assert hwsim.load(found.model).hash() == hwsim.encode(graph, "pot4").hash()
