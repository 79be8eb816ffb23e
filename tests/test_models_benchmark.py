"""The page of published models: which files make one, and a row for whatever becomes of it."""

from __future__ import annotations

import importlib
import os
import time
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


def test_whole_models_and_configurations_are_found_in_any_folder(models, tmp_path):
    for name in ("keras", "config-files"):
        (tmp_path / name).mkdir()
    for name in ("net.json", "net_weights.h5", "whole.h5", "later.keras", "net.pt"):
        (tmp_path / "keras" / name).touch()
    told = {
        "net_config": "KerasJson: keras/net.json\nKerasH5: keras/net_weights.h5\n",
        "whole": "KerasH5: elsewhere/whole.h5\n",
        "other": "KerasJson: keras/not_there.json\n",
        "list": "- 1\n",
        "broken": "a: [\n",
    }
    for name, text in told.items():
        (tmp_path / "config-files" / f"{name}.yml").write_text(text)
    every = [
        (one.name, [file.name for file in one.files], one.configuration and one.configuration.name)
        for one in models.found(tmp_path)
    ]
    net = ["net.json", "net_weights.h5"]
    assert every == [
        ("net", net, None),
        ("later", ["later.keras"], None),
        ("net", ["net.pt"], None),
        ("whole", ["whole.h5"], None),
        ("net_config", net, "net_config.yml"),
        ("whole", ["whole.h5"], "whole.yml"),
    ]


def test_what_no_front_end_reads_becomes_a_row_with_the_way_from_it(models, tmp_path):
    (tmp_path / "net.pt").write_bytes(b"garbage")
    (one,) = models.found(tmp_path)
    assert "refused: a model must be a file that ends in" in models.page(
        [models.measured(one, 5) | {"source": "here"}]
    )


def test_a_fault_while_a_model_is_read_becomes_a_row(models, tmp_path, monkeypatch):
    def stumble(*_):
        raise IndexError("of a reader")

    (tmp_path / "net.onnx").touch()
    monkeypatch.setattr(models.model_oracles, "open_model", stumble)
    (one,) = models.found(tmp_path)
    assert models.measured(one, 5)["refused"] == "IndexError: of a reader"


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
def test_cpp_that_ends_its_process_is_an_error_and_no_end_of_the_run(models, monkeypatch):
    apart = models.model_oracles.apart
    assert apart(lambda: {"y": 3}) == {"y": 3}
    with pytest.raises(models.model_oracles.OracleError, match="ends the process"):
        apart(lambda: os._exit(3))
    monkeypatch.setattr(models.model_oracles, "LIMIT", 0.1)
    with pytest.raises(models.model_oracles.OracleError, match="not compiled and run within"):
        apart(lambda: time.sleep(60))
    monkeypatch.undo()
    with pytest.raises(models.model_oracles.OracleError, match="ValueError: no"):
        apart(lambda: (_ for _ in ()).throw(ValueError("no")))
