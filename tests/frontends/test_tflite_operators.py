"""Each TensorFlow Lite operator alone gives the integers of each kernel set."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path

import numpy as np
import pytest
from support import tflite_run
from support.tflite_models import Lite
from support.tflite_operators import OPERATORS, Build, Maker

import hwsim
from hwsim.frontends.tflite.read import read

pytestmark = pytest.mark.needs("ai_edge_litert", "tflite_micro")
SAMPLES = 8
CANNOT = {("RELU_N1_TO_1", "tflm"), ("SUM", "reference")}
"""What the runtime has no kernel for, or a wrong one, and what is refused."""


def written(build: Build, seed: int, powers: bool, odd: bool) -> tuple[bytes, Lite, list[int]]:
    maker = Maker(np.random.default_rng(seed), powers, odd)
    outputs = build(maker)
    return maker.lite.build(maker.inputs, outputs), maker.lite, maker.inputs


def compared(
    build: Build, like: str, seed: int, powers: bool, odd: bool, path: Path
) -> tuple[int, int]:
    """Outputs compared and different."""
    model, lite, inputs = written(build, seed, powers, odd)
    path.write_bytes(model)
    rng = np.random.default_rng(seed + 1)
    feeds = {
        lite.tensors[place].name: rng.integers(-128, 128, (SAMPLES, *lite.tensors[place].shape[1:]))
        .astype(np.int8)
        for place in inputs
    }  # fmt: skip
    expected = tflite_run.ran(model, like, feeds)
    got = hwsim.emulate(read(path, like), feeds)
    found = list(got.values()) if isinstance(got, dict) else [got]
    different = sum(int((a != b).sum()) for a, b in zip(found, expected, strict=False))
    return sum(values.size for values in found), different


@pytest.mark.parametrize("like", tflite_run.SETS)
@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_gives_the_integers_of_a_kernel_set(name, like, tmp_path, seed):
    if (name, like) in CANNOT:
        model, *_ = written(OPERATORS[name][0], seed, powers=True, odd=True)
        (tmp_path / "m.tflite").write_bytes(model)
        with pytest.raises(hwsim.HwsimError, match=name):
            read(tmp_path / "m.tflite", like)
        return
    total = 0
    for number, build in enumerate(OPERATORS[name]):
        for powers, odd in itertools.product((False, True), repeat=2):
            here = zlib.crc32(f"{seed} {number} {powers} {odd}".encode())
            size, different = compared(build, like, here, powers, odd, tmp_path / "m.tflite")
            assert different == 0, f"model {number}, powers {powers}, odd {odd}"
            total += size
    assert total > 0


def test_kernel_sets_differ_from_one_another(tmp_path, seed):
    """One that was taken for another would be noticed."""
    model, lite, inputs = written(OPERATORS["CONV_2D"][0], seed, powers=True, odd=True)
    (tmp_path / "m.tflite").write_bytes(model)
    shape = (64, *lite.tensors[inputs[0]].shape[1:])
    x = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    found = [hwsim.emulate(read(tmp_path / "m.tflite", like), x) for like in tflite_run.SETS]
    equal = {(i, j) for i, j in itertools.combinations(range(4), 2) if (found[i] == found[j]).all()}
    assert equal == {(0, 1)}  # Micro and the reference kernels: the same for convolutions


@pytest.mark.parametrize("like", tflite_run.SETS)
def test_a_multiplier_below_a_half_of_the_last_bit_gives_nothing(like, tmp_path, seed):
    """As converters write a channel that batch normalization left with weights near 0."""
    rng = np.random.default_rng(seed)
    lite = Lite()
    scales = [2.0**-8, 1e-11, 2.0**-31, 2.0**-32, 2.0**-33]
    bias = np.array([7, 2**30 - 9, -(2**30) + 5, 2**30 + 128, -(2**30) - 128], np.int32)
    x = lite.codes("x", (1, 5, 5, 3), 1.0, -7)
    w = lite.constant("w", rng.integers(-127, 128, (5, 2, 2, 3)).astype(np.int8), *scales)
    y = lite.codes("y", (1, 4, 4, 5), 1.0, 11)
    node = {"padding": 1, "stride_h": 1, "stride_w": 1, "activation": "NONE"}
    lite.node("CONV_2D", [x, w, lite.constant("b", bias, *scales)], [y], **node)
    model = lite.build([x], [y])
    (tmp_path / "m.tflite").write_bytes(model)
    feeds = {"x": rng.integers(-128, 128, (SAMPLES, 5, 5, 3)).astype(np.int8)}
    got = hwsim.emulate(read(tmp_path / "m.tflite", like), feeds)
    assert (got == tflite_run.ran(model, like, feeds)[0]).all()
    assert set(np.unique(got[..., 1])) == {11}
