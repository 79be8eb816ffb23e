"""A part of a data set in the place of a file: `set:digits/train`, `set:mnist/test:FOLDER`."""

from __future__ import annotations

import re
from pathlib import Path

from hwsim.data.sets.catalogue import DataSet, Examples, load
from hwsim.errors import HwsimError

PREFIX = "set:"


def named_part(path: Path) -> tuple[DataSet, Examples] | None:
    """The data set and the part of it that a path stands for; None for a path of a file.

    Raises HwsimError for a part that is none, and what `load` raises.
    """
    text = str(path)
    if not text.startswith(PREFIX):
        return None
    match = re.fullmatch(r"set:([^/:]+)/(train|test)(?::(.+))?", text)
    if match is None:
        raise HwsimError(
            "a data set must be like set:digits/train or set:mnist/test:FOLDER (of its files), not "
            f"{text!r}"
        )
    found = load(match[1], Path(match[3]) if match[3] else None)
    return found, found.train if match[2] == "train" else found.test
