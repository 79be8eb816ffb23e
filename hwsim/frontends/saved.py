"""Graphs that hwsim wrote itself."""

from __future__ import annotations

from pathlib import Path

from hwsim.graph import Graph


def read(path: Path) -> Graph:
    """The Graph in a `.hwsim` file."""
    return Graph.load(path)
