"""A whole recipe, from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwsim.recipe.result import RecipeRun, Row


def run_recipe(
    recipe: str | Path,
    *,
    target_accuracy: float | str | None = None,
    target_bits: int | None = None,
    target_cycles: int | None = None,
    log: Callable[[str], None] | None = None,
) -> RecipeRun:
    """Do the steps of a recipe, a TOML file, as `hwsim compress` does.

    What an earlier run finished is taken as it is; a run that was killed goes on. A target stands
    in the place of those of the step that quantizes. `log` gets a line a step. The recipe's folder
    holds the network, `report.html` and `report.json`.
    Raises HwsimError for a recipe that is none, before anything is written; for a step that fails;
    and, with exit status 1, where the hardware that a step checks is not the emulator's.
    """
    from hwsim.errors import HwsimError
    from hwsim.recipe.reading import read_recipe
    from hwsim.recipe.run import NoOne, run

    class Logging(NoOne):
        def ends(self, row: Row) -> None:
            if log is not None:
                log(row.line)

    read = read_recipe(
        Path(recipe),
        target_accuracy=target_accuracy,
        target_bits=target_bits,
        target_cycles=target_cycles,
    )
    found = run(read, Logging())
    if found.failed is not None:
        raise HwsimError(found.failed, exit_status=1)
    return found
