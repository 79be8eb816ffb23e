"""Every operator case gives the oracle's integers on every array namespace and in every carrier."""

from __future__ import annotations

import random
from dataclasses import replace

import array_api_strict
import numpy as np
import pytest
from support import oracle, oracle_ops
from support.cases import CASES, Case, tensor

from hwsim.emulator import steps
from hwsim.emulator.run import emulate
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.forms import adders as sums
from hwsim.forms import narrow, thresholds
from hwsim.forms import requantizers as forms
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    OPERATORS,
    AvgPool,
    BatchNorm,
    Carrier,
    Cast,
    Dense,
    Mul,
    Op,
    Quant,
    Requantize,
    Reshape,
    ScaledAdd,
    Scheme,
    Split,
    Stepwise,
    Table,
    TensorType,
    Thresholds,
    Window,
)
from hwsim.ops.accumulate import Exact
from hwsim.ops.base import Work

SAMPLES = 6
by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def expected(case: Case, inputs: dict[str, np.ndarray]) -> list[object]:
    """The oracle's output for every sample."""
    return expected_by_name(case, inputs)["y"]


def expected_by_name(case: Case, inputs: dict[str, np.ndarray]) -> dict[str, list[object]]:
    """The oracle's outputs for every sample."""
    graph = case.graph()
    outs = list(graph.output_types(graph.nodes[0]))
    batch = zip(*(x.tolist() for x in inputs.values()), strict=True)
    rows = [oracle_ops.run_all(case.op, list(case.types), outs, list(xs)) for xs in batch]
    return {port.name: [row[k] for row in rows] for k, port in enumerate(graph.outputs)}


@by_case
def test_numpy_gives_the_oracles_codes_inside_the_proven_range(case, seed):
    inputs, graph = case.inputs(SAMPLES, seed), case.graph()
    want = expected_by_name(case, inputs)
    for name, got in case.by_name(emulate(graph, inputs, codes=True)).items():
        assert got.tolist() == want[name]
        kind = graph.types()[name]
        assert got.shape == (SAMPLES, *kind.shape)
        assert kind.lo <= got.min() and got.max() <= kind.hi


@by_case
def test_the_array_api_gives_numpys_codes(case, seed):
    inputs, graph = case.inputs(SAMPLES, seed), case.graph()
    want = case.by_name(emulate(graph, inputs, codes=True))
    for name, got in case.by_name(emulate(graph, inputs, xp=array_api_strict, codes=True)).items():
        assert np.asarray(got).tolist() == want[name].tolist()


@by_case
def test_every_carrier_that_holds_the_bound_gives_the_same_codes(case, seed):
    inputs, op = list(case.inputs(SAMPLES, seed).values()), case.op
    bound = max(op.bound(case.types), *(t.magnitude for t in op.output_types(case.types)))
    held = [carrier for carrier in op.carriers(case.types) if bound < carrier.limit]
    assert held
    outputs = []
    for carrier in held:
        codes = op.run(
            np, [x.astype(carrier.value) for x in inputs], op.prepare(case.types, carrier)
        )
        made = codes if isinstance(codes, tuple) else (codes,)
        assert all(array.dtype == carrier.value for array in made)
        outputs.append([array.astype(np.int64).tolist() for array in made])
    assert outputs == outputs[:1] * len(held)


@by_case
def test_a_saved_case_comes_back_with_its_hash_and_codes(case, seed, tmp_path):
    graph, path = case.graph(), tmp_path / "case.hwsim"
    graph.save(path)
    back = Graph.load(path)
    assert back.hash() == graph.hash() and back.types() == graph.types()
    inputs = case.inputs(2, seed)
    here, there = (case.by_name(emulate(g, inputs, codes=True)) for g in (graph, back))
    assert all(np.array_equal(there[name], here[name]) for name in here)


@by_case
def test_work_counts_the_codes_that_come_out(case):
    work = case.op.work(case.types)
    assert work.activations == sum(t.size for t in case.op.output_types(case.types))


def test_ids_of_cases_are_unique():
    assert len({case.id for case in CASES}) == len(CASES)


def test_every_operator_has_cases():
    assert {type(case.op) for case in CASES} == set(OPERATORS.values())


@pytest.mark.needs("amaranth")
def test_hardware_has_a_rule_for_every_operator_or_a_reason():
    from rtl.layers.table import HARDWARE, WITHOUT

    assert {*HARDWARE, *WITHOUT} == set(OPERATORS.values())
    assert not set(HARDWARE) & set(WITHOUT)


def test_the_comparison_with_the_oracle_sees_one_tie(seed):
    """A mutant of one rounding mode, and one code of one weight, are both seen."""
    cases = {case.id: case for case in CASES}
    tie = cases["requantize-shift-RND_CONV"]
    mutant = replace(tie, op=replace(tie.op, rounding=Rounding.RND))
    inputs = tie.inputs(20 * SAMPLES, seed)  # a code in 128 tells the two apart
    assert emulate(mutant.graph(), inputs, codes=True).tolist() != expected(tie, inputs)
    plain = cases["dense-plain"]
    weights = plain.op.weights.copy()
    weights[2, 1] ^= 1
    mutant = replace(plain, op=replace(plain.op, weights=weights))
    inputs = plain.inputs(SAMPLES, seed)
    assert emulate(mutant.graph(), inputs, codes=True).tolist() != expected(plain, inputs)


@pytest.mark.parametrize("scheme", Scheme, ids=lambda s: s.value)
def test_random_requantizers_give_the_oracles_codes(scheme, seed):
    rng = random.Random(seed)
    seen_ties = 0
    for _ in range(60):
        power = 2.0 ** -rng.randint(1, 10)
        plain = scheme is Scheme.SHIFT or rng.random() < 0.4
        multiplier = power if plain else power * rng.uniform(1, 2)
        out = Format.parse(rng.choice(["s8", "u8", "s4", "s16"]))
        op = Requantize(
            scheme=scheme,
            multiplier=(multiplier,),
            out=out,
            zero_point=rng.randint(out.min, out.max) | 1 if out.max > 7 else 0,
            rounding=rng.choice(list(Rounding)),
        )
        case = Case("random", op, (tensor(64, rng.choice(["s10", "s16", "s20"]), 0),))
        inputs = case.inputs(4, rng.randrange(1 << 30))
        assert emulate(case.graph(), inputs, codes=True).tolist() == expected(case, inputs), op
        seen_ties += int((inputs["a"] * multiplier % 1 == 0.5).sum())
    assert seen_ties > 20


@pytest.mark.parametrize("order", ["as it stands", "random"])
def test_random_stepwise_sums_give_the_oracles_codes(order, seed):
    rng = random.Random(seed)
    for number in range(40):
        terms, outputs = rng.randint(1, 9), rng.randint(1, 5)
        width = rng.randint(3, 16)
        acc = Stepwise(
            format=Format(rng.random() < 0.8, width - (frac := rng.randint(-2, 8)), frac),
            rounding=rng.choice(list(Rounding)),
            overflow=rng.choice(list(Overflow)),
            order=None if order != "random" else tuple(rng.sample(range(terms), terms)),
        )
        codes = np.array([[rng.randint(-32, 31) for _ in range(outputs)] for _ in range(terms)])
        codes[:, 0] *= rng.choice([0, 1])
        op = Dense(
            weights=codes,
            bias=np.array([rng.randint(-200, 200) for _ in range(outputs)]),
            weight_format=Format.parse("s6.3"),
            bias_frac=rng.randint(0, 8),
            accumulator=acc,
        )
        case = Case(f"random-{number}", op, (tensor(terms, "s7.4"),))
        inputs = case.inputs(8, rng.randrange(1 << 30))
        assert emulate(case.graph(), inputs, codes=True).tolist() == expected(case, inputs), op


def refused(text: str, make) -> None:
    with pytest.raises(HwsimError) as error:
        make()
    assert str(error.value) == text


def layer(**changes: object) -> Dense:
    fields = {
        "weights": np.ones((3, 2), int),
        "bias": np.zeros(2, int),
        "weight_format": Format.int(4),
    }
    return Dense(**(fields | changes))


def test_numbers_that_could_wrap_unseen_are_refused():
    refused(
        "weights must fit 62 bits at their sum's binary point, not reach 1 * 2**70",
        lambda: layer(bias_frac=70, bias=np.ones(2, int)).infer([tensor(3)]),
    )
    refused(
        "biases must fit 62 bits at their sum's binary point, not reach 1 * 2**70",
        lambda: layer(bias=np.ones(2, int)).infer([tensor(3, "s8.70")]),
    )
    refused(
        f"bias must fit 62 bits, not reach {1 << 63}",
        lambda: layer(bias=np.full(2, -(1 << 63))),
    )
    refused(
        f"weights must fit 62 bits, not reach {(1 << 64) - 1}",
        lambda: layer(weights=np.full((3, 2), (1 << 64) - 1, np.uint64)),
    )
    refused(
        "the products of a step-wise accumulator must add up within 62 bits and drop no more, "
        f"not reach {3 << 61} and drop -50",
        lambda: layer(accumulator=Stepwise(format=Format.parse("s60.50"))).infer(
            [tensor(3, Format.int(12))]
        ),
    )
    norm = BatchNorm(
        scale=np.array([1]), bias=np.array([1]), scale_format=Format.int(4), bias_frac=80
    )
    refused(
        "a batch norm's scales must fit 62 bits at their sum's binary point, not reach 1 * 2**80",
        lambda: norm.infer([tensor(1)]),
    )


def test_constants_that_cannot_be_are_refused_when_made():
    refused(
        "weights must be codes of s4 (-8 to 7), not 9 to 9",
        lambda: layer(weights=np.full((3, 2), 9)),
    )
    refused("weights must be an array of integers, not of float64", lambda: layer(weights=[[0.5]]))
    refused(
        "weights must be an array of integers, not rows of unlike length",
        lambda: layer(weights=[[1, 2], [3]]),
    )
    refused("a product's zero points must be two codes, not (1,)", lambda: Mul(zero_points=(1,)))
    refused(
        "a product's zero points must be two codes, not (0.5, 0)",
        lambda: Mul(zero_points=(0.5, 0)),
    )
    refused(
        "a split's axis and sizes must be whole numbers, not 'x' and (1, 2)",
        lambda: Split(axis="x", sizes=(1, 2)),
    )
    refused("bias must have shape (2,), not (3,)", lambda: layer(bias=np.zeros(3, int)))
    refused("a scale must be a finite number above 0, not 0.0", lambda: layer(weight_scale=(0.0,)))
    refused(
        "a layer's zero_point must be a code of s8, not 200",
        lambda: layer(zero_point=200).infer([tensor(3)]),
    )
    refused(
        "a requantize zero_point must be a code of s8, not 128",
        lambda: Requantize(
            scheme=Scheme.SINGLE, multiplier=(0.5,), out=Format.int(8), zero_point=128
        ),
    )
    refused(
        "a multiplier of scheme single must be from 2**-32 to 2**29, not (1e-20,)",
        lambda: Requantize(scheme=Scheme.SINGLE, multiplier=(1e-20,), out=Format.int(8)).infer(
            [tensor(3)]
        ),
    )
    refused(
        "the output of f32_rne_out must have at most 24 bits, not 25",
        lambda: Requantize(scheme=Scheme.F32_RNE_OUT, multiplier=(0.5,), out=Format.int(25)),
    )
    refused(
        "a tensor's range must be codes of s8 in order, not 5 to 200",
        lambda: tensor(3, codes=(5, 200)),
    )
    refused("a tensor's axes must be 1 or more long, not (3, 0)", lambda: tensor((3, 0)))


@pytest.mark.parametrize("scheme", [Scheme.SINGLE, Scheme.GEMMLOWP_DOUBLE])
def test_multipliers_at_the_ends_of_31_bits_are_the_oracles(scheme):
    """Mantissas that round up to 2**31 are halved; exponents run from -31 to 29."""
    below = [float(np.nextafter(2.0**k, 0)) for k in (-31, -4, 0, 1)]
    for value in (
        2.0**-32,
        2.0**-31,
        *below,
        1.0,
        0.5,
        1.5,
        2.0**28,
        float(np.nextafter(2.0**29, 0)),
    ):
        op = Requantize(scheme=scheme, multiplier=(value,), out=Format.int(8))
        m, s = op.fixed_point()
        assert (m.tolist(), s.tolist()) == tuple([v] for v in oracle.quantized_multiplier(value))
        if value < 4:
            case = Case("end", op, (tensor(64, "s20", 0),))
            inputs = case.inputs(4, 1)
            assert emulate(case.graph(), inputs, codes=True).tolist() == expected(case, inputs)
    for value in (2.0**-33, 2.0**29):
        op = Requantize(scheme=scheme, multiplier=(value,), out=Format.int(8))
        with pytest.raises(HwsimError, match=r"must be from 2\*\*-32 to 2\*\*29, not "):
            op.fixed_point()


def test_a_scaled_add_is_rounded_once_for_every_pair():
    case = next(case for case in CASES if case.id == "scaledadd-uint8")
    pairs = case.op.pairs(list(case.types))
    for a in range(0, 256, 5):
        assert pairs[a].tolist() == [oracle_ops.scaled_add(case.op, a, b) for b in range(256)]


@pytest.mark.parametrize("divisor", [0.25, float(np.float32(0.37)), float(np.float32(1.1))])
@pytest.mark.parametrize("shifts", [(0, 0, 0), (3, -5, 2), (128, 128, 128)])
def test_a_scaled_add_with_a_divisor_is_rounded_at_every_step(divisor, shifts):
    ra, rb = (float(np.float32(r)) for r in (0.113, 0.241))
    op = ScaledAdd(ratios=(ra, rb), offset=0.0, out=Format.int(8), shifts=shifts, divisor=divisor)
    kinds = [tensor(1, "s5"), tensor(1, "s6")]
    wanted = [[oracle.scaled_add(op, a, b) for b in range(-32, 32)] for a in range(-16, 16)]
    assert op.pairs(kinds).tolist() == wanted
    out = op.infer(kinds)
    assert (out.lo, out.hi) == (wanted[0][0], wanted[-1][-1])


def test_a_scaled_add_whose_float64_could_round_is_refused():
    op = ScaledAdd(ratios=(1.0, float(np.float32(1e-12))), offset=3.0, out=Format.int(8))
    refused(
        "a scaled add's ratios and offset must be near enough to add up exactly in float64, not "
        f"(1.0, {op.ratios[1]}) and 3.0",
        lambda: op.infer([tensor(1), tensor(1)]),
    )


def test_a_float32_scheme_leaves_its_carrier_as_it_was():
    """Its float32 result must not narrow what a float64 plan computes afterwards."""
    x = TensorType((4,), Format.int(30))
    op = Requantize(scheme=Scheme.F32_RNE_OUT, multiplier=(1e-3,), out=Format.int(20))
    for carrier in (Carrier.FLOAT32, Carrier.FLOAT64):
        codes = np.array([[5, -5, 1 << 20, -(1 << 20)]], carrier.value)
        assert op.run(np, [codes], op.prepare([x], carrier)).dtype == carrier.value


@pytest.mark.parametrize("size", range(1, 13))
@pytest.mark.parametrize("zero", [None, 3])
def test_the_unit_of_an_average_is_its_part_of_the_inputs(size, zero):
    """A power of two moves the point where there is no scale; anything else is a scale."""
    pool = AvgPool(window=Window((size, 1)), zero_point=zero or 0)
    out = pool.infer([tensor((size, 1, 2), "s8.3", zero)])
    unit = 0.05 if zero is not None else 2.0**-3
    assert out.scales() == (unit / size,)
    moved = zero is None and size in (1, 2, 4, 8)
    assert (out.quant is None) == moved and out.zero_point == 0
    assert out.format.frac_bits == 3 + ((size.bit_length() - 1) if moved else 0)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("weight_scale", [None, (0.5,), (0.5, 0.1)])
def test_the_unit_of_a_sum_is_the_inputs_by_the_weights(scaled, weight_scale):
    """Both powers of two make a power of two, at the finer of product's and bias's points."""
    x = tensor((2, 3), "s8.3", 0 if scaled else None)
    bias = np.array([1, 2])
    for bias_frac in (0, 5, 9):
        op = layer(
            weight_format=Format.parse("s4.2"),
            weight_scale=weight_scale,
            bias=bias,
            bias_frac=bias_frac,
        )
        out = op.infer([x])
        assert out.shape == (2, 2) and out.format.frac_bits == max(5, bias_frac)
        if not scaled and weight_scale is None:
            assert out.quant is None
        else:
            unit = (0.05 if scaled else 2.0**-3) * 2.0 ** (5 - out.format.frac_bits)
            wanted = [w * unit for w in weight_scale or (0.25,)]
            assert list(out.scales()) == wanted
            assert out.zero_point == 0


def test_work_is_counted_as_the_loops_go():
    """Multiplications, constants and codes of one inference, worked by hand."""
    cases = {case.id: case for case in CASES}
    for name, work in {
        "dense-plain": (24, 24, 4),
        "dense-rows": (3 * 4 * 5, 20, 15),
        "conv2d-plain": (3 * 4 * 3 * 3 * 2 * 3, 54, 36),
        "conv2d-groups": (3 * 3 * 2 * 2 * 2 * 6, 48, 54),
        "conv2d-depthwise": (4 * 5 * 9 * 3, 27, 60),
        "batchnorm-plain": (32, 8, 32),
        "maxpool-plain": (0, 0, 12),
        "add-plain": (0, 0, 64),
    }.items():
        found = cases[name].op.work(cases[name].types)
        assert (found.macs, found.weights, found.activations) == work, name


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 0, 1, 0), (0, 2, 0, 1), (2, 1, 1, 2)])
def test_a_window_fits_up_to_the_whole_padded_map_and_no_more(padding):
    top, left, bottom, right = padding
    window = Window((3, 3), (1, 1), padding)
    height, width = 3 - top - bottom, 3 - left - right
    for rows, columns in ((0, 0), (1, 0), (0, 2), (-1, 0), (0, -1)):
        shape = (height + rows, width + columns, 1)
        if min(shape) < 1:
            continue
        if min(rows, columns) < 0:
            refused(
                f"a window's kernel must fit into its padded input {shape[:2]}, not (3, 3)",
                lambda shape=shape: window.output(tensor(shape)),
            )
        else:
            assert window.output(tensor(shape)) == (rows + 1, columns + 1)


def test_a_window_s_sizes_are_below_any_array_s():
    most, sizes = 1 << 31, (2, 2)
    for what, kernel, stride in (("kernel", (most, 1), sizes), ("stride", sizes, (1, most))):
        wrong = kernel if what == "kernel" else stride
        refused(
            f"a window's {what} must be below {most}, not {wrong}",
            lambda kernel=kernel, stride=stride: Window(kernel, stride),
        )


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_a_window_stands_at_every_stride_that_it_fits_on(stride):
    window = Window((2, 3), (stride, 1), (1, 0, 0, 2))
    for height in range(1, 9):
        rows = len(range(0, height + 1 - 1, stride))
        assert window.output(tensor((height, 4, 1))) == (rows, 4)


def test_padding_must_be_less_than_the_kernel_on_every_side():
    for side, size in ((0, 2), (1, 3), (2, 2), (3, 3)):
        padding = [0, 0, 0, 0]
        padding[side] = size - 1
        Window((2, 3), (1, 1), tuple(padding))
        for wrong in (size, -1):
            padding[side] = wrong
            refused(
                "a window's padding must be from 0 to less than its kernel (2, 3), not "
                f"{tuple(padding)}",
                lambda padding=padding: Window((2, 3), (1, 1), tuple(padding)),
            )


def test_values_are_frozen_slotted_and_named():
    """Operators share arrays between graphs: nobody may change one, or add to it by a slip."""
    by_array = {"table", "thresholds", "dense", "conv1d", "conv2d", "batchnorm", "divide"}
    by_array |= {"channel_table", "pair_table", "literal", "chosen_thresholds"}
    for kind, op in OPERATORS.items():
        params = op.__dataclass_params__
        assert params.frozen and "__slots__" in vars(op), kind
        assert op.__match_args__ == () and params.eq == (kind not in by_array), kind
        assert not params.repr and not params.order and op.__repr__ is Op.__repr__, kind
    positional = (Format, Quant, TensorType, Window, Exact, Work, thresholds.StepFunction)
    positional += (narrow.Corridor, narrow.Lines, steps.Step)
    named = (Stepwise, forms.Output, forms.Affine, forms.TwoRoundings, forms.FloatProduct)
    named += (sums.WeightedSum, sums.TableSum)
    for value in (*positional, *named):
        params = value.__dataclass_params__
        assert params.frozen and params.repr and "__slots__" in vars(value), value
        assert params.eq == (value not in (thresholds.StepFunction, steps.Step)), value
        if value in named:
            assert value.__match_args__ == (), value


def test_a_reshape_keeps_every_code_and_has_axes_of_1_or_more():
    x = tensor((3, 4, 2))
    for shape in ((24,), (1, 24), (24, 1), (2, 1, 12)):
        assert Reshape(shape=shape).infer([x]).shape == shape
    for shape in ((-4, -6), (0,), (), (23,), (25,), (-24,), (3, 4, 1)):
        refused(
            f"a reshape of (3, 4, 2) must keep 24 codes, not ask for {shape}",
            lambda shape=shape: Reshape(shape=shape).infer([x]),
        )


def test_a_table_over_a_range_must_cover_the_codes_that_can_occur():
    table = Table(values=np.arange(10), out=Format.uint(8), first=-4)
    out = table.infer([tensor(3, "s16", codes=(-4, 5))])
    assert (out.lo, out.hi) == (0, 9)
    for lo, hi in ((-5, 5), (-4, 6)):
        refused(
            f"a table must have entries for all codes from {lo} to {hi}, not from -4 to 5",
            lambda lo=lo, hi=hi: table.infer([tensor(3, "s16", codes=(lo, hi))]),
        )
    refused(
        "a table from a first code on must have at most 65536 entries, not 65537",
        lambda: Table(values=np.zeros(65_537, int), out=Format.uint(8), first=0),
    )


def test_a_cast_by_channel_is_refused_where_a_channel_does_not_fit():
    s6 = Format.parse("s6.4")
    for fmt in ("s7.4", "s6.5", "u6.4", "s6.3"):
        refused(
            f"a cast's format s6.4 must hold those of all its channels, not {fmt}",
            lambda fmt=fmt: Cast(out=s6, channels=(s6, Format.parse(fmt))),
        )
    refused(
        "a cast must have a format for each of 3 channels, not 2",
        lambda: Cast(out=s6, channels=(s6, None)).infer([tensor((2, 3))]),
    )


def test_the_format_of_a_cast_by_channel_is_the_narrowest_that_holds_all():
    modes = {"rounding": Rounding.TRN, "overflow": Overflow.SAT}
    for names, wanted in (
        (("s4.2", "s6"), "s8.2"),
        (("u4.2", "s3.1"), "s5.2"),
        (("u4", "u9.7"), "u11.7"),
        (("s2.-3", "s2.5"), "s10.5"),
    ):
        op = Cast.by_channel([*map(Format.parse, names), None], **modes)
        assert str(op.out) == wanted
        kind = op.infer([tensor((4, 3), "s20.9")])
        ends = [end << op.out.frac_bits - f.frac_bits for f in op.formats for end in (f.min, f.max)]
        assert (kind.lo, kind.hi) == (min(*ends, 0), max(*ends, 0))


@pytest.mark.parametrize("scheme", [Scheme.SINGLE, Scheme.F32_RNE_OUT])
def test_a_layer_of_int16_by_int8_with_a_64_bit_bias_is_requantized_exactly(scheme, seed):
    """Sums of 60 bits, from the layer to the codes, as the oracle has them."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-128, 128, (6, 4))
    bias = np.array([1 << 59, -(1 << 59) + 12_345, 0, 1 << 40])
    dense = Dense(weights=weights, bias=bias, weight_format=Format.int(8))
    out = Format.int(16)
    powers = (32, 31.5, 21, 30) if scheme is Scheme.SINGLE else (45, 44.5, 9, 26)
    multiplier = tuple(2.0**-k for k in powers)
    to16 = Requantize(scheme=scheme, multiplier=multiplier, out=out, zero_point=-3)
    x = TensorType((6,), Format.int(16), Quant((0.01,), 0))
    graph = Graph(
        (InputPort(name="x", tensor="x", type=x),),
        (Node("dense", dense, ("x",), "sums"), Node("to16", to16, ("sums",), "y")),
        (OutputPort(name="y", tensor="y"),),
    )
    assert graph.types()["sums"].format.width > 60
    codes = rng.integers(-(1 << 15), 1 << 15, (50, 6))
    sums = codes.astype(object) @ weights.astype(object) + bias.astype(object)
    wanted = [
        [oracle.requantize(to16, s, m) for s, m in zip(row, multiplier, strict=True)]
        for row in sums
    ]
    assert np.array_equal(emulate(graph, codes, codes=True), wanted)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"values": [[3, 2]]}, "in order, the lowest first"),
        ({"values": [1, 2]}, r"one row, or one a channel, not of shape \(2,\)"),
        ({"values": np.zeros((0, 3), int)}, r"not of shape \(0, 3\)"),
        ({"values": np.zeros((4, 1 << 17), int)}, "at most 262144 in all, not 524288"),
        ({"values": [[1], [2]], "base": [0, 0, 0]}, "one row or one a channel, and so base"),
        ({"base": [[0]]}, "one row or one a channel, and so base"),
    ],
)
def test_thresholds_that_are_none_are_refused(fields, said):
    given = {"values": [[1, 2]], "base": [0], "step": [1]} | fields
    with pytest.raises(HwsimError, match=said):
        Thresholds(**{k: np.asarray(v) for k, v in given.items()}, out=Format.int(8))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"base": [126]}, "must be codes of s8, not 126 to 128"),
        ({"step": [-70]}, "must be codes of s8, not -140 to 0"),
    ],
)
def test_thresholds_that_can_reach_no_code_of_their_format_are_refused(fields, said):
    given = {"base": [0], "step": [1]} | fields
    op = Thresholds(
        values=np.array([[1, 2, 999]]),
        out=Format.int(8),
        **{k: np.asarray(v) for k, v in given.items()},
    )
    with pytest.raises(HwsimError, match=said):
        op.infer([tensor(4)])


def test_thresholds_of_other_channels_are_refused():
    op = Thresholds(
        values=np.array([[1], [2]]), base=np.array([0]), step=np.array([1]), out=Format.int(2)
    )
    with pytest.raises(HwsimError, match="input must have 2 channels, not 3"):
        op.infer([tensor((4, 3))])


def test_the_sums_of_a_share_are_large_enough_for_its_product_to_be_rounded():
    from hwsim.ops import Division, Share

    op = Share(division=Division.NEWTON, out=Format.uint(16), bits=16)
    for least in (31, 32):
        types = tensor((4, 2), "u31", codes=(0, 99)), tensor((4, 1), "u31", codes=(least, 999))
        if least == 32:
            assert op.infer(types).shape == (4, 2)
            continue
        with pytest.raises(HwsimError, match="must be at least 32, not 31"):
            op.infer(types)
