"""Sliding windows equal plain loops, beat by beat, at full rate and under any pattern of stalls."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
import pytest
from support import rtl_bench

from hwsim.errors import HwsimError
from hwsim.ops.window import Window
from rtl.parts import window as rtl_window
from rtl.parts.stream import Beat
from rtl.parts.window import ParallelWindow, PickLanes, SerialWindow, ring_pixels, window_need

WIDTH, PAD = 4, -3
Codes = tuple[int, ...]


class Case(NamedTuple):
    """One map, its window, and how it is cut into beats."""

    shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    lanes: int = 1
    blocks: int = 1

    @property
    def window(self) -> Window:
        return Window(self.kernel, self.stride, self.padding)

    def serial(self, kind: Any = SerialWindow, **options: int) -> SerialWindow:
        beat = Beat(self.lanes, WIDTH)
        return kind(beat, self.shape, self.window, pad_code=PAD, blocks=self.blocks, **options)

    def parallel(self) -> ParallelWindow:
        return ParallelWindow(Beat(self.shape[2], WIDTH), self.shape, self.window, pad_code=PAD)


CASES = [
    Case((6, 8, 2), (3, 3), (1, 1), (1, 1, 1, 1)),
    Case((6, 8, 2), (2, 2), (2, 2), lanes=2),
    Case((5, 7, 4), (3, 2), (2, 3), (2, 1, 0, 1), blocks=2),
    Case((5, 7, 1), (1, 1), (2, 3)),  # pixels that no window covers, also after the last
    Case((3, 2, 2), (5, 4), (1, 1), (2, 2, 2, 2)),  # larger than the map
    Case((5, 5, 1), (5, 5)),
    Case((4, 4, 6), (4, 4), lanes=2, blocks=3),
    Case((7, 7, 1), (3, 3), (2, 2)),
    Case((9, 9, 1), (2, 2), (3, 3)),
    Case((9, 5, 1), (3, 1), (1, 1), (1, 0, 1, 0)),
    Case((1, 9, 2), (1, 3), (1, 2), (0, 0, 0, 2)),
    Case((6, 1, 2), (3, 1), (1, 1), (2, 0, 0, 0)),
    Case((8, 8, 1), (5, 5), (3, 3), (2, 0, 1, 4)),
    Case((1, 1, 1), (1, 1)),
    Case((2, 2, 3), (2, 2), (2, 2), (0, 1, 1, 0), lanes=3),
]


def random_case(rng: random.Random) -> Case:
    """Any small map and a window that fits it."""
    while True:
        kernel = rng.randint(1, 4), rng.randint(1, 4)
        (kh, kw), pads = kernel, rng.random() < 0.7
        sides = (kh, kw, kh, kw)
        padding = tuple(rng.randrange(side) if pads else 0 for side in sides)
        height, width = rng.randint(1, 7), rng.randint(1, 7)
        lanes, blocks, inner = rng.randint(1, 2), rng.randint(1, 2), rng.randint(1, 2)
        fits = height + padding[0] + padding[2] >= kh and width + padding[1] + padding[3] >= kw
        stride = rng.randint(1, 3), rng.randint(1, 3)
        case = Case((height, width, lanes * blocks * inner), kernel, stride, padding, lanes, blocks)
        if fits and len(serial_beats(case, np.zeros(case.shape, int))) < 400:
            return case


def windows(case: Case, x: np.ndarray) -> list[list[Codes | None]]:
    """For each output pixel its window's pixels row by row; None outside the map."""
    (height, width, _), (kh, kw), (sh, sw) = case.shape, case.kernel, case.stride
    top, left, bottom, right = case.padding
    return [
        [
            tuple(x[y, z].tolist()) if 0 <= y < height and 0 <= z < width else None
            for y in range(row - top, row - top + kh)
            for z in range(column - left, column - left + kw)
        ]
        for row in range(0, height + top + bottom - kh + 1, sh)
        for column in range(0, width + left + right - kw + 1, sw)
    ]


def with_last(rows: list[Codes]) -> rtl_bench.Beats:
    return [(row, int(k == len(rows) - 1)) for k, row in enumerate(rows)]


def serial_beats(case: Case, x: np.ndarray) -> rtl_bench.Beats:
    """What `SerialWindow` must give for one image, from its documented order."""
    lanes = case.lanes
    inner = case.shape[2] // lanes // case.blocks
    rows: list[Codes] = []
    for pixels in windows(case, x):
        for block in range(case.blocks):
            for pixel in pixels:
                for beat in range(block * inner, (block + 1) * inner):
                    start = beat * lanes
                    rows.append((PAD,) * lanes if pixel is None else pixel[start : start + lanes])
    return with_last(rows)


def parallel_beats(case: Case, x: np.ndarray) -> rtl_bench.Beats:
    """What `ParallelWindow` must give for one image."""
    pad = (PAD,) * case.shape[2]
    return with_last([sum((p or pad for p in pixels), ()) for pixels in windows(case, x)])


def images(case: Case, rng: random.Random, count: int) -> list[np.ndarray]:
    return [
        np.array([rng.randrange(-8, 8) for _ in range(int(np.prod(case.shape)))]).reshape(
            case.shape
        )
        for _ in range(count)
    ]


class Trial(NamedTuple):
    got: list[int]
    want: list[int]
    taken: list[int]
    given: list[int]


def drive(dut: Any, case: Case, rng: random.Random, *, count: int = 3, **options: Any) -> Trial:
    """Some images through a window part; what came out, what should have, and when."""
    xs = images(case, rng, count)
    serial = isinstance(dut, SerialWindow)
    out, oracle = (dut.beat, serial_beats) if serial else (dut.out, parallel_beats)
    want = rtl_bench.words([b for x in xs for b in oracle(case, x)], out)
    beats = [b for x in xs for b in rtl_bench.beats_of(x.reshape(-1).tolist(), dut.beat.lanes)]
    words = rtl_bench.words(beats, dut.beat)
    run = rtl_bench.run(dut, {dut.i: words}, {dut.o: len(want)}, rng=rng, **options)
    return Trial(run.words[dut.o], want, run.cycles[dut.i], run.cycles[dut.o])


def test_the_plain_loops_agree_with_the_operators_views(seed):
    rng = random.Random(seed)
    for case in [*CASES, *(random_case(rng) for _ in range(20))]:
        (x,) = images(case, rng, 1)
        views = case.window.views(case.window.pad(np, x[None], PAD))
        flat = np.stack([v[0].reshape(-1, case.shape[2]) for v in views], axis=1)
        beats = parallel_beats(case, x)
        assert [codes for codes, _ in beats] == [tuple(row.reshape(-1).tolist()) for row in flat]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_serial_windows_run_at_full_rate_across_rows_and_images(case, seed):
    trial = drive(case.serial(), case, random.Random(seed))
    assert trial.got == trial.want
    given = trial.given[-1] - trial.given[0] + 1
    taken = trial.taken[-1] - trial.taken[0] + 1
    # Either no cycle passes without an output beat, or none without an input beat.
    assert given == len(trial.want) or taken == len(trial.taken)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_serial_windows_survive_idle_backpressure_and_reset(case, seed):
    rng = random.Random(seed)
    for idle, stall in ((0.5, 0.0), (0.0, 0.5), (0.4, 0.4)):
        reset = rng.choice([None, rng.randint(3, 60)])
        trial = drive(case.serial(), case, rng, count=2, idle=idle, stall=stall, reset_at=reset)
        assert trial.got == trial.want, (idle, stall, reset)


@pytest.mark.parametrize("part", range(4))
def test_any_window_over_any_map_equals_plain_loops(part, seed):
    rng = random.Random(seed + part)
    for _ in range(8):
        case = random_case(rng)
        idle, stall = rng.choice([(0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (0.3, 0.3)])
        for dut in (case.serial(), case.parallel()):
            trial = drive(dut, case, rng, count=2, idle=idle, stall=stall)
            assert trial.got == trial.want, (case, idle, stall)


def least_capacity(case: Case) -> int:
    """The smallest capacity that the component takes, by its own message."""
    with pytest.raises(HwsimError, match="a window's capacity must be at least") as error:
        case.serial(capacity=0)
    return int(str(error.value).split("at least ")[1].split()[0])


@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[4], CASES[8]], ids=str)
def test_the_least_capacity_slows_windows_but_never_harms_them(case, seed):
    dut = case.serial(capacity=least_capacity(case))
    trial = drive(dut, case, random.Random(seed), idle=0.1, stall=0.1)
    assert trial.got == trial.want


class OnePixelTooShallow(SerialWindow):
    """A mutant: its memory holds a pixel less than the writer believes."""

    @property
    def words(self) -> int:
        return (self.capacity - 1) * self.channel_beats


def test_a_ring_one_pixel_too_shallow_is_caught(seed):
    case = CASES[0]
    dut = case.serial(OnePixelTooShallow, capacity=least_capacity(case))
    trial = drive(dut, case, random.Random(seed))
    assert trial.got != trial.want


def test_a_window_that_starts_one_pixel_early_is_caught(seed, monkeypatch):
    case, exact = CASES[0], rtl_window.pixels_needed
    monkeypatch.setattr(rtl_window, "pixels_needed", lambda *a: exact(*a) - 1)
    dut = case.serial()
    trial = drive(dut, case, random.Random(seed), idle=0.9)
    assert trial.got != trial.want


@pytest.mark.parametrize("parallel", [False, True], ids=["serial", "parallel"])
@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[7], CASES[12]], ids=str)
def test_window_need_is_what_the_hardware_waits_for(case, parallel, seed):
    """After n pixels exactly those output pixels come out that `window_need` grants."""
    rng = random.Random(seed)
    need = window_need(case.window, case.shape, parallel=parallel)
    (x,) = images(case, rng, 1)
    codes = x.reshape(-1).tolist()
    for pixels in sorted({*need.tolist(), *(need - 1).tolist()})[:12]:
        dut = case.parallel() if parallel else case.serial()
        beats = rtl_bench.beats_of(codes[: pixels * case.shape[2]], dut.beat.lanes)
        words = rtl_bench.words(beats, dut.beat)
        oracle = parallel_beats if parallel else serial_beats
        each = len(oracle(case, x)) // len(need)
        count = int((need <= pixels).sum()) * each
        run = rtl_bench.run(dut, {dut.i: words}, {dut.o: count}, rng=rng, surplus=30)
        out = dut.out if parallel else dut.beat
        assert run.words[dut.o] == rtl_bench.words(oracle(case, x), out)[:count]


def test_the_first_beat_comes_3_cycles_after_the_last_pixel_that_it_needs(seed):
    case = CASES[0]
    need = window_need(case.window, case.shape)
    trial = drive(case.serial(), case, random.Random(seed))
    last = need[0] * case.shape[2] // case.lanes - 1
    assert trial.given[0] == trial.taken[last] + 3


def test_a_ring_holds_little_more_than_the_kernels_rows_where_that_suffices():
    same = Window((3, 3), (1, 1), (1, 1, 1, 1))
    assert ring_pixels(same, (224, 224, 3)) == 3 * 224 + 8
    assert ring_pixels(Window((2, 2), (2, 2)), (28, 28, 8)) == 2 * 28 + 6
    # Two whole maps where the next one would have to wait for all of this one.
    assert ring_pixels(Window((5, 5)), (5, 5, 16)) == 50


@pytest.mark.parametrize("case", CASES, ids=str)
def test_parallel_windows_walk_one_padded_position_a_cycle(case, seed):
    dut = case.parallel()
    top, left, bottom, right = case.padding
    assert dut.cycles == (case.shape[0] + top + bottom) * (case.shape[1] + left + right)
    trial = drive(dut, case, random.Random(seed))
    assert trial.got == trial.want
    per = len(trial.want) // 3
    assert trial.given[per] - trial.given[0] == dut.cycles
    assert trial.given[2 * per] - trial.given[per] == dut.cycles


@pytest.mark.parametrize("case", CASES, ids=str)
def test_parallel_windows_survive_idle_backpressure_and_reset(case, seed):
    rng = random.Random(seed)
    for idle, stall in ((0.5, 0.0), (0.0, 0.5), (0.4, 0.4)):
        reset = rng.choice([None, rng.randint(3, 40)])
        trial = drive(case.parallel(), case, rng, count=2, idle=idle, stall=stall, reset_at=reset)
        assert trial.got == trial.want, (idle, stall, reset)


class OneColumnLate(ParallelWindow):
    """A mutant: windows end a column later than they should."""

    def _tables(self, axis: int) -> dict[str, list[int]]:
        tables = super()._tables(axis)
        if axis == 1:
            tables["ends"] = [tables["ends"][-1], *tables["ends"][:-1]]
        return tables


def test_a_parallel_window_one_column_late_is_caught(seed):
    case = CASES[7]
    beat = Beat(case.shape[2], WIDTH)
    dut = OneColumnLate(beat, case.shape, case.window, pad_code=PAD)
    trial = drive(dut, case, random.Random(seed))
    assert trial.got != trial.want


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_deal_gives_every_selection_of_every_beat_without_gaps(times, stall, seed):
    rng = random.Random(seed)
    beat = Beat(6, WIDTH)
    selections = [tuple(rng.randrange(6) for _ in range(3)) for _ in range(times)]
    dut = PickLanes(beat, selections)
    rows = [tuple(rng.randrange(-8, 8) for _ in range(6)) for _ in range(20)]
    beats = [(row, int(k % 7 == 6)) for k, row in enumerate(rows)]
    want = [
        (tuple(row[lane] for lane in chosen), last * int(k == times - 1))
        for row, last in beats
        for k, chosen in enumerate(selections)
    ]
    reset = 9 if stall else None
    words = rtl_bench.words(beats, beat)
    run = rtl_bench.run(
        dut, {dut.i: words}, {dut.o: len(want)}, rng=rng, idle=stall, stall=stall, reset_at=reset
    )
    assert run.words[dut.o] == rtl_bench.words(want, dut.out)
    if not stall:
        cycles = run.cycles[dut.o]
        assert cycles[-1] - cycles[0] == len(want) - 1
        assert cycles[0] - run.cycles[dut.i][0] == int(times > 1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Case((4, 4, 3), (2, 2), lanes=2).serial(),
            r"^a window's lanes must divide 3 channels, not be 2$",
        ),
        (
            lambda: Case((4, 4, 6), (2, 2), lanes=2, blocks=2).serial(),
            r"^a window's blocks must divide 3 channel beats, not be 2$",
        ),
        (
            lambda: Case((4, 4, 1), (5, 2)).serial(),
            r"^a window's kernel must fit into its padded input \(4, 4\), not \(5, 2\)$",
        ),
        (
            lambda: SerialWindow(
                Beat(1, 4), (4, 4, 1), Window((2, 2), (1, 1), (1, 0, 0, 0)), pad_code=8
            ),
            r"^a window's pad code must be from -8 to 7, not 8$",
        ),
        (
            lambda: ParallelWindow(Beat(2, 4), (4, 4, 3), Window((2, 2)), pad_code=0),
            r"^a parallel window's lanes must be 3, not 2$",
        ),
        (
            lambda: PickLanes(Beat(4, 4), [(0, 1), (2,)]),
            r"^the lanes of all selections must be equally many, not \[1, 2\]$",
        ),
        (
            lambda: PickLanes(Beat(4, 4), [(0, 4)]),
            r"^the lanes of a selection must be from 0 to 3, not 4$",
        ),
    ],
)
def test_what_cannot_be_built_says_why(build, message):
    with pytest.raises(HwsimError, match=message):
        build()
