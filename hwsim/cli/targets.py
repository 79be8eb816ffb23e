"""Files that a command is to write, looked at before hours of work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from hwsim.errors import HwsimError


def expect_target(
    out: Path,
    suffixes: Sequence[str] = (),
    *,
    option: str = "--out",
    read: Iterable[Path | str | None] = (),
) -> None:
    """Raise HwsimError where a file could not be written, or is one that the call reads.

    `suffixes` are those that it may have (none: any); of `read`, `FILE.npz:KEY` is the file.
    """
    if suffixes and out.suffix.lower() not in suffixes:
        raise HwsimError(f"{option} must be a {' or '.join(suffixes)} file, not {str(out)!r}")
    if out.is_dir() or not os.access(out.parent, os.W_OK | os.X_OK):
        raise HwsimError(
            f"{option} must be a file in a folder that can be written, not {str(out)!r}"
        )
    if any(one is not None and _same(out, str(one)) for one in read):
        raise HwsimError(
            f"{option} must be a file of its own, not {str(out)!r}, which the call reads or writes"
        )


def _same(out: Path, text: str) -> bool:
    """Whether a file is that of `FILE`, `FILE.npz:KEY` or `NAME=FILE`."""
    names = [text, text.partition("=")[2], text.rpartition(":")[0]]
    names.append(names[1].rpartition(":")[0])
    return any(name and out.resolve() == Path(name).resolve() for name in names)
