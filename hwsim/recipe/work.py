"""The folder of a recipe's work: finished steps by what they depend on, one run at a time.

A step's folder is finished when its `step.json` is there, which is written last; what is there
without it was begun by a run that was killed, and goes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any

from hwsim.build_folder.names import MODEL, REPORT
from hwsim.errors import HwsimError
from hwsim.extras import HOME
from hwsim.recipe.job import Network
from hwsim.storage import write_atomically

STEPS, LOCK, DONE = "steps", ".lock", "step.json"
CHECKPOINT = ".checkpoint"
SHOWN = 12
"""Digits of a step's hash in its folder's name."""

NAMED = re.compile(r"\d{2,}-[a-z]+-[0-9a-f]{12}")
FINAL, PAGE, DATA = MODEL, REPORT, "report.json"
"""The network that a recipe comes to, and its reports, in its folder."""

WRITTEN = (FINAL, PAGE, DATA)
MODEL = "the recipe's model"
Facts = dict[str, Any]


@contextmanager
def locked(out: Path) -> Iterator[WorkFolder]:
    """The folder for one run alone, made where it is missing.

    Raises HwsimError where another run has it, and where it cannot be written. What is left when
    the process ends, however it does, is no lock.
    """
    try:
        (out / STEPS).mkdir(parents=True, exist_ok=True)
        file = (out / LOCK).open("wb")
    except OSError as error:
        raise HwsimError(
            f"out must be a folder that can be written, not {out} ({error.strerror})"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise HwsimError(
                f"{out} must be used by one run at a time, and another one has it"
            ) from None
        yield WorkFolder(out)


class WorkFolder:
    """Steps in a folder that is locked."""

    def __init__(self, out: Path) -> None:
        self.out, self.steps = out, out / STEPS

    def place(self, number: int, do: str, key: str) -> Path:
        """The folder of a step."""
        return self.steps / f"{number:02d}-{do}-{key[:SHOWN]}"

    def checkpoint(self, folder: Path) -> Path:
        """Where the training of a step keeps its state."""
        return folder.with_name(folder.name + CHECKPOINT)

    def tidy(self, wanted: list[Path]) -> None:
        """Take away what runs that were killed left, but for checkpoints of steps that are wanted.

        Finished steps of other recipes stay: a recipe that is changed back finds them.
        """
        kept = tuple(f"{folder.name}." for folder in wanted)
        for one in self.steps.iterdir():
            if NAMED.fullmatch(one.name) and one.is_dir():
                if not (one / DONE).is_file():
                    shutil.rmtree(one)
            elif one.name.startswith(".") or (
                one.suffix == CHECKPOINT and not one.name.startswith(kept)
            ):
                one.unlink()
        for name in WRITTEN:
            for one in self.out.glob(f".{name}.*"):  # as `write_atomically` calls them meanwhile
                one.unlink()

    def read(self, folder: Path, key: str) -> Facts | None:
        """The facts of a finished step; None where it is not, or where its files are others."""
        try:
            facts: Any = json.loads((folder / DONE).read_text(encoding="utf-8"))
            if facts["key"] != key:
                return None
            for name, digest in facts["files"].items():
                if file_hash(folder / name) != digest:
                    return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return dict(facts)

    def begin(self, folder: Path) -> None:
        """An empty folder for a step."""
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()

    def finish(self, folder: Path, key: str, network: Network, facts: Facts) -> None:
        """Mark a step as finished, when all its files are on disk."""
        files = sorted(one for one in folder.rglob("*") if one.is_file())
        hashes = {str(one.relative_to(folder)): file_hash(one) for one in files}
        for one in (*files, *(d for d in (folder, *folder.rglob("*")) if d.is_dir())):
            _settle(one)
        whole = {"key": key, "files": hashes, "network": self._saved(network), **facts}
        write_atomically(folder / DONE, (json.dumps(whole, indent=1) + "\n").encode())
        _settle(folder)
        for one in self.steps.glob(f"{folder.name}.*"):
            one.unlink()

    def network(self, facts: Facts, model: Path) -> Network:
        """The network that a finished step left; the recipe's model may lie elsewhere by now."""
        found: Facts = {}
        for name, value in facts["network"].items():
            if isinstance(value, str):
                found[name] = model if value == MODEL else self.out / value
            else:
                found[name] = value
        return Network(**found)

    def _saved(self, network: Network) -> Facts:
        found: Facts = {}
        for one in fields(network):
            value = getattr(network, one.name)
            if isinstance(value, Path):
                inside = value.is_relative_to(self.out)
                value = str(value.relative_to(self.out)) if inside else MODEL
            found[one.name] = value
        return found


def version() -> str:
    """The installed hwsim's; empty where it only lies beside its user."""
    try:
        return metadata.version("hwsim")
    except metadata.PackageNotFoundError:
        return ""


def own_code() -> str:
    """SHA-256 of hwsim's own files: what another version, or a change to it, made is no step's."""
    found = hashlib.sha256()
    for room in ("hwsim", "rtl"):
        for path in sorted((HOME / room).rglob("*.py")):
            found.update(f"{path.relative_to(HOME)} {file_hash(path)}".encode())
    return found.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(what: Mapping[str, Any]) -> str:
    """SHA-256 of what a step depends on."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _settle(path: Path) -> None:
    """Have the system write a file or a folder's list of files to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
