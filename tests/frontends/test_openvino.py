"""OpenVINO's IR and models in memory give the numbers of its CPU plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.errors import HwsimError
from hwsim.frontends.shared.builder import RuntimeDifference
from tests.support import openvino_models as ov
from tests.support.seeds import seeded

pytest.importorskip("openvino")
F32 = np.float32


def network(rng: np.random.Generator, zero: int = 0) -> Any:
    """A convolution, a ReLU, an average and a dense layer."""
    op, x = ov.opset(), ov.parameter(3, 8, 8)
    held = ov.weights(ov.codes(rng, 8, 3, 3, 3), np.full((8, 1, 1, 1), 0.003))
    y = op.convolution(ov.fake_quantize(x, ov.ends(rng, zero)), held, *[[1, 1]] * 4)
    y = op.relu(op.add(y, op.constant(rng.normal(size=(1, 8, 1, 1)).astype(F32))))
    y = op.reduce_mean(ov.fake_quantize(y, ov.ends(rng, 0)), op.constant([2, 3]), False)
    y = ov.fake_quantize(y, ov.ends(rng, 0))
    dense = ov.weights(ov.codes(rng, 5, 8), rng.uniform(0.001, 0.01, (5, 1)))
    y = op.add(op.matmul(y, dense, False, True), op.constant(rng.normal(size=(1, 5)).astype(F32)))
    return ov.model(y, x)


@pytest.mark.parametrize("zero", [0, 128])
def test_a_network_gives_the_very_floats(zero: int) -> None:
    rng = np.random.default_rng(seeded(1))
    given = network(rng, zero)
    x = rng.normal(size=(300, 3, 8, 8)).astype(F32)
    (want,) = ov.run(given, x)
    assert np.array_equal(np.asarray(hwsim.emulate(hwsim.load(given), x), F32), want)


def test_a_file_and_the_model_in_memory_are_one_graph(tmp_path: Path) -> None:
    from openvino import save_model

    given = network(np.random.default_rng(seeded(2)))
    save_model(given, tmp_path / "m.xml", compress_to_fp16=False)
    held = hwsim.load(tmp_path / "m.xml", like="openvino")
    assert held.hash() == hwsim.load(given).hash()


def test_bad_files_are_sentences(tmp_path: Path) -> None:
    from openvino import save_model

    save_model(
        network(np.random.default_rng(seeded(3))), tmp_path / "m.xml", compress_to_fp16=False
    )
    text, data = (tmp_path / "m.xml").read_bytes(), (tmp_path / "m.bin").read_bytes()

    def said(xml: bytes, weights: bytes | None) -> str:
        (tmp_path / "bad.xml").write_bytes(xml)
        (tmp_path / "bad.bin").unlink(missing_ok=True)
        if weights is not None:
            (tmp_path / "bad.bin").write_bytes(weights)
        with pytest.raises(HwsimError) as error:
            hwsim.load(tmp_path / "bad.xml")
        return str(error.value)

    assert "must lie in the .bin, which has" in said(text, data[:-8])
    assert "which is missing" in said(text, None)
    bomb = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb">]><net version="11">&b;</net>'
    assert "no document type" in said(bomb, data)
    assert "whole XML" in said(text[: len(text) // 2], data)
    listed = said(text.replace(b'type="ReLU"', b'type="LSTMCell"'), data)
    assert "supported operations only, but has LSTMCell" in listed
    assert "must be quantized" in said(text.replace(b'"FakeQuantize"', b'"Other"'), data)


def residual(rng: np.random.Generator, zero: int) -> Any:
    """Two convolutions and what stands before them, added; then one that shows the sum's codes."""
    op, x, maps = ov.opset(), ov.parameter(4, 8, 8), 8

    def conv(given: Any, inputs: int = maps) -> Any:
        held = ov.weights(
            ov.codes(rng, maps, inputs, 3, 3), rng.uniform(5e-4, 4e-3, (maps, 1, 1, 1))
        )
        made = op.convolution(given, held, *[[1, 1]] * 4)
        return op.add(made, op.constant(rng.normal(size=(1, maps, 1, 1)).astype(F32)))

    first = ov.fake_quantize(
        op.relu(conv(ov.fake_quantize(x, ov.ends(rng, 0)), 4)), ov.ends(rng, 0)
    )
    inner = ov.fake_quantize(op.relu(conv(first)), ov.ends(rng, 0))
    total = op.relu(op.add(ov.fake_quantize(conv(inner), ov.ends(rng, zero)), first))
    shown = op.convolution(
        ov.fake_quantize(total, ov.ends(rng, 0)),
        ov.weights(np.eye(maps, dtype=np.int8).reshape(maps, maps, 1, 1), 1.0),
        *([1, 1], [0, 0], [0, 0], [1, 1]),
    )
    return ov.model(shown, x)


@pytest.mark.parametrize("zero", [100, 128])
def test_a_quantizer_before_a_sum_only_clips_and_near_ties_are_announced(zero: int) -> None:
    rng = np.random.default_rng(seeded(4))
    given = residual(rng, zero)
    x = rng.normal(size=(100, 4, 8, 8)).astype(F32)
    (want,) = ov.run(given, x)
    with pytest.warns(RuntimeDifference, match="are rounded otherwise, by one step"):
        graph = hwsim.load(given)
    differing = np.count_nonzero(np.asarray(hwsim.emulate(graph, x), F32) != want)
    assert differing <= 3 and want.size == 51200


def _counted(stop: int) -> Any:
    """A mean over the axes that a Range of constants counts, as readers of ONNX leave them."""
    op, x = ov.opset(), ov.parameter(3, 4, 4)
    whole = [op.constant(np.int64(value)) for value in (2, stop, 1)]
    mean = op.reduce_mean(ov.fake_quantize(x, (F32(0), F32(1))), op.range(*whole, "i64"), True)
    return ov.model(ov.fake_quantize(mean, (F32(0), F32(1))), x)


def test_axes_that_a_range_counts_are_read() -> None:
    x = np.random.default_rng(seeded(4)).normal(size=(50, 3, 4, 4)).astype(F32)
    (want,) = ov.run(_counted(4), x)
    assert np.array_equal(np.asarray(hwsim.emulate(hwsim.load(_counted(4)), x), F32), want)


def test_a_range_that_is_too_long_is_a_sentence() -> None:
    op, x = ov.opset(), ov.parameter(4)
    whole = [op.constant(np.int64(value)) for value in (0, 1 << 40, 1)]
    kept = op.gather(op.range(*whole, "i64"), op.constant([0]), op.constant(np.int64(0)))
    total = op.add(ov.fake_quantize(x, (F32(0), F32(1))), op.convert(kept, "f32"))
    with pytest.raises(HwsimError, match="must count up to 65536 numbers"):
        hwsim.load(ov.model(ov.fake_quantize(total, (F32(0), F32(1))), x))


@pytest.mark.parametrize("shown", [False, True])
def test_a_layers_quantizer_for_a_sum_with_its_own_input_stays_as_it_is(shown, rng):
    """Sums next to ties, and a place of 0 that is 128 but for its rounding: 128.00002."""
    channels, ends = 64, (F32(-26.519743), F32(26.312557))
    step = (float(ends[1]) - float(ends[0])) / 255
    ties = rng.integers(12, 120, channels) + 0.5 - 6e-6
    scale = F32((ties * step - 2) / rng.integers(180, 256, channels)).reshape(-1, 1, 1, 1)
    op, eye = ov.opset(), np.eye(channels, dtype=np.int8).reshape(channels, channels, 1, 1)
    x = ov.parameter(channels, 16, 16)
    codes = ov.fake_quantize(x, (F32(0), F32(255)))
    layer = op.convolution(codes, ov.weights(eye, scale), [1, 1], [0, 0], [0, 0], [1, 1])
    layer = op.add(layer, op.constant(np.full((1, channels, 1, 1), 2, F32)))
    layer = ov.fake_quantize(layer, ends)
    y = ov.fake_quantize(op.relu(op.add(layer, codes)), (F32(0), F32(255 * 1.05)))
    given = ov.model([y, layer] if shown else y, x)
    pixels = np.arange(256, dtype=F32).reshape(1, 1, 16, 16)
    pixels = np.ascontiguousarray(np.broadcast_to(pixels, (1, channels, 16, 16)))
    made = hwsim.emulate(hwsim.load(given), pixels)
    found = next(iter(made.values())) if isinstance(made, dict) else made
    assert np.count_nonzero(np.asarray(found, F32) != ov.run(given, pixels)[0]) == 0


def test_quantizers_of_other_levels_than_256_are_announced_and_take_inputs_beyond_their_ends() -> (
    None
):
    op, x = ov.opset(), ov.parameter(4, 3, 3)
    ends = (F32(0), F32(2.54))
    y = op.avg_pool(ov.fake_quantize(x, ends, 255), [3] * 2, [0] * 2, [0] * 2, [3] * 2, True)
    with pytest.warns(RuntimeDifference, match="256 levels of 255"):
        graph = hwsim.load(ov.model(ov.fake_quantize(y, ends), x))
    codes = hwsim.emulate(graph, np.full((1, 4, 3, 3), 9, F32))
    assert np.array_equal(np.asarray(codes, F32), np.full((1, 4, 1, 1), 2.54, F32))
