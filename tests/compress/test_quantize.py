"""A float model, quantized: hwsim reads the file, and QONNX's own executor gives the same codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.qonnx_nets import executed

import hwsim
from hwsim.compress.calibration import Histogram
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.errors import HwsimError

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]


@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w3a4", "w2a2"])
@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_dw_skip"])
def test_a_quantized_model_has_the_codes_of_qonnx(name, bits, tmp_path):
    model = FloatModel.read(MODELS / f"{name}.float.onnx")
    batches = ({"image": IMAGES[at : at + 64]} for at in range(0, 512, 64))
    proto = quantize(model, batches, Widths.parse(bits))
    graph = hwsim.load(proto)
    found = hwsim.emulate(graph, IMAGES[:20])
    assert found.tolist() == executed(proto, IMAGES[:20]).tolist()


@pytest.mark.parametrize("text", ["8", "w0a8", "w17a4", "a8w8", "w4a8x"])
def test_bits_that_are_none_are_told(text):
    with pytest.raises(HwsimError, match="bits must be like w4a8, from 1 to 16 each, not"):
        Widths.parse(text)


def test_a_histogram_is_the_same_however_the_stream_is_cut(rng):
    reals = (rng.normal(size=10_000) * 10.0 ** rng.integers(-6, 4, 10_000)).astype(np.float32)
    whole, parts = Histogram("x"), Histogram("x")
    whole.add(reals)
    for part in np.array_split(reals, 37):
        parts.add(part)
    assert whole.counts.tolist() == parts.counts.tolist() and whole.reach == parts.reach
    assert whole.total == reals.size
    assert (whole.least, whole.most) == (float(reals.min()), float(reals.max()))


def test_nan_in_calibration_data_is_told_by_the_tensors_name():
    with pytest.raises(HwsimError, match="tensor 'image' must be finite on the calibration data"):
        Histogram("image").add(np.array([1.0, np.nan], np.float32))
