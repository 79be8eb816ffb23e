"""Bounds that decide a carrier: sound on inputs that reach them, and attained where they can be.

A bound that is too small is a wrong code in silence: a float32 that should have been a float64. So
each operator is fed with the inputs that push it furthest, its arithmetic is watched in integers of
any size, and one network for each operator stands just below a carrier's limit and just on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from support import oracle_ops
from support.cases import CASES, Case, inexact, tensor

from hwsim.emulator.run import Emulator, emulate
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.ops import (
    Add,
    ArgMax,
    AvgPool,
    BatchNorm,
    Carrier,
    Cast,
    Concat,
    Conv2D,
    Dense,
    Divide,
    Division,
    Flatten,
    Float32,
    MaxPool,
    Mul,
    Relu,
    Requantize,
    Reshape,
    ScaledAdd,
    Scheme,
    Stepwise,
    Sub,
    Table,
    TensorType,
    Transpose,
    Window,
)
from hwsim.ops.accumulate import Steps

FLOATS = (Scheme.F32_RNE_OUT, Scheme.F32_RNE_IN)
LIMITS = {1 << 24: ("float32", "float64"), 1 << 53: ("float64", "int64")}
INT64 = (1 << 63) - 1


class Watched(int):
    """A whole number of any size that remembers the largest that was ever made."""

    largest = 0

    @classmethod
    def made(cls, value: int) -> Watched:
        cls.largest = max(cls.largest, abs(value))
        return cls(value)


def watch(name: str) -> Callable[..., Any]:
    plain = getattr(int, name)

    def operation(self: Watched, *others: Any) -> Any:
        found = plain(self, *(int(other) for other in others))
        return Watched.made(found)

    return operation


for _name in ("add", "sub", "mul", "floordiv", "lshift", "rshift", "and"):
    setattr(Watched, f"__{_name}__", watch(f"__{_name}__"))
    setattr(Watched, f"__r{_name}__", watch(f"__r{_name}__"))
for _name in ("neg", "abs"):
    setattr(Watched, f"__{_name}__", watch(f"__{_name}__"))


def watched(value: Any) -> Any:
    """Arrays of int64 as arrays of watched numbers; indices and anything else as they are."""
    if isinstance(value, np.ndarray) and value.dtype == np.int64:
        cells = [Watched.made(v) for v in value.reshape(-1).tolist()]
        found = np.empty(len(cells), object)
        found[:] = cells
        return found.reshape(value.shape)
    if isinstance(value, dict):
        return {k: item if k in ("back", "order") else watched(item) for k, item in value.items()}
    return value


def furthest(case: Case) -> list[np.ndarray]:
    """Codes with which each output is as small and as large as it can be, for an affine operator.

    All lowest, all highest, and for each output the ends that push it up, and those that push it
    down, by the sign of its change where one code rises by 1.
    """
    low = [np.full((1, *t.shape), t.lo) for t in case.types]
    high = [np.full((1, *t.shape), t.hi) for t in case.types]
    sizes = [t.size for t in case.types]
    steps = np.eye(sum(sizes), dtype=np.int64)[: 4 * 64]
    parts = np.split(steps, np.cumsum(sizes)[:-1], axis=1)
    near = [
        np.minimum(a + p.reshape(-1, *t.shape), t.hi)
        for a, p, t in zip(low, parts, case.types, strict=True)
    ]
    base, moved = (run(case, x).reshape(len(x[0]), -1) for x in (low, near))
    change = np.unique(np.sign(moved - base).T, axis=0)[:128]  # an output each
    found = []
    for a, z, part, t in zip(
        low, high, np.split(_wide(change, sizes), np.cumsum(sizes)[:-1], 1), case.types, strict=True
    ):
        up = part.reshape(-1, *t.shape) > 0
        found.append(np.concatenate([a, z, np.where(up, z, a), np.where(up, a, z)]))
    if len(found) == 2:  # a product has its ends where factors are at unlike ends
        mixed = zip(found, ((low[0], high[0]), (high[1], low[1])), strict=True)
        return [np.concatenate([x, *ends]) for x, ends in mixed]
    return found


def _wide(change: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Signs for all codes, where only the first were tried."""
    missing = sum(sizes) - change.shape[1]
    return np.pad(change, ((0, 0), (0, missing)))


def run(case: Case, xs: Sequence[np.ndarray]) -> np.ndarray:
    names = [p.name for p in case.graph().inputs]
    got = emulate(case.graph(), dict(zip(names, xs, strict=True)), codes=True)
    return together(tuple(got.values())) if isinstance(got, dict) else got


def together(outputs: Any) -> Any:
    """The codes of all outputs, sample by sample; of one as they are."""
    if not isinstance(outputs, tuple):
        return outputs
    return np.concatenate([codes.reshape(len(codes), -1) for codes in outputs], axis=1)


TABLES = ("table", "channel_table", "chosen_thresholds", "pair_table")
"""Kinds that only pick entries, by integers."""


def every_meeting(case: Case) -> list[np.ndarray]:
    """Samples full of one code for each tensor, so that all codes meet each other.

    Of a number that is only compared with thresholds the ends are enough.
    """
    met = [np.arange(t.lo, t.hi + 1) if t.hi - t.lo < 1 << 10 else np.array([t.lo, t.hi])
           for t in case.types]  # fmt: skip
    grid = np.meshgrid(*met, indexing="ij")
    return [
        np.broadcast_to(codes.reshape(-1, *(1,) * len(t.shape)), (codes.size, *t.shape))
        for codes, t in zip(grid, case.types, strict=True)
    ]


def in_integers(case: Case) -> bool:
    """Whether the operator's text runs on whole numbers alone, none of which is an index."""
    whole = Carrier.INT64 in case.op.carriers(case.types) and case.op.kind not in TABLES
    return whole and not on_patterns(case)


def on_patterns(case: Case) -> bool:
    """Whether codes are the bit patterns of float32 numbers."""
    floats = getattr(case.op, "floats", False)
    if getattr(case.op, "division", None) is Division.FLOAT32:
        floats = True
    return bool(floats) or accumulates(case, Float32)


def accumulates(case: Case, kind: type[Any]) -> bool:
    return isinstance(getattr(case.op, "accumulator", None), kind)


def largest_met(case: Case, xs: Sequence[np.ndarray]) -> tuple[int, list[Any]]:
    """The largest magnitude in the operator's own arithmetic, watched, and its codes."""
    constants = watched(dict(case.op.prepare(case.types, Carrier.INT64)))
    inputs = [watched(x) for x in xs]
    Watched.largest = 0
    codes = together(case.op.run(np, inputs, constants))
    top = max([Watched.largest, *(abs(int(v)) for x in (*xs, codes) for v in x.reshape(-1))])
    return top, codes.astype(np.int64).tolist()


@pytest.mark.parametrize(
    "case", [case for case in CASES if in_integers(case)], ids=lambda case: case.id
)
def test_no_number_met_is_larger_than_the_bound(case):
    xs = furthest(case)
    codes = run(case, xs).reshape(len(xs[0]), -1)
    by_size = np.argsort(-np.abs(codes).max(axis=1))
    some = [0, 1, *by_size[:3].tolist()]
    top, found = largest_met(case, [x[some] for x in xs])
    assert found == run(case, [x[some] for x in xs]).tolist()
    assert top <= case.op.bound(case.types)


# Ranges that are proved but wider than what occurs: more than one turn of a wrap, codes that only
# padding could bring, steps that are taken one by one, shares of sums that no terms have.
LOOSE = ("conv2d-padding-past-range", "divide-by-position")


def tight(case: Case) -> bool:
    op = case.op
    wraps = getattr(op, "overflow", None) in (Overflow.WRAP, Overflow.SAT_ZERO)
    return not (wraps or inexact(case) or case.id in LOOSE or op.kind in ("argmax", "share"))


@pytest.mark.parametrize("case", [case for case in CASES if tight(case)], ids=lambda case: case.id)
def test_both_ends_of_the_proven_range_occur(case):
    xs = every_meeting(case) if case.op.kind in TABLES else furthest(case)
    codes, kind = run(case, xs), case.graph().types()["y"]
    assert (codes.min(), codes.max()) == (kind.lo, kind.hi)


@dataclass(frozen=True)
class Reach:
    """A family: `at(total)` is an operator whose bound is `total`, and the codes that reach it.

    `step` is what totals must be multiples of; `carriers` are those that the operator takes.
    """

    id: str
    at: Callable[[int], tuple[Case, list[Any]]]
    step: int = 1
    carriers: Sequence[str] = ("float32", "float64", "int64")


def wide(lo: int, hi: int, shape: int | tuple[int, ...] = 1, frac: int = 0) -> TensorType:
    """Codes from `lo` to `hi` in their narrowest format."""
    return tensor(shape, Format.holding(lo, hi, frac), codes=(lo, hi))


def lowest_code(total: int) -> int:
    """An input with which weights of at most 32 bits reach the total."""
    return -128 if total < 1 << 38 else -(1 << 32)


def dense(total: int) -> tuple[Case, list[Any]]:
    """A negative weight, which the lowest code makes positive, and a bias."""
    low = lowest_code(total)
    op = Dense(
        weights=np.array([[-(total // -low)]]),
        bias=np.array([total % -low]),
        weight_format=Format.int(32),
    )
    return single(op, wide(low, 1)), [np.array([[low]])]


def single(op: Any, *types: TensorType) -> Case:
    return Case(op.kind, op, types)


def conv(groups: int, channels: int) -> Callable[[int], tuple[Case, list[Any]]]:
    """Every channel alone reaches it: a window of two rows, of which one weighs nothing."""

    def at(total: int) -> tuple[Case, list[Any]]:
        low = lowest_code(total)
        weights = np.zeros((2, 1, channels // groups, channels), np.int64)
        weights[1, :, 0, :] = -(total // -low)
        op = Conv2D(
            weights=weights,
            bias=np.full(channels, total % -low),
            weight_format=Format.int(32),
            window=Window((2, 1)),
            groups=groups,
        )
        shape = (2, 1, channels)
        return single(op, wide(low, 1, shape)), [np.full((1, *shape), low)]

    return at


def largest(total: int) -> tuple[Case, list[Any]]:
    """Unsigned codes, so that the code of padding is 0."""
    op = MaxPool(window=Window((1, 1)))
    return single(op, wide(0, total, (1, 1, 1))), [np.full((1, 1, 1, 1), total)]


def average(total: int) -> tuple[Case, list[Any]]:
    op = AvgPool(window=Window((2, 1), (2, 1)), zero_point=3)
    low = -(total // 2 - 3)
    kind = replace(tensor((2, 1, 1), Format.holding(low, 3), 3), range=(low, 3))
    return single(op, kind), [np.full((1, 2, 1, 1), low)]


def add(total: int) -> tuple[Case, list[Any]]:
    """The second is shifted left by two to the first's binary point."""
    second = total // 8
    first = total - 4 * second
    case = single(Add(), wide(-first, first, frac=2), wide(-second, 0, frac=0))
    return case, [np.array([[-first]]), np.array([[-second]])]


def subtracted(total: int) -> tuple[Case, list[Any]]:
    case, (first, second) = add(total)
    return Case("sub", Sub(), (case.types[0], wide(0, int(-second[0, 0])))), [first, -second]


def norm(total: int) -> tuple[Case, list[Any]]:
    factor, bias = divmod(total, 1 << 33)
    low = -(1 << 33) if factor else 0
    op = BatchNorm(
        scale=np.array([-max(factor, 1)]),
        bias=np.array([bias]),
        scale_format=Format.int(32),
    )
    return single(op, wide(low, 0)), [np.array([[low]])]


def still(op: Any, shape: tuple[int, ...], inputs: int = 1) -> Callable[[int], Any]:
    """Operators in which nothing grows: the codes themselves reach the limit."""

    def at(total: int) -> tuple[Case, list[Any]]:
        types = [wide(-total, 5, shape), *[wide(-total, 5, shape)] * (inputs - 1)]
        return single(op, *types), [np.full((1, *shape), -total)] * inputs

    return at


ONE = np.ones((1, 1), np.int64)
REACHES = [
    Reach("dense", dense),
    Reach("conv", conv(1, 1)),
    Reach("depthwise", conv(2, 2)),
    Reach("groups", conv(2, 4)),
    Reach("average", average, step=2),
    Reach("add", add),
    Reach("sub", subtracted),
    Reach("mul", lambda n: (single(Mul(), wide(-n, 0), wide(-1, 1)), [ONE * -n, ONE])),
    Reach("batchnorm", norm),
    Reach("relu", lambda total: (single(Relu(), wide(-5, total)), [np.array([[total]])])),
    Reach("maxpool", largest),
    Reach("flatten", still(Flatten(), (2, 1))),
    Reach("reshape", still(Reshape(shape=(2,)), (2, 1))),
    Reach("transpose", still(Transpose(axes=(1, 0)), (2, 1))),
    Reach("concat", still(Concat(), (2,), 2)),
    Reach("argmax", still(ArgMax(), (3,)), carriers=("int64",)),
]
by_reach = pytest.mark.parametrize("reach", REACHES, ids=lambda reach: reach.id)


def by_oracle(case: Case, xs: Sequence[np.ndarray]) -> list[Any]:
    """The oracle's codes of every sample."""
    out = case.graph().types()["y"]
    batch = zip(*(x.tolist() for x in xs), strict=True)
    return [oracle_ops.run(case.op, list(case.types), out, list(sample)) for sample in batch]


def planned_carrier(case: Case) -> str:
    return Emulator(case.graph()).plan[0].carrier.value


@by_reach
@pytest.mark.parametrize("total", [130, 1 << 20, (1 << 33) + 6])
def test_the_bound_is_the_largest_number_that_is_met(reach, total):
    case, xs = reach.at(total)
    top, found = largest_met(case, xs)
    assert case.op.bound(case.types) == top == total
    assert found == by_oracle(case, xs)


@by_reach
@pytest.mark.parametrize("limit", LIMITS)
def test_just_below_a_carriers_limit_it_is_taken_and_on_it_the_next(reach, limit):
    for total, carrier in zip((limit - reach.step, limit), LIMITS[limit], strict=True):
        case, xs = reach.at(total)
        wanted = carrier if carrier in reach.carriers else "int64"
        assert planned_carrier(case) == wanted
        assert run(case, xs).tolist() == by_oracle(case, xs)


@by_reach
def test_the_last_number_of_int64_is_refused_and_the_one_below_is_exact(reach):
    case, xs = reach.at(INT64 - 1)
    assert planned_carrier(case) == "int64"
    assert run(case, xs).tolist() == by_oracle(case, xs)
    beyond = reach.at(INT64 + reach.step - 1)[0]
    with pytest.raises(HwsimError, match="must fit int64, which is exact below"):
        Emulator(beyond.graph())


def test_a_float_carrier_one_too_small_would_be_seen():
    """The mutant: a bound less by one takes float32 for 2**24, and codes next to it collapse."""
    for reach in (r for r in REACHES if len(r.carriers) == 3 and r.step == 1):
        case, xs = reach.at((1 << 24) + 1)
        constants = case.op.prepare(case.types, Carrier.FLOAT32)
        codes = case.op.run(np, [x.astype(np.float32) for x in xs], constants)
        assert codes.tolist() != by_oracle(case, xs), reach.id


# Bounds with headroom that no input reaches, worked by hand from what each scheme does.
SUMS = tensor(1, "s14", 0)
HEADROOM = [
    # |x| to 2**5, half a step of 4 (kept whole: 8), then one turn of 2**4
    (Cast(out=Format.parse("s4.1"), rounding=Rounding.RND), tensor(1, "s6.4"), 32 + 8 + 16),
    # shifted left by two, no half step but the 1 that a shift of 0 has
    (Cast(out=Format.parse("s12.3")), tensor(1, "s6.1"), (32 << 2) + 1 + 4096),
    (Cast(out=Format.parse("u9.4")), tensor(1, "s6.4", codes=(0, 0)), 1 + 1 + 512),
    # a shift past 62 leaves the sign only
    (Cast(out=Format(True, 8, 0)), tensor(1, "s8.90"), 128 + (1 << 62) + 256),
    (
        Requantize(scheme=Scheme.SHIFT, multiplier=(2.0**-5, 4.0), out=Format.int(8), zero_point=9),
        tensor(2, "s14", 0),
        max(8192 + 32, (8192 << 2) + 1) + 9 + 256,
    ),
    (
        Requantize(
            scheme=Scheme.SHIFT, multiplier=(0.25,), out=Format.uint(8), input_zero_point=-7
        ),
        SUMS,
        8192 + 7 + 4 + 256,
    ),
    *(
        (
            Requantize(scheme=s, multiplier=(0.3,), out=Format.int(8), input_zero_point=100),
            SUMS,
            8192 + 100,
        )
        for s in FLOATS
    ),
    (
        Requantize(scheme=Scheme.GEMMLOWP_DOUBLE, multiplier=(2.7, 0.3), out=Format.int(8)),
        tensor(2, "s14", 0),
        (8192 << 2 << 31) + (1 << 30),
    ),
    # m is 2**30, its half step 2**30; the second has m 1288490189 (0.6 * 2**31) and 2**29
    (
        Requantize(scheme=Scheme.SINGLE, multiplier=(0.5, 1.2), out=Format.int(8)),
        tensor(2, "s14", 0),
        max((8192 << 30) + (1 << 30), 8192 * 1288490189 + (1 << 29)),
    ),
    (Relu(zero_point=-9), tensor(1, "s8", -9, codes=(-3, 4)), 9),
    (MaxPool(window=Window((1, 1))), tensor((1, 1, 1), "s8", codes=(-3, 4)), 128),
    (Table(values=np.arange(16) - 300, out=Format.int(10)), tensor(1, "s4"), 300),
    (Table(values=np.arange(16), out=Format.int(10)), tensor(1, "s4"), 16),
    (Divide(divisors=np.array([300])), tensor(1, "s8"), 300),
    (Divide(divisors=np.array([3])), tensor(1, "s8"), 128),
    (ArgMax(), tensor(300, "s8"), 300),
    (Concat(), (tensor(1, "s8", codes=(-3, 4)), tensor(1, "s8", codes=(0, 9))), 9),
]


@pytest.mark.parametrize(("op", "types", "bound"), HEADROOM)
def test_bounds_with_headroom_are_what_their_comments_say(op, types, bound):
    assert op.bound(types if isinstance(types, tuple) else (types,)) == bound


ACC = Format.parse("s20")
SMALL = Format.parse("s4")
STEPS = [
    # exact: (2 + 3) * 4 + 5
    ("exact", Stepwise(format=ACC), [[2], [-3]], [5], 0, 25),
    # the same past its format, which one wrap at the end repeats: a turn of 2**4 more
    ("wraps", Stepwise(format=SMALL), [[2], [-3]], [5], 0, 25 + 16),
    # a product of 5 * 4 and the 2**2 of its rounding; rounded sums reach 3 + 5 + 1
    ("rounded", Stepwise(format=ACC, rounding=Rounding.RND), [[3], [5]], [1], 2, 24),
    # rounded sums of 40 terms: -5 each at most, 40 * 5 + 1
    ("many", Stepwise(format=ACC, rounding=Rounding.RND), [[5]] * 40, [1], 2, 201),
    # step by step: the largest code and a product before it is rounded, then a turn
    (
        "stepped",
        Stepwise(format=SMALL, rounding=Rounding.RND, overflow=Overflow.SAT),
        [[3], [5]],
        [3],
        2,
        7 + 24 + 16,
    ),
    # negative: weights shifted left by one, (4 + 6) * 4 + 5
    ("finer", Stepwise(format=ACC), [[2], [-3]], [5], -1, 45),
]


@pytest.mark.parametrize(("name", "acc", "weights", "bias", "drop", "bound"), STEPS)
def test_the_bound_of_a_stepwise_sum_is_what_its_comment_says(
    name, acc, weights, bias, drop, bound
):
    steps = Steps(acc, np.array(weights), np.array(bias), drop, -4, 3)
    assert steps.bound(4) == bound


@pytest.mark.parametrize(("bias", "fits"), [(1, True), (2, False), (-2, True), (-3, False)])
@pytest.mark.parametrize("weight", [1, -1])
def test_a_stepwise_accumulator_may_be_full_and_no_more(bias, fits, weight):
    """Two products of -3 to 3: sums to the last code of s4, -8 or 7, or to one beyond."""
    acc = Stepwise(format=SMALL, overflow=Overflow.SAT)
    steps = Steps(acc, np.array([[weight], [weight]]), np.array([bias]), 0, -3, 3)
    assert steps.fits.tolist() == [fits] == steps.any_order.tolist()
    assert steps.range == ((bias - 6, bias + 6) if fits else (-8, 7))


@pytest.mark.parametrize(("least", "mode"), [(-8, Overflow.SAT), (-7, Overflow.SAT_SYM)])
def test_a_product_may_be_the_last_code_and_no_more(least, mode):
    acc = Stepwise(format=SMALL, overflow=mode)
    for product, fits in ((least, True), (least - 1, False), (7, True), (8, False)):
        steps = Steps(acc, np.array([[product]]), np.array([0]), 0, 0, 1)
        assert steps.products_fit == fits and steps.fits.tolist() == [fits]


def test_each_channel_is_exact_rounded_or_stepped_by_itself():
    """Weights that 4 divides, that it does not, and that overflow; wraps repeat what one does."""
    weights = np.array([[4, 3, 40], [-8, 5, 36]])
    for mode, exact, any_order in (
        (Overflow.SAT, [True, False, False], [True, True, False]),
        (Overflow.WRAP, [True, False, True], [True, True, True]),
    ):
        acc = Stepwise(format=Format.parse("s5"), overflow=mode)
        steps = Steps(acc, weights, np.array([1, 1, 1]), 2, -1, 1)
        assert steps.divisible.tolist() == [True, False, True]
        assert steps.exact.tolist() == exact and steps.any_order.tolist() == any_order


# Of a scaled add of 127 * 2**46 + 128 * 2**17 * (2**22 - 1) + (2**24 - 1) = 2**53 - 1, odd.
RATIOS, OFFSET = (2.0**46, 2.0**17 * (2**22 - 1)), 2.0**24 - 1


@pytest.mark.parametrize(
    ("least", "shifts", "offset", "taken"),
    [
        (-127, (0, 0, 0), OFFSET, True),
        (-127, (0, 0, 0), -OFFSET, True),
        (-128, (0, 0, 0), OFFSET, False),
        (-126, (1, 0, 0), OFFSET, True),
        (-126, (-1, 0, 0), OFFSET, True),
        (-126, (2, 0, 0), OFFSET, False),
        (-127, (0, 1, 0), OFFSET, False),
        (-127, (0, -1, 0), OFFSET, False),
        (-127, (0, 0, 99), OFFSET, True),
    ],
)
def test_a_scaled_add_is_taken_up_to_the_last_sum_that_float64_holds(least, shifts, offset, taken):
    op = ScaledAdd(ratios=RATIOS, offset=offset, out=Format.int(8), shifts=shifts)
    types = [tensor(1, "s8", codes=(least, 0)), tensor(1, "s8")]
    if taken:
        assert op.infer(types).format == Format.int(8)
    else:
        with pytest.raises(HwsimError, match="near enough to add up exactly in float64"):
            op.infer(types)
