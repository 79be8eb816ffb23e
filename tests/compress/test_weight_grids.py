"""Weights with a format each, as HGQ trains them: trained on their own grids, bit by bit."""

from __future__ import annotations

import contextlib
import io
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.seeds import seeded

import hwsim
from hwsim.compress.training.grids import WeightGrid, hgq_grids
from hwsim.compress.training.loop import Training, finetune
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Cast, Dense, TensorType

pytestmark = pytest.mark.needs("torch", "array_api_compat")
DIGITS = load_digits()
ROWS = (DIGITS.images.reshape(-1, 64) / 16).astype(np.float32)
HELD = Format(True, 2, 6)


def formats(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """A sign or none, integer and fraction bits of each weight, some of no bits at all."""
    signed, integer = rng.integers(0, 2, shape), rng.integers(-1, 3, shape)
    return signed, integer, rng.integers(-2, 8, shape)


def by_hand(code: int, signed: int, integer: int, fraction: int) -> bool:
    """Whether a code of `HELD` is a number of a format, in fractions of Python's integers."""
    if signed + integer + fraction <= 0:
        return code == 0
    scaled = code << 20  # of 2**-26
    step = (1 << 26) >> fraction if fraction >= 0 else (1 << 26) << -fraction
    top = (1 << (26 + integer)) if integer >= 0 else (1 << 26) >> -integer
    return scaled % step == 0 and (-top if signed else 0) <= scaled < top


def network(rng: np.random.Generator) -> tuple[Graph, tuple[np.ndarray, ...]]:
    """A dense layer of drawn weights, each of its own format, behind 8-bit pixels."""
    kinds = formats(rng, (64, 10))
    weights = np.zeros((64, 10), np.int64)
    for place in np.ndindex(weights.shape):
        known = [c for c in range(HELD.min, HELD.max + 1) if by_hand(c, *(k[place] for k in kinds))]
        weights[place] = known[int(rng.integers(len(known)))]
    op = Dense(weights=weights, bias=np.zeros(10, np.int64), weight_format=HELD, bias_frac=6)
    pixels = TensorType((64,), Format(False, 1, 7))
    cast = Cast(out=Format.int(12))
    nodes = (Node("fc", op, ("x",), ("sums",)), Node("out", cast, ("sums",), ("y",)))
    ports = (InputPort(name="x", tensor="x", type=pixels),), (OutputPort(name="y", tensor="y"),)
    return Graph(nodes=nodes, inputs=ports[0], outputs=ports[1]), kinds


def grid_of(graph: Graph, kinds: tuple[np.ndarray, ...]) -> WeightGrid:
    op = graph.node("fc").op
    assert isinstance(op, Dense)
    return WeightGrid.of_formats(op, signed=kinds[0], integer=kinds[1], fraction=kinds[2])


def test_a_grid_has_the_numbers_of_each_format_and_no_other(rng):
    graph, kinds = network(rng)
    grid = grid_of(graph, kinds)
    for place in np.ndindex(64, 10):
        known = {c for c in range(HELD.min, HELD.max + 1) if by_hand(c, *(k[place] for k in kinds))}
        ends = int(grid.least[place]), int(grid.most[place])
        assert set(range(ends[0], ends[1] + 1, int(grid.step[place]))) == known


def test_weights_are_trained_on_their_own_grids_and_leave_them_without(rng):
    graph, kinds = network(rng)
    grid = grid_of(graph, kinds)
    how = Training(epochs=3, rate=0.02, batch=64, check=True)  # which compares each batch's codes
    found = {}
    for name, grids in (("kept", {"fc": grid}), ("free", None)):
        trained = finetune(graph, ROWS[:1000], DIGITS.target[:1000], how, grids=grids)
        found[name] = trained.node("fc").op.weights
        assert (found[name] != graph.node("fc").op.weights).sum() > 50
    codes = zip(found["kept"].ravel().tolist(), *(k.ravel().tolist() for k in kinds), strict=True)
    assert all(by_hand(*each) for each in codes)
    assert grid.off(found["free"]) > 50


def fake(graph: Graph, kinds: tuple[np.ndarray, ...], name: str = "fc") -> SimpleNamespace:
    """What is asked of a Keras model of HGQ2."""
    mapper = SimpleNamespace(bw_to_x=lambda part, shape: np.broadcast_to(part, shape))
    quantizer = SimpleNamespace(kif=kinds, bw_mapper=mapper, overflow_mode="SAT")
    layer = SimpleNamespace(name=name, kq=SimpleNamespace(quantizer=quantizer))
    layer.kernel = np.zeros(graph.node("fc").op.weights.shape)
    return SimpleNamespace(layers=[SimpleNamespace(layers=[layer]), SimpleNamespace()])


def test_grids_of_a_model_of_hgq_are_found_by_its_layers(rng):
    graph, kinds = network(rng)
    (found,) = hgq_grids(fake(graph, kinds), graph).values()
    wanted = grid_of(graph, kinds)
    for part in ("step", "least", "most"):
        assert getattr(found, part).tolist() == getattr(wanted, part).tolist()


def test_what_does_not_fit_is_refused_by_name(rng):
    graph, kinds = network(rng)
    grid = grid_of(graph, kinds)
    with pytest.raises(HwsimError, match=r"^the graph must have the layer 'other' of the HGQ mod"):
        hgq_grids(fake(graph, kinds, "other"), graph)
    with pytest.raises(HwsimError, match=r"layers with a kernel quantizer, not none$"):
        hgq_grids(SimpleNamespace(layers=[]), graph)
    coarse = WeightGrid.of_formats(graph.node("fc").op, signed=1, integer=1, fraction=-1)
    off = coarse.off(graph.node("fc").op.weights)
    said = rf"^the weights of node 'fc' must be on their grids, but {off} are not$"
    with pytest.raises(HwsimError, match=said):
        finetune(graph, ROWS[:64], DIGITS.target[:64], grids={"fc": coarse})
    with pytest.raises(HwsimError, match=r"that of a layer's weights, not of node 'out'$"):
        finetune(graph, ROWS[:64], DIGITS.target[:64], grids={"out": grid})
    with pytest.raises(HwsimError, match=r"formats must be one, or one for each of \(64, 10\)"):
        WeightGrid.of_formats(graph.node("fc").op, signed=1, integer=[1, 2], fraction=1)


def test_the_verbs_take_grids_or_the_model_of_hgq_that_has_them(rng):
    graph, kinds = network(rng)
    rows = {"x": ROWS[:300], "labels": DIGITS.target[:300]}
    more = {"epochs": 2, "rate": 0.02, "check": True, "seed": 1}
    by_grid = hwsim.finetune(graph, **rows, grids={"fc": grid_of(graph, kinds)}, **more)
    by_model = hwsim.finetune(graph, **rows, grids=fake(graph, kinds), **more)
    taught = hwsim.distil(
        graph, rows["x"], teacher=graph, grids=fake(graph, kinds), distil=1.0, **more
    )
    assert by_grid.graph.hash() == by_model.graph.hash() != graph.hash()
    for found in (by_grid, taught):
        codes = found.graph.node("fc").op.weights.ravel().tolist()
        each = zip(codes, *(k.ravel().tolist() for k in kinds), strict=True)
        assert all(by_hand(*one) for one in each)
    for wrong, said in (
        ({"conv": grid_of(graph, kinds)}, r"grid of weights must be of one of \['fc'\], not 'con"),
        ({"fc": WeightGrid(*np.ones((3, 2), np.int64))}, r"shape \(64, 10\), not \(2,\)$"),
        ({"fc": 3}, r"the grid of node 'fc' must be a WeightGrid of .*, not int$"),
    ):
        with pytest.raises(HwsimError, match=said):
            hwsim.finetune(graph, **rows, grids=wrong, **more)


@pytest.mark.needs("hgq", "hls4ml")
def test_a_model_of_hgq2_keeps_its_codes_and_its_formats():
    import hls4ml
    import keras
    from hgq.config import QuantizerConfigScope
    from hgq.layers import QDense
    from hgq.utils import trace_minmax

    keras.utils.set_random_seed(seeded(3) % 2**31)
    with (
        QuantizerConfigScope(place="all", default_q_type="kif", overflow_mode="SAT"),
        QuantizerConfigScope(
            place="datalane", default_q_type="kif", heterogeneous_axis=None, homogeneous_axis=(0,)
        ),
    ):
        taken = keras.Input((64,))
        model = keras.Model(taken, QDense(10)(QDense(24, activation="relu")(taken)))
    rng = np.random.default_rng(seeded(3))
    for layer in model.layers[1:]:  # bits of its own for each weight, for some none
        bits = layer.kq.quantizer._f
        bits.assign(rng.integers(-2, 6, tuple(bits.shape)).astype(np.float32))
    trace_minmax(model, ROWS[:500], verbose=0)
    with contextlib.redirect_stdout(io.StringIO()):
        made = hls4ml.converters.convert_from_keras_model(
            model, hls_config={"Model": {"Precision": "fixed<16,6>", "ReuseFactor": 1}}
        )
    graph = hwsim.load(made)
    wanted = keras.ops.convert_to_numpy(model(ROWS[:500]))
    assert hwsim.emulate(graph, ROWS[:500]).tolist() == wanted.tolist()
    grids = hgq_grids(model, graph)
    assert len(grids) == 2
    how = Training(epochs=2, rate=0.02, check=True)
    trained = finetune(graph, ROWS[:500], DIGITS.target[:500], how, grids=grids)
    for name, grid in grids.items():
        weights = trained.node(name).op.weights
        assert grid.off(weights) == 0
        assert not weights[grid.most == grid.least].any()
        assert (weights != graph.node(name).op.weights).any()
