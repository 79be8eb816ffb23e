"""Data sets in folders beside the project: real files, which tests read where they are."""

from __future__ import annotations

import os
from pathlib import Path

PLACES = (
    "/usr/share/datasets/fashion-mnist",
    "/usr/lib/R/site-library/mlbench/data",
)


def folder_with(file: str) -> Path | None:
    """The folder that holds a file of that name: where Debian has it, or one below HWSIM_DATA."""
    own = os.environ.get("HWSIM_DATA")
    below = (path.parent for path in sorted(Path(own).rglob(file))) if own else iter(())
    return next((p for p in (*below, *map(Path, PLACES)) if (p / file).is_file()), None)


def there() -> bool:
    """Whether tests marked `needs("datasets")` can run: any of the files is there."""
    files = ("train-images-idx3-ubyte.gz", "0.json", "Satellite.rda", "BasicMotions_TRAIN.ts")
    return any(folder_with(file) is not None for file in files)
