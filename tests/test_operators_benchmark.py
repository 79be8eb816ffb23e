"""Each ONNX operator alone, as `benchmarks/onnx_operators.py` tries it: read, and equal."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from support.tflite_forms import written
from support.tflite_memories import MEMORIES

pytestmark = pytest.mark.needs("onnxruntime")
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def operators(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("onnx_operators")


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_every_operator_alone_gives_the_runtimes_codes(operators, dtype):
    """Powers of two, hence ties, and odd zero points."""
    setting = operators.Setting(dtype, "powers", odd=True, per_channel=True)
    rows = {name: operators.measured(name, setting, 200) for name in operators.OPERATORS}
    assert [name for name, row in rows.items() if row["different"]] == []
    assert min(row["compared"] for row in rows.values() if "refused" not in row) >= 200


@pytest.mark.slow
@pytest.mark.needs("tvm")
@pytest.mark.parametrize("scales", ["powers", "random", "decimal"])
def test_every_operator_alone_gives_tvms_codes_or_a_warning(operators, scales):
    setting = operators.Setting("uint8", scales, odd=True, per_channel=True)
    rows = {name: operators.measured(name, setting, 200, "tvm") for name in operators.OPERATORS}
    assert [n for n, row in rows.items() if row["different"] and not row["warned"]] == []
    assert min(row["compared"] for row in rows.values() if "refused" not in row) >= 200


def test_another_zero_point_would_be_noticed(operators, monkeypatch):
    setting = operators.Setting("int8", "powers", odd=True, per_channel=False)
    whole = operators.hwsim.emulate
    step = 2.0**-6
    monkeypatch.setattr(operators.hwsim, "emulate", lambda *given: whole(*given) + step)
    assert operators.measured("Relu", setting, 200)["different"] > 0


@pytest.mark.needs("ai_edge_litert", "tflite_micro")
def test_lines_of_kernel_sets_count_what_differs(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = importlib.import_module("tflite_operators")
    forms = script.operators()
    name = "RELU_N1_TO_1"
    compared, *different = script.operator(name, forms[name], 2, 1)[1:]
    assert (compared, different) == ("2,048", ["refused", "0", "0", "0"])
    whole = script.hwsim.emulate
    monkeypatch.setattr(script.hwsim, "emulate", lambda *given: whole(*given) + 1)
    assert script.operator("RELU", forms["RELU"], 2, 1)[2:] == ["2,048"] * 4


@pytest.mark.needs("ai_edge_litert", "tflite_micro")
def test_lines_of_models_count_what_differs(monkeypatch, tmp_path):
    """With state, as one sequence; the longest ten seconds of sound are timed."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = importlib.import_module("tflite_models")
    path = tmp_path / "kept.tflite"
    path.write_bytes(written(MEMORIES["VAR_HANDLE"][0], 1, powers=False, odd=True)[0])
    x = script.noise(script.hwsim.load(path), 7)
    rows = [script.compared(path, like, "random", x) for like in script.SETS]
    assert [(row.codes, row.different) for row in rows] == [(84, 0)] * 4
    (line,) = script.lines(rows)
    assert line[2:7] == ["7 steps, random", *["0 of 84"] * 4]
    whole = script.hwsim.emulate
    monkeypatch.setattr(script.hwsim, "emulate", lambda *given, **k: whole(*given, **k) + 1)
    assert script.compared(path, "tflm", "random", x).different == 84
