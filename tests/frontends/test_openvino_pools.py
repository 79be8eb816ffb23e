"""Pools and means of OpenVINO with padding, with ties, and what moves codes before the end."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")

from support import openvino_models as ov
from support.openvino_forms import ones
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError
from hwsim.frontends.openvino import pools
from hwsim.frontends.shared.builder import RuntimeDifference

F32 = np.float32
Build = Callable[[Any, Any], Any]


def average(before: int, after: int, *, left_out: bool, size: int = 3, ceil: bool = False) -> Build:
    """An AvgPool."""
    ends, form = ([before] * 2, [after] * 2), "ceil" if ceil else "floor"
    return lambda op, q: op.avg_pool(q, ones(2, 2), *ends, ones(2, size), left_out, form)


def largest(op: Any, q: Any) -> Any:
    """A MaxPool with padding."""
    return op.max_pool(q, ones(2), ones(2), ones(2), ones(2), ones(2, 3)).output(0)


FORMS: dict[str, Build] = {
    "padding that counts": average(1, 1, left_out=False),
    "padding that counts, on one side": average(0, 1, left_out=False, size=2),
    "padding that counts, and a window beyond it": average(1, 0, left_out=False, ceil=True),
    "a window beyond a map without padding": average(0, 0, left_out=False, size=2, ceil=True),
    "padding that is left out": average(1, 1, left_out=True),
    "padding that is left out, and a window beyond it": average(1, 0, left_out=True, ceil=True),
    "no padding, ties": average(0, 0, left_out=True, size=2),
    "a maximum": largest,
    "a mean": lambda op, q: op.reduce_mean(
        op.slice(q, *(op.constant([v]) for v in (0, 4, 1, 2))), op.constant([2]), True
    ),
    "a Reshape": lambda op, q: op.reshape(q, op.constant([-1, 4, 49]), False),
}


def built(name: str, zeros: tuple[int, int], scales: tuple[float, float], *, shown: bool) -> Any:
    """One operation between two quantizers; `shown`: a layer shows the last one's codes."""
    op, x = ov.opset(), ov.parameter(4, 7, 7)
    ends = [(F32(-z * s), F32((255 - z) * s)) for z, s in zip(zeros, scales, strict=True)]
    y = ov.fake_quantize(FORMS[name](op, ov.fake_quantize(x, ends[0])), ends[1])
    if shown and y.get_output_partial_shape(0).rank.get_length() == 4:
        held = ov.weights(np.eye(4, dtype=np.int8).reshape(4, 4, 1, 1), np.ones((4, 1, 1, 1)))
        y = op.convolution(y, held, *([1, 1], [0, 0], [0, 0], [1, 1]))
    return ov.model(y, x)


def differing(name: str, rng: np.random.Generator, *, shown: bool) -> int:
    """How many outputs differ, of codes that are drawn all alike, with ties and with none."""
    zero = int(rng.choice([0, 18, 37, 100, 128]))
    scale = float(rng.uniform(0.004, 0.02))
    given = built(
        name,
        (zero, int(rng.choice([zero, zero, 0, 128]))),
        (scale, scale * float(rng.choice([1, 0.5, 0.83]))),
        shown=shown,
    )
    x = ((rng.integers(0, 256, (60, 4, 7, 7)) - zero) * scale).astype(F32)
    (want,) = ov.run(given, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeDifference)
        graph = hwsim.load(given)
    return int(np.count_nonzero(np.asarray(hwsim.emulate(graph, x), F32) != want))


@pytest.mark.parametrize("name", FORMS)
def test_a_pool_gives_the_runtimes_floats(name: str) -> None:
    rng = np.random.default_rng(seeded(len(name)))
    for shown in (True, False, True, False):
        assert differing(name, rng, shown=shown) == 0


def test_windows_that_are_counted_otherwise_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seeded(7))
    sizes = pools.sizes

    def whole(source: Any, channels: int) -> Any:
        return np.full_like(sizes(source, channels), source.window.size)

    monkeypatch.setattr("hwsim.frontends.openvino.averages.sizes", whole)
    assert differing("padding that is left out", rng, shown=False) > 100


def test_windows_that_begin_beyond_the_map_are_refused() -> None:
    op, x = ov.opset(), ov.parameter(4, 7, 7)
    ends = (F32(0), F32(2.55))
    y = op.avg_pool(ov.fake_quantize(x, ends), [2] * 2, [1] * 2, [1] * 2, [2] * 2, True, "ceil")
    with pytest.raises(HwsimError, match="last window must begin on the map"):
        hwsim.load(ov.model(ov.fake_quantize(y, ends), x))


@pytest.mark.parametrize("zero", [0, 37, 100, 128])
def test_a_clamp_at_the_end_cuts_codes(zero: int) -> None:
    rng = np.random.default_rng(seeded(zero))
    for _ in range(8):
        op, x = ov.opset(), ov.parameter(4, 7, 7)
        scale, high = float(rng.uniform(0.004, 0.02)), float(rng.uniform(0.2, 0.9))
        low = float(rng.choice([0.0, -0.05]))
        high = float(rng.choice([high, 20 * float(F32(scale)), round(20 * scale, 3)]))
        ends = (F32(-zero * scale), F32((255 - zero) * scale))
        given = ov.model(op.clamp(ov.fake_quantize(x, ends), low, high), x)
        reals = rng.normal(0, 0.8, (50, 4, 7, 7)).astype(F32)
        (want,) = ov.run(given, reals)
        assert np.array_equal(np.asarray(hwsim.emulate(hwsim.load(given), reals), F32), want)
