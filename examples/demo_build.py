"""The demo's build folder: made once, reused as long as all that it depends on is the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hwsim
import rtl
from hwsim.build_folder import MISMATCH_WAVES, REPORT, VERIFY, WAVES, BuildFacts
from hwsim.graph import Graph
from hwsim.storage import write_atomically
from rtl.build import Request, build, choose_plan
from rtl.flow import tools
from rtl.plan.plan import Plan
from rtl.targets import find_target

STAMP = "demo-cache.json"
SOURCES = (".py", ".sv", ".v", ".cpp")
LATER = (STAMP, VERIFY, REPORT, MISMATCH_WAVES, WAVES)
"""Files that a build did not write."""


def built(
    graph: Graph, folder: Path, request: Request, *, fresh: bool, log: Callable[[str], None]
) -> tuple[BuildFacts, bool]:
    """Facts of the build folder of `graph`, and whether it was taken from an earlier demo.

    It is taken only if model, plan, request, tools and the sources of hwsim are those that it was
    made with and no file of it changed since.
    """
    plan = choose_plan(graph, request)
    wanted = key(graph, plan, request)
    if not fresh and stamp_of(folder) == {"key": wanted, "files": digests(folder)}:
        log("taking the bitstream from the earlier demo: nothing that it depends on changed")
        return BuildFacts.read(folder), True
    build(graph, folder, request, plan=plan, log=log)
    stamp = {"key": wanted, "files": digests(folder)}
    write_atomically(folder / STAMP, json.dumps(stamp, indent=2).encode())
    return BuildFacts.read(folder), False


def key(graph: Graph, plan: Plan, request: Request) -> str:
    """A hash of all that decides what the build folder holds."""
    route = find_target(request.target).family.route
    found = (tools.yosys(), *(map(tools.find, (route.nextpnr, route.packer)) if route else ()))
    versions = [(tool.name, tool.version) for tool in found]
    sources = [sources_digest(Path(str(p.__file__)).parent) for p in (hwsim, rtl)]
    text = repr((graph.hash(), plan.hash(), request, versions, sources))
    return hashlib.sha256(text.encode()).hexdigest()


def sources_digest(package: Path) -> str:
    """A hash of the text of a package."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in SOURCES and path.is_file():
            digest.update(f"{path.relative_to(package)} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that a build wrote, by its path in the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in LATER
    }


def stamp_of(folder: Path) -> Any:
    """What an earlier demo noted, or None."""
    try:
        return json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
