"""A dataclass of options as one parameter of a command: an option a field, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from hwsim.cli.groups import PreparationOptions, grouped

Often = Annotated[int, typer.Option("--times", help="How often.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Some:
    word: Annotated[str, typer.Option(metavar="W")]
    often: Often = 2


@grouped
def say(
    end: Annotated[str, typer.Argument()],
    first: Annotated[bool, typer.Option("--first")] = False,
    *,
    some: Some,
    preparation: PreparationOptions,
    last: Annotated[int, typer.Option()] = 7,
) -> None:
    """Say it."""
    print(end, first, some.word, some.often, preparation.scale, preparation.resize, last)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["!", "--word", "a"], "! False a 2 None False 7"),
        (
            ["!", "--word", "b", "--times", "5", "--scale", "1/255", "--resize", "--last", "1"],
            "! False b 5 1/255 True 1",
        ),
        (["--first", "--word", "c", "?"], "? True c 2 None False 7"),
    ],
)
def test_each_field_is_an_option_with_its_default(words, said):
    app = typer.Typer()
    app.command()(say)
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    assert found.output.strip() == said


def test_options_stand_in_the_parameters_place_and_one_without_a_default_is_needed():
    app = typer.Typer()
    app.command()(say)
    names = [one.name for one in typer.main.get_command(app).params]
    assert names[:8] == ["end", "first", "word", "often", "scale", "mean", "std", "resize"]
    found = CliRunner().invoke(app, ["!"])
    assert found.exit_code == 2 and "--word" in found.output
    assert say.__doc__ == "Say it."
