"""The process of the command line: one sentence for whatever a user can cause, and a status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from hwsim.cli.app import app
from hwsim.cli.console import (
    CheckFailed,
    escape_what_cannot_be_written,
    print_error,
    print_json,
    warnings_shown,
)
from hwsim.errors import HwsimError
from hwsim.storage import FULL

INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process: 0 success, 1 a failed check, 2 a bad call or input.

    Everything that a user can cause is one sentence on stderr; with `--json` it is also the only
    key of an object on stdout, unless the result is there already.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    escape_what_cannot_be_written()
    try:
        with warnings_shown():
            status = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    raise SystemExit(status)


def _run(arguments: list[str]) -> int:
    try:
        status = app(arguments, prog_name="hwsim", standalone_mode=False)
    except CheckFailed as error:
        print_error(str(error))
        return error.exit_status
    except HwsimError as error:
        return _fail(str(error), error.exit_status, arguments)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED, arguments)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno in FULL:
            what = error.filename or "what is written"
            return _fail(f"{what} must fit on its disk ({error.strerror})", 1, arguments)
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 2, arguments)
    except MemoryError:
        return _fail("the work must fit into memory, and does not", 2, arguments)
    except Exception as error:
        # Typer's bad calls; their class has another home in each version of typer.
        if not hasattr(error, "format_message"):
            raise
        return _fail(str(error.format_message()), 2, arguments)
    if status == INTERRUPTED:
        return _fail("interrupted", INTERRUPTED, arguments)
    return status if isinstance(status, int) else 0


def _fail(sentence: str, status: int, arguments: Sequence[str]) -> int:
    if not sentence.strip():  # `hwsim` alone: its help was the answer
        return status
    print_error(sentence)
    if "--json" in arguments:
        print_json({"error": sentence})
    return status
