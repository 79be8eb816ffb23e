"""What a recipe came to: a row for the model and for each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwsim.recipe.figures import Figures
from hwsim.recipe.reading import CompressionRecipe
from hwsim.recipe.work import version


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a step came to: figures of the network after it, and what the step itself tells.

    `number` is 0 for the model as it was. `seconds` are those that it took when it was done,
    `kept` says that an earlier run did it. `folder` holds its files.
    """

    number: int
    do: str
    figures: Figures
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    kept: bool = False
    folder: str | None = None

    @property
    def line(self) -> str:
        """The most of it in one line."""
        score, bits = self.figures["accuracy"], self.figures["weight_bits"]
        said = [f"step {self.number}, {self.do}" if self.number else self.do]
        said += [] if score is None else [f"accuracy {100 * score['top1']:.2f} %"]
        said += [f"{bits:,} bits of weights", "kept" if self.kept else f"{self.seconds:.1f} s"]
        return ", ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "step": self.number,
            "do": self.do,
            "options": dict(self.options),
            "figures": self.figures,
            "facts": dict(self.facts),
            "notes": list(self.notes),
            "seconds": self.seconds,
            "kept": self.kept,
            "folder": self.folder,
        }


@dataclass(frozen=True, slots=True)
class RecipeRun:
    """What a recipe came to: a row for the model and for each step, and the last network's file.

    `failed` is a sentence where a check did not hold; the steps behind it were not done.
    """

    recipe: CompressionRecipe
    rows: tuple[Row, ...]
    model: Path
    failed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "recipe": str(self.recipe.setting.file),
            "hwsim": version(),
            "source": str(self.recipe.setting.model),
            "out": str(self.recipe.setting.out),
            "model": str(self.model),
            "seed": self.recipe.setting.seed,
            "target": self.recipe.setting.target,
            "steps": [row.to_dict() for row in self.rows],
            "failed": self.failed,
        }
