"""The page of published models: which files make one, and a row for whatever becomes of it."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("onnxruntime")


@pytest.fixture
def models(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    return importlib.import_module("models")


def test_weights_go_with_the_longest_name_that_is_a_network(models, tmp_path):
    for name in ("net.json", "net_norm.json", "network.json", "other.onnx"):
        (tmp_path / name).touch()
    for name in ("net", "net_pruned", "net_norm", "net_norm_pruned", "network", "net10"):
        (tmp_path / f"{name}_weights.h5").touch()
    pairs = {one.name: one.files[0].name for one in models.found(tmp_path)}
    assert pairs == {
        "other": "other.onnx",
        "net": "net.json",
        "net_pruned": "net.json",
        "net_norm": "net_norm.json",
        "net_norm_pruned": "net_norm.json",
        "network": "network.json",
    }


def test_bytes_that_are_no_model_become_a_refused_row(models, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"garbage|")
    (one,) = models.found(tmp_path)
    row = models.measured(one, 5) | {"source": "here"}
    assert "refused: broken.onnx must be an ONNX model" in models.page([row])


def test_a_tool_that_does_not_run_becomes_a_row_that_says_so(models):
    row = {"name": "n", "source": "s", "sha256": "0" * 64, "loads": True, "oracle": "csim"}
    row |= {"hardware": "ecp5-85k", "cycles": 1234, "not_compared": "a | b", "warnings": 0}
    line = models.page([row]).splitlines()[-1]
    assert line == r"| n | s | `000000000000` | nothing: a \| b | | | | ecp5-85k | 1,234 |"


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded")
def test_cpp_that_ends_its_process_is_an_error_and_no_end_of_the_run(models):
    apart = models.model_oracles.apart
    assert apart(lambda: {"y": 3}) == {"y": 3}
    with pytest.raises(models.model_oracles.OracleError, match="ends the process"):
        apart(lambda: os._exit(3))
    with pytest.raises(models.model_oracles.OracleError, match="ValueError: no"):
        apart(lambda: (_ for _ in ()).throw(ValueError("no")))
