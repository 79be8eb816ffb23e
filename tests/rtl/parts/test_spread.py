"""A tensor repeated where it broadcasts, against NumPy, under idle, backpressure and reset."""

from __future__ import annotations

import random

import numpy as np
import pytest
from support.rtl_bench import beats_of, run, unpack, words
from support.seeds import seeded

from rtl.parts.spread import Repeats, spread
from rtl.parts.stream import Beat

# shape, wanted, lanes: blocks of codes in its memory (0: held by its maker), beats that each gives
CASES = [
    ((6,), (3, 4, 6), 2, 6, 36),
    ((6,), (3, 4, 6), 6, 0, 12),
    ((1,), (5, 6), 3, 0, 10),
    ((3, 4, 1), (3, 4, 6), 2, 0, 3),
    ((3, 4, 1), (3, 4, 6), 6, 0, 1),
    ((3, 1, 4), (3, 5, 4), 2, 4, 10),
    ((3, 1, 4), (3, 5, 4), 4, 0, 5),
    ((5, 1), (2, 5, 4), 2, 5, 20),
    ((2, 1, 3, 1), (2, 5, 3, 4), 1, 3, 60),
    ((1, 3, 1), (2, 3, 5), 5, 3, 6),
]


@pytest.mark.parametrize(
    ("idle", "stall", "reset"), [(0, 0, None), (0.4, 0.4, None), (0.2, 0.5, 31)]
)
@pytest.mark.parametrize(("shape", "wanted", "lanes", "stored", "given"), CASES)
def test_a_tensor_is_repeated_as_numpy_broadcasts_it(
    shape, wanted, lanes, stored, given, idle, stall, reset, seed
):
    repeats = Repeats.of(shape, wanted, lanes)
    assert repeats.some and repeats.stored * repeats.lanes == 2 * stored
    assert repeats.given == given
    rng = random.Random(seed)
    tensors = [np.array([rng.randrange(-16, 16) for _ in range(np.prod(shape))]) for _ in range(4)]
    beat = Beat(repeats.lanes, 5)
    dut = spread(beat, repeats)
    feed = [w for t in tensors for w in words(beats_of(t.tolist(), beat.lanes), beat)]
    want = [
        row
        for t in tensors
        for row in beats_of(np.broadcast_to(t.reshape(shape), wanted).reshape(-1).tolist(), lanes)
    ]
    got = run(
        dut, {dut.i: feed}, {dut.o: len(want)}, rng=rng, idle=idle, stall=stall, reset_at=reset
    )
    found = [(unpack(w, lanes, 5, True), w >> (5 * lanes)) for w in got.words[dut.o]]
    assert found == want


def test_a_beat_a_cycle_leaves_once_a_block_is_whole():
    repeats = Repeats.of((3, 1, 4), (3, 5, 4), 2)
    dut = spread(Beat(repeats.lanes, 5), repeats)
    feed = [w for _ in range(4) for w in words(beats_of(list(range(12)), 2), dut.beat)]
    got = run(dut, {dut.i: feed}, {dut.o: 4 * 30}, rng=random.Random(seeded(1)))
    cycles = got.cycles[dut.o]
    assert cycles[-1] - cycles[0] == 4 * 30 - 1


@pytest.mark.parametrize(("shape", "lanes"), [((3, 4), 2), ((1, 1), 1), ((5,), 5)])
def test_equal_shapes_need_nothing(shape, lanes):
    repeats = Repeats.of(shape, shape, lanes)
    assert not repeats.some and repeats.stored == 0 and repeats.lanes == lanes
