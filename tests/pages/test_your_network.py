"""The ten-minute page and notebook run as they stand, and end with equal integers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.walkthrough import ROOT, blocks, run

PAGE, NOTEBOOK = ROOT / "docs" / "your-network.md", ROOT / "examples" / "your_network.ipynb"
NEEDS = pytest.mark.needs("torch", "onnxscript", "onnxruntime", "sklearn", "verilator", "yosys")


@NEEDS
@pytest.mark.parametrize("source", [PAGE, NOTEBOOK], ids=["page", "notebook"])
def test_it_runs_as_it_stands_and_the_rtl_gives_the_emulators_integers(source, tmp_path):
    printed = run(source, tmp_path)
    found = json.loads((tmp_path / "build" / "verify.json").read_text())
    assert found["ok"] and found["different"] == 0 and found["compared"] == 3 * 397 * 10
    scores = found["labels"]
    assert scores["samples"] == 397 and scores["emulator"]["top1"] > 0.9
    assert scores["rtl"] == scores["emulator"]
    assert f"{100 * scores['emulator']['top1']:.2f} % right" in report(tmp_path)
    assert "report.html" in printed


def report(folder: Path) -> str:
    return (folder / "build" / "report.html").read_text(encoding="utf-8")


def test_page_and_notebook_are_about_one_network():
    page = [text for language, text in blocks(PAGE) if language == "python"]
    cells = [text for _, text in blocks(NOTEBOOK)]
    network = page[0].rstrip()
    assert "torch.nn.Conv2d" in network and network in cells


def test_the_notebook_is_stored_without_outputs():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4 and len({cell["id"] for cell in content["cells"]}) > 10
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
    assert NOTEBOOK.read_text(encoding="utf-8") == (
        json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    )


def test_without_its_extras_the_notebook_says_so_in_one_sentence(monkeypatch):
    first = blocks(NOTEBOOK)[0][1]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if "t" in name else object())
    with pytest.raises(SystemExit) as ended:
        exec(first, {})
    assert ended.value.code == (
        "This notebook needs hwsim[rtl,train]; missing: torch, onnxscript, onnxruntime, amaranth."
    )


@pytest.mark.parametrize("spoiled", ["```python\n1 / 0\n```\n", "```sh\nfalse\n```\n"])
def test_a_block_that_fails_fails_the_page(spoiled, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nprint('first')\n```\ntext\n" + spoiled)
    with pytest.raises(AssertionError, match=r"page.md must run, but"):
        run(page, tmp_path)
