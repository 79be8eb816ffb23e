"""Model files and objects to Graphs."""

from __future__ import annotations

from pathlib import Path

from hwsim.graph import Graph


def load(model: str | Path) -> Graph:
    """Read a model file."""
    return Graph.load(model)
