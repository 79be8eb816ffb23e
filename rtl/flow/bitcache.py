"""A folder of finished results, each found by a hash of all that it was made from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_FACTS = "facts.json"


def key(*parts: str | bytes) -> str:
    """Return a hash of the parts in this order; where one part ends is part of it."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def load(folder: Path, name: str) -> tuple[dict[str, Any], list[Path]] | None:
    """Return the facts and files kept under `name`, or None where there are none or not whole."""
    try:
        facts = json.loads((folder / name / _FACTS).read_text(encoding="utf-8"))
        files = [folder / name / file for file in facts["files"]]
        whole = all(key(f.read_bytes()) == h for f, h in zip(files, facts["hashes"], strict=True))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (facts["facts"], files) if whole else None


def store(folder: Path, name: str, facts: dict[str, Any], files: Sequence[Path]) -> None:
    """Keep facts and files under `name`, at once or not at all; a full disk is no error here.

    The facts must be fit for JSON. What another process kept under the same name stays.
    """
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as place:
            new = Path(place) / name
            new.mkdir()
            for file in files:
                shutil.copyfile(file, new / file.name)
            hashes = [key(file.read_bytes()) for file in files]
            entry = {"facts": facts, "files": [f.name for f in files], "hashes": hashes}
            (new / _FACTS).write_text(json.dumps(entry), encoding="utf-8")
            if load(folder, name) is None:
                shutil.rmtree(folder / name, ignore_errors=True)
                os.rename(new, folder / name)
