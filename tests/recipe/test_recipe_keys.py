"""A recipe's keys are the commands' options: none is missing, none has another default."""

from __future__ import annotations

from dataclasses import fields

import pytest
from typer.main import get_command

from hwsim.cli.app import app
from hwsim.compress.training.fit import Wishes
from hwsim.compress.training.loop import Training
from hwsim.recipe.keys import NEEDED
from hwsim.recipe.kinds import KINDS
from hwsim.recipe.reading import DATA, TOP

OF_THE_RECIPE = {
    "model", "out", "like", "data", "input", "labels", "test", "test_labels", "classes", "output",
    "scale", "mean", "std", "resize", "folder", "reference", "checkpoint",
}  # fmt: skip
"""Options that a recipe has above its steps, or that it answers itself."""

SHOWN = {"json", "histograms", "page", "picture"}
"""Options of what a command prints, and of files that a recipe writes anyway."""


def options(command: str) -> dict[str, tuple[bool, object]]:
    """Whether an option must be given, and its default, by the name that people type."""
    found = {}
    for one in get_command(app).commands[command].params:
        long = next((text for text in one.opts if text.startswith("--")), one.name)
        found[long.removeprefix("--").replace("-", "_")] = (one.required, one.default)
    return found


@pytest.mark.parametrize("do", KINDS)
def test_each_option_of_a_command_is_a_key_of_its_step_with_the_same_default(do):
    keys, given = KINDS[do].keys, options(do)
    assert len(given) > 3
    for name, (required, default) in given.items():
        if name in OF_THE_RECIPE | SHOWN or (do, name) == ("distil", "teacher"):
            continue
        assert name in keys, f"--{name} of hwsim {do} is no key"
        if required:
            assert keys[name].default is NEEDED, name
        else:
            assert keys[name].default == default or not (keys[name].default or default), name


def test_what_a_recipe_says_once_has_the_names_of_the_options():
    known = {key.name for key in (*TOP, *DATA)}
    assert {"model", "out", "like", "test", "test_labels", "classes", "output"} <= known
    assert {"scale", "mean", "std", "resize"} <= known


READ = {
    "prune": {
        "amount", "by", "pattern", "scope", "layer", "seed", "schedule", "rounds",
        "epochs_a_round", "rate", "batch", "device", "teacher", "from",
        "target_accuracy", "target_bits", "target_cycles", "target",
    },
    "encode": {"weights", "layer", "from"},
    "attribute": {"equalize"},
    "verify": {"samples", "seed", "waves"},
}  # fmt: skip
"""Keys that a step reads one by one; the others hand theirs on by the names of parameters."""


@pytest.mark.parametrize("do", READ)
def test_no_key_is_taken_that_its_step_does_not_read(do):
    assert set(KINDS[do].keys) == READ[do]


@pytest.mark.parametrize("do", ["finetune", "distil"])
def test_each_key_of_a_training_is_a_field_of_what_is_asked_of_it(do):
    known = {field.name for kind in (Training, Wishes) for field in fields(kind)}
    own = {"finetune": {"from"}, "distil": {"from", "teacher", "share", "feature"}}
    assert set(KINDS[do].keys) - known == own[do]
