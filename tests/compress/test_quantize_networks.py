"""Networks of the kinds that people train: hwsim reads what is made of them as QONNX runs it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from sklearn.datasets import load_digits
from support.float_networks import NETWORKS, exported, network
from support.qonnx_nets import executed
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.frontends.shared.builder import RuntimeDifference
from rtl.layers.table import unsupported

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


ANNOUNCED = {
    "the normalization": 2,
    "the softmax": 1,
    "ONNX Runtime's float32 loses digits here": 2,
}


@pytest.mark.parametrize("dynamo", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_transformers_block_has_the_codes_of_qonnx_and_says_where_float32_may_differ(dynamo):
    model = exported(network("attention", seeded(5)), dynamo=dynamo, batch=None)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeDifference)
        made = hwsim.quantize(model, IMAGES[:64], bits="w6a8")
    told = [str(one.message) for one in said if one.category is RuntimeDifference]
    assert {text: sum(text in one for one in told) for text in ANNOUNCED} == ANNOUNCED
    assert len(told) == sum(ANNOUNCED.values())
    found = hwsim.emulate(made.graph, IMAGES[:24])
    assert found.tolist() == executed(made.proto, IMAGES[:24]).tolist()
    assert made.sqnr > 20


def test_a_layer_norm_has_a_format_by_name_and_hardware_and_training_take_it():
    model = exported(network("attention", seeded(5)), dynamo=True, batch=None)
    made = hwsim.quantize(model, IMAGES[:64], bits="w4a6", layers={"*layer_norm*": "a5"})
    bits = {row["name"]: row["bits"] for row in made.rows if row["op"] == "LayerNormalization"}
    assert list(bits.values()) == [5, 5]
    assert not unsupported(made.graph)
    labels = load_digits().target[:64]
    how = {"epochs": 1, "batch": 32, "check": True}  # which compares each batch's codes
    trained = hwsim.finetune(made.graph, IMAGES[:64], labels, start=model, **how)
    assert trained.graph.hash() != made.graph.hash()


class Growing(torch.nn.Module):
    """A dense block: each layer reads all before it, joined to what was joined already."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv2d(n, 4, 3, padding=1) for n in (1, 5, 9, 13)
        )
        self.head = torch.nn.Linear(17 * 16, 10)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, torch.relu(layer(x))], 1)
        return self.head(torch.nn.functional.avg_pool2d(x, 2).flatten(1))


def test_what_is_joined_to_joined_tensors_has_the_codes_of_qonnx():
    torch.manual_seed(seeded(6))
    made = hwsim.quantize(Growing().eval(), IMAGES[:64], bits="w4a6")
    found = hwsim.emulate(made.graph, IMAGES[:16])
    assert found.tolist() == executed(made.proto, IMAGES[:16]).tolist()
    assert np.unique(found).size > 20
