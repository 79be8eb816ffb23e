"""The documentation: what it must name, and where it must not lead."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import typer

import hwsim
import hwsim.ops
from hwsim.cli.app import app

DOCS = Path(__file__).parents[1] / "docs"
DIRECTIVE = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)


def described() -> list[str]:
    """Every name that the API reference describes."""
    return [name for page in DOCS.glob("api/*.md") for name in DIRECTIVE.findall(page.read_text())]


@pytest.mark.parametrize("module", [hwsim, hwsim.ops], ids=["hwsim", "hwsim.ops"])
def test_the_reference_describes_every_public_name(module):
    public = {name for name in module.__all__ if not name.startswith("__")}
    assert public <= {name.rpartition(".")[2] for name in described()}


def test_the_reference_describes_only_what_there_is():
    for name in described():
        module, _, last = name.rpartition(".")
        if name.startswith("rtl."):
            pytest.importorskip("amaranth")
        assert hasattr(importlib.import_module(module), last), name


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r": ([\w/-]+\.md)$", (DOCS.parent / "mkdocs.yml").read_text(), re.M))
    assert listed == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}


PAGES = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCED = re.compile(r"^```(?:sh)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS.parent).as_posix())
def test_every_command_on_a_page_is_one_that_the_command_line_knows(page):
    known = typer.main.get_command(app).commands
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    calls = [line for block in FENCED.findall(text) for line in block.splitlines()]
    for call in (line.partition("#")[0].split() for line in calls if line.startswith("hwsim ")):
        assert call[1] in known, call
        options = {name for param in known[call[1]].params for name in param.opts}
        assert {word for word in call[2:] if word.startswith("-")} <= options, call


@pytest.mark.parametrize(
    "page", [DOCS.parent / "README.md", DOCS.parent / "examples" / "README.md"]
)
def test_links_of_the_readmes_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert len(links) > 2 and all((page.parent / link).exists() for link in links), links


def test_the_readmes_python_names_only_what_there_is():
    used = re.findall(r"\bhwsim\.(\w+)\(", (DOCS.parent / "README.md").read_text(encoding="utf-8"))
    assert len(used) > 5 and all(hasattr(hwsim, name) for name in used)
