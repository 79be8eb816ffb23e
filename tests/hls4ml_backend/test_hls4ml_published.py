"""hls4ml's own example models give the codes of Vitis's compiled simulation.

They are read by hls4ml's own converters, which need no Keras for a model of plain Keras. Those of
QKeras need it: `pip install qkeras tf_keras tensorflow-cpu`, and TF_USE_LEGACY_KERAS=1.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from support.published import folder

pytestmark = [pytest.mark.slow, pytest.mark.needs("hls4ml", "models")]
SAMPLES = 1000
KERAS = {
    "KERAS_3layer": "KERAS_3layer_weights",
    "KERAS_3layer, pruned": "KERAS_3layer_70pruned_retrained_weights",
}


def from_keras(name: str, weights: str, backend: str, io_type: str, out):
    """A model of Keras's JSON and its weights."""
    from hls4ml.converters.keras_v2_to_hls import keras_v2_to_hls

    files = folder() / "hls4ml"
    config = {
        "KerasJson": str(files / f"{name}.json"),
        "KerasH5": str(files / f"{weights}.h5"),
        "OutputDir": str(out / backend),
        "ProjectName": "myproject",
        "Backend": backend,
        "IOType": io_type,
        "HLSConfig": {"Model": {"Precision": "ap_fixed<16,6>", "ReuseFactor": 1}},
    }
    return keras_v2_to_hls(config)


def from_onnx(name: str, backend: str, io_type: str, out):
    """A model of ONNX as hls4ml asks for it: cleaned up, Gemm as MatMul and Add."""
    import hls4ml
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul
    from qonnx.util.cleanup import cleanup_model

    model = cleanup_model(ModelWrapper(str(folder() / "hls4ml" / f"{name}.onnx")))
    model = cleanup_model(model.transform(GemmToMatMul()))
    config = hls4ml.utils.config_from_onnx_model(
        model, granularity="name", backend=backend, default_precision="fixed<16,6>"
    )
    return hls4ml.converters.convert_from_onnx_model(
        model, hls_config=config, backend=backend, io_type=io_type, output_dir=str(out / backend)
    )


def same(make, least: int) -> None:
    """What both backends predict is the same, and has at least so many different values."""
    with contextlib.redirect_stdout(io.StringIO()):
        ours, theirs = make("hwsim"), make("Vitis")
        ours.compile()
        theirs.compile()
        rng = np.random.default_rng(1)
        x = rng.normal(0, 1.5, (SAMPLES, *ours.get_input_variables()[0].shape)).astype(np.float32)
        x[: SAMPLES // 10] *= 10
        got, want = ours.predict(x), theirs.predict(x)
    assert got.shape == want.shape and (got == want).all()
    assert len(np.unique(want)) >= least


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize("name", KERAS)
def test_jet_taggers_with_a_softmax_give_vitis_csims_codes(name, io_type, tmp_path):
    model, weights = name.split(",")[0], KERAS[name]
    same(lambda backend: from_keras(model, weights, backend, io_type, tmp_path), 100)


@pytest.mark.needs("qkeras", "tf_keras")
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_a_jet_tagger_of_qkeras_gives_vitis_csims_codes(io_type, tmp_path):
    def make(backend: str):
        return from_keras("qkeras_3layer", "qkeras_3layer_weights", backend, io_type, tmp_path)

    same(make, 10)


@pytest.mark.needs("qonnx")
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize(("name", "least"), [("three_layer_keras", 3), ("bnn_model_fc_1layer", 2)])
def test_models_of_onnx_give_vitis_csims_codes(name, least, io_type, tmp_path):
    same(lambda backend: from_onnx(name, backend, io_type, tmp_path), least)
