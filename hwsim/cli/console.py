"""What the command line says: results on stdout, progress and trouble on stderr."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hwsim.errors import HwsimError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Display

FILE_WIDTH = 140
PATIENCE = 1.0
"""Seconds of silence before progress is shown, so that quick commands show none."""


class CheckFailed(HwsimError):
    """A check that failed, after its result went to stdout."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_status=1)


def console(*, stderr: bool = False) -> Console:
    """A rich console for one of the two outputs, as it is now; a file is wide enough for tables."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = FILE_WIDTH
    return made


WARNED: ContextVar[list[str] | None] = ContextVar("WARNED", default=None)
"""The warnings of the command that runs, in order."""


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Within it each warning is one line on stderr, said once, and goes into the JSON too."""
    said: list[str] = []

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = str(message)
        if text not in said:
            said.append(text)
            _write_line("warning:", text)

    token = WARNED.set(said)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        WARNED.reset(token)


def escape_what_cannot_be_written() -> None:
    """Have both outputs write a character that their encoding lacks as `\\u5165`, and not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(content: Mapping[str, Any]) -> None:
    """Write one JSON object to stdout, in ASCII so that no encoding can spoil it.

    `warnings` lists what was warned of; an object that says an error has it where there is any.
    """
    said = WARNED.get() or []
    more = {"warnings": said} if said or "error" not in content else {}
    sys.stdout.write(json.dumps({**content, **more}, indent=2) + "\n")


def print_error(sentence: str) -> None:
    """Write one sentence to stderr, on one line; control characters of file names are escaped."""
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    _write_line("\x1b[31merror:\x1b[0m" if colour else "error:", sentence)


def print_note(sentence: str) -> None:
    """Write one sentence that does not make the command fail."""
    _write_line("note:", sentence)


def _write_line(mark: str, sentence: str) -> None:
    line = " ".join(sentence.split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    encoding = sys.stderr.encoding or "utf-8"
    sys.stderr.write(f"{mark} {line}\n".encode(encoding, "backslashreplace").decode(encoding))


class Progress:
    """Progress on stderr of work that turns out to be long: a spinner, or plain lines to a file.

    Within `with`, call it with what begins; each call ends the step before.
    """

    def __init__(self, first: str, *, patience: float = PATIENCE) -> None:
        self._text, self._began, self._lock = first, time.monotonic(), threading.RLock()
        self._display: Display | None = None
        self._shown = False
        self._timer = threading.Timer(patience, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __call__(self, text: str) -> None:
        """End the step that runs, and begin another."""
        with self._lock:
            self._finish()
            self._text, self._began = text, time.monotonic()
            if self._shown:
                self._announce()

    def update(self, text: str) -> None:
        """Say the step that runs in other words, such as how far it is."""
        with self._lock:
            self._text = text
            if self._display is not None:
                self._display.update(self._display.task_ids[-1], description=text)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            if kind is None:
                self._finish()
            self._shown = False
            if self._display is not None:
                self._display.stop()
                self._display = None

    def _show(self) -> None:
        with self._lock:
            if not self._timer.finished.is_set():  # cancelled while it waited for the lock
                self._shown = True
                self._announce()

    def _announce(self) -> None:
        out = console(stderr=True)
        if not out.is_terminal:
            out.print(self._text, markup=False, soft_wrap=True)
            return
        if self._display is None:
            self._display = _display(out)
            self._display.start()
        for task in self._display.task_ids:
            self._display.remove_task(task)
        self._display.add_task(self._text, total=None)

    def _finish(self) -> None:
        seconds = time.monotonic() - self._began
        if self._display is not None and seconds >= PATIENCE:
            self._display.console.print(f"✓ {self._text} ({seconds:.0f} s)", markup=False)


def _display(out: Console) -> Display:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    return Progress(*columns, console=out, transient=True)
