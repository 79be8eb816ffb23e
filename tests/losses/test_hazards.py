"""What is counted as lost is what plain integers and fractions say, and a wider format loses it."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from support import oracle
from support.cli_calls import refused, run
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.losses.find import all_sites, checked, count, wider
from hwsim.losses.find import find as losses
from hwsim.losses.report import Hazards
from hwsim.losses.table import RULES, SAFE
from hwsim.ops import (
    OPERATORS,
    AvgPool,
    Cast,
    Conv1D,
    Dense,
    Quotient,
    Relu,
    Requantize,
    Scheme,
    Stepwise,
    Table,
    TensorType,
    Window,
)

pytestmark = pytest.mark.filterwarnings("ignore::hwsim.InputSaturation")
MODES = [m for m in Rounding if m.value not in ("CEIL", "UP")]
COUNTERS = {"WRAP": "wrapped", "SAT": "saturated", "SAT_SYM": "saturated", "SAT_ZERO": "zeroed"}


def a_format(rng, least: int = 2, most: int = 10) -> Format:
    width = int(rng.integers(least, most + 1))
    whole = int(rng.integers(-2, width + 3))
    return Format(bool(rng.integers(2)), whole, width - whole)


def modes(rng) -> dict:
    rounding, overflow = MODES[rng.integers(len(MODES))], list(Overflow)[rng.integers(4)]
    return {"rounding": rounding, "overflow": overflow}


def chain(rng) -> Graph:
    """An input, sums that are cast at each step, a cast, a ReLU, a pool that sums and a cast."""
    kind = TensorType((5, 3), a_format(rng, 4))
    conv = Conv1D(
        weights=rng.integers(-8, 8, (2, 3, 4)),
        bias=rng.integers(-20, 20, 4),
        weight_format=Format(True, 1, 3),
        bias_frac=int(rng.integers(-1, 9)),
        window=Window((2,), (1,), (0, 0)),
        accumulator=Stepwise(format=a_format(rng, 4, 14), **modes(rng)),
    )
    pool = AvgPool(
        window=Window((2,), (2,), (0, 0)),
        accumulator=Stepwise(format=a_format(rng, 4, 12), **modes(rng)),
    )
    steps = [
        ("sums", conv),
        ("cast", Cast(out=a_format(rng), **modes(rng))),
        ("relu", Relu()),
        ("pool", pool),
        ("last", Cast(out=a_format(rng), **modes(rng))),
    ]
    edges = ["x", *(name for name, _ in steps)]
    nodes = [Node(n, op, (e,), n) for e, (n, op) in zip(edges, steps, strict=False)]
    port = InputPort(name="x", tensor="x", type=kind, **modes(rng))
    return Graph((port,), tuple(nodes), (OutputPort(name="y", tensor="last"),))


def assigned(values, fmt: Format, rounding: Rounding, overflow: Overflow) -> dict[str, int]:
    """What happens to Fractions that are assigned, in fractions."""
    scaled = [value * Fraction(2) ** fmt.frac_bits for value in values]
    whole = [oracle.rounded(q, rounding.value) for q in scaled]
    kept = [oracle.fitted(code, fmt, overflow.value) for code in whole]
    return {
        "rounded": sum(q != w for q, w in zip(scaled, whole, strict=True)),
        COUNTERS[overflow.value]: sum(a != b for a, b in zip(kept, whole, strict=True)),
    }


def summed(columns, weights, biases, acc: Stepwise) -> dict[str, int]:
    """The same of sums of products, step by step; of sums that wrap only the end counts."""
    mode, counter = acc.overflow.value, COUNTERS[acc.overflow.value]
    found = {"rounded": 0, counter: 0}
    for terms in columns:
        for channel, bias in enumerate(biases):

            def fit(value: Fraction) -> tuple[int, int, bool]:
                q = value * Fraction(2) ** acc.format.frac_bits
                code = oracle.rounded(q, acc.rounding.value)
                return code, oracle.fitted(code, acc.format, mode), q != code

            free, total, lost = fit(bias)
            hit = total != free
            for x, w in zip(terms, weights, strict=True):
                code, held, cut = fit(x * w[channel])
                lost, free = lost or cut, free + code
                after = oracle.fitted(total + held, acc.format, mode)
                hit |= held != code or after != total + held
                total = after
            if mode == "WRAP":
                hit = total != free
            found["rounded"] += lost
            found[counter] += hit
    return found


def real(codes, kind: TensorType):
    return [oracle.real(int(code), kind.format.frac_bits) for code in np.ravel(codes)]


def plain_counts(graph: Graph, x, edges) -> dict[str, dict[str, int]]:
    """Counts of the chain above by site, without hwsim's arithmetic."""
    types, ops = graph.types(), {node.name: node.op for node in graph.nodes}
    port, conv, pool = graph.inputs[0], ops["sums"], ops["pool"]
    given = [Fraction(float(v)) for v in x.ravel()]
    found = {"x": assigned(given, port.type.format, port.rounding, port.overflow)}
    for name, source in (("cast", "sums"), ("last", "pool")):
        op = ops[name]
        values = real(edges[source], types[source])
        found[name] = assigned(values, op.out, op.rounding, op.overflow)
    columns = [
        real(row[at : at + 2], types["x"]) for row in edges["x"] for at in range(len(row) - 1)
    ]
    weights = [[oracle.real(int(w), 3) for w in row] for row in conv.matrix()]
    biases = [oracle.real(int(b), conv.bias_frac) for b in conv.bias]
    found["sums"] = summed(columns, weights, biases, conv.accumulator)
    windows = [
        real(row[at : at + 2, channel], types["relu"])
        for row in edges["relu"]
        for at in (0, 2)
        for channel in range(4)
    ]
    found["pool"] = summed(windows, [[1], [1]], [Fraction(0)], pool.accumulator)
    return found


def test_counts_are_those_of_plain_fractions(rng):
    seen = 0
    for _ in range(15):
        graph = chain(rng)
        step = 2.0 ** -graph.inputs[0].type.format.frac_bits
        x = np.round(rng.normal(0, 8, (6, 5, 3)) * 4) / 4 * step
        edges = hwsim.trace(graph, x)
        sites, _ = all_sites(graph)
        want = plain_counts(graph, x, edges)
        for site, got in zip(sites, count(graph, sites, checked(graph, x)), strict=True):
            for name, number in want[site.name].items():
                assert getattr(got, name) == number, (site, name)
                seen += number > 0
    assert seen > 40


def test_another_format_is_noticed(rng):
    """The counts would differ: the mutant of the test above."""
    wrong = 0
    for _ in range(10):
        graph = chain(rng)
        x = np.round(rng.normal(0, 8, (6, 5, 3)) * 4) / 4
        edges = hwsim.trace(graph, x)
        sites, _ = all_sites(graph)
        cast = next(site for site in sites if site.name == "cast")
        want = plain_counts(graph, x, edges)["cast"]
        finer = replace(cast.into, format=replace(cast.into.format, frac_bits=9, int_bits=4))
        got = finer.count(edges["sums"], graph.types()["sums"].format.frac_bits)
        wrong += any(getattr(got, name) != number for name, number in want.items())
    assert wrong > 5


def test_the_format_that_is_needed_loses_nothing_and_one_bit_less_does(rng):
    tried = 0
    for _ in range(15):
        graph = chain(rng)
        x = np.round(rng.normal(0, 20, (20, 5, 3))) / 8
        sites, _ = all_sites(graph)
        counts = count(graph, sites, checked(graph, x))
        for place, (site, found) in enumerate(zip(sites, counts, strict=True)):
            if not found.events:
                continue
            need = next(wider(site, found))
            for into, wanted in ((need, False), (less(need, 0, 1), True), (less(need, 1, 0), True)):
                if into is None or (wanted and site.into.overflow is Overflow.SAT_SYM):
                    continue
                other = site.widened(graph, into)
                again, _ = all_sites(other)
                now = count(other, again, checked(other, x))[place]
                if site.what == "sums" and wanted:
                    continue  # a partial sum's own bits are more than those of the worst one
                assert (now.events > 0) is wanted, (site, need, into)
                tried += 1
    assert tried > 40


def less(fmt: Format, whole: int, fraction: int) -> Format | None:
    """A format of one bit less, or none where no bit is left."""
    if fmt.width <= 1 + fmt.signed:
        return None
    return replace(fmt, int_bits=fmt.int_bits - whole, frac_bits=fmt.frac_bits - fraction)


def narrow(out: Format, overflow: Overflow = Overflow.WRAP) -> Graph:
    """Two numbers, doubled by a dense layer, and cast."""
    dense = Dense(weights=np.eye(2, dtype=int), bias=np.zeros(2, int), weight_format=Format.int(3))
    port = InputPort(name="x", tensor="x", type=TensorType((2,), Format(True, 8, 4)))
    nodes = (
        Node("dense", dense, ("x",), "sums"),
        Node("cast", Cast(out=out, overflow=overflow), ("sums",), "y"),
    )
    return Graph((port,), nodes, (OutputPort(name="y", tensor="y"),))


def test_the_effect_is_that_of_the_one_place(rng):
    graph = narrow(Format(True, 4, 2))
    x = np.array([[9.0, 1.0], [1.0, 2.0], [3.25, 3.0], [3.3125, 1.0]])
    (row,) = hwsim.hazards(graph, x).rows
    assert (row.name, row.what, row.count.wrapped, row.count.rounded) == ("cast", "cast", 1, 1)
    assert row.needed == Format(True, 5, 4) and row.count.loss == 0.0625
    effect = row.effect  # 9 came out as -7, and 3.3125 as 3.25
    assert effect is not None and (effect.changed, effect.codes) == (2, 8)
    assert (effect.picked, effect.samples) == (1, 4)


def test_places_are_sorted_by_what_they_change(rng):
    graph = chain(np.random.default_rng(seeded(3)))
    found = hwsim.hazards(graph, rng.normal(0, 20, (50, 5, 3)))
    weights = [row.weight for row in found.rows]
    assert weights == sorted(weights, reverse=True) and len(found.rows) > 1


def test_nothing_is_said_where_nothing_is_lost():
    x = np.array([[1.0, 2.0]])
    found = hwsim.hazards(narrow(Format(True, 8, 4)), x)
    assert found.rows == () and found.sites == 2 and found.unknown == ()


def test_a_requantizer_counts_what_saturates_and_no_relu():
    def graph(zero: int) -> Graph:
        op = Requantize(
            scheme=Scheme.F32_RNE_OUT,
            multiplier=(0.5,),
            out=Format.uint(8),
            zero_point=zero,
        )
        port = InputPort(name="x", tensor="x", type=TensorType((1,), Format.int(12)))
        return Graph((port,), (Node("q", op, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))

    x = np.arange(-2048, 2048)[:, None]
    codes = [np.rint(value * 0.5) for value in range(-2048, 2048)]
    for zero, low in ((0, False), (100, True)):
        (row,) = losses(graph(zero), x).rows
        above = sum(code + zero > 255 for code in codes)
        below = sum(code + zero < 0 for code in codes) if low else 0
        assert row.count.saturated == above + below and row.count.rounded == 0
        assert row.effect is not None and row.effect.changed * 4096 > 0


def test_where_no_rerun_is_possible_it_says_why():
    graph = narrow(Format(True, 4, 0), Overflow.SAT)
    table = Table(values=np.arange(16) - 8, out=Format.int(4))
    nodes = (*graph.nodes, Node("table", table, ("y",), "z"))
    graph = replace(graph, nodes=nodes, outputs=(OutputPort(name="z", tensor="z"),))
    (row,) = losses(graph, np.array([[20.0, 1.5]])).rows
    assert row.effect is None and row.unmeasured == "a table has no entries beyond its ends"
    assert (row.what, row.count.clamped, row.count.rounded) == ("index", 1, 0)
    (row,) = losses(
        graph.with_op("cast", Cast(out=Format(True, 4, 0))), np.array([[20.0, 1.5]])
    ).rows
    assert row.count.wrapped == 1 and row.effect is not None and row.effect.changed == 1


def test_it_is_a_command_too(tmp_path, capsys):
    graph, x = narrow(Format(True, 4, 2)), np.array([[9.0, 1.0], [3.3125, 1.0]])
    graph.save(tmp_path / "m.hwsim")
    np.save(tmp_path / "x.npy", x)
    call = ("hazards", tmp_path / "m.hwsim", "-i", tmp_path / "x.npy")
    status, out, _ = run(capsys, *call, "--json")
    facts = json.loads(out)
    assert status == 0 and facts["hazards"] == hwsim.hazards(graph, x).to_dict()["hazards"]
    assert facts["hazards"][0]["needed"] == "fixed<9,5>"
    status, out, _ = run(capsys, *call, "--top", 1)
    assert "1 wrapped" in out and "fixed<9,5>" in out and status == 0
    assert "--top must be at least 1, not 0" in refused(capsys, *call, "--top", 0)
    np.save(tmp_path / "bad.npy", np.zeros((2, 3)))
    bad = refused(capsys, "hazards", tmp_path / "m.hwsim", "-i", tmp_path / "bad.npy")
    assert "must have shape (batch, 2), not (2, 3)" in bad


def test_a_quotient_counts_what_saturates():
    """As in a softmax: 256 times a share of 1 has no code of 8 bits."""
    ports = [
        InputPort(name=n, tensor=n, type=TensorType((1,), Format.uint(6), range=(least, 63)))
        for n, least in (("a", 0), ("b", 1))
    ]
    op = Quotient(out=Format.uint(8), factor=256)
    graph = Graph(
        tuple(ports), (Node("q", op, ("a", "b"), "y"),), (OutputPort(name="y", tensor="y"),)
    )
    a, b = (array.reshape(-1, 1) for array in np.meshgrid(np.arange(64), np.arange(1, 64)))
    (row,) = losses(graph, {"a": a, "b": b}).rows
    over = sum(
        oracle.rounded(Fraction(256 * int(p), int(q)), "RND_CONV") > 255
        for p, q in zip(a.ravel(), b.ravel(), strict=True)
    )
    assert (row.what, row.count.saturated) == ("requantize", over) and over > 1000
    assert row.effect is not None and row.effect.changed > 0


def test_bad_calls_are_refused_in_a_sentence():
    graph = narrow(Format(True, 4, 2))
    with pytest.raises(HwsimError, match=r"shape \(batch, 2\), not \(1, 3\)"):
        hwsim.hazards(graph, np.zeros((1, 3)))
    with pytest.raises(HwsimError, match="at least one sample, not none"):
        hwsim.hazards(graph, np.zeros((0, 2)))
    with pytest.raises(HwsimError, match="effect_samples must be at least 1, not 0"):
        hwsim.hazards(graph, np.zeros((1, 2)), effect_samples=0)


def test_the_summary_is_one_line():
    text = repr(hwsim.hazards(narrow(Format(True, 4, 2)), np.array([[9.0, 1.0]])))
    assert "1 out of range" in text and "most at 'cast'" in text and "\n" not in text
    assert isinstance(hwsim.hazards(narrow(Format(True, 8, 4)), np.zeros((1, 2))), Hazards)


def test_every_operator_is_looked_into_or_known_to_lose_nothing():
    """A new one needs a rule in losses/table.py, or its place among the safe."""
    assert set(OPERATORS) == set(RULES) | set(SAFE)
    assert not set(RULES) & set(SAFE)
