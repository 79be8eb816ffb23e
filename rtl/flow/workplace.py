"""Where tools run: a temporary folder with the sources, and how its results leave it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hwsim.build_folder import LOGS, MANIFEST
from hwsim.errors import HwsimError
from rtl.flow import tools

Log = Callable[[str], None]


class ToolLog:
    """Tells the caller what runs, and keeps each tool's version and time."""

    def __init__(self, log: Log | None) -> None:
        self._log = log
        self.versions: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    def say(self, text: str) -> None:
        """Tell the caller what comes next."""
        if self._log is not None:
            self._log(text)

    @contextmanager
    def step(self, find: Callable[[], tools.Tool], text: str) -> Iterator[tools.Tool]:
        """Time what runs inside with the tool that `find` returns."""
        self.say(text)
        tool = find()  # a tool's very first use may take a while, so it comes after the text
        self.versions[tool.name] = tool.version
        start = time.monotonic()
        try:
            yield tool
        finally:
            spent = self.seconds.get(tool.name, 0.0) + time.monotonic() - start
            self.seconds[tool.name] = round(spent, 2)


@dataclass(frozen=True, slots=True)
class Workplace:
    """The temporary folder, and the bare names of the Verilog files in it."""

    folder: Path
    verilog: list[str]

    def add(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, encoding="utf-8")
        if name.endswith(".v"):
            self.verilog.append(name)
        return name


@contextmanager
def workplace(sources: Path | Sequence[Path]) -> Iterator[Workplace]:
    """Copy the sources into a temporary folder: a YoWASP tool sees only what is near its folder."""
    paths = [sources] if isinstance(sources, Path) else list(sources)
    with tempfile.TemporaryDirectory(prefix="hwsim-synth-") as name:
        folder = Path(name)
        for path in paths:
            try:
                shutil.copyfile(path, folder / path.name)
            except OSError as error:
                raise HwsimError(
                    f"the source {str(path)!r} must be readable: {error.strerror}"
                ) from error
        yield Workplace(folder, [path.name for path in paths if path.suffix in (".v", ".sv")])


def logs_of(work: Workplace) -> list[Path]:
    """What the tools said so far, and their reports of timing."""
    return sorted(p for p in work.folder.iterdir() if _is_log(p))


def deliver(files: Sequence[Path], out_dir: Path) -> None:
    """As `publish`, logs into a folder of their own."""
    logs = [path for path in files if _is_log(path)]
    if logs:
        (out_dir / LOGS).mkdir(exist_ok=True)
        publish(logs, out_dir / LOGS)
    publish([path for path in files if path not in logs], out_dir)


def _is_log(path: Path) -> bool:
    return path.suffix == ".log" or (path.suffix == ".json" and path.name.startswith("nextpnr-"))


def publish(files: Sequence[Path], out_dir: Path) -> None:
    """Move finished files into a folder, all copied there before the first is renamed."""
    copies = [out_dir / f".{path.name}.{os.getpid()}" for path in files]
    try:
        for path, copy in zip(files, copies, strict=True):
            shutil.copyfile(path, copy)
        for path, copy in zip(files, copies, strict=True):
            copy.replace(out_dir / path.name)
    except OSError as error:
        raise HwsimError(
            f"the output folder {str(out_dir)!r} must be writable: {error.strerror}"
        ) from error
    finally:
        for copy in copies:
            copy.unlink(missing_ok=True)


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place if the block succeeds.

    Raises HwsimError where `out` exists and is neither empty nor of an earlier build.
    """
    out = out.absolute()
    if out.exists() and not out.is_dir():
        raise HwsimError(f"the output must be a folder, not the file {str(out)!r}")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).exists():
        raise HwsimError(
            f"the output folder must be new, empty or of an earlier build, not {str(out)!r}"
        )
    if not (out.parent.is_dir() and os.access(out.parent, os.W_OK)):
        raise HwsimError(f"the folder of {str(out)!r} must exist and be writable")
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield work
        work.chmod(0o755)
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
            out.rename(old / "old")
            work.rename(out)
            shutil.rmtree(old)
        else:
            work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
