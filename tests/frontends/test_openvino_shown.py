"""What a model of OpenVINO ends in behind its last quantizer, to the last bit of the reals."""

from __future__ import annotations

import warnings
import zlib
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")

from support import openvino_models as ov
from support.openvino_forms import (
    CHANNELS,
    SIDE,
    Build,
    Drawn,
    Setting,
    function,
    inputs,
    ones,
)
from support.openvino_forms import resized as to_size
from support.seeds import seeded

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference

ODD = Setting(powers=False, zero="odd")  # the place of 0 is then rarely a whole number


def max_pool(op: Any, y: Any) -> Any:
    """The largest of four."""
    return op.max_pool(y, ones(2, 2), ones(2), [0, 0], [0, 0], ones(2, 2)).output(0)


EXACT: dict[str, Build] = {
    "MaxPool": function(max_pool),
    "ReLU": function(lambda op, q: op.relu(q)),
    "ReLU, MaxPool": function(lambda op, q: max_pool(op, op.relu(q))),
    "MaxPool, Reshape": function(
        lambda op, q: op.reshape(max_pool(op, q), op.constant([-1, CHANNELS * 9]), False)
    ),
    "Transpose": function(lambda op, q: op.transpose(q, op.constant([0, 2, 3, 1]))),
    "Split": function(lambda op, q: op.split(q, 1, 2).output(1)),
    "Slice": function(lambda op, q: op.slice(q, *(op.constant([v]) for v in (1, 5, 2, 2)))),
    "DepthToSpace": function(lambda op, q: op.depth_to_space(q, "blocks_first", 2)),
    "Interpolate": to_size("nearest", "half_pixel", size=(12, 12)),
}
ANNOUNCED: dict[str, Build] = {
    "Sigmoid": function(lambda op, q: op.sigmoid(q)),
    "Add of a number": function(lambda op, q: op.add(q, op.constant(np.float32(0.7)))),
    "Multiply by a number": function(lambda op, q: op.multiply(q, op.constant(np.float32(0.7)))),
    "Pad": function(
        lambda op, q: op.pad(
            q,
            *(op.constant([0, 0, 1, 1]) for _ in range(2)),
            "constant",
            op.constant(np.float32(0)),
        )
    ),
    "Interpolate, linear": to_size("linear_onnx", "half_pixel", size=(12, 12)),
}


def compared(build: Build, setting: Setting, seed: int) -> tuple[int, float, bool]:
    """How many reals differ, by how much of the largest, and whether a warning tells it."""
    rng = np.random.default_rng(seed)
    drawn, x = Drawn(setting, rng), ov.parameter(CHANNELS, SIDE, SIDE)
    given = ov.model(build(drawn, drawn.quantized(x)), x)
    reals = inputs(given, rng, 8)
    (want,) = ov.run(given, reals)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        graph = hwsim.load(given)
    told = any(
        issubclass(w.category, RuntimeDifference) and "last bits" in str(w.message) for w in said
    )
    away = np.abs(np.asarray(hwsim.emulate(graph, reals), np.float32) - want)
    return int(np.count_nonzero(away)), float(away.max() / np.abs(want).max()), told


@pytest.mark.parametrize("name", EXACT)
def test_codes_that_move_to_the_end_give_the_runtimes_floats(name: str) -> None:
    for turn in range(4):
        seed = seeded(zlib.crc32(name.encode()) % 1000 + turn)
        differing, _, told = compared(EXACT[name], ODD, seed)
        assert (differing, told) == (0, False)


@pytest.mark.parametrize("name", ANNOUNCED)
def test_what_is_computed_at_the_end_differs_in_the_last_bits_and_says_so(name: str) -> None:
    for turn in range(2):
        seed = seeded(zlib.crc32(name.encode()) % 1000 + turn)
        _, away, told = compared(ANNOUNCED[name], ODD, seed)
        assert told and away < 2e-6


def test_quantizers_that_a_concatenation_ties_to_a_convolution_are_announced() -> None:
    def build(drawn: Drawn, q: Any) -> Any:
        first, second = drawn.op.split(q, 1, 2).outputs()
        held = drawn.weights(4, 4, 1, 1, scales=(4, 1, 1, 1))
        y = drawn.op.convolution(second, held, [1, 1], [0, 0], [0, 0], [1, 1])
        return drawn.op.concat([first, drawn.quantized(y)], 1)

    rng = np.random.default_rng(seeded(3))
    drawn, x = Drawn(ODD, rng), ov.parameter(CHANNELS, SIDE, SIDE)
    given = ov.model(build(drawn, drawn.quantized(x)), x)
    (want,) = ov.run(given, reals := inputs(given, rng, 8))
    with pytest.warns(RuntimeDifference, match="to one scale, the widest one's"):
        graph = hwsim.load(given)
    away = np.abs(np.asarray(hwsim.emulate(graph, reals)) - want).max()
    assert away > 1e-3 * np.abs(want).max()  # so that the warning is true


def test_a_place_of_0_taken_for_whole_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwsim.frontends.openvino.importer.shown", lambda real, *_: real)
    counts = [compared(EXACT["MaxPool"], ODD, seeded(turn))[0] for turn in range(4)]
    assert max(counts) > 10
