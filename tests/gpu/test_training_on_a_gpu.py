"""Training on a GPU has the emulator's codes on every edge; a device that there is not is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.cases import CASES, Case
from support.chains import chains
from support.seeds import seeded

from hwsim import load
from hwsim.compress.training import TrainableGraph, loop, network
from hwsim.compress.training.namespace import namespace, on, to_numpy
from hwsim.emulator.run import emulate
from hwsim.errors import HwsimError
from hwsim.graph import Graph, user_shape

pytestmark = pytest.mark.needs("torch", "array_api_compat")
torch = pytest.importorskip("torch")
GPU = "cuda"
MODELS = Path(__file__).parents[2] / "examples" / "models"
on_gpu = pytest.mark.needs("gpu of torch")
CASES_IN_FLOATS = [case for case in CASES if case.id != "dense-past-2-to-53"]
"""PyTorch has no product of whole matrices on a GPU."""
by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def trainable(graph: Graph) -> TrainableGraph | None:
    """A graph in training on a GPU, if it can be trained."""
    try:
        return TrainableGraph(graph, learn_steps=True, device=GPU)
    except HwsimError:
        return None


def codes_of(graph: Graph, samples: int, seed: int) -> dict[str, object]:
    """Random codes for the inputs, on a GPU."""
    rng = np.random.default_rng(seed)
    return {
        port.tensor: torch.tensor(
            rng.integers(port.type.lo, port.type.hi + 1, (samples, *port.type.shape)),
            dtype=torch.float64,
            device=GPU,
        )
        for port in graph.inputs
    }


def compared_while_it_moves(found: TrainableGraph, samples: int, seed: int) -> None:
    """Compare, move the weights as gradients say, and compare again."""
    codes = codes_of(found.graph, samples, seed)
    loop.expect_equal(found, codes)
    edges = found.run(codes)
    loss = sum((edges[port.tensor].double() ** 2).mean() for port in found.graph.outputs)
    if loss.requires_grad:
        optimizer = torch.optim.Adam(found.parameters().values(), lr=0.05)
        loss.backward()
        optimizer.step()
        loop.expect_equal(found, codes)


def trainable_chains(case: Case) -> list[TrainableGraph]:
    """Those networks around a case's operator that can be trained."""
    return [found for graph in chains(case) if (found := trainable(graph)) is not None]


@on_gpu
@pytest.mark.parametrize("case", CASES_IN_FLOATS, ids=lambda case: case.id)
def test_torch_on_a_gpu_is_one_more_namespace_for_every_operator(case, seed):
    inputs, graph = case.inputs(6, seed), case.graph()
    want = case.by_name(emulate(graph, inputs, codes=True))
    with on(GPU):
        found = case.by_name(emulate(graph, inputs, xp=namespace(), codes=True))
    for name, codes in want.items():
        assert np.array_equal(to_numpy(found[name]), codes)


@on_gpu
@by_case
def test_training_on_a_gpu_gives_numpys_codes(case, seed):
    found = trainable_chains(case)
    for one in found:
        compared_while_it_moves(one, 6, seed)
    if not found:
        pytest.skip("has no network that can be trained")


@on_gpu
def test_a_forward_pass_on_a_gpu_that_only_simulates_rounding_is_told(monkeypatch, seed):
    monkeypatch.setattr(network, "through", lambda smooth, codes: smooth)
    case = next(case for case in CASES if case.id == "conv2d-zero-point")
    pairs = [(one, codes_of(one.graph, 6, seed)) for one in trainable_chains(case)]
    with pytest.raises(HwsimError, match=r"edge '\w+' of training must hold the emulator's codes"):
        any(loop.expect_equal(*pair) for pair in pairs)


@on_gpu
@pytest.mark.parametrize("name", ["digits_cnn_asym", "digits_cnn_int8", "digits_dw_skip"])
def test_example_models_are_trained_on_a_gpu_and_each_batch_has_the_emulators_codes(name, tmp_path):
    graph = load(MODELS / f"{name}.onnx")
    rng = np.random.default_rng(seeded(5))
    (port,) = graph.inputs
    images = rng.random((512, *user_shape(port.type, port))).astype(np.float32)
    labels = rng.integers(0, 10, 512)
    held = tmp_path / "state.safetensors"
    how = loop.Training(epochs=2, batch=64, check=True, seed=1, device=GPU)
    tuned = loop.finetune(graph, images, labels, how, learn_steps=True, checkpoint=held)
    assert tuned.hash() != graph.hash()
    assert loop.finetune(graph, images, labels, how, learn_steps=True, checkpoint=held).hash() == (
        tuned.hash()
    )


@pytest.mark.parametrize("device", ["tpu", "meta", "cuda:99", "mps"])
def test_a_device_that_there_is_not_is_told(device):
    graph = load(MODELS / "digits_cnn_int8.onnx")
    with pytest.raises(
        HwsimError, match=rf"^device must be one that PyTorch can use .* '{device}'"
    ):
        TrainableGraph(graph, device=device)
