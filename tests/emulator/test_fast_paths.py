"""Both sides of each fast path: where it is taken, where it is just not, and the same codes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest
from support import oracle, oracle_ops
from support.cases import Case, tensor
from support.small_graphs import PLANES, POOL, by_oracle, conv, one, row

from hwsim.emulator.run import Emulator, planned
from hwsim.emulator.steps import Step, last_uses, unconverted
from hwsim.fixed import Format, Overflow, Rounding, within
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Add,
    Carrier,
    Cast,
    Dense,
    Divide,
    MaxPool,
    Relu,
    Requantize,
    Scheme,
    TensorType,
    Window,
)
from hwsim.ops.accumulate import add_bias, repeated

F32, F64, I64 = Carrier.FLOAT32, Carrier.FLOAT64, Carrier.INT64


def test_within_looks_at_both_ends_and_knows_what_is_proved():
    codes = np.array([[-3, 0], [2, 5]])
    for low, high, inside in (
        (None, None, True),
        (-3, 5, True),
        (-2, 5, False),
        (-3, 4, False),
        (None, 5, True),
        (None, 4, False),
        (-3, None, True),
        (-2, None, False),
    ):
        assert within(np, codes, low, high) == inside, (low, high)
    assert within(np, codes[:0], None, None) and not within(np, codes[:0], None, 5)
    on_gpu = SimpleNamespace(device="cuda", size=4)
    assert within(np, on_gpu, None, None) and not within(np, on_gpu, -3, 5)


def test_a_float_that_is_there_is_not_narrowed():
    for carrier, inputs, kept in (
        (F32, [F64], F64),
        (F64, [F64, F64], F64),
        (F32, [F64, F32], F32),
        (F32, [F64, None], F32),
        (F32, [F32], F32),
        (F64, [F32], F64),
        (I64, [F64], I64),
        (F32, [I64], F32),
        (F32, [], F32),
    ):
        assert unconverted(carrier, inputs) is kept, (carrier, inputs)


def test_an_edge_is_let_go_after_its_last_reader():
    def step(inputs: str, output: str) -> Step:
        return SimpleNamespace(inputs=tuple(inputs), outputs=(output,))  # type: ignore[return-value]

    steps = [step("x", "a"), step("xa", "b"), step("b", "c"), step("a", "d")]
    uses = [set(edges) for edges in last_uses(steps, {"d", "b"})]
    assert uses == [set(), {"x"}, {"c"}, {"a"}]


@pytest.mark.parametrize("outputs", [1, 3, 5, 64, 300, 511, 512, 513, 2000])
def test_biases_are_repeated_up_to_512_numbers(outputs):
    bias = np.arange(outputs) - 2
    rows = repeated(bias)
    assert rows is not None
    count = len(rows)
    assert count & (count - 1) == 0 and (rows == bias).all()
    assert (count == 1 or count * outputs <= 512) and 2 * count * outputs > 512
    assert repeated(np.zeros(outputs)) is None
    for batch in (0, 1, 6, 7, 1024):
        sums = np.arange(batch * outputs).reshape(batch, outputs)
        assert (add_bias(np, sums, rows) == sums + bias).all()
        assert add_bias(np, sums, None) is sums
        maps = sums.reshape(batch, 1, 1, outputs)
        assert (add_bias(np, maps, rows) == maps + bias).all()


@pytest.mark.parametrize("fmt", ["s6.3", "u5.1", "s5.-2", "u4", "s1"])
@pytest.mark.parametrize("mode", Overflow, ids=lambda m: m.value)
def test_reals_one_by_one_around_both_ends_of_a_format(fmt, mode):
    """Alone each is its own end, so that reals just inside take the path without overflow."""
    kind = tensor(1, fmt)
    form = kind.format
    step = 2.0**-form.frac_bits
    ends = [end + k / 4 for end in (form.min, form.max, 0) for k in range(-9, 10)]
    reals = [v * step for v in ends] + [5e-324, -5e-324, 1e-300, -1e-300]
    for rounding in Rounding:
        graph = one(Relu(zero_point=form.min), x=kind, rounding=rounding, overflow=mode)
        encode = planned(graph).encode
        for real in reals:
            want = oracle.cast(Fraction(real), form, rounding.value, mode.value)
            assert encode(np.array([[real]]))["x"].tolist() == [[want]], (rounding, real)


@pytest.mark.parametrize(("lo", "hi"), list(itertools.product((-9, -8, -7), (6, 7, 8))))
@pytest.mark.parametrize("mode", Overflow, ids=lambda m: m.value)
def test_a_cast_looks_only_at_ends_that_are_not_proved(lo, hi, mode):
    """Codes to s4: -8 and 7 just fit (-7 under SAT_SYM), one beyond does not."""
    op = Cast(out=Format.parse("s4"), overflow=mode)
    kind = tensor(hi - lo + 1, "s8", codes=(lo, hi))
    least = -7 if mode is Overflow.SAT_SYM else -8
    for carrier in (F32, F64, I64):
        k = op.prepare([kind], carrier)
        assert (k["low"] is None, k["high"] is None) == (lo >= least, hi <= 7)
        assert (k["low"], k["high"]) == (None if lo >= least else least, None if hi <= 7 else 7)
    case = Case("cast", op, (kind,))
    codes = np.arange(lo, hi + 1)[None]
    out = case.graph().types()["y"]
    want = oracle_ops.run(op, [kind], out, [codes[0].tolist()])
    for xp in (np, array_api_strict):
        got = Emulator(case.graph(), xp).run({"a": xp.asarray(codes)})["y"]
        assert np.asarray(got).tolist() == [want]


@pytest.mark.parametrize(
    ("shift", "factor"),
    [(-2, (None, None)), (0, (None, None)), (1, (0.5, None)), (3, (0.125, None))],
)
def test_a_casts_factor_is_for_right_shifts_of_floats(shift, factor):
    op = Cast(out=Format(True, 8, 4 - shift))
    kind = tensor(1, "s8.4")
    assert (op.prepare([kind], F64)["factor"], op.prepare([kind], I64)["factor"]) == factor


def dense(rng, terms=6, outputs=5) -> Dense:
    return Dense(
        weights=rng.integers(-8, 8, (terms, outputs)),
        bias=rng.integers(-99, 99, outputs),
        weight_format=Format.parse("s4.1"),
    )


def factors(emulator: Emulator) -> list[float | None]:
    return [s.constants.get("factor") for s in emulator.quick]


def test_a_factor_stays_where_the_sums_have_another_reader_or_another_carrier(rng):
    x = tensor(6, "s8.3")
    cast, codes = Cast(out=Format.parse("s8.1")), rng.integers(-128, 128, (20, 6))
    between = {
        "none": ([], True),
        "relu": ([Relu()], True),
        "relus": ([Relu(), Relu()], True),
        "a clipped relu": ([Relu(maximum=9)], False),
        "a relu of another zero": ([Relu(zero_point=-3)], False),
        "a cast": ([Cast(out=Format.parse("s14.4"))], False),
    }
    for name, (ops, moves) in between.items():
        graph = row(x, dense(rng), *ops, cast)
        emulator = Emulator(graph)
        assert (factors(emulator)[-1] == 1.0) == moves, name
        assert emulator.run({"t0": codes})[graph.outputs[0].tensor].tolist() == by_oracle(
            graph, codes
        )
    graph = row(x, dense(rng), Relu(), cast)
    for kept in ("t1", "t2"):
        more = (*graph.outputs, OutputPort(name="more", tensor=kept))
        both = Graph(graph.inputs, graph.nodes, more)
        emulator = Emulator(both)
        assert factors(emulator)[-1] == 2.0**-3
        out = emulator.run({"t0": codes})
        assert out["t3"].tolist() == by_oracle(graph, codes)
    wide = Dense(weights=np.array([[1]]), bias=np.array([1 << 53]), weight_format=Format.int(2))
    graph = row(tensor(1, "s8.3"), wide, cast)
    assert [s.carrier for s in Emulator(graph).plan] == [I64, I64]
    assert factors(Emulator(graph)) == [None, None]


def test_a_factor_stays_where_the_cast_has_a_wider_carrier(rng):
    """Sums in float32, a cast that needs float64 for its turn of 2**30."""
    x, codes = tensor(6, "s8.3"), rng.integers(-128, 128, (20, 6))
    graph = row(x, dense(rng), Cast(out=Format.parse("s30.1")))
    emulator = Emulator(graph)
    assert [s.carrier for s in emulator.plan] == [F32, F64] and factors(emulator)[-1] == 2.0**-3
    assert emulator.run({"t0": codes})["t2"].tolist() == by_oracle(graph, codes)


def shapes(graph: Graph) -> list[type]:
    return [type(step.op) for step in Emulator(graph).quick]


def test_a_pool_goes_first_only_past_rising_functions_that_nobody_else_reads(rng):
    """Relu, saturating casts and requantizers move behind it; others, and shared edges, do not."""
    codes = rng.integers(-128, 128, (3, 6, 6, 2))
    saturating = Cast(out=Format.parse("s7.1"), overflow=Overflow.SAT)
    norm = Requantize(
        scheme=Scheme.SHIFT, multiplier=(0.5,), out=Format.int(8), overflow=Overflow.WRAP
    )
    padded = MaxPool(window=Window((2, 2), (2, 2), (1, 1, 1, 1)))
    in_floats = Requantize(scheme=Scheme.SINGLE, multiplier=(0.4,), out=Format.int(8))
    in_int64 = replace(in_floats, out=Format.int(16))
    for ops, steps in (
        ([Relu(), POOL], 1),
        ([Relu(), saturating, POOL], 1),
        ([saturating, Relu(), POOL], 1),
        ([Relu(), padded], 2),
        ([norm, POOL], 2),
        ([norm, Relu(), POOL], 2),
        ([POOL, POOL], 2),
        ([in_floats, POOL], 1),
        ([in_floats, Relu(), POOL], 1),
        ([in_int64, POOL], 2),
        ([in_int64, Relu(), POOL], 2),  # which read it in another carrier
    ):
        graph = row(PLANES, *ops)
        emulator = Emulator(graph)
        assert len(emulator.quick) == steps, ops
        edge = graph.outputs[0].tensor
        assert emulator.run({"t0": codes})[edge].tolist() == by_oracle(graph, codes)


def test_a_sum_of_two_maps_is_pooled_where_it_stands(rng):
    ports = tuple(InputPort(name=n, tensor=n, type=PLANES) for n in "ab")
    nodes = (
        Node("sum", Add(), ("a", "b"), "s"),
        Node("relu", Relu(), ("s",), "r"),
        Node("pool", POOL, ("r",), "p"),
    )
    graph = Graph(ports, nodes, (OutputPort(name="y", tensor="p"),))
    a, b = rng.integers(-128, 128, (2, 3, 6, 6, 2))
    emulator = Emulator(graph)
    assert [type(s.op) for s in emulator.quick] == [Add, MaxPool]
    want = np.maximum(a + b, 0).reshape(3, 3, 2, 3, 2, 2).max(axis=(2, 4))
    assert emulator.run({"a": a, "b": b})["p"].tolist() == want.tolist()


def test_a_bias_stays_where_the_carrier_changes_or_the_sums_are_read_twice(rng):
    graph = row(PLANES, conv(rng), Relu(), POOL)
    codes = rng.integers(-128, 128, (3, 6, 6, 2))
    assert Emulator(graph).quick[0].constants["b"] is None
    twice = Graph(
        graph.inputs,
        (*graph.nodes, Node("again", Relu(), ("t1",), "u")),
        (*graph.outputs, OutputPort(name="u", tensor="u")),
    )
    emulator = Emulator(twice)
    assert emulator.quick[0].constants["b"] is not None
    assert emulator.run({"t0": codes})["t3"].tolist() == by_oracle(graph, codes)


@pytest.mark.parametrize(
    ("magnitude", "carriers"), [((1 << 26) - 1, (F64, I64)), (1 << 26, (I64,))]
)
def test_a_quotient_is_a_floats_below_two_to_26(magnitude, carriers):
    kind = TensorType((1,), Format.holding(-magnitude, 0), range=(-magnitude, 0))
    for divisor in (1, 2, 3, (1 << 26) - 1):
        op = Divide(divisors=np.array([divisor]))
        assert op.carriers([kind]) == carriers
        for code in (-magnitude, 1 - magnitude, 0):
            got = {
                int(op.run(np, [np.array([[code]], c.value)], op.prepare([kind], c))[0, 0])
                for c in carriers
            }
            assert got == {oracle.c_divide(code, divisor)}
