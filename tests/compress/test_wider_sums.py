"""Thresholds that only fill a row up stay unreached and tables hold on, however large sums get."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.seeds import seeded
from support.small_graphs import one

import hwsim
from hwsim.compress.quantize.nonlinear import WeightSet, encoded
from hwsim.compress.training.loop import Training, finetune
from hwsim.compress.training.network import TrainableGraph
from hwsim.compress.training.paths import with_paths
from hwsim.compress.training.wider import widened
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph
from hwsim.ops import ChannelTable, Dense, Quant, Table, TensorType, Thresholds

pytestmark = pytest.mark.needs("torch", "array_api_compat")
BASE = (0, 40, 3)
REAL = ([-9, 2, 8], [5], [])
"""Thresholds of each channel, and what it gives below them: the last codes are 3, 41 and 3."""


def network(weights: np.ndarray) -> Graph:
    """Three sums, and the codes of thresholds that are filled up as readers do."""
    dense = Dense(weights=weights, bias=np.zeros(3, int), weight_format=Format.int(8))
    x = TensorType((4,), Format.int(4), Quant((0.25,)))
    reach = max(dense.infer([x]).hi, 0)
    rows = [row + [reach + 1] * (3 - len(row)) for row in REAL]
    steps = Thresholds(
        values=np.array(rows), base=np.array(BASE), step=np.ones(3, int),
        out=Format.uint(6), quant=Quant((0.1,)),
    )  # fmt: skip
    return one(dense, steps, x=x)


def counted(graph: Graph, x: np.ndarray, bases: tuple[int, ...] = BASE) -> list[list[int]]:
    """The codes by the real thresholds alone, in plain integers."""
    weights = graph.nodes[0].op.weights.tolist()
    bias, codes = graph.nodes[0].op.bias.tolist(), (x * 4).astype(int).tolist()
    sums = [
        [sum(a * b[n] for a, b in zip(row, weights, strict=True)) + bias[n] for n in range(3)]
        for row in codes
    ]
    return [
        [base + sum(s >= t for t in row) for s, row, base in zip(one, REAL, bases, strict=True)]
        for one in sums
    ]


@pytest.fixture
def small(rng) -> Graph:
    weights = rng.integers(-2, 3, (4, 3))
    weights[0] = 2
    return network(weights)


def test_codes_of_larger_weights_are_counted_by_the_thresholds_that_are_meant(small, rng):
    x = rng.integers(-8, 8, (256, 4)) / np.float32(4)
    labels = (x.sum(1) > 0).astype(int)
    tuned = finetune(small, x, labels, Training(epochs=8, rate=0.3, batch=32, check=True))
    before, after = (g.types()[g.nodes[0].outputs[0]].hi for g in (small, tuned))
    assert after > 2 * before
    assert (hwsim.emulate(tuned, x) * 10).round().astype(int).tolist() == counted(tuned, x)
    values = tuned.nodes[1].op.values
    assert values.max() == after + 1  # as a reader would have filled them up
    assert [[t for t in row if t <= after] for row in values.tolist()] == [*REAL]
    again = finetune(tuned, x, labels, Training(epochs=1, rate=0.3, check=True))
    assert (hwsim.emulate(again, x) * 10).round().astype(int).tolist() == counted(again, x)


@pytest.mark.parametrize("by", ["pruned", "encoded"])
def test_rows_filled_up_for_other_weights_are_known_after_pruning_and_encoding(by, small, rng):
    """`small` has base 62 of 63 in the middle row: two fillings that were reached would be 64."""
    tight = replace(small.nodes[1].op, base=np.array([0, 62, 3]))
    graph = replace(small, nodes=(small.nodes[0], replace(small.nodes[1], op=tight)))
    x = rng.integers(-8, 8, (256, 4)) / np.float32(4)
    reach = graph.types()[graph.nodes[0].outputs[0]].hi
    if by == "pruned":
        made = hwsim.prune(graph, 0.6).graph
        assert made.types()[made.nodes[0].outputs[0]].hi < reach
    else:
        name, wide = graph.nodes[0].name, graph.nodes[0].op.weights * 3.0
        made = encoded(graph, {name: WeightSet.parse("pot5")}, {name: {"weights": wide}})
        assert made.types()[made.nodes[0].outputs[0]].hi > 2 * reach
    labels = (x.sum(1) > 0).astype(int)
    tuned = finetune(made, x, labels, Training(epochs=4, rate=0.3, batch=32, check=True))
    bases = (0, 62, 3)
    for net in (made, tuned):
        found = (hwsim.emulate(net, x) * 10).round().astype(int).tolist()
        assert found == counted(net, x, bases)


def test_without_that_they_would_be_reached(small, monkeypatch):
    tight = replace(small.nodes[1].op, base=np.array([0, 62, 3]))
    graph = replace(small, nodes=(small.nodes[0], replace(small.nodes[1], op=tight)))
    TrainableGraph(graph)
    monkeypatch.setattr("hwsim.compress.training.network.widened", lambda op, before, now: op)
    with pytest.raises(HwsimError, match="must take whatever sums training leads to"):
        TrainableGraph(graph)


def halves(graph: Graph, x: np.ndarray, op: Table | ChannelTable) -> list[list[int]]:
    """Entries of the first codes by their place, the ends' for codes beyond them."""
    rows = np.broadcast_to(op.values, (2, op.values.shape[-1])).tolist()
    codes, weights = (x * 4).astype(int).tolist(), graph.nodes[0].op.weights.tolist()
    bias = graph.nodes[0].op.bias.tolist()
    found = []
    for row in codes:
        sums = [sum(c * w[n] for c, w in zip(row, weights, strict=True)) + bias[n] for n in (0, 1)]
        places = [min(max(s - op.first, 0), len(rows[0]) - 1) for s in sums]
        found.append([rows[n][place] for n, place in enumerate(places)])
    return found


@pytest.mark.parametrize("kind", [Table, ChannelTable])
def test_a_table_holds_its_ends_for_the_sums_that_training_adds(kind, rng):
    weights = rng.integers(-2, 3, (4, 2))
    weights[0] = 2
    dense = Dense(weights=weights, bias=np.zeros(2, int), weight_format=Format.int(8))
    x = TensorType((4,), Format.int(4), Quant((0.25,)))
    sums = dense.infer([x])
    values = np.arange(sums.lo, sums.hi + 1) // 2
    values = values if kind is Table else np.stack([values, -values])
    table = kind(values=values, first=sums.lo, out=Format.int(8), quant=Quant((0.1,)))
    graph = one(dense, table, x=x)
    images = rng.integers(-8, 8, (256, 4)) / np.float32(4)
    how = Training(epochs=6, rate=0.3, batch=32, check=True)
    tuned = finetune(graph, images, (images.sum(1) > 0).astype(int), how)
    now = tuned.types()[tuned.nodes[0].outputs[0]]
    assert now.hi > sums.hi and now.lo < sums.lo
    codes = (hwsim.emulate(tuned, images) * 10).round().astype(int).tolist()
    assert codes == halves(tuned, images, table)
    held = tuned.nodes[1].op
    assert (held.first, held.values.shape[-1]) == (now.lo, now.hi - now.lo + 1)


def test_what_fits_is_left_alone(small):
    network = TrainableGraph(small)
    assert network.frozen().hash() == small.hash()
    for node in small.nodes:
        kinds = small.input_types(node)
        assert widened(node.op, kinds, kinds) is node.op


def test_a_table_of_a_function_that_turns_is_trained_as_thresholds_and_a_smaller_table():
    bump = np.concatenate([np.arange(20), np.arange(18, 0, -1)])
    values = np.concatenate([np.full(3000, 5), np.repeat(bump, 350)])
    dense = Dense(
        weights=np.array([[100], [-30], [20], [7]]),
        bias=np.array([50]),
        weight_format=Format.int(12),
    )
    x = TensorType((4,), Format.int(8), Quant((0.25,)))
    sums = dense.infer([x])
    held = values[np.clip(np.arange(sums.lo, sums.hi + 1) + 9000, 0, len(values) - 1)]
    table = Table(values=held, out=Format.uint(6), quant=Quant((0.1,)), first=sums.lo)
    graph = one(dense, table, x=x)
    made = with_paths(graph)
    assert [node.op.kind for node in made.nodes] == ["dense", "thresholds", "table"]
    rng = np.random.default_rng(seeded(2))
    samples = rng.integers(-128, 128, (500, 4))
    codes = samples @ dense.weights.ravel() + 50
    wanted = [int(values[min(max(code + 9000, 0), len(values) - 1)]) for code in codes.tolist()]
    found = hwsim.emulate(made, samples, codes=True)
    assert (
        np.ravel(found).tolist()
        == wanted
        == np.ravel(hwsim.emulate(graph, samples, codes=True)).tolist()
    )
    assert len(set(wanted)) > 10
    network = TrainableGraph(made)  # which the table alone would not fit
    with pytest.raises(HwsimError, match="a table must have entries for all codes"):
        TrainableGraph(graph)
    assert network.learned
