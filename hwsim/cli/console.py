"""What the command line says: results on stdout, progress and trouble on stderr."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

PATIENCE = 1.0
"""Seconds of silence before progress is shown, so that quick commands show none."""


def console(*, stderr: bool = False) -> Console:
    """A rich console for one of the two outputs, as it is now."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def print_json(content: Mapping[str, Any]) -> None:
    """Write one JSON object to stdout."""
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_error(sentence: str) -> None:
    """Write one sentence to stderr, on one line; control characters of file names are escaped."""
    line = " ".join(sentence.split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    mark = "\x1b[31merror:\x1b[0m" if sys.stderr.isatty() and "NO_COLOR" not in os.environ else "error:"
    # A file name may hold bytes that are no text.
    sys.stderr.write(f"{mark} {line}\n".encode(errors="replace").decode(errors="replace"))


class Progress:
    """Progress on stderr of work that turns out to be long: a spinner, or plain lines to a file.

    Within `with`, call it with what begins; each call ends the step before.
    """

    def __init__(self, first: str) -> None:
        self._text, self._began, self._lock = first, time.monotonic(), threading.RLock()
        self._status: Status | None = None
        self._shown = False
        self._timer = threading.Timer(PATIENCE, self._show)
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
            if self._status is not None:
                self._status.update(self._line())

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
            if self._status is not None:
                self._status.stop()
                self._status = None
            self._shown = False

    def _show(self) -> None:
        with self._lock:
            if self._timer.finished.is_set() and not self._shown:
                self._shown = True
                self._announce()

    def _announce(self) -> None:
        out = console(stderr=True)
        if not out.is_terminal:
            out.print(self._text, markup=False, soft_wrap=True)
        elif self._status is None:
            self._status = out.status(self._line())
            self._status.start()
        else:
            self._status.update(self._line())

    def _finish(self) -> None:
        seconds = time.monotonic() - self._began
        if self._status is not None and seconds >= PATIENCE:
            self._status.console.print(f"✓ {self._text} ({seconds:.0f} s)", markup=False)

    def _line(self) -> str:
        from rich.markup import escape

        return escape(self._text)


Say = Callable[[str], None]
