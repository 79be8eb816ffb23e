"""hls4ml models give the codes of hls4ml's own compiled simulation, whatever their precisions."""

from __future__ import annotations

import random

import numpy as np
import pytest
from support import hls4ml_models
from support.hls4ml_csim import check, emulated
from support.hls4ml_heads import AUTO, dense_heads, layers, types
from support.hls4ml_models import Model
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError

pytestmark = pytest.mark.needs("hls4ml")


def conv_heads(seed: int, **options) -> Model:
    """Convolutions of several shapes side by side."""
    model = Model(seed, (5, 6, 2), given="fixed<10,4,RND,SAT>")
    names = ("weight", "bias", "accum", "result")
    model.conv("x", 3, (3, 3), types(model.rng, *names), pads=(1, 1, 1, 1), **options)
    model.conv("x", 3, (2, 3), types(model.rng, *names), stride=(2, 1), **options)
    model.conv("x", 4, (1, 1), types(model.rng, *names), **options)
    model.conv("x", 2, (3, 3), dict(AUTO), **options)
    return model


def line_heads(seed: int, **options) -> Model:
    """Convolutions and pools along one axis, side by side."""
    model = Model(seed, (9, 2), given="fixed<10,4,RND,SAT>")
    names = ("weight", "bias", "accum", "result")
    model.conv_line("x", 3, 3, types(model.rng, *names), pads=(1, 1), **options)
    model.conv_line("x", 3, 4, types(model.rng, *names), stride=2, **options)
    model.conv_line("x", 4, 1, types(model.rng, *names), **options)
    model.conv_line("x", 2, 3, dict(AUTO), **options)
    wide = {"accum": "fixed<20,8>", "result": "fixed<9,4,RND,SAT>"}
    for kind in ("Max", "Average"):
        model.pool_line("x", kind, 2, dict(wide))
        model.global_pool_line("x", kind, dict(wide))
    return model


def test_windows_of_one_axis_give_csims_codes(tmp_path):
    check(line_heads(3), tmp_path / "csim")
    graph = hwsim.load(line_heads(3).build(tmp_path / "again"))
    assert {len(kind.shape) for kind in graph.types().values()} <= {1, 2}
    assert {"conv1d", "maxpool", "avgpool"} <= {node.op.kind for node in graph.nodes}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [23, 24, 27])
def test_windows_of_one_axis_give_csims_codes_by_the_resource_strategy(seed, tmp_path):
    check(line_heads(seed, Strategy="Resource", ReuseFactor=2), tmp_path)


EXTREMES = (
    {"result": "fixed<1,1>"},
    {"result": "ufixed<1,0,RND,SAT>", "accum": "fixed<32,12,RND_INF,SAT>"},
    {"result": "fixed<32,16,RND_CONV,SAT_SYM>", "weight": "fixed<32,8>"},
    {"accum": "fixed<1,1,RND,SAT>", "result": "fixed<8,4>"},
    {"accum": "ufixed<32,0,RND_CONV,SAT_ZERO>", "result": "ufixed<31,-3>"},
    {"weight": "fixed<2,6,RND,SAT>", "bias": "fixed<30,2>", "accum": "fixed<48,20,TRN_ZERO,SAT>"},
    {"weight": "fixed<24,-4>", "accum": "fixed<32,-2,RND_ZERO,SAT_SYM>", "result": "fixed<3,-9>"},
    {"accum": "fixed<9,14,RND_MIN_INF,SAT_ZERO>", "result": "fixed<32,20>"},
    {"accum": "fixed<40,10>", "weight": "ufixed<20,3>", "result": "fixed<4,9,RND_INF,WRAP>"},
    {"result": "fixed<1,1,RND,SAT_SYM>"},
    {"accum": "fixed<1,3,TRN,SAT_SYM>", "result": "fixed<8,6>"},
)


def extremes(seed: int, **options) -> Model:
    """Widths from 1 to 48 bits, integer bits below zero and above the width."""
    model = Model(seed, (7,), given="fixed<18,5,RND,SAT>")
    for chosen in EXTREMES:
        model.dense("x", 4, {"accum": "fixed<30,9>", "result": "fixed<17,6>", **chosen}, **options)
    return model


def test_dense_by_latency_equals_csim(tmp_path):
    check(dense_heads(1), tmp_path)


def test_dense_by_resource_equals_csim_in_its_order(tmp_path):
    check(dense_heads(2, Strategy="Resource", ReuseFactor=4), tmp_path)


@pytest.mark.slow
def test_weights_the_other_way_round_are_read_as_csim_reads_them(tmp_path):
    """Those of a PyTorch model that hls4ml does not convert to channels last."""
    model = Model(8, (6,), given="fixed<10,4>")
    for strategy, reuse in (("Latency", 1), ("Resource", 2), ("Resource_Unrolled", 3)):
        chosen = types(model.rng, "weight", "bias", "accum", "result")
        model.dense("x", 4, chosen, Strategy=strategy, ReuseFactor=reuse)
        model.layers[-1]["weight_data"] = model.weights(4, 6)
    check(model, tmp_path)


def test_extreme_widths_equal_csim(tmp_path):
    check(extremes(9), tmp_path)


def test_convolutions_equal_csim(tmp_path):
    check(conv_heads(3), tmp_path)


def test_all_other_layers_equal_csim(tmp_path):
    check(layers(4, stream=False), tmp_path)


def test_differences_and_products_equal_csim(tmp_path):
    model = Model(6, (12,), given="fixed<7,3>")
    other = model.dense("x", 12, {"accum": "fixed<30,12>", "result": "ufixed<9,4,RND,SAT>"})
    for a, b in (("x", other), ("x", "x"), (other, "x")):
        model.merge(a, b, {"result": "fixed<10,5,RND_CONV,SAT>"}, op="subtract")
        model.merge(a, b, {"result": "fixed<14,4,TRN,WRAP>"}, op="multiply")
    check(model, tmp_path)


@pytest.mark.parametrize("op", ["add", "subtract", "multiply"])
def test_merged_tensors_of_unlike_shapes_are_refused(op, tmp_path):
    """hls4ml's C++ makes as many results as the smaller one has codes, and leaves the rest."""
    model = Model(6, (12,), given="fixed<7,3>")
    row = model.dense("x", 4, {"accum": "fixed<30,12>", "result": "fixed<9,4>"})
    model.merge(model.reshape("x", 3, 4), row, {"result": "fixed<10,5>"}, op=op)
    with pytest.raises(HwsimError, match=r"must have one shape, not \(3, 4\) and \(4,\)"):
        hwsim.load(model.build(tmp_path))


@pytest.mark.slow
# Seed 12 makes hls4ml's own ap_types abort on an assertion (bits beyond the sign bit).
@pytest.mark.parametrize("seed", [10, 11, 13, 14])
@pytest.mark.parametrize("reuse", [0, 1, 3, 6, 12, 24])
def test_dense_equals_csim_at_any_reuse_factor(seed, reuse, tmp_path):
    options = {"Strategy": "Resource", "ReuseFactor": reuse} if reuse else {}
    check(dense_heads(seed * 100 + reuse, **options), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 24))
@pytest.mark.parametrize("stream", [False, True])
def test_layers_equal_csim_parallel_and_streamed(seed, stream, tmp_path):
    check(layers(seed, stream), tmp_path / "layers", stream=stream)
    if not stream:
        check(conv_heads(seed, Strategy="Resource", ReuseFactor=2), tmp_path / "conv")


def test_a_saved_graph_needs_no_hls4ml(tmp_path):
    graph = hwsim.load(dense_heads(5).build(tmp_path))
    graph.save(tmp_path / "m.hwsim")
    again = hwsim.load(tmp_path / "m.hwsim")
    assert again.hash() == graph.hash()


def test_unsupported_layers_are_all_named(tmp_path):
    model = Model(6, (4,))
    a = model.activation("x", "gelu", {})
    model.activation(a, "swish", {})
    with pytest.raises(HwsimError, match=r"activation1 \(gelu\), activation2 \(swish\)"):
        hwsim.load(model.build(tmp_path))


def test_backends_of_other_types_are_refused(tmp_path):
    with pytest.raises(HwsimError, match=r"Vivado, Vitis or hwsim.* not of Quartus"):
        hwsim.load(dense_heads(7).build(tmp_path, backend="Quartus"))


def test_a_layer_that_no_output_depends_on_is_left_out(tmp_path):
    model = Model(9, (4,))
    first = model.dense("x", 3, {"result": "fixed<8,4>"})
    alone = hwsim.load(model.build(tmp_path / "alone"))
    model.dense(model.activation(first, "relu", {}), 2, {})
    model.outputs = [first]
    assert hwsim.load(model.build(tmp_path / "more")).hash() == alone.hash()


def test_a_tensor_that_is_too_large_is_refused_before_memory_is_asked_for(tmp_path):
    model = Model(10, (1 << 14, 1 << 13, 1))
    model.activation("x", "relu", {})
    with pytest.raises(HwsimError, match=r"input 'x' must have at most 67108864 elements, not"):
        hwsim.load(model.build(tmp_path))


def test_bad_data_is_refused_in_a_sentence(tmp_path):
    graph = hwsim.load(dense_heads(8).build(tmp_path))
    with pytest.raises(HwsimError, match="NaN"):
        hwsim.emulate(graph, np.full((1, 12), np.nan))
    with pytest.raises(HwsimError, match=r"shape \(batch, 12\), not \(1, 13\)"):
        hwsim.emulate(graph, np.zeros((1, 13)))


def test_one_weight_code_off_is_noticed(tmp_path):
    """The comparison would see a difference: the mutant of the tests above."""
    model = dense_heads(1)
    graph, x = hwsim.load(model.build(tmp_path)), model.data(50)
    layer = model.layers[-1]  # that with inferred precisions
    layer["weight_data"] = layer["weight_data"] + 0.5
    other = hwsim.load(model.build(tmp_path))
    name = layer["name"]
    assert (emulated(graph, x)[name] != emulated(other, x)[name]).any()


def test_the_builders_are_seeded():
    assert hls4ml_models.Model(1, (3,)).rng.random() == random.Random(seeded(1)).random()
