"""A recipe that is killed, or that fails within a step, and what the next run makes of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.digits_recipe import BUILD, STEPS, facts, made, recipe
from support.killing import killed_often
from support.seeds import seeded

import hwsim
from hwsim.recipe.reading import read_recipe
from hwsim.recipe.run import NoOne
from hwsim.recipe.run import run as run_recipe

pytestmark = pytest.mark.needs("torch", "array_api_compat", "onnxruntime")


def expect_killed_as_whole(tmp_path: Path, rounds: int, steps: str = STEPS + BUILD) -> None:
    began = time.monotonic()
    whole = hwsim.run_recipe(recipe(tmp_path, steps, "whole"))
    most = 0.6 * (time.monotonic() - began)
    assert whole.failed is None
    call = ("compress", recipe(tmp_path, steps, "killed"))
    assert killed_often(call, seed=seeded(15), rounds=rounds, most=most) >= 1
    assert made(tmp_path / "killed") == made(tmp_path / "whole")
    assert facts(tmp_path / "killed") == facts(tmp_path / "whole")
    folders = [tmp_path / "killed", tmp_path / "whole"]
    first, second = ((folder / "model.hwsim").read_bytes() for folder in folders)
    assert first == second
    held = [{one.relative_to(folder) for one in folder.rglob("*")} for folder in folders]
    assert held[0] == held[1]  # no checkpoint, no temporary file


def test_a_run_that_is_killed_at_any_moment_comes_to_the_same_files(tmp_path):
    expect_killed_as_whole(tmp_path, 4)


@pytest.mark.slow
def test_a_run_that_is_killed_many_times_comes_to_the_same_files(tmp_path):
    expect_killed_as_whole(tmp_path, 40)


@pytest.mark.slow
def test_rounds_of_pruning_that_are_killed_come_to_the_same_files(tmp_path):
    rounds = "amount = 0.6\nrounds = 3\nepochs_a_round = 3\nbatch = 16"
    expect_killed_as_whole(tmp_path, 25, STEPS.replace("amount = 0.5", rounds))


def test_a_step_of_rounds_that_fails_goes_on_behind_its_last_epoch(tmp_path):
    rounds = "amount = 0.6\nrounds = 2\nepochs_a_round = 2\nbatch = 64"
    steps = STEPS.partition('\n[[step]]\ndo = "distil"')[0].replace("amount = 0.5", rounds)
    whole = hwsim.run_recipe(recipe(tmp_path, steps, "whole"))

    class Stopping(NoOne):
        def says(self, text: str) -> None:
            if "round 2 of 2: " in text and "epoch 1" in text:
                raise KeyboardInterrupt

    file = recipe(tmp_path, steps, "stopped")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(read_recipe(file), Stopping())
    held = sorted(one.name.partition(".")[2] for one in (tmp_path / "stopped/steps").glob("02-*"))
    assert held == ["checkpoint", "round2.checkpoint"]
    again = hwsim.run_recipe(file)
    assert again.model.read_bytes() == whole.model.read_bytes()
    assert not list((tmp_path / "stopped/steps").glob("*.checkpoint"))
