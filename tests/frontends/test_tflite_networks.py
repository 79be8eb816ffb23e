"""Random TensorFlow Lite models give the integers of each kernel set, with state and without."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support import tflite_run
from support.tflite_networks import network
from support.tflite_outcomes import outcome

from hwsim.frontends.tflite import pool
from hwsim.frontends.tflite.handlers import HANDLERS
from hwsim.frontends.tflite.kernels import CONVOLUTIONS, KernelSet
from hwsim.ops import Scheme

pytestmark = pytest.mark.needs("ai_edge_litert", "tflite_micro")
ALONE = ("ABS", "DIV", "ELU", "EXP", "GATHER_ND", "GELU", "L2_NORMALIZATION", "LOG", "LOG_SOFTMAX",
         "RELU_0_TO_1", "RSQRT", "SQRT", "SQUARED_DIFFERENCE")  # fmt: skip
NOT_DRAWN = {
    **dict.fromkeys(ALONE, "compared alone"),
    "CAST": "folds constants",
    "SHAPE": "folds constants",
    "SVDF": "drawn in test_tflite.py",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "drawn in test_tflite.py",
}


def compared(seeds: range, path: Path, *, wide: bool) -> Counter[str]:
    """How often each kernel set ran a model, and each operator was drawn."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        n, outputs = network(seed, wide=wide)
        if not n.inputs:
            continue
        counts.update(n.drawn)
        for like in tflite_run.SETS:
            found = outcome(n, outputs, seed, like, path)
            differ = 0 if found is None else found.different
            assert not differ, f"network({seed}, wide={wide}) like {like}: {differ} codes differ"
            counts[like] += found is not None
    return counts


@pytest.mark.parametrize("wide", [False, True], ids=["int8", "int16"])
def test_random_networks_give_the_integers_of_every_kernel_set(wide, tmp_path, seed):
    count = 60 if wide else 160
    counts = compared(range(seed, seed + count), tmp_path / "m.tflite", wide=wide)
    assert all(counts[like] > (0.3 if wide else 0.8) * count for like in tflite_run.SETS), counts


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True], ids=["int8", "int16"])
def test_thousands_of_random_networks_give_them_too(wide, tmp_path, seed):
    count = 1500 if wide else 2500
    counts = compared(range(seed, seed + count), tmp_path / "m.tflite", wide=wide)
    assert all(counts[like] > count // 3 for like in tflite_run.SETS), counts


def test_every_operator_that_is_read_is_drawn(seed):
    drawn: set[str] = set()
    for number in range(400):
        drawn.update(network(seed + number)[0].drawn)
    assert set(HANDLERS) - drawn == set(NOT_DRAWN) & set(HANDLERS)


def caught(tmp_path: Path, seed: int, like: str) -> bool:
    """Whether the networks of the first test notice a wrong rule."""
    for number in range(160):
        n, outputs = network(seed + number)
        found = outcome(n, outputs, seed, like, tmp_path / "m.tflite") if n.inputs else None
        if found is not None and found.different:
            return True
    return False


def test_a_wrong_rule_is_caught(tmp_path, seed, monkeypatch):
    assert not caught(tmp_path, seed, "builtin")
    with monkeypatch.context() as one:
        one.setitem(CONVOLUTIONS, KernelSet.BUILTIN, Scheme.GEMMLOWP_DOUBLE)
        assert caught(tmp_path, seed, "builtin")
    with monkeypatch.context() as one:
        one.setitem(HANDLERS, "AVERAGE_POOL_2D", pool.max_pool)
        assert caught(tmp_path, seed, "xnnpack")
