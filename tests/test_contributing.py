"""CONTRIBUTING and the page on architecture name what there is, and every room that there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CONTRIBUTING.md", "docs/architecture.md")
PACKAGES = ("hwsim", "rtl", "gpu")

CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:hwsim|rtl|gpu|tests|docs|benchmarks|scripts|examples|\.ci)/[\w./-]*")
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
    return found


def fault(said: str) -> str | None:
    """What is wrong with `path` or `path::name` as a page says it; None where it is there."""
    path, _, name = said.partition("::")
    file = ROOT / path
    if not file.exists():
        return f"{path} is not there"
    body = ast.parse(file.read_text(encoding="utf-8")).body if name else []
    for part in name.split(".") if name else ():
        known = members(body)
        if part not in known:
            return f"{path} has no {name}"
        body = getattr(known[part], "body", [])
    return None


def named(text: str) -> list[str]:
    """The paths, with or without a name in them, that a page has in its text."""
    spans = CODE.findall(FENCED.sub("", text))
    return [span for span in spans if PATH.fullmatch(span.partition("::")[0])]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len(named(text)) > 5
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
    ],
)
def test_what_is_not_there_is_found(said):
    assert named(f"see `{said}` and\n```\n`hwsim/other.py`\n```\n") == [said]
    assert fault(said) is not None


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
