"""ExecuTorch's programs, from a `.pte` file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hwsim.errors import HwsimError
from hwsim.frontends.torch.importer import Executor
from hwsim.frontends.torch.pte import outline_of, read_program
from hwsim.frontends.torch.read import graph_of
from hwsim.frontends.unread import ListedOperator
from hwsim.graph import Graph

LIKE = (Executor.EXECUTORCH.value,)


def read(path: Path, like: str | None = None) -> Graph:
    """The Graph of a `.pte` file, whose runtime is ExecuTorch."""
    if like not in (None, *LIKE):
        raise HwsimError(
            f"what an ExecuTorch program is to be like must be {LIKE[0]}, not {like!r}"
        )
    return graph_of(read_program(path), Executor.EXECUTORCH)


def outline(path: Path) -> Iterator[ListedOperator]:
    """The nodes of a program's delegates and its own calls, and which of them are not read."""
    return outline_of(path)
