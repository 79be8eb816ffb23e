"""The emulator at its edges: arrays in and out, carriers from proven bounds, batches, refusals."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from typing import Any

import array_api_strict
import numpy as np
import pytest
from support import oracle
from support.cases import tensor
from support.small_graphs import S8, images, network, one

import hwsim
from hwsim import emulate, trace
from hwsim.emulator.run import Emulator, planned
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Add,
    Cast,
    Concat,
    Dense,
    Quant,
    Relu,
    Requantize,
    Scheme,
    Table,
    TensorType,
)


def refused(graph: Graph, x: Any, **options: Any) -> str:
    with pytest.raises(HwsimError) as error:
        emulate(graph, x, **options)
    return str(error.value)


def test_outputs_have_the_users_layout_shape_and_type(seed):
    graph, x = network(), images(7, seed)
    reals = emulate(graph, x)
    assert {k: v.shape for k, v in reals.items()} == {"scores": (7, 3), "map": (7, 2, 4, 3)}
    assert all(v.dtype == np.float32 for v in reals.values())
    whole = emulate(graph, np.zeros((7, 2, 4, 5), np.int8), codes=True)
    assert all(v.dtype == np.int64 for v in whole.values())


def test_layouts_differ_only_in_the_order_of_axes(seed):
    x = images(5, seed)
    first, last = network(), network(None)
    got, expected = emulate(first, x), emulate(last, x.transpose(0, 2, 3, 1))
    assert np.array_equal(got["scores"], expected["scores"])
    assert np.array_equal(got["map"], expected["map"].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_ports_show_their_axes_in_any_order(axes, seed):
    turn = (0, *(axis + 1 for axis in axes))
    x = np.random.default_rng(seed).normal(0, 3, (5, 4, 5, 2)).astype(np.float32)
    got, expected = emulate(network(axes), x.transpose(turn)), emulate(network(None), x)
    assert np.array_equal(got["scores"], expected["scores"])
    assert np.array_equal(got["map"], expected["map"].transpose(turn))


def test_an_axis_that_a_port_leaves_out_or_shows_twice_is_refused():
    for axes in ((0, 1), (0, 1, 1), (0, 1, 3), (-1, 0, 1), (0.0, 1.0, 2.0), ("h", 1, 2)):
        with pytest.raises(HwsimError) as error:
            network(axes)
        assert str(error.value) == (
            f"port 'x' must show each of the 3 axes of (4, 5, 2) once, not {axes}"
        )
    with pytest.raises(HwsimError, match=r"^port 'y' must show each of the 1 axes of \(3,\) once"):
        replace(one(), outputs=(OutputPort(name="y", tensor="x", axes=(1, 0)),))
    with pytest.raises(HwsimError, match=r"^port 'x' must have a name for each of its 1 axes"):
        one(names=("time", "channels"))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_small_batches_keep_their_shape(n, seed):
    graph, x = network(), images(n, seed)
    got = emulate(graph, x)
    assert got["scores"].shape == (n, 3) and got["map"].shape == (n, 2, 4, 3)
    assert {k: v.shape[0] for k, v in trace(graph, x).items()} == dict.fromkeys(graph.types(), n)


def test_a_batch_in_chunks_equals_its_samples_one_by_one(seed):
    graph = network()
    chunk = planned(graph).chunk
    x = images(2 * chunk + 3, seed)
    whole = emulate(graph, x)
    rng = np.random.default_rng(seed)
    for k in {0, chunk - 1, chunk, 2 * chunk, 2 * chunk + 2, *rng.integers(0, len(x), 20).tolist()}:
        alone = emulate(graph, x[k : k + 1])
        assert all(np.array_equal(alone[name][0], whole[name][k]) for name in whole), k


def test_reals_and_their_codes_give_the_same(seed):
    graph, x = network(), images(9, seed)
    codes = planned(graph).encode(x)["image"].transpose(0, 3, 1, 2)
    by_code, by_real = emulate(graph, codes, codes=True), emulate(graph, x)
    scale = np.float32(graph.types()["scores"].scales()[0])
    assert np.array_equal(by_code["scores"].astype(np.float32) * scale, by_real["scores"])
    assert np.array_equal(codes, np.clip(np.rint(x / np.float32(0.05)) - 3, -128, 127))


def test_trace_holds_every_edge_and_ends_in_the_outputs(seed):
    graph, x = network(), images(4, seed)
    codes = planned(graph).encode(x)["image"].transpose(0, 3, 1, 2)
    edges = trace(graph, codes, codes=True)
    assert list(edges) == ["image", "sums", "codes", "mapped", "vector", "scores"]
    assert all(
        v.dtype == np.int64 and v.shape[1:] == graph.types()[k].shape for k, v in edges.items()
    )
    assert np.array_equal(edges["scores"], emulate(graph, codes, codes=True)["scores"])
    assert np.array_equal(edges["vector"], edges["mapped"].reshape(4, -1))
    for edge, (lo, hi) in graph.ranges().items():
        assert lo <= edges[edge].min() and edges[edge].max() <= hi


def test_several_inputs_are_told_apart_by_name(seed):
    ports = tuple(
        InputPort(name=name, tensor=name, type=tensor(4, fmt))
        for name, fmt in (("a", "s8.2"), ("b", "u4"))
    )
    nodes = (
        Node("sum", Add(), ("a", "b"), "sum"),
        Node("cast", Cast(out=Format.parse("s8.2")), ("b",), "wide"),
        Node("join", Concat(), ("a", "wide"), "join"),
    )
    outputs = (OutputPort(name="s", tensor="sum"), OutputPort(name="j", tensor="join"))
    graph = Graph(ports, nodes, outputs)
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-128, 128, (6, 4)), rng.integers(0, 16, (6, 4))
    got = emulate(graph, {"b": b, "a": a}, codes=True)
    assert np.array_equal(got["s"], a + 4 * b)
    assert np.array_equal(got["j"], np.concatenate([a, b * 4], axis=1))
    assert refused(graph, a) == "inputs must be named ['a', 'b'], not ['a']"
    assert refused(graph, {"a": a, "c": b}) == "inputs must be named ['a', 'b'], not ['a', 'c']"
    assert refused(graph, {"a": a, "b": b[:5]}) == "inputs must have one batch size, not [5, 6]"


@pytest.mark.parametrize(
    ("x", "options", "text"),
    [
        (np.zeros((2, 4)), {}, "must have shape (batch, 3), not (2, 4)"),
        (
            np.zeros(3),
            {},
            "must have shape (batch, 3), not (3,); a single sample needs a batch axis: x[None]",
        ),
        (0.5, {}, "must have shape (batch, 3), not ()"),
        (np.full((1, 3), np.nan), {}, "must be finite, but holds NaN or infinity"),
        (np.full((1, 3), -np.inf, np.float16), {}, "must be finite, but holds NaN or infinity"),
        (np.full((1, 3), "1"), {}, "must be an array of numbers, not of <U1"),
        (np.array([[None] * 3]), {}, "must be an array of numbers, not of object"),
        (np.zeros((1, 3), complex), {}, "must be an array of numbers, not of complex128"),
        ([[1, 2, 3], [1]], {}, "must be an array of numbers, not list"),
        (np.full((1, 3), 128), {"codes": True}, "must hold codes from -128 to 127, not 128 to 128"),
        (np.full((1, 3), 0.5), {"codes": True}, "must hold whole codes, not fractions"),
        (np.full((1, 3), np.nan), {"codes": True}, "must be finite, but holds NaN or infinity"),
        (
            np.full((1, 3), 1 << 63, np.uint64),
            {"codes": True},
            f"must hold codes from -128 to 127, not {1 << 63} to {1 << 63}",
        ),
        (
            np.full((1, 3), 1e30),
            {"codes": True},
            f"must hold codes from -128 to 127, not {int(1e30)} to {int(1e30)}",
        ),
    ],
)
def test_an_array_that_does_not_fit_is_refused(x, options, text):
    assert refused(one(Relu()), x, **options) == f"input 'x' {text}"


def test_an_input_of_another_namespace_is_checked_too():
    for value, text in ((np.nan, "finite"), (np.inf, "finite")):
        x = array_api_strict.asarray(np.full((1, 3), value))
        assert text in refused(one(Relu()), x, xp=array_api_strict)
    x = array_api_strict.asarray(np.full((1, 3), 200))
    assert "codes from -128 to 127" in refused(one(Relu()), x, xp=array_api_strict, codes=True)
    got = emulate(
        one(Relu()), array_api_strict.asarray(np.array([[1, -2, 3]])), xp=array_api_strict
    )
    assert np.asarray(got).tolist() == [[1, 0, 3]]


@pytest.mark.parametrize(
    "kind", ["bool", "int8", "uint16", "int64", "float16", "float32", "longdouble"]
)
def test_every_real_type_is_taken(kind):
    x = np.array([[0, 1, 1]]).astype(kind)
    for options in ({}, {"codes": True}):
        assert emulate(one(Relu()), x, **options).tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("mode", Overflow, ids=lambda m: m.value)
@pytest.mark.parametrize("rounding", Rounding, ids=lambda r: r.value)
def test_reals_become_codes_by_the_definition(rounding, mode, seed):
    """Off the grid, on ties, next to ties and far outside, in float64 and float32."""
    rng = np.random.default_rng(seed)
    x = tensor(1, "s6.3")
    graph = one(Relu(zero_point=-32), x=x, rounding=rounding, overflow=mode)
    ties = np.arange(-160, 160) / 16
    far = np.array([1e6 + 0.0625, -1e6 - 0.0625, 1e300, -1e300, 2.0**70 + 2.0**20, 1e-300, 5e-324])
    reals = np.concatenate(
        [ties, np.nextafter(ties, 9), np.nextafter(ties, -9), far, -far, rng.normal(0, 5, 200)]
    )
    for kind in (np.float64, np.float32):
        with np.errstate(over="ignore"):
            values = reals.astype(kind)
        values = values[np.isfinite(values)]
        got = planned(graph).encode(values[:, None])["x"][:, 0].tolist()
        expected = [
            oracle.cast(Fraction(float(v)), x.format, rounding.value, mode.value) for v in values
        ]
        assert got == expected


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("zero", [-7, 0, 113])
def test_reals_with_a_scale_become_codes_as_runtimes_make_them(first, zero, seed):
    """float32 division, to nearest even, before or after the zero point."""
    rng = np.random.default_rng(seed)
    x = TensorType((1,), S8, Quant((0.25,), zero))
    graph = one(Relu(zero_point=-128), x=x, zero_point_first=first)
    ties = np.arange(-999, 999) * np.float32(0.125)
    values = np.concatenate([ties, rng.normal(0, 20, 500), [1e30, -1e30]]).astype(np.float32)
    got = planned(graph).encode(values[:, None])["x"][:, 0].tolist()
    for code, value in zip(got, values.tolist(), strict=True):
        ratio = oracle.f32(Fraction(value) / Fraction(0.25))
        if first:
            whole = oracle.rounded(oracle.f32(ratio + zero), "RND_CONV")
        else:
            whole = oracle.rounded(ratio, "RND_CONV") + zero
        assert code == oracle.fitted(whole, S8, "SAT"), value


def test_reals_times_a_reciprocal_become_other_codes_than_a_quotient_near_ties(seed):
    rng = np.random.default_rng(seed)
    scale = float(np.float32(0.1))
    x = TensorType((1,), S8, Quant((scale,), 9))
    halves = ((np.arange(-150, 150) + 0.5) * scale).astype(np.float32)
    values = np.concatenate([halves, np.nextafter(halves, 0), rng.normal(0, 9, 500)])
    values = values.astype(np.float32)
    product, quotient = (
        planned(one(Relu(zero_point=-128), x=x, reciprocal=reciprocal))
        .encode(values[:, None])["x"][:, 0]
        .tolist()
        for reciprocal in (True, False)
    )
    inverse = oracle.f32(1 / Fraction(scale))
    wanted = [
        oracle.fitted(oracle.rounded(oracle.f32(Fraction(v) * inverse), "RND_CONV") + 9, S8, "SAT")
        for v in values.tolist()
    ]
    assert product == wanted
    assert product != quotient


def test_reals_times_a_reciprocal_and_the_zero_point_are_rounded_once(seed):
    """A fused multiply-add, also where its sum in float64 is half way between two float32."""
    rng = np.random.default_rng(seed)
    halves = (np.arange(-160, 160) + 0.5).astype(np.float32)
    pairs = [(float(np.float32(0.1)), v) for v in halves * np.float32(0.1)]
    pairs += [(float(np.float32(s)), v) for s in rng.uniform(0.01, 1, 9) for v in halves * s]
    pairs += [(0.25, np.float32(1e30)), (0.25, np.float32(-1e30))]
    half_way = _half_way_sums()
    assert half_way
    differ = 0
    for scale, value in [*pairs, *half_way]:
        x = TensorType((1,), Format.uint(8), Quant((scale,), 128))
        port = one(Relu(), x=x, reciprocal=True, zero_point_first=True)
        value = np.float32(value)
        exact = Fraction(float(value)) * oracle.f32(1 / Fraction(scale)) + 128
        wanted = oracle.fitted(oracle.rounded(oracle.f32(exact), "RND_CONV"), x.format, "SAT")
        assert planned(port).encode(np.array([[value]]))["x"].item() == wanted, (scale, value)
        twice = np.rint(np.float32(float(value) * float(np.float32(1) / np.float32(scale)) + 128))
        differ += int(np.clip(twice, 0, 255)) != wanted
    assert differ  # a sum that is rounded to float64 and then again is another one


def _half_way_sums() -> list[tuple[float, np.float32]]:
    """Scales and reals whose exact product lies by 2**-47 beside 0.5 + 2**-17."""
    inverse = np.arange((1 << 23) + 1, 1 << 24, dtype=np.int64)
    wanted, found = (1 << 46) + (1 << 30), []
    for apart in (1, -1):
        for whole in inverse[(wanted + apart) % inverse == 0].tolist():
            real = np.float32((wanted + apart) // whole * 2.0**-24)
            scale = np.float32(1) / np.float32(whole * 2.0**-23)
            if np.float32(1) / scale == np.float32(whole * 2.0**-23):
                found.append((float(scale), real))
    return found


def test_codes_become_reals_without_loss():
    for fmt, kind in (("s8.3", np.float32), ("s24.20", np.float32), ("s25.20", np.float64)):
        x = tensor(2, fmt)
        low, high = x.format.min, x.format.max
        codes = np.array([[low, high]])
        got = emulate(one(Relu(zero_point=low), x=x), codes * 2.0**-x.format.frac_bits)
        assert got.dtype == kind
        assert [Fraction(float(v)) for v in got[0]] == [
            oracle.real(c, x.format.frac_bits) for c in (low, high)
        ]


def reaching(total: int) -> Graph:
    """A dense layer whose proven bound is `total`."""
    weight = (total - 1) >> 7
    op = Dense(
        weights=np.array([[weight]]),
        bias=np.array([total - (weight << 7)]),
        weight_format=Format.int(32 if weight < 1 << 31 else 62),
    )
    return one(op, x=tensor(1))


@pytest.mark.parametrize(
    ("total", "carrier"),
    [((1 << 24) - 1, "float32"), (1 << 24, "float64"), (1 << 37, "float64")],
)
def test_the_carrier_is_the_cheapest_that_holds_the_bound(total, carrier):
    graph = reaching(total)
    assert [step.carrier.value for step in Emulator(graph).plan] == [carrier]
    assert int(emulate(graph, [[-128]], codes=True)[0, 0]) == (
        graph.nodes[0].op.weights[0, 0] * -128 + graph.nodes[0].op.bias[0]
    )


@pytest.mark.parametrize(
    ("extra", "carrier"), [((1 << 53) - 1, "float64"), (1 << 53, "int64"), ((1 << 61) + 1, "int64")]
)
def test_past_2_to_53_sums_are_computed_in_int64(extra, carrier):
    """The bias takes the bound just to the limit; the code is exact on either side."""
    op = Dense(weights=np.array([[1]]), bias=np.array([extra - 128]), weight_format=S8)
    graph = one(op, x=tensor(1))
    assert Emulator(graph).plan[0].carrier.value == carrier
    for code in (-128, 127):
        assert emulate(graph, [[code]], codes=True).tolist() == [[extra - 128 + code]]


def test_past_int64_a_graph_is_refused_in_a_sentence():
    wide = TensorType((1,), Format.parse("s62"))
    graph = Graph(
        (InputPort(name="a", tensor="a", type=wide), InputPort(name="b", tensor="b", type=wide)),
        (Node("one", Add(), ("a", "b"), "c"), Node("two", Add(), ("c", "c"), "d")),
        (OutputPort(name="d", tensor="d"),),
    )
    text = refused(graph, {"a": [[0]], "b": [[0]]}, codes=True)
    assert text == (
        f"node 'two': whole numbers up to {1 << 63} must fit int64, which is exact below "
        f"{(1 << 63) - 1}"
    )
    deep = one(Cast(out=Format.parse("s80.70")), x=tensor(1))
    assert refused(deep, [[1]]).startswith("node 'n0': whole numbers up to ")


def test_codes_cross_from_one_carrier_to_another_exactly(seed):
    """float32 sums, a float64 layer, an int64 table, and a wide requantizer in one row."""
    wide = Dense(
        weights=np.array([[(1 << 23) - 5, 3], [7, -(1 << 23)]]),
        bias=np.array([1, -1]),
        weight_format=Format.int(24),
    )
    to8 = Requantize(scheme=Scheme.F32_RNE_OUT, multiplier=(2.0**-23,), out=S8)
    table = Table(values=np.arange(256)[::-1] - 128, out=S8)
    graph = one(Relu(zero_point=-128), wide, to8, table, Relu(), x=tensor(2))
    carriers = [step.carrier.value for step in Emulator(graph).plan]
    assert carriers == ["float32", "float64", "float64", "int64", "float32"]
    x = np.random.default_rng(seed).integers(-128, 128, (50, 2))
    sums = (x.astype(object) @ wide.weights.astype(object) + wide.bias.astype(object)).tolist()
    codes = [[oracle.requantize(to8, total, 2.0**-23) for total in row] for row in sums]
    expected = [[max(int(table.values[c + 128]), 0) for c in row] for row in codes]
    assert emulate(graph, x, codes=True).tolist() == expected


def test_a_graph_is_planned_once_and_freed_with_its_plan():
    graph = network()
    assert planned(graph) is planned(graph) and planned(graph, array_api_strict) is not planned(
        graph
    )
    emulate(graph, images(2, 1))
    gone = weakref.ref(graph)
    del graph
    gc.collect()
    assert gone() is None


def test_a_changed_operator_changes_the_plan(seed):
    graph, x = network(), images(6, seed)
    before = emulate(graph, x)["map"]
    op = graph.node("to8").op
    after = emulate(graph.with_op("to8", replace(op, zero_point=5)), x)["map"]
    assert (after != before).any()


def test_the_package_exports_what_the_manual_names():
    assert hwsim.emulate is emulate and hwsim.trace is trace
    assert {"Format", "Graph", "HwsimError", "load"} <= set(hwsim.__all__)


def test_a_model_file_may_stand_for_its_graph(tmp_path):
    graph = one(Relu())
    graph.save(tmp_path / "m.hwsim")
    x = np.array([[1, -2, 3]])
    for model in (tmp_path / "m.hwsim", str(tmp_path / "m.hwsim")):
        assert np.array_equal(emulate(model, x), emulate(graph, x))
        traced = trace(model, x)
        assert all(np.array_equal(traced[edge], a) for edge, a in trace(graph, x).items())
    for model, text in (("none.onnx", "none.onnx must be"), (x, "not ndarray"), (None, "NoneType")):
        with pytest.raises(HwsimError, match=text):
            emulate(model, x)


@pytest.mark.parametrize("zero", [-5, 0, 77])
def test_codes_with_a_scale_become_the_runtimes_float32(zero):
    """The difference from the zero point times the scale, both of float32, channel by channel."""
    scales = (0.1, 0.37)
    x = TensorType((2,), S8, Quant(scales, zero))
    codes = np.stack([np.arange(-128, 128)] * 2, axis=1)
    got = planned(one(Relu(zero_point=-128), x=x)).decode({"e0": codes.astype(np.float32)})
    assert got.dtype == np.float32
    for row, code in zip(got.tolist(), codes[:, 0].tolist(), strict=True):
        wanted = [oracle.f32(Fraction(code - zero) * oracle.f32(Fraction(s))) for s in scales]
        assert [Fraction(v) for v in row] == wanted


def test_a_piece_holds_as_many_samples_as_its_widest_edge_leaves_room_for():
    """Four bytes a code: the 40 codes of the image are the widest edge of the network."""
    for room, samples in ((1 << 20, 6553), (160, 1), (159, 1), (320, 2), (319, 1), (0, 1)):
        assert Emulator(network(), chunk_bytes=room).chunk == samples


def test_reals_whose_codes_a_port_rules_out_are_refused():
    """What reads them is built for the proven range, so they must not pass in silence."""
    narrow = TensorType((3,), S8, None, (-5, 7))
    graph = one(Relu(), x=narrow)
    assert emulate(graph, np.array([[-5.0, 0.0, 7.4]])).tolist() == [[0.0, 0.0, 7.0]]
    for x, lo, hi in ((8.0, 0, 8), (-6.0, -6, 0), (1e9, 0, 127)):
        text = refused(graph, np.array([[0.0, x, 0.0]]))
        assert text == (f"input 'x' must hold reals whose codes lie from -5 to 7, not {lo} to {hi}")
    symmetric = one(Relu(), x=TensorType((3,), S8, None, (-127, 127)), overflow=Overflow.SAT_SYM)
    assert emulate(symmetric, np.full((1, 3), -1e9)).tolist() == [[0.0] * 3]
