"""Where a training begins: the float weights that were rounded to a graph's codes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.digits_trained import MODELS, float_model, quantized

import hwsim
from hwsim.compress.training.network import TrainableGraph
from hwsim.compress.training.start import float_weights
from hwsim.errors import HwsimError
from hwsim.ops import (
    Weighted,
)

pytestmark = pytest.mark.needs("torch", "array_api_compat")


def codes_of(op: Weighted, reals: np.ndarray) -> np.ndarray:
    """Reals rounded to nearest in the operator's format, without its lowest code."""
    unit = np.array(op.weight_scale or (2.0**-op.weight_format.frac_bits,))
    most = op.weight_format.max
    return np.clip(np.round(reals / unit), -most, most).astype(np.int64)


@pytest.mark.parametrize("bits", ["w4a4", "w2a3", "w8a8"])
@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_dw_skip"])
def test_the_float_weights_found_for_a_graph_round_to_its_codes(bits, name):
    graph = quantized(bits, name)
    reals = float_weights(graph, float_model(name))
    layers = [node for node in graph.nodes if isinstance(node.op, Weighted)]
    assert {node.name for node in layers} == set(reals)
    for node in layers:
        assert np.array_equal(codes_of(node.op, reals[node.name]["weights"]), node.op.weights)
        assert (reals[node.name]["weights"] != node.op.weights).any()
        assert "bias" in reals[node.name]
    assert TrainableGraph(graph, reals).frozen().hash() == TrainableGraph(graph).frozen().hash()


@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_cnn_asym"])
def test_float_weights_are_found_where_a_model_has_no_scale_of_its_weights(name):
    graph = hwsim.load(MODELS / f"{name}.onnx")
    for node in graph.nodes:
        if isinstance(node.op, Weighted):
            op = dataclasses.replace(node.op, weight_scale=None)
            graph = graph.with_op(node.name, op)
    reals = float_weights(graph, float_model(name))
    frozen = TrainableGraph(graph, reals).frozen()
    layers = [node for node in graph.nodes if isinstance(node.op, Weighted)]
    assert len(layers) == len(reals) == 4
    for node in layers:
        apart = np.abs(frozen.node(node.name).op.weights - node.op.weights)
        assert apart.max() <= 1 and (apart == 0).mean() > 0.9


def test_layers_are_found_by_their_weights_where_names_differ():
    graph = quantized("w4a4")
    renamed = dataclasses.replace(
        graph,
        nodes=tuple(dataclasses.replace(n, name=f"n{k}") for k, n in enumerate(graph.nodes)),
    )
    found, wanted = (float_weights(g, float_model()) for g in (renamed, graph))
    assert [v["weights"].tolist() for v in found.values()] == [
        v["weights"].tolist() for v in wanted.values()
    ]


def test_a_float_model_whose_weights_are_others_is_refused_by_the_node(rng):
    graph = quantized("w4a4")
    with pytest.raises(HwsimError, match=r"must have a layer with the 128 weights|'conv1'"):
        float_weights(graph, float_model("digits_dw_skip"))
    node = graph.node("conv2")
    rows = rng.permutation(node.op.weights.reshape(-1)).reshape(node.op.weights.shape)
    other = graph.with_op("conv2", dataclasses.replace(node.op, weights=rows))
    with pytest.raises(HwsimError, match=r"weights of node 'conv2' must be those of the float mod"):
        float_weights(other, float_model())


def test_sums_keep_their_scale_where_training_leaves_no_bias_of_a_finer_unit():
    graph = quantized("w4a4")
    op = graph.node("conv1").op
    finer = graph.with_op("conv1", dataclasses.replace(op, bias_frac=9, bias=op.bias * 4 + 1))
    network = TrainableGraph(finer)
    with_bias = network.frozen().types()["conv1"]
    network.learned["conv1"].bias.data[:] = 0
    without = network.frozen()
    assert not without.node("conv1").op.bias.any()
    assert without.types()["conv1"].scales() == with_bias.scales()
    assert with_bias.scales() != graph.types()["conv1"].scales()
