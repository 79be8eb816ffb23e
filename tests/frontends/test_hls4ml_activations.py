"""Activations of hls4ml give the codes of its compiled simulation, parallel and streamed."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from support.hls4ml_activations import (
    EVERYWHERE,
    PARALLEL,
    SOFTMAXES,
    activation,
    add_signs,
    behind,
    heads,
    particular,
    precision,
    signs,
    softmax,
    softmax_by_attributes,
    softmax_heads,
)
from support.hls4ml_csim import check, emulated
from support.hls4ml_models import Model
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError
from hwsim.fixed import Rounding

pytestmark = pytest.mark.needs("hls4ml")

QUICK = ("sigmoid", "tanh", "softplus", "elu", "selu", "hard_tanh", "ternary_tanh")
QUICK += ("leaky_relu", "thresholded_relu", "parametrized_elu", "prelu", "relu6")


def inputs(seed: int, least: int = 4) -> list[str]:
    """Types of `least` to 24 bits."""
    rng = random.Random(seed)
    return [precision(rng, least=least, most=24, signed=False) for _ in range(3)]


def test_activations_of_narrow_and_wide_inputs_give_csims_codes(tmp_path):
    given = ["fixed<16,6>", "fixed<8,4,RND,SAT>", "ufixed<12,4>"]
    model = heads(51, QUICK, given, (2, 3))
    add_signs(model, behind(model, "fixed<11,4>"))
    check(model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("seed", [60, 61, 62, 63])
def test_every_activation_gives_csims_codes_parallel_and_streamed(seed, stream, tmp_path):
    seed = seeded(seed)
    print(f"seed {seed}")
    functions = EVERYWHERE if stream else EVERYWHERE + PARALLEL
    shape = (2, 3) if seed % 2 else (6,)
    check(heads(seed, functions, inputs(seed), shape), tmp_path, stream=stream)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_signs_slopes_and_unary_tables_give_csims_codes(stream, tmp_path):
    check(particular(69), tmp_path, stream=stream)


def of_one(function: str, given: str, tmp_path, **options):
    """The Graph of one activation behind a type."""
    model = Model(70, (4,), given="fixed<26,8>")
    activation(model, behind(model, given), function, {"result": "fixed<16,6>"}, **options)
    return model, hwsim.load(model.build(tmp_path, stream=False))


def test_few_codes_become_one_table_and_many_an_index_and_a_table(tmp_path):
    _, narrow = of_one("elu", "fixed<10,4>", tmp_path)
    assert [node.op.kind for node in narrow.nodes] == ["cast", "table"]
    _, wide = of_one("sigmoid", "fixed<16,6>", tmp_path)
    assert [node.op.kind for node in wide.nodes] == ["cast", "cast", "table"]
    assert wide.nodes[-1].op.values.size == 1024


def test_an_index_rounded_down_would_be_noticed(tmp_path):
    """The mutant of the comparisons: entries of numbers just below 0 are one place off."""
    model, graph = of_one("sigmoid", "fixed<16,6>", tmp_path)
    x, place = model.data(500), len(graph.nodes) - 2
    down = replace(graph.nodes[place].op, rounding=Rounding.TRN)
    nodes = [replace(n, op=down) if i == place else n for i, n in enumerate(graph.nodes)]
    mutant = replace(graph, nodes=tuple(nodes))
    assert any((emulated(graph, x)[n] != codes).any() for n, codes in emulated(mutant, x).items())


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("sigmoid", {"TableSize": 1 << 19}, "a table must have 2 to 262144 entries, not 524288"),
        ("tanh", {"TableSize": 1}, "a table must have 2 to 262144 entries, not 1"),
        ("gelu", {}, r"have none: activation2 \(gelu\)"),
    ],
)
def test_what_no_table_can_be_made_of_is_refused(function, options, message, tmp_path):
    with pytest.raises(HwsimError, match=message):
        of_one(function, "fixed<16,6>", tmp_path, **options)


def test_a_table_of_2_to_the_18_entries_is_read(tmp_path):
    _, graph = of_one("tanh", "fixed<24,4>", tmp_path, TableSize=1 << 18)
    assert graph.nodes[-1].op.values.size == 1 << 18
    assert np.unique(graph.nodes[-1].op.values).size > 500


def test_a_function_in_a_layer_without_its_types_is_refused(tmp_path):
    model = Model(71, (4,))
    model.activation("x", "hard_sigmoid", {})  # hls4ml's own readers write a HardActivation
    with pytest.raises(HwsimError, match="hard_sigmoid must have its type slope_t, and has none"):
        hwsim.load(model.build(tmp_path))


def test_relu6_has_no_streamed_form(tmp_path):
    model = Model(71, (4,))
    activation(model, "x", "relu6", {})
    with pytest.raises(HwsimError, match="relu6 must be in io_parallel: hls4ml has no streamed"):
        hwsim.load(model.build(tmp_path, stream=True))


def test_every_softmax_gives_csims_codes(tmp_path):
    """Logits far apart among them, where the stable one wraps."""
    check(softmax_heads(52, ["fixed<12,6>"], (5,), stream=False), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("seed", [64, 65, 66, 67])
def test_every_softmax_gives_csims_codes_parallel_and_streamed(seed, stream, tmp_path):
    seed = seeded(seed)
    print(f"seed {seed}")
    shape = (3, 4) if seed % 2 else (9,)
    # hls4ml does not see how narrow the input of a stream is that several layers read
    given = inputs(seed, 10) if stream else inputs(seed)[:2]
    check(softmax_heads(seed, given, shape, stream=stream), tmp_path, stream=stream)


def over_axes(seed: int) -> Model:
    """Slices innermost, in the middle and outermost, of all implementations."""
    model = Model(seed, (3, 4, 2), given="fixed<26,8>")
    source = behind(model, "fixed<9,4,RND,SAT>")
    for outer, inner in ((12, 1), (3, 2), (1, 8), (1, 2)):
        for implementation in SOFTMAXES:
            sides = {"n_outer": outer, "n_inner": inner}
            softmax(model, source, implementation, {"result": "fixed<12,3,RND,SAT>"}, **sides)
    return model


@pytest.mark.slow
def test_a_softmax_over_any_axes_gives_csims_codes(tmp_path):
    check(over_axes(68), tmp_path)


@pytest.mark.slow
def test_a_softmax_with_types_and_sizes_of_its_own_gives_csims_codes(tmp_path):
    check(softmax_by_attributes(78), tmp_path)


def test_a_stable_softmax_of_logits_far_apart_wraps_as_csim_does(tmp_path):
    """hls4ml's own figures: logits 17 and -16 of fixed<16,6> give 0.80 and 0.29, not 1 and 0."""
    model = Model(72, (2,), given="fixed<16,6>")
    softmax(model, "x", "stable", {"result": "fixed<16,6>"})
    got = hwsim.emulate(hwsim.load(model.build(tmp_path)), np.array([[17.0, -16.0], [2.0, -2.0]]))
    assert np.abs(got[0] - [0.7998, 0.2939]).max() < 1e-4 and got[1][0] > 0.9


@pytest.mark.parametrize(
    ("fields", "size", "stream", "message"),
    [
        ({"axis": 1}, 64, True, "a streamed softmax must be over axis -1, not 1"),
        ({"n_outer": 5}, 64, False, "n_outer and n_inner must divide its 12 codes, not be 5 and 1"),
        ({}, 100, False, "must have a power of two of entries, .* not 100"),
        ({}, 1 << 19, False, "a table must have 2 to 262144 entries, not 524288"),
    ],
)
def test_what_no_softmax_can_be_made_of_is_refused(fields, size, stream, message, tmp_path):
    model = Model(73, (3, 4), given="fixed<24,8>")
    types = dict.fromkeys(("exp_table", "inv_table", "inv_inp"), "fixed<24,8>")
    softmax(model, "x", "stable", types, size, **fields)
    with pytest.raises(HwsimError, match=message):
        hwsim.load(model.build(tmp_path, stream=stream))


def test_reciprocals_one_entry_off_would_be_noticed(tmp_path):
    """The mutant of the comparisons of softmax."""
    model = Model(74, (5,), given="fixed<12,6>")
    softmax(model, "x", "stable", {"result": "fixed<16,6>"})
    graph, x = hwsim.load(model.build(tmp_path)), model.data(500)

    def moved(node):
        op = node.op
        if node.name.endswith("/inverse"):
            op = replace(op, values=np.roll(op.values, 1))
        return replace(node, op=op)

    mutant = replace(graph, nodes=tuple(map(moved, graph.nodes)))
    assert any((emulated(graph, x)[n] != codes).any() for n, codes in emulated(mutant, x).items())


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(7,), (3, 2)])
@pytest.mark.parametrize("stream", [False, True])
def test_batch_norms_joined_with_signs_give_csims_codes(shape, stream, tmp_path):
    check(signs(53, shape), tmp_path, stream=stream)


def test_batch_norms_joined_with_signs_are_thresholds_of_each_channel(tmp_path):
    graph = hwsim.load(signs(53, (3, 2)).build(tmp_path))
    rows = [node.op.values.shape for node in graph.nodes if node.op.kind == "thresholds"]
    assert rows == [(2, 1), (2, 2)]


def test_a_three_way_sign_alone_is_refused_since_hls4ml_has_no_cpp_for_it(tmp_path):
    model = Model(75, (4,))
    model.add("TernaryTanh", ["x"], (4,), {}, activation="ternary_tanh")
    with pytest.raises(HwsimError, match=r"TernaryTanh: .* only behind a BatchNormalization"):
        hwsim.load(model.build(tmp_path))


def test_a_streamed_activation_behind_a_flatten_is_refused_as_hls4ml_misreads_its_beats(tmp_path):
    model = Model(76, (3, 2))
    flat = model.reshape("x", 6)
    activation(model, flat, "tanh", {})
    with pytest.raises(
        HwsimError, match=r"must be followed by a dense layer: .* of 2 codes, not 6"
    ):
        hwsim.load(model.build(tmp_path / "stream", stream=True))


@pytest.mark.parametrize("heads", [1, 2])
def test_streamed_dense_layers_behind_a_flatten_are_read(heads, tmp_path):
    model = Model(77, (3, 2))
    flat = model.reshape("x", 6)
    for _ in range(heads):
        model.dense(flat, 4, {})
    assert hwsim.load(model.build(tmp_path, stream=True)).nodes
