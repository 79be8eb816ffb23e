"""What a recipe says above its steps: which model, which data, for which hardware."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwsim.data import Preparation
from hwsim.recipe.keys import Values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """Model, folder, seed and data, with paths as the process takes them.

    `data` has the keys of a recipe's `[data]`; what is not given is None. `floats` says that the
    model is a float one, which a step quantizes.
    """

    file: Path
    model: Path
    out: Path
    seed: int
    like: str | None
    target: str
    clock: str
    data: Values
    prepare: Preparation
    floats: bool
