"""A kernel that is right alone is right in a network: chains of every operator, on two namespaces.

The kernels here keep their constants in a form of their own, as fused ones do. So a rewrite that
looked into them, or ran them elsewhere, would change the codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import array_api_strict
import numpy as np
import pytest
from support.cases import CASES, Case, tensor
from support.chains import KERNELS, OWN_WAY, by_oracle, chain, chains, packed, unpacking, ways

from hwsim.emulator.fuse import REWRITES, PoolsFirst, Rewrite, ScaledSums
from hwsim.emulator.kernels import Allows, CarrierForm, Kernel, own
from hwsim.emulator.run import Emulator
from hwsim.emulator.steps import CARRIERS, Step
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Add,
    Carrier,
    Cast,
    Conv2D,
    Dense,
    MaxPool,
    Op,
    Relu,
    Requantize,
    Scheme,
    TensorType,
    Window,
)

NAMESPACES = (np, array_api_strict)
by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
I8, I32, F32, F64, I64 = (
    Carrier.INT8,
    Carrier.INT32,
    Carrier.FLOAT32,
    Carrier.FLOAT64,
    Carrier.INT64,
)


def caught(graph: Graph, codes: dict[str, np.ndarray], **backend: Any) -> bool:
    """Whether any way gives other codes than the oracle, or a kernel is run where it cannot."""
    expected = by_oracle(graph, codes)
    try:
        return any(found != expected for found in ways(Emulator(graph, **backend), codes))
    except (AssertionError, ValueError):
        return True


@by_case
def test_kernels_of_every_operator_give_the_oracles_codes_in_chains(case, seed):
    codes = case.inputs(3, seed)
    for graph in (chain(case), *chains(case)):
        expected = by_oracle(graph, codes)
        for xp in NAMESPACES:
            for kernels in ({type(case.op): OWN_WAY}, KERNELS):
                for found in ways(Emulator(graph, xp, kernels), codes):
                    assert found == expected, [type(node.op).__name__ for node in graph.nodes]


# Rewrites, and what a kernel allows ----------------------------------------------------------

PLANES = tensor((6, 6, 2), "s8.4")
POOL = MaxPool(window=Window((2, 2), (2, 2)))
SCHEMES = [
    Requantize(
        scheme=scheme,
        multiplier=(0.25,) if scheme is Scheme.SHIFT else (0.21,),
        out=Format.int(8),
    )
    for scheme in Scheme
]
RISING: list[Op] = [
    Relu(),
    Cast(out=Format.parse("s9.1"), overflow=Overflow.SAT),
    Cast(out=Format.parse("s9.1")),
    *SCHEMES,
]


def conv(rng: np.random.Generator) -> Conv2D:
    return Conv2D(
        weights=rng.integers(-8, 8, (3, 3, 2, 4)),
        bias=rng.integers(-99, 99, 4),
        weight_format=Format.parse("s4"),
        window=Window((3, 3)),
    )


def network(rng: np.random.Generator, *ops: Op) -> Graph:
    """A convolution, then operators in a row."""
    return chain(Case("conv", conv(rng), (PLANES,)), *ops)


def kinds(steps: Sequence[Step]) -> list[type[Op]]:
    return [type(step.op) for step in steps]


@pytest.mark.parametrize("xp", NAMESPACES, ids=lambda xp: xp.__name__)
@pytest.mark.parametrize("op", RISING, ids=str)
def test_a_kernel_stays_where_it_is_whichever_of_the_row_it_computes(op, xp, rng):
    """Each operator of convolution, relu, function, pool with a kernel; the others without."""
    graph = network(rng, Relu(), op, POOL)
    codes = {"a": rng.integers(-128, 128, (3, 6, 6, 2))}
    expected = by_oracle(graph, codes)
    plain = Emulator(graph, xp)
    for kind in {type(node.op) for node in graph.nodes}:
        emulator = Emulator(graph, xp, {kind: OWN_WAY})
        assert all(found == expected for found in ways(emulator, codes))
        kept = {s.output: s for s in emulator.plan if s.kernel is OWN_WAY}
        assert kept and all(step in emulator.quick for step in kept.values())
    assert all(found == expected for found in ways(plain, codes))
    assert not any(s.kernel is OWN_WAY for s in plain.plan)


@dataclass(frozen=True)
class Unasked:
    """The mutant of a rewrite: it takes every kernel's leave for granted."""

    rewrite: Rewrite

    def apply(self, xp: Any, steps: Sequence[Step], types: Any, kept: set[str]) -> list[Step]:
        open_ = [
            replace(step, kernel=replace(step.kernel, allows=own(type(step.op)).allows))
            for step in steps
        ]
        return self.rewrite.apply(xp, open_, types, kept)


def both(op: Op, inputs: Sequence[TensorType], form: CarrierForm) -> dict[str, Any]:
    """Constants of its own beside the operator's, which it ignores."""
    return {**op.prepare(inputs, form.sums), **packed(op, inputs, form)}


@pytest.mark.parametrize(
    ("ops", "kind", "rewrite"),
    [
        ([Cast(out=Format.parse("s9.1"))], Conv2D, ScaledSums()),
        ([Cast(out=Format.parse("s9.1"))], Cast, ScaledSums()),
        ([Relu(), Cast(out=Format.parse("s9.1"))], Conv2D, ScaledSums()),
        ([POOL], Conv2D, PoolsFirst()),
        ([Relu(), POOL], Relu, PoolsFirst()),
        ([SCHEMES[0], POOL], Requantize, PoolsFirst()),
        ([Cast(out=Format.parse("s9.1"), overflow=Overflow.SAT), POOL], Cast, PoolsFirst()),
    ],
    ids=str,
)
def test_a_rewrite_that_does_not_ask_and_a_kernel_that_allows_too_much_are_caught(
    ops, kind, rewrite, rng, seed
):
    """The mutants: each rewrite with no leave; each kernel with leave that it cannot give."""
    graph, codes = network(rng, *ops), {"a": rng.integers(-128, 128, (3, 6, 6, 2))}
    ignoring = Kernel(run=unpacking, prepare=both)
    assert not caught(graph, codes, kernels={kind: ignoring}, rewrites=[rewrite])
    assert caught(graph, codes, kernels={kind: ignoring}, rewrites=[Unasked(rewrite)])
    (node,) = [node for node in graph.nodes if type(node.op) is kind]
    willing = replace(ignoring, allows=own(kind).allows)
    assert caught(graph, codes, kernels={kind: willing}, rewrites=[rewrite])
    alone = Case("alone", node.op, tuple(graph.types()[edge] for edge in node.inputs))
    given = alone.inputs(3, seed)
    assert not caught(alone.graph(), given, kernels={kind: willing}, rewrites=[rewrite])


def negated(op: Op, inputs: Sequence[TensorType], form: CarrierForm) -> dict[str, Any]:
    """Weights and biases times -1: a form of constants that can take a factor."""
    weights, bias, _ = op.aligned(inputs[0])
    kind = form.sums.value
    return {"minus_w": -weights.astype(kind), "minus_b": -bias.astype(kind)}


def dense_of_negated(op: Op, xp: Any, xs: Sequence[Any], k: Any) -> Any:
    sums = xp.matmul(xs[0], k["minus_w"])
    return -(sums if k["minus_b"] is None else sums + k["minus_b"])


def test_a_kernel_that_says_how_takes_a_factor(rng, seed):
    """It opts in with functions for its own constants, and is rewritten as the operator's text."""
    allows = Allows(
        scaled=lambda op, k, factor: {name: value * factor for name, value in k.items()}
    )
    kernel = Kernel(run=dense_of_negated, prepare=negated, allows=allows)
    dense = Dense(
        weights=rng.integers(-99, 99, (6, 5)),
        bias=rng.integers(-999, 999, 5),
        weight_format=Format.parse("s8.4"),
        bias_frac=7,
    )
    case = Case("dense", dense, (tensor(6, "s10.3"),))
    graph, codes = chain(case, Relu(), Cast(out=Format.parse("s12.1"))), case.inputs(50, seed)
    expected = by_oracle(graph, codes)
    for xp in NAMESPACES:
        emulator = Emulator(graph, xp, {Dense: kernel})
        before, after = (steps[0].constants["minus_w"] for steps in (emulator.plan, emulator.quick))
        assert bool(xp.all(before * 2.0**-6 == after))
        assert emulator.quick[-1].constants["factor"] == 1.0
        assert all(found == expected for found in ways(emulator, codes))
        shy = Emulator(graph, xp, {Dense: replace(kernel, allows=Allows())})
        assert shy.quick[0] is shy.plan[0] and shy.quick[-1] is shy.plan[-1]
        assert all(found == expected for found in ways(shy, codes))


def test_a_kernel_that_says_how_gives_its_bias_to_the_pool(rng):
    def unbiased(op: Conv2D, k: Any) -> Any:
        return {**k, "minus_b": None}, lambda xp, sums: sums - k["minus_b"]

    def by_columns(op: Conv2D, xp: Any, xs: Sequence[Any], k: Any) -> Any:
        columns = op.window.gather(xp, xs[0])
        out = dense_of_negated(op, xp, [columns], k)
        return xp.reshape(out, (xs[0].shape[0], 4, 4, 4))

    kernel = Kernel(run=by_columns, prepare=negated, allows=Allows(unbiased=unbiased))
    graph, codes = network(rng, Relu(), POOL), {"a": rng.integers(-128, 128, (3, 6, 6, 2))}
    expected = by_oracle(graph, codes)
    for xp in NAMESPACES:
        emulator = Emulator(graph, xp, {Conv2D: kernel})
        assert kinds(emulator.quick) == [Conv2D, MaxPool]
        assert emulator.quick[0].constants["minus_b"] is None
        assert all(found == expected for found in ways(emulator, codes))


def test_without_looks_a_pool_passes_only_what_rises_to_the_top(rng):
    """As on a GPU, where a look at the codes would hold up the queue."""
    wraps, saturates = (
        Cast(out=Format.parse("s9.1")),
        Cast(out=Format.int(9), overflow=Overflow.SAT),
    )
    codes = {"a": rng.integers(-128, 128, (3, 6, 6, 2))}
    for ops, looking, blind in (
        ([Relu(), POOL], 2, 2),
        ([Relu(), saturates, POOL], 2, 2),
        ([Relu(), wraps, POOL], 2, 4),
        ([Relu(), wraps, Relu(), POOL], 2, 4),
    ):
        graph = network(rng, *ops)
        for looks, count in ((True, looking), (False, blind)):
            emulator = Emulator(graph, rewrites=[PoolsFirst(looks)])
            assert len(emulator.quick) == count
            assert all(found == by_oracle(graph, codes) for found in ways(emulator, codes))


def test_a_backend_without_rewrites_runs_the_plain_steps(rng):
    emulator = Emulator(network(rng, Relu(), Cast(out=Format.parse("s9.1")), POOL), rewrites=())
    assert emulator.quick == emulator.plan


# Carriers ------------------------------------------------------------------------------------

INTEGERS_FIRST = (I8, I32, F32, F64, I64)


@by_case
def test_a_backend_that_prefers_integers_gives_the_oracles_codes(case, seed):
    codes = case.inputs(3, seed)
    for graph in (chain(case), *chains(case)):
        expected = by_oracle(graph, codes)
        for xp in NAMESPACES:
            emulator = Emulator(graph, xp, carriers=INTEGERS_FIRST)
            assert all(found == expected for found in ways(emulator, codes))
            given = {edge: xp.asarray(x) for edge, x in codes.items()}
            kept = emulator.run(given, keep=True)
            for step in emulator.plan:
                kind = getattr(xp, step.form.gives.value)
                assert all(kept[edge].dtype == kind for edge in step.outputs)


def test_new_carriers_are_used_only_where_a_backend_names_them():
    plain, preferred = set(), set()
    for case in CASES:
        graph = case.graph()
        plain |= {step.carrier for step in Emulator(graph).plan}
        preferred |= {step.carrier for step in Emulator(graph, carriers=INTEGERS_FIRST).plan}
    assert plain == set(CARRIERS) == {F32, F64, I64}
    assert preferred == set(Carrier)


@pytest.mark.parametrize("carrier", Carrier, ids=lambda c: c.value)
def test_a_carrier_holds_what_its_array_type_holds(carrier):
    kind = np.dtype(carrier.value)
    top = carrier.limit - 1
    least = -carrier.limit if carrier in (I8, I32) else -top  # the others are symmetric
    assert carrier.is_float == (kind.kind == "f")
    assert carrier.holds(least, top)
    assert not carrier.holds(0, carrier.limit)
    assert not carrier.holds(least - 1, 0)
    assert int(kind.type(top)) == top and int(kind.type(least)) == least
    if kind.kind == "f":
        assert int(kind.type(2 * carrier.limit + 1)) != 2 * carrier.limit + 1
    else:
        assert np.iinfo(kind).min <= least and top <= np.iinfo(kind).max


def whole_products(op: Dense, xp: Any, xs: Sequence[Any], k: Any) -> Any:
    """int8 by int8 to int32, as integer matrix units compute it."""
    assert xs[0].dtype == xp.int8 and k["w"].dtype == xp.int8
    return xp.matmul(xp.astype(xs[0], xp.int32), xp.astype(k["w"], xp.int32)) + k["b"]


def whole_constants(op: Dense, inputs: Sequence[TensorType], form: CarrierForm) -> dict[str, Any]:
    weights, bias, _ = op.aligned(inputs[0])
    return {"w": weights.astype(form.reads.value), "b": bias.astype(form.sums.value)}


INT8_PRODUCTS = Kernel(
    run=whole_products, prepare=whole_constants, forms=lambda op: [CarrierForm(I8, I32, I32)]
)


@pytest.mark.parametrize(
    ("fmt", "bias", "carriers", "taken"),
    [
        ("s8", 0, (*CARRIERS, I8, I32), True),
        ("u7", 0, (*CARRIERS, I8, I32), True),
        ("u8", 0, (*CARRIERS, I8, I32), False),  # 255 is no int8
        ("s9", 0, (*CARRIERS, I8, I32), False),
        ("s8", (1 << 31) - 6 * 127 * 128 - 1, (*CARRIERS, I8, I32), True),
        ("s8", (1 << 31) - 6 * 127 * 128, (*CARRIERS, I8, I32), False),  # sums reach 2**31
        ("s8", 0, (*CARRIERS, I8), False),
        ("s8", 0, CARRIERS, False),
    ],
)
def test_proofs_of_bounds_choose_a_kernels_carriers(fmt, bias, carriers, taken, rng, seed):
    """Codes of int8 into int32 sums where all is held, the operator's own text where not."""
    weights = rng.integers(-128, 128, (6, 3))
    weights[:, 0] = 127
    dense = Dense(weights=weights, bias=np.array([bias, 1, -1]), weight_format=Format.int(8))
    case = Case("dense", dense, (tensor(6, fmt),))
    graph, codes = chain(case, Relu(), Cast(out=Format.int(20))), case.inputs(9, seed)
    for xp in NAMESPACES:
        emulator = Emulator(graph, xp, {Dense: INT8_PRODUCTS}, carriers=carriers)
        step = emulator.plan[0]
        assert (step.kernel is INT8_PRODUCTS) == taken
        assert (step.form == CarrierForm(I8, I32, I32)) == taken
        assert emulator.plan[1].convert[0] or not taken
        assert all(found == by_oracle(graph, codes) for found in ways(emulator, codes))


def test_a_node_that_no_carrier_of_the_backend_computes_is_named():
    by = {case.id: case for case in CASES}
    with pytest.raises(HwsimError) as error:
        Emulator(by["scaledadd-int8"].graph(), carriers=(I32, I64))
    assert str(error.value) == (
        "node 'op' must be computed in float64, but the backend has only int32 or int64"
    )
    with pytest.raises(HwsimError) as error:
        Emulator(by["add-wide"].graph(), carriers=(F32,))
    assert str(error.value).startswith("node 'op': whole numbers up to ")
    assert str(error.value).endswith(" must fit float32, which is exact below 16777216")


def test_the_cpus_rewrites_are_what_an_emulator_has_by_default(rng):
    graph = network(rng, Relu(), Cast(out=Format.parse("s9.1")), POOL)
    default, named = Emulator(graph), Emulator(graph, rewrites=REWRITES, carriers=CARRIERS)
    assert kinds(default.quick) == kinds(named.quick) == [Conv2D, MaxPool]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda op, xp, xs, k: xs[0][:, :1],  # would broadcast in the sum behind it
        lambda op, xp, xs, k: xs[0][:1],
        lambda op, xp, xs, k: (xs[0], xs[0]),
        lambda op, xp, xs, k: None,
    ],
    ids=["a-channel", "a-sample", "two-outputs", "nothing"],
)
def test_a_kernel_that_gives_another_shape_is_named(wrong):
    x = TensorType((4,), Format.int(8))
    graph = Graph(
        (InputPort(name="x", tensor="x", type=x),),
        (Node("cut", Relu(), ("x",), "r"), Node("sum", Add(), ("x", "r"), "y")),
        (OutputPort(name="y", tensor="y"),),
    )
    codes = {"x": np.arange(8).reshape(2, 4)}
    with pytest.raises(HwsimError, match=r"node 'cut': the kernel of relu must give codes of"):
        Emulator(graph, np, {Relu: wrong}).run(codes)
    right = Emulator(graph, np, {Relu: lambda op, xp, xs, k: xs[0]})
    assert right.run(codes)["y"].tolist() == (2 * codes["x"]).tolist()
