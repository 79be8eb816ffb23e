"""Recurrent layers, tensor products, embeddings and normalizations give csim's codes."""

from __future__ import annotations

import numpy as np
import pytest
from support.hls4ml_csim import check
from support.hls4ml_models import Model
from support.hls4ml_sequences import (
    bidirectional,
    einsum,
    einsum_dense,
    embedding,
    layer_norm,
    recurrent,
    time_distributed,
    types,
)

pytestmark = pytest.mark.needs("hls4ml")

KERNELS = ("weight", "recurrent_weight", "bias", "recurrent_bias")
RESOURCE = {"Strategy": "Resource", "ReuseFactor": 2}
UNROLLED = {"Strategy": "Resource_Unrolled", "ReuseFactor": 3}
ONE_TYPE = ("fixed<16,6>", "fixed<12,4,RND,SAT>", "fixed<14,5,RND_CONV,SAT_SYM>", "fixed<10,3>")


def gru(model: Model, units: int, index: int, **fields) -> str:
    """The fields that vary with a number, so that some layers have them all."""
    options = {"static": index % 2 == 0, "table_size": (1024, 256, 1000)[index % 3]}
    options |= ({}, RESOURCE, UNROLLED)[index % 3] if model.shapes["x"][1] % 6 == 0 else {}
    options |= {"table_t": "fixed<12,3,RND,SAT>"} if index % 4 == 1 else {}
    return recurrent(
        model,
        "GRU",
        "x",
        units,
        types(model, *KERNELS, "accum", "result"),
        sequences=index % 2 == 1,
        options=options,
        activation=("tanh", "relu", "sigmoid")[index % 3],
        **({"pytorch": True} if index % 4 >= 2 else {}),
        **fields,
    )


def lstm(model: Model, units: int, index: int, one: str) -> str:
    """An LSTM, whose input, accumulator and result hls4ml wants of one type."""
    options = {"static": index % 2 == 0, **({}, RESOURCE, UNROLLED)[index % 3]}
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
            free = types(model, "accum", "result", *(f"forward_{name}" for name in KERNELS))
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
    steps = types(model, *KERNELS, "accum", "result")
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
