"""The table of small networks: its recipes, and a run of it on digits from nothing to the rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

import hwsim
from hwsim.compress.prune.masks import count_of

pytestmark = pytest.mark.needs("torch", "array_api_compat", "onnxscript", "torch_pruning")
ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import compressed_networks

    return compressed_networks


def call(script: ModuleType, monkeypatch, out: Path, *more: str) -> None:
    words = ["--out", str(out), "--set", "digits", "--samples", "128", *more]
    monkeypatch.setattr(sys, "argv", ["compressed_networks.py", *words])
    script.main()


def test_a_case_takes_other_settings_behind_a_colon(script):
    found = script.recipe("pruned:rate=0.005,epochs=3,rounding=feedback")
    assert (found.rate, found.epochs, found.rounding, found.bits) == (0.005, 3, "feedback", "w4a4")
    assert script.recipe("w4a4") is script.CASES["w4a4"]


@pytest.mark.parametrize("channels", [16, 32])
def test_rounds_leave_exactly_half_of_the_channels(script, channels):
    import compressed_float

    left = channels
    for share in compressed_float.shares(0.5, compressed_float.ROUNDS):
        left -= count_of(share, left)
    assert left == channels // 2


def test_a_table_is_made_from_nothing_and_nothing_twice(script, monkeypatch, tmp_path, capsys):
    cases = ["pruned", "channels"]
    short = ["--seeds", "1", "--epochs", "1", "--float-epochs", "2", "--only", *cases]
    made = ["float", *script.THINNED, *cases]
    for case in made:
        call(script, monkeypatch, tmp_path, *short, "--one", case)
    found = {case: json.loads((tmp_path / f"{case}-0.json").read_text()) for case in cases}
    for case in cases:
        graph = hwsim.load(tmp_path / f"{case}-0.hwsim")
        assert graph.hash() == found[case]["hash"]
        assert found[case]["codes_equal_on"] == found[case]["images"] == 128
    assert found["pruned"]["zeros"] >= 0.75 * found["pruned"]["weights"]
    assert found["channels"]["channels"] == [8, 16, 16, 16, 10]
    monkeypatch.setattr(script, "_started", None)  # all figures are there
    capsys.readouterr()
    call(script, monkeypatch, tmp_path, *short, "--json", str(tmp_path / "t.tables"))
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[2:]] == made


def test_a_case_that_fails_is_told_and_leaves_no_figures(script, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(script, "_started", lambda *_: Failed())
    with pytest.raises(SystemExit, match="1 runs ended without figures: float-0"):
        call(script, monkeypatch, tmp_path, "--seeds", "1")
    assert not list(tmp_path.glob("*.json"))


class Failed:
    """A process that has ended with an error."""

    returncode = 1

    def poll(self) -> int:
        return 1
