"""Running maxima, sums and indices equal Python's, at full rate and under any pattern of stalls."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest
from support import rtl_bench

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from rtl.parts import reduce
from rtl.parts.reduce import Combine, FirstLargest, Running
from rtl.parts.stream import Beat

PIXELS = 6  # in tensors of two


class Case(NamedTuple):
    """A reduction: its input format and how its codes come."""

    combine: Combine
    positions: int
    channel_beats: int
    lanes: int = 1
    fmt: Format = Format.int(5)
    initial: int = 0

    @property
    def out(self) -> Format:
        if self.combine is Combine.MAX:
            return self.fmt
        ends = [self.initial + self.positions * code for code in (self.fmt.min, self.fmt.max)]
        return Format.holding(*ends)


CASES = [
    Case(Combine.MAX, 4, 1),
    Case(Combine.MAX, 9, 2, lanes=3),
    Case(Combine.MAX, 1, 3, fmt=Format.uint(3)),
    Case(Combine.MAX, 3, 20, fmt=Format.uint(4)),
    Case(Combine.SUM, 4, 1, lanes=2),
    Case(Combine.SUM, 9, 3, initial=-37),
    Case(Combine.SUM, 1, 1, fmt=Format.uint(3), initial=-4),
    Case(Combine.SUM, 1, 2, initial=9),
    Case(Combine.SUM, 49, 2, lanes=2, fmt=Format.uint(4), initial=-49 * 7),
    Case(Combine.SUM, 4, 3, fmt=Format.uint(2), initial=5),
]


def reduced(case: Case, pixel: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Each channel of one pixel's beats, (positions, channel beats), combined by Python."""
    rows = []
    for beat in range(case.channel_beats):
        lanes = zip(*pixel[beat :: case.channel_beats], strict=True)
        if case.combine is Combine.MAX:
            rows.append(tuple(max(codes) for codes in lanes))
        else:
            rows.append(tuple(case.initial + sum(codes) for codes in lanes))
    return rows


def drive(dut: Any, case: Case, rng: random.Random, **options: Any) -> tuple[Any, list[int]]:
    """Random pixels through a reduction: the run, and the words that should come out."""
    beats, want = [], []
    for n in range(PIXELS):
        pixel = [
            tuple(rng.randint(case.fmt.min, case.fmt.max) for _ in range(case.lanes))
            for _ in range(case.positions * case.channel_beats)
        ]
        final = n % 2 == 1
        beats += [(codes, int(final and k == len(pixel) - 1)) for k, codes in enumerate(pixel)]
        out = reduced(case, pixel)
        want += [(codes, int(final and k == len(out) - 1)) for k, codes in enumerate(out)]
    words = rtl_bench.words(beats, dut.beat)
    run = rtl_bench.run(dut, {dut.i: words}, {dut.o: len(want)}, rng=rng, **options)
    return run, rtl_bench.words(want, dut.out)


def build(case: Case) -> Running:
    return Running(
        Beat.of(case.lanes, case.fmt),
        Beat.of(case.lanes, case.out),
        positions=case.positions,
        channel_beats=case.channel_beats,
        combine=case.combine,
        initial=case.initial,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_reduction_takes_a_beat_a_cycle_and_gives_each_result_one_cycle_later(case, seed):
    dut = build(case)
    run, want = drive(dut, case, random.Random(seed))
    assert run.words[dut.o] == want
    taken, given = run.cycles[dut.i], run.cycles[dut.o]
    assert taken[-1] - taken[0] == len(taken) - 1
    per = case.positions * case.channel_beats
    finals = [c for k, c in enumerate(taken) if k % per >= per - case.channel_beats]
    assert given == [c + 1 for c in finals]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_reduction_survives_idle_backpressure_and_reset(case, seed):
    rng = random.Random(seed)
    for idle, stall in ((0.5, 0.0), (0.0, 0.5), (0.4, 0.4)):
        dut = build(case)
        reset = rng.choice([None, rng.randint(3, 40)])
        run, want = drive(dut, case, rng, idle=idle, stall=stall, reset_at=reset)
        assert run.words[dut.o] == want, (idle, stall, reset)


def test_a_pixel_that_starts_from_the_one_before_is_caught(seed, monkeypatch):
    monkeypatch.setattr(reduce, "_first", lambda count: [0] * count)
    for case in (CASES[0], CASES[1], CASES[4], CASES[5]):
        dut = build(case)
        run, want = drive(dut, case, random.Random(seed))
        assert run.words[dut.o] != want
    dut = FirstLargest(Beat(1, 4), 7, Format.int(8))
    run, want = argmax_trial(dut, Format.int(4), random.Random(seed))
    assert run.words[dut.o] != want


def argmax_trial(dut: FirstLargest, fmt: Format, rng: random.Random, **options: Any) -> Any:
    """Pixels with many equal codes; the run, and the words that should come out."""
    pixels = []
    for _ in range(8):
        few = [rng.randint(fmt.min, fmt.max) for _ in range(3)]
        pixels.append([rng.choice(few) for _ in range(dut.channels)])
    beats = [
        ((code,), int(n % 2 == 1 and k == dut.channels - 1))
        for n, pixel in enumerate(pixels)
        for k, code in enumerate(pixel)
    ]
    want = [((pixel.index(max(pixel)),), n % 2) for n, pixel in enumerate(pixels)]
    words = rtl_bench.words(beats, dut.beat)
    run = rtl_bench.run(dut, {dut.i: words}, {dut.o: len(want)}, rng=rng, **options)
    return run, rtl_bench.words(want, dut.out)


@pytest.mark.parametrize("fmt", [Format.int(4), Format.uint(4), Format.int(9)], ids=str)
@pytest.mark.parametrize("channels", [1, 2, 7, 10])
def test_the_index_is_that_of_the_first_largest_code(channels, fmt, seed):
    rng = random.Random(seed)
    for idle, stall, reset in ((0, 0, None), (0.5, 0, 9), (0, 0.5, None), (0.4, 0.4, 13)):
        dut = FirstLargest(Beat.of(1, fmt), channels, Format.int(8))
        run, want = argmax_trial(dut, fmt, rng, idle=idle, stall=stall, reset_at=reset)
        assert run.words[dut.o] == want
        if not idle and not stall:
            taken = run.cycles[dut.i]
            assert taken[-1] - taken[0] == len(taken) - 1
            assert run.cycles[dut.o] == [c + 1 for c in taken[channels - 1 :: channels]]


def test_an_index_that_compares_as_unsigned_is_caught(seed):
    fmt = Format.int(4)
    dut = FirstLargest(Beat(1, 4, signed_=False), 7, Format.int(8))
    run, want = argmax_trial(dut, fmt, random.Random(seed))
    assert run.words[dut.o] != want


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: build(Case(Combine.SUM, 0, 1)),
            r"^a reduction's positions and channel beats must be at least 1, not 0 and 1$",
        ),
        (
            lambda: Running(
                Beat(2, 4), Beat(1, 4), positions=1, channel_beats=1, combine=Combine.SUM
            ),
            r"^a reduction's output lanes must be 2, not 1$",
        ),
        (
            lambda: Running(
                Beat(1, 4), Beat(1, 5), positions=1, channel_beats=1, combine=Combine.MAX
            ),
            r"^a maximum's output codes must be signed\(4\), not signed\(5\)$",
        ),
        (
            lambda: FirstLargest(Beat(2, 4), 4, Format.int(8)),
            r"^an index's input lanes must be 1, not 2$",
        ),
        (
            lambda: FirstLargest(Beat(1, 4), 0, Format.int(8)),
            r"^an index's channels must be at least 1, not 0$",
        ),
        (
            lambda: FirstLargest(Beat(1, 4), 10, Format.int(4)),
            r"^an index's format must hold 9, not only 7$",
        ),
    ],
)
def test_what_cannot_be_built_says_why(make, message):
    with pytest.raises(HwsimError, match=message):
        make()
