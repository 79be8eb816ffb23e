"""Recurrent layers, tensor products, embeddings and normalizations give csim's codes."""

from __future__ import annotations

import numpy as np
import pytest
from support.hls4ml_csim import SAMPLES, check, codes_of, emulated
from support.hls4ml_garnet import garnet
from support.hls4ml_models import Model, csim
from support.hls4ml_sequences import (
    bidirectional,
    einsum,
    einsum_dense,
    embedding,
    gradual,
    layer_norm,
    recurrent,
    time_distributed,
    types,
)

import hwsim
from hwsim.errors import HwsimError

pytestmark = pytest.mark.needs("hls4ml")

KERNELS = ("weight", "recurrent_weight", "bias", "recurrent_bias")
RESOURCE = {"Strategy": "Resource", "ReuseFactor": 2}
STRATEGIES = (
    {},
    RESOURCE,
    {"Strategy": "Resource_Unrolled", "ReuseFactor": 3},
    {"Strategy": "Resource", "ReuseFactor": 12},
)
ONE_TYPE = ("fixed<16,6>", "fixed<12,4,RND,SAT>", "fixed<14,5,RND_CONV,SAT_SYM>", "fixed<10,3>")


def gru(model: Model, units: int, index: int, **fields) -> str:
    """The fields that vary with a number, so that some layers have them all."""
    options = {"static": index % 2 == 0, "table_size": (1024, 256, 1000)[index % 3]}
    options |= STRATEGIES[index % 4]
    options |= {"table_t": "fixed<12,3,RND,SAT>"} if index % 4 == 1 else {}
    return recurrent(
        model,
        "GRU",
        "x",
        units,
        {**types(model, *KERNELS), **gradual(model, "accum", "result")},
        sequences=index % 2 == 1,
        options=options,
        activation=("tanh", "relu", "sigmoid")[index % 3],
        apply_reset_gate=("after", "before")[index % 3 == 1],  # neither is looked at
        direction=("forward", "backward")[index % 2],
        **({"pytorch": True} if index % 4 >= 2 else {}),
        **fields,
    )


def lstm(model: Model, units: int, index: int, one: str) -> str:
    """An LSTM, whose input, accumulator and result hls4ml wants of one type."""
    options = {"static": index % 2 == 0, **STRATEGIES[index % 4]}
    return recurrent(
        model,
        "LSTM",
        "x",
        units,
        {**types(model, *KERNELS), "accum": one, "result": one},
        sequences=index % 4 < 2,
        options=options,
        activation=("tanh", "relu")[index % 2],
        recurrent_activation=("sigmoid", "tanh")[index % 3 == 1],
        **({"pytorch": True} if index % 3 else {}),
    )


def unrolled_in_time(seed: int, *, count: int = 3, stream: bool = False) -> Model:
    """Recurrent layers of all kinds side by side on five steps of six codes."""
    one = ONE_TYPE[seed % len(ONE_TYPE)]
    model = Model(seed, (5, 6), given=one)
    for index in range(count):
        gru(model, 6, seed + index)
        lstm(model, 6, seed + index, one)
    if not stream:
        for index, kinds in enumerate((("LSTM", "GRU"), ("GRU", "LSTM"))):
            free = types(model, *(f"forward_{name}" for name in KERNELS))
            free |= gradual(model, "accum", "result")
            way = {"options": RESOURCE} if index else {}
            bidirectional(model, kinds, "x", (3, 4), free, sequences=index == 0, **way)
    return model


def products(seed: int) -> Model:
    """Einsums, products with constants and normalizations of a matrix of four rows."""
    model = Model(seed, (4, 6), given="fixed<9,3,RND,SAT>")
    other = model.activation("x", "relu", {"result": "ufixed<8,4,RND_CONV,SAT>"})
    sums = [types(model, "accum", "result") for _ in range(9)]
    exact = {"accum": "fixed<30,14>", "result": "fixed<12,6,RND,SAT>"}
    einsum(model, "x", other, "ab,cb->ac", (4, 4), sums[0])
    einsum(model, "x", other, "ab,cb->ca", (4, 4), exact)
    einsum(model, "x", other, "ab,ab->a", (4,), sums[1])
    einsum(model, "x", other, "ab,ac->bac", (6, 4, 6), sums[2])
    einsum(model, other, "x", "ab,ac->cb", (6, 6), sums[3])
    einsum_dense(model, "x", "ab,bc->ac", (6, 3), (4, 3), sums[4], (3,))
    einsum_dense(model, "x", "ab,bc->ca", (6, 3), (3, 4), sums[5], (3, 1))
    einsum_dense(model, "x", "ab,abc->cb", (4, 6, 3), (3, 6), sums[6], (3, 6))
    einsum_dense(model, "x", "ab,bcd->acd", (6, 2, 3), (4, 2, 3), sums[7])
    layer_norm(model, "x", {})
    layer_norm(model, "x", {"accum": "fixed<14,4,RND_CONV,SAT>", "result": "fixed<12,4,RND,SAT>"})
    narrow = {**types(model, "accum", "scale", "bias", most=14), "result": "fixed<10,4,RND,SAT>"}
    size = {"table_size": (512, 1000)[seed % 2], "table_range_power2": 2, "table_t": "ufixed<12,6>"}
    layer_norm(model, "x", narrow, size, power=5)
    return model


def words(seed: int) -> Model:
    """Five words of a vocabulary of eleven, as rows of a table, through a GRU."""
    model = Model(seed, (5,), given="uint<4>")
    rows = embedding(
        model, "x", 11, 6, {"embeddings": "fixed<9,3>", "result": "fixed<8,3,RND,SAT>"}
    )
    steps = {**types(model, *KERNELS), **gradual(model, "accum", "result")}
    last = recurrent(model, "GRU", rows, 4, steps, sequences=True, options=RESOURCE)
    recurrent(model, "GRU", last, 3, {"result": "fixed<12,4>"})
    model.data = lambda samples: model.np.integers(0, 11, (samples, 5)).astype(np.float32)
    return model


def wrapped(seed: int) -> Model:
    """Layers once for each of three steps: a convolution and a recurrent layer."""
    model = Model(seed, (3, 4, 2), given="fixed<12,4>")
    time_distributed(
        model,
        "x",
        "Conv1D",
        (3, 4),
        {**types(model, "weight", "bias", "accum"), "result": "fixed<10,4>"},
        data_format="channels_last",
        in_width=4,
        n_chan=2,
        n_filt=4,
        filt_width=2,
        stride_width=1,
        dilation=1,
        pad_left=0,
        pad_right=0,
        out_width=3,
        padding="valid",
        use_bias=True,
        weight_data=model.weights(2, 2, 4),
        bias_data=model.weights(4),
        weight_quantizer=None,
        bias_quantizer=None,
    )
    time_distributed(
        model,
        "x",
        "GRU",
        (5,),
        {"result": "fixed<14,6>"},
        n_timesteps=4,
        n_in=2,
        n_out=5,
        return_sequences=False,
        return_state=False,
        activation="tanh",
        recurrent_activation="sigmoid",
        weight_data=model.weights(2, 15),
        recurrent_weight_data=model.weights(5, 15),
        bias_data=model.weights(15),
        recurrent_bias_data=model.weights(15),
    )
    return model


def test_recurrent_layers_give_csims_codes(tmp_path):
    check(unrolled_in_time(2, count=2), tmp_path)


def test_products_of_tensors_and_normalizations_give_csims_codes(tmp_path):
    check(products(1), tmp_path)


def test_embedded_words_through_a_stream_give_csims_codes(tmp_path):
    check(words(3), tmp_path, stream=True)


def check_inputs(model: Model, folder, feeds: dict) -> dict:
    """As `check`, of several inputs; gives the codes."""
    built = model.build(folder)
    graph = hwsim.load(built)
    want, got = codes_of(graph, csim(built, list(feeds.values()))), emulated(graph, feeds)
    for name in want:
        assert (want[name] == got[name]).all(), f"{name}: {(want[name] != got[name]).sum()} differ"
    return got


def test_recurrent_layers_begin_with_the_states_that_they_are_given(tmp_path):
    one = "fixed<14,4,RND,SAT>"
    model = Model(5, (5, 3), given=one)
    held = {"accum": one, "result": one}
    h, c, other = (model.input(name, (1, 4), one) for name in ("h0", "c0", "h1"))
    recurrent(model, "LSTM", "x", 4, held, states=(h, c), sequences=True)
    recurrent(model, "GRU", "x", 4, {"accum": "fixed<18,6>", "result": one}, states=(other,))
    x = model.data(SAMPLES).astype(np.float64)
    states = {name: model.np.normal(0, 2.0, (SAMPLES, 1, 4)) for name in (h, c, other)}
    got = check_inputs(model, tmp_path, {"x": x, **states})
    begun = {"x": x, **dict.fromkeys(states, np.zeros((SAMPLES, 1, 4)))}
    zeros = emulated(hwsim.load(model.build(tmp_path)), begun)
    assert all((zeros[name] != got[name]).any() for name in got)


INNER = {
    "edge_weight": "ufixed<10,0,TRN,SAT>",
    "edge_weight_aggr": "ufixed<12,2,TRN,SAT>",
    "aggr": "fixed<15,5,TRN,SAT>",
    "norm": "ufixed<14,4,TRN,SAT>",
}
"""As hls4ml's own configuration has them."""
NARROW = {
    "edge_weight": "ufixed<7,0,RND,SAT>",
    "edge_weight_aggr": "ufixed<6,1,RND_CONV,SAT>",
    "aggr": "fixed<9,2,RND_INF,SAT_SYM>",
}
"""In which sums round, and saturate between one vertex and the next."""


def vertices(seed: int) -> tuple[Model, dict]:
    """GarNets on sixteen vertices of three features, and inputs with every number of vertices."""
    model = Model(seed, (16, 3), given="fixed<14,5,RND,SAT>")
    whole, real = model.input("n", (1,), "uint<5>"), model.input("r", (1,), "fixed<9,6>")
    garnet(model, "x", whole, (4,), "fixed<16,6>", 4)
    garnet(model, "x", real, (3,), "fixed<12,5,RND,SAT>", 2)
    garnet(model, "x", whole, (3, 2, 4), "fixed<14,6,RND_CONV,SAT>", 4)
    garnet(model, "x", whole, (4,), "fixed<16,6>", 4, INNER)
    garnet(model, "x", whole, (3, 4), "fixed<14,6>", 2, NARROW)
    x = model.data(SAMPLES).astype(np.float64)
    counts = model.np.integers(0, 32, (SAMPLES, 1)).astype(np.float64)
    reals = model.np.normal(8, 10, (SAMPLES, 1))
    return model, {"x": x, "n": counts, "r": reals}


def test_graph_networks_give_csims_codes(tmp_path):
    model, feeds = vertices(3)
    got = check_inputs(model, tmp_path, feeds)
    assert all(len(np.unique(codes)) > 50 for codes in got.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [40, 41])
def test_graph_networks_give_csims_codes_with_other_weights(seed, tmp_path):
    model, feeds = vertices(seed)
    check_inputs(model, tmp_path, feeds)


def test_a_graph_network_whose_vertices_stay_apart_is_refused(tmp_path):
    """hls4ml's C++ leaves the rows beyond the last vertex unwritten."""
    model = Model(3, (16, 3))
    garnet(model, "x", model.input("n", (1,), "uint<5>"), (4,), "fixed<16,6>", 4, collapse=None)
    model.shapes["garnet2"] = (16, 4)
    refused(model, tmp_path, "must collapse its vertices to the mean of all of them")


def test_a_state_that_another_layer_reads_is_refused(tmp_path):
    """hls4ml's C++ leaves the last state in its place."""
    model = Model(5, (5, 3), given="fixed<16,6>")
    state = model.input("h0", (4,), "fixed<16,6>")
    recurrent(model, "GRU", "x", 4, {}, states=(state,))
    model.activation(state, "relu", {})
    refused(model, tmp_path / "read", "state 'h0' must be read by this layer only")
    model = Model(5, (5, 3), given="fixed<16,6>")
    state = model.input("h0", (4,), "fixed<16,6>")
    recurrent(model, "GRU", "x", 4, {"recurrent_bias": "fixed<9,3>"}, states=(state,))
    refused(model, tmp_path / "types", "'recurrent_bias' of a layer with initial states must be")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [10, 11, 12, 13])
@pytest.mark.parametrize("stream", [False, True])
def test_recurrent_layers_give_csims_codes_in_all_precisions(seed, stream, tmp_path):
    check(unrolled_in_time(seed, stream=stream), tmp_path, stream=stream)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [20, 21, 22])
def test_products_of_tensors_give_csims_codes_in_all_precisions(seed, tmp_path):
    check(products(seed), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [30, 31])
def test_layers_of_each_time_step_give_csims_codes(seed, tmp_path):
    check(wrapped(seed), tmp_path / "wrapped")
    check(words(seed), tmp_path / "words")


@pytest.mark.parametrize("made", [unrolled_in_time, products, words, wrapped])
def test_a_weight_that_is_off_is_noticed_in_every_layer(made, tmp_path):
    """The comparisons above would see a difference: their mutants."""
    model, other = made(2), made(2)
    for layer in other.layers:
        inner = layer.get("wrapped_layer", layer)
        for name in ("weight_data", "backward_weight_data", "embeddings_data", "gamma_data"):
            if name in inner:
                inner[name] = inner[name] + 0.37
    x = model.data(400)
    found, changed = (emulated(hwsim.load(m.build(tmp_path)), x) for m in (model, other))
    same = [name for name in found if (found[name] == changed[name]).all()]
    assert {name.rstrip("0123456789") for name in same} <= {"einsum"}  # it has no weights


def refused(model: Model, folder, text: str, **options) -> None:
    with pytest.raises(HwsimError, match=text):
        hwsim.load(model.build(folder, **options))


def test_what_hls4ml_has_no_cpp_for_is_named_with_the_reason(tmp_path):
    model = Model(1, (4, 3))
    weights = {"weight_data": model.weights(3, 5), "recurrent_weight_data": model.weights(5, 5)}
    model.add(
        "SimpleRNN",
        ["x"],
        (5,),
        activation="tanh",
        return_sequences=False,
        return_state=False,
        n_timesteps=4,
        n_in=3,
        n_out=5,
        bias_data=model.weights(5),
        **weights,
    )
    refused(model, tmp_path, r"simplernn1 \(SimpleRNN: hls4ml 1.3 has no C\+\+ for it under Vivado")


@pytest.mark.parametrize("name", ["x", "accum", "result"])
def test_an_lstm_of_unlike_types_is_refused(name, tmp_path):
    held = dict.fromkeys(("x", "accum", "result"), "fixed<14,5,RND,SAT>")
    held[name] = "fixed<14,5,RND,WRAP>"
    model = Model(1, (4, 3), given=held.pop("x"))
    recurrent(model, "LSTM", "x", 5, held)
    refused(model, tmp_path, "input, accum and result must have one precision, not input s14.9 RND")


def test_activations_without_a_class_in_cpp_are_refused(tmp_path):
    model = Model(1, (4, 3))
    recurrent(model, "GRU", "x", 5, {}, recurrent_activation="hard_sigmoid")
    refused(model, tmp_path, "recurrent_activation must be relu, sigmoid or tanh, not hard_sigmoid")


def test_a_bidirectional_that_does_not_compile_is_refused(tmp_path):
    model = Model(1, (4, 3))
    bidirectional(model, ("GRU", "LSTM"), "x", (4, 4), {}, merge_mode="sum", n_out=4)
    refused(model, tmp_path / "sum", r"must have 4 \+ 4 channels \(merge_mode concat\), not 4")
    model = Model(1, (4, 3))
    bidirectional(model, ("GRU", "LSTM"), "x", (3, 4), {})
    refused(
        model, tmp_path / "stream", "io_type must be io_parallel", backend="Vivado", stream=True
    )


def test_codes_outside_of_a_vocabulary_are_refused(tmp_path):
    """hls4ml's C++ reads whatever lies behind its table."""
    graph = hwsim.load(words(3).build(tmp_path / "words"))
    with pytest.raises(HwsimError, match="codes lie from 0 to 10, not 0 to 11"):
        hwsim.emulate(graph, np.array([[0, 1, 2, 3, 11]]))
    model = Model(1, (5,), given="fixed<8,4>")
    embedding(model, "x", 11, 3, {})
    refused(model, tmp_path / "fixed", "must hold whole numbers from 0 to 10, not s8.4 from 0")
    model = Model(1, (5,), given="uint<5>")
    embedding(model, model.activation("x", "relu", {"result": "uint<4>"}), 11, 3, {})
    refused(model, tmp_path / "inner", "must hold whole numbers from 0 to 10, not u4 from 0 to 15")


def test_products_that_hls4ml_cannot_stream_are_refused(tmp_path):
    model = Model(1, (4, 6))
    layer_norm(model, "x", {})
    refused(model, tmp_path, "must have io_type io_parallel", stream=True)


def test_a_table_that_is_too_large_is_refused(tmp_path):
    model = Model(1, (4, 3))
    recurrent(model, "GRU", "x", 5, {}, options={"table_size": 1 << 20})
    refused(model, tmp_path, "must have 2 to 262144 entries, not 1048576")


@pytest.mark.slow
@pytest.mark.needs("verilator")
def test_a_short_sequence_runs_in_hardware(tmp_path):
    model = Model(1, (3, 2), given="fixed<10,4>")
    narrow = {"weight": "fixed<5,2>", "recurrent_weight": "fixed<5,2>", "accum": "fixed<10,4>"}
    table = {"table_size": 64, "table_t": "fixed<8,2>"}
    for kind in ("LSTM", "GRU"):
        recurrent(model, kind, "x", 2, {**narrow, "result": "fixed<10,4>"}, options=table)
    graph = hwsim.load(model.build(tmp_path / "project"))
    hwsim.build(graph, tmp_path / "build", rtl_only=True, fps=1000)
    assert hwsim.verify(tmp_path / "build").ok
