"""Configurations of hls4ml's layers that few people write: csim's codes, or a sentence."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from support.hls4ml_activations import activation
from support.hls4ml_csim import check, emulated
from support.hls4ml_layers import batchnorm_flat, concatenate, pool
from support.hls4ml_models import Model, precision
from support.hls4ml_sequences import time_distributed
from support.oracle import c_divide, cast
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError
from hwsim.fixed import Format

pytestmark = pytest.mark.needs("hls4ml")

SATURATING = "fixed<7,3,RND_CONV,SAT>"
SUMS = Format(True, 3, 4)


def summed(codes: list[int], stream: bool) -> int:
    """`nnet_pooling.h` adds and assigns in turn; a stream assigns each, then adds as a tree."""

    def add(a: Fraction, b: Fraction) -> Fraction:
        return Fraction(cast(a + b, SUMS, "RND_CONV", "SAT"), 16)

    def tree(terms: list[Fraction]) -> Fraction:
        left = 1
        while 2 * left < len(terms):
            left *= 2
        return terms[0] if len(terms) == 1 else add(tree(terms[:left]), tree(terms[left:]))

    given = [Fraction(code, 64) for code in codes]
    if stream:
        return int(tree([add(Fraction(0), term) for term in given]) * 16)
    total = Fraction(0)
    for term in given:
        total = add(total, term)
    return int(total * 16)


@pytest.mark.parametrize("stream", [False, True])
def test_an_average_pool_saturates_within_a_window_as_its_cpp_does(stream, rng, tmp_path):
    model = Model(1, (9, 1), given="fixed<10,4>")
    pool(model, "x", "Average", (3,), {"accum": SATURATING, "result": SATURATING})
    graph = hwsim.load(model.build(tmp_path, stream=stream))
    codes = rng.integers(-512, 512, (400, 9))
    (found,) = emulated(graph, codes[..., None] / 64).values()
    sums = [[summed(row[k : k + 3], stream) for k in (0, 3, 6)] for row in codes.tolist()]
    assert found.tolist() == [[c_divide(total, 3) for total in row] for row in sums]
    other = [[summed(row[k : k + 3], not stream) for k in (0, 3, 6)] for row in codes.tolist()]
    assert sums != other  # the mutant: the other kernel's steps


def pools(seed: int, *, stream: bool) -> Model:
    """Pools by accumulators that round, wrap and saturate within a window."""
    rng = random.Random(seed)
    model = Model(seed, (6, 6, 2), given="fixed<10,4,RND,SAT>")
    line = model.reshape("x", 12, 6) if not stream else "x"
    for overflow in ("SAT", "SAT_SYM", "SAT_ZERO", "WRAP"):
        for rounding in ("RND_CONV", "TRN_ZERO", "RND_INF"):
            kinds = {"accum": f"fixed<8,{rng.randint(2, 5)},{rounding},{overflow}>"}
            kinds["result"] = precision(rng, least=6, most=12)
            place = {} if stream else {"pads": (1, 0, 0, 1), "count_pad": rng.random() < 0.5}
            pool(model, "x", "Average", (2, 3), kinds, **place)
            if not stream:
                pool(model, line, "Average", (3,), dict(kinds), stride=(2,))
        model.global_pool("x", "Average", dict(kinds))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4])
def test_pools_by_any_accumulator_give_csims_codes(seed, tmp_path):
    check(pools(seed, stream=False), tmp_path)


def powers(overflow: str) -> Model:
    """Dense layers of inputs of three bits, whose products with small exponents lose bits."""
    from support.hls4ml_quantizers import Powers, quantized

    model = Model(12, (6,), given="fixed<3,1>")
    for options in ({}, {"Strategy": "Resource", "ReuseFactor": 3}):
        accum = f"fixed<10,2,TRN,{overflow}>"
        quantized(model, "x", Powers(4), {"accum": accum, "result": accum}, **options)
    for layer in model.layers[1:]:
        layer["weight_data"] = layer["weight_data"] * np.exp2(-model.np.integers(0, 9, (6, 4)))
    return model


def test_products_with_exponents_are_cut_as_in_cpp(tmp_path):
    model = powers("SAT")
    built = model.build(tmp_path, backend="hwsim")
    codes = np.arange(-4, 4)[np.random.default_rng(seeded(9)).integers(0, 8, (200, 6))]
    found = emulated(hwsim.load(built), np.ldexp(codes.astype(np.float32), -2))
    dense, ordered = (name for name in found if name != "x")
    lost = 0
    for name, places in ((dense, range(6)), (ordered, (0, 3, 1, 4, 2, 5))):
        layer = built.graph[name]
        weights, bias = layer.weights["weight"].data, layer.weights["bias"].data
        weights = weights if weights.shape == (6, 4) else weights.T
        for row, want in zip(codes.tolist(), found[name].tolist(), strict=True):
            for unit in range(4):
                total = max(-512, min(511, math.floor(float(bias[unit]) * 256)))
                for place in places:
                    exact = Fraction(row[place], 4) * Fraction(abs(float(weights[place, unit])))
                    kept = math.floor(exact * 2**7)  # of 14 bits, half of them before the point
                    lost += kept != exact * 2**7
                    sign = -1 if weights[place, unit] < 0 else 1
                    product = max(-512, min(511, sign * kept * 2))
                    total = max(-512, min(511, total + product))
                assert total == want[unit]
    assert lost > 1000


@pytest.mark.slow
@pytest.mark.parametrize("overflow", ["SAT", "WRAP"])
def test_products_with_exponents_that_lose_bits_give_csims_codes(overflow, tmp_path, monkeypatch):
    # hls4ml 1.3 asks NumPy for it when it writes exponents; NumPy 2 has it no more.
    monkeypatch.setattr(np, "product", np.prod, raising=False)
    check(powers(overflow), tmp_path)


@pytest.mark.slow
def test_the_largest_number_is_found_before_it_is_assigned_to_an_accumulator(tmp_path):
    """As HGQ2's accumulators are, which hold the numbers within windows, not all of the input."""
    model = Model(6, (5, 5, 2), given="fixed<10,5>")
    beside = model.activation("x", "relu", {"result": "ufixed<9,5>"})
    for source, accum in itertools.product(("x", beside), ("fixed<8,3>", "ufixed<6,2,RND>")):
        for pads in ((0, 0, 0, 0), (1, 0, 0, 1)):
            pool(model, source, "Max", (2, 2), {"accum": accum}, pads=pads)
        model.global_pool(source, "Max", {"accum": accum})
    check(model, tmp_path)


@pytest.mark.slow
def test_streamed_pools_by_any_accumulator_give_csims_codes(tmp_path):
    model = pools(5, stream=True)
    del model.layers[8:]  # hls4ml clones a stream at most seven times
    check(model, tmp_path, stream=True)


def test_an_ap_int_makes_1_of_a_double_between_minus_a_half_and_0(tmp_path):
    """As csim's tables have it: 2,000 of 2,000 codes of such a layer differed before."""
    model = Model(1, (5,), given="fixed<10,4>")
    activation(model, "x", "tanh", {"result": "fixed<6,3>"}, table_t="int<3>")
    x = np.array([[-3.0, -0.25, -0.5, 0.25, 3.0]])  # tanh of -0.5 is -0.46, and of -3 -0.995
    (found,) = emulated(hwsim.load(model.build(tmp_path)), x).values()
    assert (found / 8).tolist() == [[0.0, 1.0, 1.0, 0.0, 0.0]]


def test_modes_that_saturate_have_no_use_for_saturation_bits(tmp_path):
    x = np.array([[-9.0, 0.3, 9.0]])
    found = []
    for kind in ("fixed<6,3,RND,SAT>", "fixed<6,3,RND,SAT,2>"):
        model = Model(1, (3,), given="fixed<10,5>")
        activation(model, "x", "linear", {"result": kind})
        (codes,) = emulated(hwsim.load(model.build(tmp_path)), x).values()
        found.append(codes.tolist())
    assert found[0] == found[1] == [[-32, 2, 31]]
    activation(model, "x", "linear", {"result": "fixed<6,3,RND,WRAP,2>"})
    with pytest.raises(HwsimError, match="must wrap without saturation bits"):
        hwsim.load(model.build(tmp_path))


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 3), (2, 3)])
def test_a_global_pool_of_one_position_has_no_axes_left_but_channels(shape, tmp_path):
    model = Model(1, shape, given="fixed<10,5>")
    pooled = (model.global_pool_line if len(shape) == 2 else model.global_pool)("x", "Max", {})
    concatenate(model, pooled, model.input("z", (2,), "fixed<10,5>"), -1, {"result": "fixed<10,5>"})
    graph = hwsim.load(model.build(tmp_path))
    x = {"x": np.full((1, *shape), 1.5), "z": np.array([[2.0, -3.0]])}
    assert hwsim.emulate(graph, x).tolist() == [[1.5, 1.5, 1.5, 2.0, -3.0]]


def negative_integers(model: Model) -> None:
    pool(model, "x", "Average", (2, 2), {"accum": "int<9>"})


def left_alone(model: Model) -> None:
    model.transpose(model.reshape(model.activation("x", "relu", {}), 4, 8), 0, 1)


def tall(model: Model) -> None:
    model.conv("x", 2, (2, 1), {}, ConvImplementation="Encoded")


def uneven(model: Model) -> None:
    model.conv("x", 2, (2, 2), {}, stride=(1, 2), ConvImplementation="Encoded")


def past_the_window(model: Model) -> None:
    model.conv("x", 2, (2, 2), {}, Strategy="Resource", ReuseFactor=16)


def between(model: Model) -> None:
    model.conv("x", 2, (1, 1), {}, Strategy="Resource", ReuseFactor=5)


def beyond(model: Model) -> None:
    model.conv("x", 2, (1, 1), {}, Strategy="Resource", ReuseFactor=8)


def two_readers(model: Model) -> None:
    kinds = {"result": "fixed<10,5>"}
    told = {"activation": "relu", "n_in": 8}
    steps = time_distributed(model, "x", "Activation", (4, 2), kinds, **told)
    model.merge(steps, model.activation(steps, "relu", {}), {})


def fused(model: Model) -> None:
    conv = model.conv("x", 1, (3, 3), {"result": "auto"})
    batchnorm_flat(model, conv, {})


def each_code(model: Model) -> None:
    norm = batchnorm_flat(model, "x", {})
    model.layers[-1]["gamma_data"] = np.ones(32)
    activation(model, norm, "binary_tanh", {})


@pytest.mark.parametrize(
    ("add", "stream", "said"),
    [
        (negative_integers, False, r"must be fixed<…>, or never negative, not int<9>"),
        (left_alone, True, r"of two axes in io_stream must swap them, not leave \(4, 8\)"),
        (tall, True, r"the implementation Encoded must have a square kernel, not \(2, 1\)"),
        (uneven, True, r"the implementation Encoded must have a square stride, not \(1, 2\)"),
        (past_the_window, False, r"in io_parallel must be at most its 8 terms, not 16"),
        (between, True, r"above its 2 terms must be a multiple of them that .*4 weights, not 5"),
        (beyond, True, r"above its 2 terms must be a multiple of them that .*4 weights, not 8"),
        (
            two_readers,
            False,
            r"input 'steps1' must come from a layer before it, and not from within",
        ),
        (fused, False, r"a layer of this shape must have 18 weights, not 72"),
        (each_code, True, r"must have thresholds for each channel, not for each code"),
    ],
)
def test_what_csim_does_otherwise_or_not_at_all_is_refused(add, stream, said, tmp_path):
    model = Model(1, (4, 4, 2), given="fixed<10,5>")
    add(model)
    with pytest.raises(HwsimError, match=said):
        hwsim.load(model.build(tmp_path, stream=stream, backend="Vivado"))
