"""Each operation of OpenVINO alone, between quantizers, to the last bit of its outputs."""

from __future__ import annotations

import warnings
import zlib
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("openvino")

from support import openvino_models as ov
from support.openvino_forms import FORMS, SETTINGS, Setting, inputs, model
from support.seeds import seeded

import hwsim
from hwsim.frontends.openvino.code_range import CodeRange
from hwsim.frontends.openvino.lines import KernelLine
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.frontends.shared.values import FloatArray

NEAR = 2e-4  # of all outputs, where a warning says that some may differ
MORE = {"Interpolate, linear": 0.02, "MVN of maps": 0.002}  # where the warning says so


def compared(name: str, setting: Setting, seed: int, *, shown: bool) -> None:
    rng = np.random.default_rng(seed)
    given = model(name, setting, rng, shown=shown)
    x = inputs(given, rng, 12)
    (want,) = ov.run(given, x)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        graph = hwsim.load(given)
    told = any(issubclass(w.category, RuntimeDifference) for w in said)
    differing = np.count_nonzero(np.asarray(hwsim.emulate(graph, x), np.float32) != want)
    assert differing <= (max(want.size * MORE.get(name, NEAR), 1) if told else 0), (
        setting,
        differing,
    )


@pytest.mark.parametrize("name", FORMS)
def test_an_operation_gives_the_runtimes_floats(name: str) -> None:
    seed = seeded(zlib.crc32(name.encode()) % 1000)
    rng = np.random.default_rng(seed)
    for shown in (True, False):
        setting = SETTINGS[int(rng.integers(len(SETTINGS)))]
        compared(name, setting, seed, shown=shown)


def test_a_quantizer_that_is_a_little_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seeded(8))
    given = model("Convolution 3x3", Setting(powers=True, zero="odd"), rng, shown=True)
    x = inputs(given, rng, 12)
    (want,) = ov.run(given, x)
    kernel = CodeRange.kernel

    def off(by: CodeRange, low: FloatArray, high: FloatArray) -> KernelLine:
        line = kernel(by, low, high)
        return replace(line, offset=line.offset + np.float32(2.0**-4))

    monkeypatch.setattr(CodeRange, "kernel", off)
    got = np.asarray(hwsim.emulate(hwsim.load(given), x), np.float32)
    assert np.count_nonzero(got != want) > 10
