"""Damaged IR files end in a sentence or in a Graph, within limits of time and memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")

from support.mutants import mutated, sentences
from support.openvino_forms import FORMS, SETTINGS, model
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError

FEW, MANY = 200, 20_000
NAMES = ("Convolution and Clamp", "Convolution, FakeQuantize, Add", "MatMul", "Concat")


def written(name: str, folder: Path, rng: np.random.Generator) -> Path:
    from openvino import save_model

    setting = SETTINGS[int(rng.integers(len(SETTINGS)))]
    path = folder / "m.xml"
    save_model(model(name, setting, rng, shown=True), path, compress_to_fp16=False)
    return path


def damaged(data: bytes, count: int, rng: np.random.Generator) -> Iterator[bytes]:
    return (mutated(data, rng) for _ in range(count))


def check(folder: Path, names: Any, count: int) -> None:
    rng = np.random.default_rng(seeded(11))
    said: list[Any] = []
    for name in names:
        path = written(name, folder, rng)
        text, weights = path.read_bytes(), path.with_suffix(".bin")
        said += sentences(hwsim.load, damaged(text, count, rng), path)
        path.write_bytes(text)
        kept = weights.read_bytes()

        def read(weights_of_it: Path, whole: Path = path) -> Any:
            shutil.copyfile(weights_of_it, whole.with_suffix(".bin"))
            try:
                return hwsim.load(whole)
            except HwsimError as error:  # which names the model, not its weights
                named = f"{weights_of_it}: " if str(whole) in str(error) else ""
                raise HwsimError(f"{named}{error}") from None

        other = folder / "damaged.bin"
        said += [s for s in sentences(read, damaged(kept, count // 4, rng), other) if s]
        weights.write_bytes(kept)
    refused = [text for text in said if text]
    assert len(refused) > len(said) / 3  # a changed number may still be a model


def test_damaged_files_are_sentences(tmp_path: Path) -> None:
    check(tmp_path, NAMES[:2], FEW // 2)


@pytest.mark.slow
def test_many_damaged_files_are_sentences(tmp_path: Path) -> None:
    check(tmp_path, FORMS, MANY // len(FORMS))
