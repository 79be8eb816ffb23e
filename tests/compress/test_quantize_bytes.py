"""8 bits with scales of any kind: a QDQ file, which ONNX Runtime runs with the emulator's codes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from sklearn.datasets import load_digits
from support.float_networks import exported, network
from support.onnx_run import run_ort
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]


@pytest.mark.parametrize("method", ["mse", "minmax", "percentile:99.9", "entropy", "average"])
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
def test_a_model_of_bytes_has_the_codes_of_onnx_runtime(scheme, method):
    path = MODELS / "digits_cnn_int8.float.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = hwsim.quantize(path, IMAGES[:256], scheme=scheme, method=method)
    assert made.form == "QDQ"
    (found,) = run_ort(made.proto, {"image": IMAGES}).outputs.values()
    assert hwsim.emulate(made.graph, IMAGES).tolist() == found.tolist()
    assert np.unique(found).size > 100


@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
def test_the_rows_are_what_the_file_holds(scheme):
    path = MODELS / "digits_cnn_asym.float.onnx"
    made = hwsim.quantize(path, IMAGES[:64], scheme=scheme, method="minmax")
    held = {t.name: numpy_helper.to_array(t) for t in made.proto.graph.initializer}
    for row in made.rows:
        if "scale" in row:
            assert held[f"{row['tensor']}_scale"] == np.float32(row["scale"])
            assert held[f"{row['tensor']}_zero_point"] == row["zero_point"]
    scales = [held[name] for name in held if name.endswith("weight_scale")]
    told = [row["weight_scales"] for row in made.rows if "weight_scales" in row]
    assert len(told) == len(scales) > 1
    for held_scales, ends in zip(scales, told, strict=True):
        assert [held_scales.min(), held_scales.max()] == pytest.approx(ends, rel=1e-6)


@pytest.mark.needs("torch")
def test_a_transformers_block_is_one_of_bytes():
    model = exported(network("attention", seeded(5)), dynamo=False, batch=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = hwsim.quantize(model, IMAGES[:64], scheme="affine", method="minmax")
    session = onnxruntime.InferenceSession(
        made.proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"image": IMAGES[:64]})
    assert hwsim.emulate(made.graph, IMAGES[:64]).tolist() == found.tolist()


def test_other_bits_with_such_scales_are_qonnx():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # thresholds that float32's rounding decides
        made = hwsim.quantize(
            MODELS / "digits_cnn_int8.float.onnx", IMAGES[:64], scheme="affine", layers={"*": "w4"}
        )
    assert made.form == "QONNX"
    zeros = [row["zero_point"] for row in made.rows if "zero_point" in row]
    assert {row["weight_bits"] for row in made.rows if "weight_bits" in row} == {4}
    assert hwsim.accuracy(made.graph, IMAGES, load_digits().target).top1 > 0.95, zeros


def test_an_opset_without_scales_by_channel_is_told():
    model = onnx.load(str(MODELS / "digits_cnn_int8.float.onnx"))
    for opset in model.opset_import:
        opset.version = 12
    with pytest.raises(HwsimError, match="must be of opset 13 or newer for scales by channel"):
        hwsim.quantize(model, IMAGES[:8], scheme="affine")
