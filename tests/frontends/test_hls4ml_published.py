"""Published models of hls4ml's examples predict under `backend="hwsim"` what csim predicts."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from support.published import folder
from support.seeds import seeded

pytestmark = [pytest.mark.slow, pytest.mark.needs("hls4ml", "models")]
INPUTS = 1000


def converted(name: str, backend: str, io_type: str, where: Any, weights: str = "") -> Any:
    """A Keras model from its JSON and weights, or an ONNX file, without either framework."""
    models = folder() / "hls4ml"
    given = {"OutputDir": str(where / backend), "Backend": backend, "IOType": io_type}
    model = {"Precision": "ap_fixed<16,6>", "ReuseFactor": 1, "Strategy": "Latency"}
    with contextlib.redirect_stdout(io.StringIO()):
        if name.endswith(".onnx"):
            from hls4ml.converters import convert_from_onnx_model
            from hls4ml.utils import config_from_onnx_model

            graph = read_onnx(models / name)
            config = config_from_onnx_model(graph, granularity="name", backend=backend)
            return convert_from_onnx_model(
                graph,
                hls_config=config,
                backend=backend,
                io_type=io_type,
                output_dir=given["OutputDir"],
            )
        from hls4ml.converters.keras_v2_to_hls import keras_v2_to_hls

        held = weights or f"{name}_weights"
        files = {"KerasJson": models / f"{name}.json", "KerasH5": models / f"{held}.h5"}
        return keras_v2_to_hls(
            {
                **{key: str(file) for key, file in files.items()},
                **given,
                "ProjectName": "myproject",
                "HLSConfig": {"Model": model},
            }
        )


def read_onnx(path: Any) -> Any:
    """A model as hls4ml asks for it: where it has a Gemm, cleaned up with MatMul and Add."""
    import onnx

    model = onnx.load(path)
    if all(node.op_type != "Gemm" for node in model.graph.node):
        return model
    wrapper = pytest.importorskip("qonnx.core.modelwrapper").ModelWrapper(model)
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul
    from qonnx.util.cleanup import cleanup_model

    return cleanup_model(cleanup_model(wrapper).transform(GemmToMatMul())).model


def same(make: Any, least: int) -> None:
    """Both backends predict the same of random inputs, and more than `least` different numbers."""
    ours, theirs = make("hwsim"), make("Vitis")
    shape = ours.get_input_variables()[0].shape
    x = np.random.default_rng(seeded(5)).normal(0, 1.5, (INPUTS, *shape)).astype(np.float32)
    x[: INPUTS // 10] *= 10
    with contextlib.redirect_stdout(io.StringIO()):
        ours.compile()
        theirs.compile()
        got, want = ours.predict(x), theirs.predict(x)
    assert got.shape == want.shape and (got == want).all() and len(np.unique(want)) > least


@pytest.mark.parametrize("name", ["KERAS_conv2d_model", "separable_conv_model_ch_last.onnx"])
def test_published_convolutional_models_predict_as_csim(name, tmp_path):
    same(lambda backend: converted(name, backend, "io_stream", tmp_path), 100)


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize(
    ("name", "weights", "least"),
    [
        ("KERAS_3layer", "", 100),
        ("KERAS_3layer", "KERAS_3layer_70pruned_retrained_weights", 100),
        ("qkeras_3layer", "", 100),
        ("three_layer_keras.onnx", "", 2),
        ("bnn_model_fc_1layer.onnx", "", 1),
    ],
)
def test_published_classifiers_with_a_softmax_or_signs_predict_as_csim(
    name, weights, least, io_type, tmp_path
):
    same(lambda backend: converted(name, backend, io_type, tmp_path, weights), least)
