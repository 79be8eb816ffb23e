"""Networks of the kinds that people train: hwsim reads what is made of them as QONNX runs it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.datasets import load_digits
from support.float_networks import NETWORKS, exported, network
from support.qonnx_nets import executed
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.errors import HwsimError

pytestmark = pytest.mark.needs("torch")
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
DYNAMO = ("residual",)
FIXED = ("residual", "decoder")


@pytest.fixture(scope="module", params=[name for name in NETWORKS if name != "attention"])
def model(request) -> tuple[str, onnx.ModelProto]:
    """A network, by one of the two exporters, of any batch or of 1."""
    name = request.param
    batch = 1 if name in FIXED else None
    made = exported(network(name, seeded(5)), dynamo=name in DYNAMO, batch=batch)
    return name, made


def reals(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.concatenate([session.run(None, {"image": x[None]})[0] for x in IMAGES[:8]])


def test_what_is_made_has_the_codes_of_qonnx_and_nothing_is_announced(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = hwsim.quantize(model[1], IMAGES[:64], bits="w5a8")
    found = hwsim.emulate(made.graph, IMAGES[:8])
    assert found.tolist() == executed(made.proto, IMAGES[:8]).tolist()
    assert np.unique(found).size > 20


def test_batch_norms_go_into_the_layers_and_the_numbers_stay(model):
    float_model = FloatModel.of(model[1], Path("net.onnx"))
    assert "BatchNormalization" not in {node.op_type for node in float_model.nodes}
    (out,) = float_model.outputs
    (found,) = float_model.run([{"image": IMAGES[:8]}], [out])
    np.testing.assert_allclose(found[out], reals(model[1]), rtol=1e-4, atol=1e-5)


def test_a_layer_norm_is_refused_by_name():
    model = exported(network("attention", seeded(5)), dynamo=False, batch=None)
    with pytest.raises(HwsimError) as told:
        hwsim.quantize(model, IMAGES[:8])
    assert "rule to quantize for, not LayerNormalization '/norms.0/" in str(told.value)
    assert "', LayerNormalization '/norms.1/" in str(told.value)
