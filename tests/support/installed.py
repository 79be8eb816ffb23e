"""A page's package as an installed one, whose entry points Python finds."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path


def install(folder: Path) -> None:
    """Give a folder on Python's path the entry points that its pyproject.toml names."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    points = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("".join(points))
    importlib.invalidate_caches()
