"""The command that does a whole recipe, with a table that grows while it works."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from hwsim.build_folder.names import REPORT
from hwsim.cli.console import CheckFailed, console, print_json, print_note
from hwsim.cli.options import Json, TargetAccuracy, TargetBits, TargetCycles
from hwsim.cli.sheet import Sheet, table
from hwsim.errors import HwsimError

if TYPE_CHECKING:
    from rich.live import Live

    from hwsim.recipe.result import RecipeRun, Row


def compress(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.toml", help="The steps, in TOML; --new writes one.")
    ],
    new: Annotated[
        bool, typer.Option("--new", help="Write a recipe to begin with into a file of this name.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only check the recipe, the model and the data.")
    ] = False,
    target_accuracy: TargetAccuracy = None,
    target_bits: TargetBits = None,
    target_cycles: TargetCycles = None,
    as_json: Json = False,
) -> None:
    """Do a recipe: quantize, prune, train, encode, attribute, plan, build, verify, in its order.

    All of it is checked first. What an earlier run finished is taken where nothing that it depends
    on is another; a run that was killed goes on. The folder `out` gets the network and a report.
    A target here stands in the place of those of the step that quantizes.
    """
    if new:
        _write_new(recipe, as_json=as_json)
        return
    from hwsim.recipe.data import RecipeData
    from hwsim.recipe.reading import read_recipe
    from hwsim.recipe.run import check as check_files
    from hwsim.recipe.run import run

    found = read_recipe(
        recipe,
        target_accuracy=target_accuracy,
        target_bits=target_bits,
        target_cycles=target_cycles,
    )
    if check:
        check_files(found, RecipeData(found.setting))
        steps = [step.do for step in found.steps]
        if as_json:
            print_json({"recipe": str(recipe), "steps": steps, "out": str(found.setting.out)})
        else:
            sys.stdout.write(f"{recipe}: {', '.join(steps)}: all can be read\n")
        return
    with LiveTable() as live:
        made = run(found, live)
    if as_json:
        print_json({**made.to_dict(), "report": str(found.setting.out / REPORT)})
    else:
        _show(made)
    if made.failed is not None:
        raise CheckFailed(made.failed)


def _write_new(path: Path, *, as_json: bool) -> None:
    from hwsim.recipe.starter import STARTER
    from hwsim.storage import write_atomically

    if path.suffix.lower() != ".toml":
        raise HwsimError(f"a recipe must be a .toml file, not {str(path)!r}")
    if path.exists():
        raise HwsimError(f"{path} must be a new file, and there is one")
    write_atomically(path, STARTER.encode())
    if as_json:
        print_json({"recipe": str(path)})
    else:
        sys.stdout.write(f"{path}: name your model and data in it, then `hwsim compress {path}`\n")


def _show(made: RecipeRun) -> None:
    out = console()
    out.print(_sheet(list(made.rows)))
    for row in made.rows:
        for note in row.notes:
            print_note(f"{row.do}: {note}")
        why = row.figures.get("uncounted")
        if why is not None and row is made.rows[-1]:
            print_note(f"no accuracy was counted: {why}")
        problem = (row.figures["plan"] or {}).get("problem")
        if problem is not None and row is made.rows[-1]:
            print_note(f"no plan: {problem}")
    out.print(f"network: {made.model}", markup=False, soft_wrap=True)
    out.print(f"report: {made.recipe.setting.out / REPORT}", markup=False, soft_wrap=True)


def _sheet(rows: list[Row]) -> Sheet:
    from hwsim.recipe.report import columns

    heads, texts = columns(rows)
    return table("", heads, texts, heads[1:])


class LiveTable:
    """On stderr: a table that grows with each step, and how far that is; plain lines to a file."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._doing, self._said, self._began = "", "", 0.0
        self._out = console(stderr=True)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._out.is_terminal:
            from rich.live import Live

            self._live = Live(
                get_renderable=self._shown, console=self._out, transient=True, refresh_per_second=4
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            if kind is not None and self._rows:
                self._out.print(_sheet(self._rows))

    def begins(self, number: int, do: str) -> None:
        """A step begins."""
        self._doing = f"step {number}, {do}" if number else f"reading the {do}"
        self._said, self._began = "", time.monotonic()

    def says(self, text: str) -> None:
        """A step says how far it is."""
        self._said = text

    def ends(self, row: Row) -> None:
        """A step is done."""
        self._rows.append(row)
        if self._live is None:
            self._out.print(row.line, markup=False, soft_wrap=True)

    def _shown(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        now = f"{self._doing} ({time.monotonic() - self._began:.0f} s)"
        line = Text(f"{now}: {self._said}" if self._said else now, overflow="ellipsis")
        return Group(_sheet(self._rows), line) if self._rows else line
