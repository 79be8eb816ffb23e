"""ExecuTorch's programs, from a `.pte` file."""

from __future__ import annotations

from pathlib import Path

from hwsim.errors import HwsimError
from hwsim.frontends.torch.importer import Executor
from hwsim.frontends.torch.pte import read_program
from hwsim.frontends.torch.read import graph_of
from hwsim.graph import Graph

LIKE = (Executor.EXECUTORCH.value,)


def read(path: Path, like: str | None = None) -> Graph:
    """The Graph of a `.pte` file, whose runtime is ExecuTorch."""
    if like not in (None, *LIKE):
        raise HwsimError(
            f"what an ExecuTorch program is to be like must be {LIKE[0]}, not {like!r}"
        )
    return graph_of(read_program(path), Executor.EXECUTORCH)
