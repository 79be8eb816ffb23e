"""A training's state after an epoch in one safetensors file, so that it can go on from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hwsim.errors import HwsimError
from hwsim.storage import write_atomically

States = Mapping[str, npt.NDArray[Any]]
KEY = "training"


def write_checkpoint(path: Path, of: str, arrays: States, facts: Mapping[str, Any]) -> None:
    """Put a state in the place of the one in the file, whole or not at all.

    `of` says which training it belongs to.
    """
    text = json.dumps({"of": of, "facts": facts})
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_atomically(path, save(whole, metadata={KEY: text}))


def read_checkpoint(path: Path, of: str) -> tuple[States, dict[str, Any]] | None:
    """Arrays and facts of a state; None where there is no file.

    Raises HwsimError for a file that is none, and for one of another training.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            text = json.loads((file.metadata() or {})[KEY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        of_file, facts = text["of"], dict(text["facts"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise HwsimError(
            f"{path} must be a checkpoint of hwsim's training, not what cannot be read as one "
            f"({type(error).__name__})"
        ) from None
    if of_file != of:
        raise HwsimError(
            f"{path} must be a checkpoint of this training, not of one with another model, data or "
            "setting; delete it to begin anew"
        )
    return arrays, facts
