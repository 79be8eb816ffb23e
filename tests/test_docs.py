"""The documentation: what it must name, and where it must not lead."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import hwsim
import hwsim.ops

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
