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


def converted(name: str, backend: str, io_type: str, where: Any) -> Any:
    """A Keras model from its JSON and weights, or an ONNX file, without either framework."""
    models = folder() / "hls4ml"
    given = {"OutputDir": str(where / backend), "Backend": backend, "IOType": io_type}
    model = {"Precision": "ap_fixed<16,6>", "ReuseFactor": 1, "Strategy": "Latency"}
    with contextlib.redirect_stdout(io.StringIO()):
        if name.endswith(".onnx"):
            import onnx
            from hls4ml.converters import convert_from_onnx_model
            from hls4ml.utils import config_from_onnx_model

            graph = onnx.load(models / name)
            config = config_from_onnx_model(graph, granularity="name", backend=backend)
            return convert_from_onnx_model(
                graph,
                hls_config=config,
                backend=backend,
                io_type=io_type,
                output_dir=given["OutputDir"],
            )
        from hls4ml.converters.keras_v2_to_hls import keras_v2_to_hls

        files = {"KerasJson": models / f"{name}.json", "KerasH5": models / f"{name}_weights.h5"}
        return keras_v2_to_hls(
            {
                **{key: str(file) for key, file in files.items()},
                **given,
                "HLSConfig": {"Model": model},
            }
        )


@pytest.mark.parametrize("name", ["KERAS_conv2d_model", "separable_conv_model_ch_last.onnx"])
def test_published_convolutional_models_predict_as_csim(name, tmp_path):
    ours, theirs = (converted(name, b, "io_stream", tmp_path) for b in ("hwsim", "Vitis"))
    shape = ours.get_input_variables()[0].shape
    x = np.random.default_rng(seeded(5)).normal(0, 1.5, (INPUTS, *shape)).astype(np.float32)
    with contextlib.redirect_stdout(io.StringIO()):
        ours.compile()
        theirs.compile()
        got, want = ours.predict(x), theirs.predict(x)
    assert got.shape == want.shape and (got == want).all() and len(np.unique(want)) > 100
