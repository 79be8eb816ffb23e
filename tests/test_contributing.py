"""CONTRIBUTING and the documentation name what there is; the page on architecture, every room."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["CONTRIBUTING.md", "README.md"]
PAGES += [str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = {
    "hwsim/frontends/fann/",
    "hwsim.frontends.fann.read",
    "benchmarks/results/gpu-DEVICE.json",
}
"""What a reader may add, and what a command writes."""
PACKAGES = ("hwsim", "rtl", "gpu")

CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:hwsim|rtl|gpu|tests|docs|benchmarks|scripts|examples|\.ci)/[\w./-]*")
DOTTED = re.compile(r"(?:hwsim|rtl|gpu)(?:\.\w+)+")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")


def members(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """What is defined at the head of a module or class, by name."""
    found: dict[str, ast.stmt] = {}
    for item in body:
        if isinstance(item, ast.ClassDef | ast.FunctionDef):
            found[item.name] = item
        elif isinstance(item, ast.Assign | ast.AnnAssign):
            targets = item.targets if isinstance(item, ast.Assign) else [item.target]
            found |= {target.id: item for target in targets if isinstance(target, ast.Name)}
        elif isinstance(item, ast.ImportFrom):
            found |= {alias.asname or alias.name: item for alias in item.names}
    return found


def fault(said: str) -> str | None:
    """What is wrong with `path` or `path::name` as a page says it; None where it is there."""
    path, _, name = said.partition("::")
    file = ROOT / path
    if not file.exists():
        return f"{path} is not there"
    body = ast.parse(file.read_text(encoding="utf-8")).body if name else []
    parts = name.split(".") if name else []
    for place, part in enumerate(parts):
        found = members(body).get(part)
        if found is None:
            return f"{path} has no {name}"
        if isinstance(found, ast.ImportFrom):
            return fault(as_path(".".join([str(found.module), *parts[place:]])))
        body = getattr(found, "body", [])
    return None


def as_path(dotted: str) -> str:
    """`rtl/plan/depths.py::SLACK` for `rtl.plan.depths.SLACK`."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path, name = Path(*parts[:length]), ".".join(parts[length:])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if (ROOT / file).exists():
                return f"{file}::{name}" if name else str(file)
    return str(Path(*parts))


def named(text: str) -> list[str]:
    """The paths and dotted names, with or without a name in them, that a page has in its text."""
    spans = [span for span in CODE.findall(FENCED.sub("", text)) if span not in EXAMPLES]
    paths = [span for span in spans if PATH.fullmatch(span.partition("::")[0])]
    return paths + [as_path(span) for span in spans if DOTTED.fullmatch(span)]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [why for said in named(text) if (why := fault(said)) is not None] == []
    links = LINK.findall(FENCED.sub("", text))
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize(
    "said",
    [
        "rtl/plan/depth.py",
        "rtl/attic/",
        "rtl/plan/depths.py::depth",
        "rtl/layers/base.py::Implementation.lanes",
        "hwsim/fixed.py::Rounding.lower",
        "rtl.plan.depths.DEPTH",
        "hwsim.emulator.walk.emulate",
        "hwsim.emulated",
    ],
)
def test_what_is_not_there_is_found(said):
    (found,) = named(f"see `{said}` and\n```\n`hwsim/other.py`\n```\n")
    assert fault(found) is not None


def test_a_name_is_found_by_its_path_its_module_and_the_package_that_exports_it():
    page = "`rtl/plan/depths.py::SLACK`, `rtl.plan.depths.SLACK`, `hwsim.step`, `hwsim.Graph.load`"
    assert [fault(said) for said in named(page)] == [None] * 4


def rooms() -> list[str]:
    """Every folder of code, and every module beside them, as a page would name it."""
    found = []
    for package in PACKAGES:
        folders = [file.parent for file in (ROOT / package).rglob("__init__.py")]
        found += [f"{folder.relative_to(ROOT)}/" for folder in folders]
        modules = sorted((ROOT / package).glob("*.py"))
        found += [str(file.relative_to(ROOT)) for file in modules if file.name[0] != "_"]
    return found


def test_the_page_on_architecture_names_every_room():
    said = named((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert [room for room in rooms() if not any(one.startswith(room) for one in said)] == []
    assert len(rooms()) > 30
