"""Published models, which are no part of the project: test data in a folder beside it."""

from __future__ import annotations

import os
from pathlib import Path

BESIDE = Path(__file__).parents[3] / "shared" / "models"


def folder() -> Path:
    """Where they are, if they are: `HWSIM_MODELS`, or `../shared/models`."""
    return Path(os.environ.get("HWSIM_MODELS") or BESIDE)


def there() -> bool:
    """Whether tests marked `needs("models")` can run."""
    return folder().is_dir()
