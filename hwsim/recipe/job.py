"""What a step is given and what it leaves: a network with its past, data, and a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from hwsim.build_folder.names import MODEL
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.equalize import equalized
from hwsim.compress.training.start import float_weights
from hwsim.graph import Graph
from hwsim.recipe.data import RecipeData
from hwsim.recipe.keys import Values
from hwsim.recipe.setting import Setting
from hwsim.storage import write_atomically

Masks = dict[str, npt.NDArray[np.bool_]]
Weights = dict[str, dict[str, npt.NDArray[np.float64]]]

INTEGERS, FLOATS, MASKS = MODEL, "model.onnx", "masks.safetensors"
"""Files in a step's folder: the network, of integers or floats, and where weights stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network in a file, and what later steps must know of its past.

    `source` is the float model that the recipe begins with, `floats` the one that was quantized,
    `origin` the graph that this gave: its codes are the float weights, rounded, as long as nothing
    was trained and no channel went.
    `masks` is a file of where weights may differ from 0, by node. `equalized` says that the float
    model's channels were brought to ranges alike, `zeros` that some of its weights were pruned.
    `build` is the folder of the last build.
    """

    path: Path
    source: Path | None = None
    floats: Path | None = None
    origin: Path | None = None
    masks: Path | None = None
    equalized: bool = False
    zeros: bool = False
    build: Path | None = None

    @property
    def is_float(self) -> bool:
        """Whether it is still a float model."""
        return self.path.name == FLOATS or self.path.suffix.lower() == ".onnx"

    def graph(self) -> Graph:
        """The integer network."""
        return Graph.load(self.path)

    def held_masks(self) -> Masks:
        """Where weights may differ from 0, by node; empty where nothing was pruned."""
        if self.masks is None:
            return {}
        found = load(self.masks.read_bytes())
        return {name: found[name] for name in sorted(found)}  # safetensors knows no order

    def float_model(self) -> FloatModel:
        """The float model that it was quantized from, as it was quantized."""
        assert self.floats is not None
        found = FloatModel.read(self.floats)
        return equalized(found)[0] if self.equalized else found

    def float_weights(self) -> Weights | None:
        """The float weights behind the codes, 0 where they were pruned; None where none are."""
        if self.origin is None:
            return None
        found = float_weights(Graph.load(self.origin), self.float_model())
        for name, mask in self.held_masks().items():
            found[name]["weights"] = np.asarray(found[name]["weights"] * mask)
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """One step to be done: its options, the network before it, and the folder for what it makes.

    `checkpoint` is where a training keeps its state; `say` gets a text now and then.
    """

    values: Values
    before: Network
    setting: Setting
    data: RecipeData
    folder: Path
    checkpoint: Path
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepResult:
    """What a step leaves: the network after it, what there is to tell, and notes in sentences.

    `failed` is why a check did not hold.
    """

    network: Network
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failed: str | None = None


def save_masks(folder: Path, masks: Mapping[str, npt.NDArray[np.bool_]]) -> Path | None:
    """Write masks into a step's folder; None where there are none."""
    if not masks:
        return None
    whole = {name: np.ascontiguousarray(mask) for name, mask in masks.items()}
    write_atomically(folder / MASKS, save(whole))
    return folder / MASKS
