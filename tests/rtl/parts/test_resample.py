"""Beats left out, held, put in between and read in another order, against lists."""

from __future__ import annotations

import random

import pytest
from support.rtl_bench import beats_of, refused, run, unpack, words

from rtl.layers.select import repeating
from rtl.parts.permute import Reorder, Repeat
from rtl.parts.resample import Insert, Resample, merged
from rtl.parts.stream import Beat

BEAT = Beat(2, 5)


def given(dut, tensors, beats, *, idle=0.0, stall=0.0, reset=None, seed=0):
    """What comes out for tensors of codes, and when."""
    feed = [w for tensor in tensors for w in words(beats_of(tensor, 2), BEAT)]
    got = run(
        dut,
        {dut.i: feed},
        {dut.o: beats * len(tensors)},
        rng=random.Random(seed),
        idle=idle,
        stall=stall,
        reset_at=reset,
    )
    found = [(unpack(w, 2, 5, True), w >> 10) for w in got.words[dut.o]]
    return found, got.cycles[dut.o]


def tensors_of(codes: int, seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(-16, 16) for _ in range(codes)] for _ in range(4)]


def parts_of(tensor: list[int], words_: int, length: int) -> list[list[list[int]]]:
    """Rounds of parts of codes."""
    size = 2 * words_
    parts = [tensor[k : k + size] for k in range(0, len(tensor), size)]
    return [parts[k : k + length] for k in range(0, len(parts), length)]


@pytest.mark.parametrize(("idle", "stall", "reset"), [(0, 0, None), (0.4, 0.3, 25)])
@pytest.mark.parametrize(
    ("kind", "words_", "times"),
    [
        (Resample, 1, (0, 2, 1, 0)),
        (Resample, 3, (1, 0, 1)),
        (Repeat, 3, (2, 1, 4)),
        (Repeat, 2, (1,)),
    ],
)
def test_parts_leave_as_often_as_they_should(kind, words_, times, idle, stall, reset, seed):
    rounds = 2
    dut = kind(BEAT, words=words_, times=times, rounds=rounds)
    tensors = tensors_of(2 * words_ * len(times) * rounds, seed)
    want = []
    for tensor in tensors:
        codes = [
            code
            for round_ in parts_of(tensor, words_, len(times))
            for part, count in zip(round_, times, strict=True)
            for code in part * count
        ]
        want += beats_of(codes, 2)
    got, _ = given(dut, tensors, len(want) // 4, idle=idle, stall=stall, reset=reset, seed=seed)
    assert got == want


def test_parts_leave_in_any_order(seed):
    places = (2, 0, 0, 1)
    dut = Reorder(BEAT, words=2, length=3, places=places, blocks=2)
    tensors, want = tensors_of(24, seed), []
    for tensor in tensors:
        codes = [c for block in parts_of(tensor, 2, 3) for k in places for c in block[k]]
        want += beats_of(codes, 2)
    got, cycles = given(dut, tensors, 16, seed=seed)
    assert got == want
    assert cycles[-1] - cycles[0] == len(want) - 1  # a beat a cycle


def test_a_code_is_put_in_between_and_nothing_leaves_before_a_tensor_begins(seed):
    real = [[False, True, False, True], [True, True, False]]
    dut = Insert(BEAT, real=real, code=-3)
    tensors, want = tensors_of(8, seed), []
    for tensor in tensors:
        rows = [[*half, -3, -3] for half in (tensor[:4], tensor[4:])]
        want += beats_of([-3] * 6 + rows[0] + [-3] * 6 + rows[1], 2)
    got, cycles = given(dut, tensors, 12, seed=seed)
    assert got == want and cycles[-1] - cycles[0] == len(want) - 1
    with pytest.raises(AssertionError, match="no end"):
        given(Insert(BEAT, real=real, code=-3), [[]], 1)


def test_loops_that_read_in_every_turn_become_one():
    yes = [True]
    assert merged([yes * 2, yes * 3, [True, False], yes, yes * 4]) == [
        yes * 6,
        [True, False],
        yes * 4,
    ]


@pytest.mark.parametrize(
    ("times", "cycles"),
    [((1,), 1), ((2, 2), 4), ((0, 3), 3), ((0, 0, 1), 3), ((4, 1, 1, 1), 7), ((0, 0, 0, 5, 1), 6)],
)
def test_a_memory_of_two_parts_keeps_writer_and_reader_busy(times, cycles):
    assert repeating(times) == cycles


def test_what_cannot_be_is_refused():
    refused(
        lambda: Resample(BEAT, words=2, times=(1, 2), rounds=1),
        "parts of 2 beats must be given some times, and more than once only where they are one "
        "beat, not [1, 2]",
    )
    refused(
        lambda: Insert(BEAT, real=[[True], [False]], code=0),
        "every loop of an insertion must read a beat in some turn",
    )
