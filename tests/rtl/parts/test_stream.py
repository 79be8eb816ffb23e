"""The stream parts against plain lists, under every mix of idle, backpressure and reset."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from support.rtl_bench import beats_of, pack, refused, run, unpack, words
from support.seeds import seeded

from hwsim.fixed import Format
from rtl.parts.axis import AxisIn, AxisOut, lane_bits
from rtl.parts.fifo import Fifo
from rtl.parts.lanes import Lanes, Narrow, Widen
from rtl.parts.stream import Beat, Fork, Interleave, Join, Slice

BEAT = Beat(2, 5)
N = 90
# (idle, stall, cycle of a reset in mid-stream)
PATTERNS = [(0.0, 0.0, None), (0.6, 0.0, None), (0.0, 0.6, None), (0.4, 0.4, None), (0.2, 0.5, 40)]
SEED = seeded(20261124)


@pytest.fixture(params=PATTERNS, ids=lambda p: f"idle{p[0]}-stall{p[1]}-reset{p[2]}")
def pattern(request: pytest.FixtureRequest) -> dict[str, Any]:
    idle, stall, reset = request.param
    print(f"seed {SEED}")
    return {"idle": idle, "stall": stall, "reset_at": reset, "rng": random.Random(SEED)}


def noise(count: int, bits: int) -> list[int]:
    rng = random.Random(SEED + 1)
    return [rng.getrandbits(bits) for _ in range(count)]


PASSING: list[tuple[str, Callable[[], Any], int]] = [
    ("slice", lambda: Slice(BEAT), 1),
    *((f"fifo{d}", lambda d=d: Fifo(BEAT, d), 1 if d <= 16 else 2) for d in (1, 2, 3, 16, 17, 32)),
    ("lanes", lambda: Lanes(BEAT, 2), 0),
    ("concat1", lambda: OneIn(Interleave(BEAT, [1])), 0),
]


class OneIn(wiring.Component):
    """A concat of one stream, with the ports of the other parts."""

    def __init__(self, inner: Interleave) -> None:
        self.inner = inner
        super().__init__({"i": In(BEAT.stream), "o": Out(BEAT.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = self.inner
        wiring.connect(m, wiring.flipped(self.i), self.inner.i[0])
        wiring.connect(m, self.inner.o, wiring.flipped(self.o))
        return m


@pytest.mark.parametrize(
    ("build", "latency"), [p[1:] for p in PASSING], ids=[p[0] for p in PASSING]
)
def test_beats_pass_in_order_once_each(
    build: Callable[[], Any], latency: int, pattern: dict[str, Any]
) -> None:
    dut, sent = build(), noise(N, 11)
    got = run(dut, {dut.i: sent}, {dut.o: N}, **pattern)
    assert got.words[dut.o] == sent
    if pattern["idle"] == pattern["stall"] == 0:
        assert got.cycles[dut.o] == [k + latency for k in range(N)], "one beat a cycle"


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 16, 17, 40])
def test_a_fifo_takes_exactly_its_depth_before_one_leaves(depth: int) -> None:
    assert capacity(Fifo(BEAT, depth)) == depth


def test_a_fifo_one_too_shallow_is_noticed() -> None:
    assert capacity(Fifo(BEAT, 7)) != 8


def capacity(dut: Any) -> int:
    """Beats taken from an eager source while nothing is taken out."""
    got = run(
        dut, {dut.i: noise(60, 11)}, {dut.o: 0}, rng=random.Random(seeded(0)), stall=1.0, surplus=60
    )
    return len(got.cycles[dut.i])


class FullFifo(Fifo):
    """Mutant: takes a beat more than it can hold."""

    def elaborate(self, platform: object) -> Module:
        inner, m = Fifo(self.shape, self.depth), Module()
        m.submodules.inner = inner
        wiring.connect(m, inner.o, wiring.flipped(self.o))
        m.d.comb += [
            inner.i.payload.eq(self.i.payload),
            inner.i.valid.eq(self.i.valid),
            self.i.ready.eq(1),
        ]
        return m


class Forgetful(Slice):
    """Mutant: an offer that does not wait for `ready`."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += [self.o.payload.eq(self.i.payload), self.o.valid.eq(self.i.valid)]
        m.d.comb += self.i.ready.eq(1)
        return m


@pytest.mark.parametrize("dut", [FullFifo(BEAT, 4), Forgetful(BEAT)], ids=["overrun", "dropped"])
def test_a_dropped_handshake_is_caught(dut: Any) -> None:
    with pytest.raises(AssertionError):
        stalled(dut)


def test_the_same_stall_passes_an_honest_part() -> None:
    stalled(Fifo(BEAT, 4))


def stalled(dut: Any) -> None:
    sent, rng = noise(N, 11), random.Random(seeded(3))
    got = run(dut, {dut.i: sent}, {dut.o: N}, rng=rng, stall=0.5, idle=0.2, limit=600)
    assert got.words[dut.o] == sent


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_fork_gives_each_beat_once_to_each_consumer(n: int, pattern: dict[str, Any]) -> None:
    dut, sent = Fork(BEAT, n), noise(N, 11)
    got = run(dut, {dut.i: sent}, {dut.o[k]: N for k in range(n)}, **pattern)
    assert all(got.words[dut.o[k]] == sent for k in range(n))


def test_a_join_pairs_beats(pattern: dict[str, Any]) -> None:
    a, b = Beat(2, 5), Beat(3, 4, False)
    dut = Join(a, b)
    left = words(beats_of([c % 11 - 5 for c in range(2 * N)], 2), a)
    right = words(beats_of([c % 13 for c in range(3 * N)], 3), b)
    got = run(dut, {dut.a: left, dut.b: right}, {dut.o: N}, **pattern)
    data = [
        (x & 0x3FF) | (y & 0xFFF) << 10 | (x >> 10) << 22 for x, y in zip(left, right, strict=True)
    ]
    assert got.words[dut.o] == data


def test_concat_interleaves_the_blocks_of_each_pixel(pattern: dict[str, Any]) -> None:
    channels, pixels, tensors = (2, 6, 4), 3, 3
    dut = Interleave(BEAT, [c // 2 for c in channels])
    rng = random.Random(SEED)
    fed: list[list[int]] = [[] for _ in channels]
    want: list[int] = []
    for _ in range(tensors):
        parts = [
            [[rng.randrange(-16, 16) for _ in range(c)] for _ in range(pixels)] for c in channels
        ]
        for stream_words, part in zip(fed, parts, strict=True):
            stream_words += words(beats_of([c for pixel in part for c in pixel], 2), BEAT)
        whole = [code for pixel in zip(*parts, strict=True) for part in pixel for code in part]
        want += words(beats_of(whole, 2), BEAT)
    got = run(dut, {dut.i[k]: w for k, w in enumerate(fed)}, {dut.o: len(want)}, **pattern)
    assert got.words[dut.o] == want


PAIRS = [(2, 4), (4, 2), (1, 4), (6, 1), (2, 3), (3, 2), (4, 6)]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_lanes_change_without_moving_a_code(
    before: int, after: int, pattern: dict[str, Any]
) -> None:
    beat = Beat(before, 5)
    dut = Lanes(beat, after)
    rng, total = random.Random(SEED), 24
    tensors = [[rng.randrange(-16, 16) for _ in range(total)] for _ in range(4)]
    sent = [w for t in tensors for w in words(beats_of(t, before), beat)]
    want = [w for t in tensors for w in words(beats_of(t, after), beat.with_lanes(after))]
    got = run(dut, {dut.i: sent}, {dut.o: len(want)}, **pattern)
    assert got.words[dut.o] == want
    if pattern["idle"] == pattern["stall"] == 0:
        busy = max(len(sent), len(want))
        assert got.cycles[dut.o][-1] < busy + 2 + dut.latency, "the narrower side never waits"


class Axis(wiring.Component):
    """Both adapters back to back, with the AXI ports dressed as streams of raw words."""

    def __init__(self, beat: Beat, beats: int | None) -> None:
        self.beat, self.beats = beat, beats
        raw = Beat(beat.lanes, lane_bits(beat)).stream
        super().__init__({"i": In(raw), "o": Out(raw)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rx = rx = AxisIn(self.beat, self.beats)
        m.submodules.tx = tx = AxisOut(self.beat)
        wiring.connect(m, rx.o, tx.i)
        m.d.comb += [
            rx.tdata.eq(self.i.payload.data.as_value()),
            rx.tlast.eq(self.i.payload.last),
            rx.tvalid.eq(self.i.valid),
            self.i.ready.eq(rx.tready),
            self.o.payload.data.as_value().eq(tx.tdata),
            self.o.payload.last.eq(tx.tlast),
            self.o.valid.eq(tx.tvalid),
            tx.tready.eq(self.o.ready),
        ]
        return m


@pytest.mark.parametrize(
    "fmt", [Format.int(5), Format.uint(5), Format.int(8), Format.uint(11)], ids=str
)
@pytest.mark.parametrize("counted", [False, True])
def test_axi_lanes_hold_codes_extended_to_bytes(
    fmt: Format, counted: bool, pattern: dict[str, Any]
) -> None:
    beat, beats = Beat.of(3, fmt), 6
    dut = Axis(beat, beats if counted else None)
    bits = lane_bits(beat)
    assert bits == (8 if fmt.width <= 8 else 16)
    rng = random.Random(SEED)
    sent, want = [], []
    for k in range(4 * beats):
        word, last = rng.getrandbits(3 * bits), int(k % beats == beats - 1)
        codes = [unpack(w, 1, fmt.width, fmt.signed)[0] for w in unpack(word, 3, bits, False)]
        lied = rng.getrandbits(1) if counted else last
        sent.append(word | lied << (3 * bits))
        want.append(pack(codes, bits) | last << (3 * bits))
    got = run(dut, {dut.i: sent}, {dut.o: len(want)}, **pattern)
    assert got.words[dut.o] == want


WRONG: Sequence[tuple[Callable[[], Any], str]] = [
    (lambda: Beat(0, 8), "a beat's lanes must be at least 1, not 0"),
    (lambda: Beat(1, 0), "a beat's code width must be at least 1 bit, not 0"),
    (lambda: Fifo(BEAT, 0), "a FIFO's depth must be at least 1, not 0"),
    (lambda: Fork(BEAT, 0), "a fork's consumers must be at least 1, not 0"),
    (lambda: Interleave(BEAT, [2, 0]), "the beats of each block must be at least 1, not [2, 0]"),
    (lambda: Widen(BEAT, 3), "wider lanes must be a multiple of 2, not 3"),
    (lambda: Narrow(BEAT, 3), "narrower lanes must divide 2, not be 3"),
    (lambda: Lanes(BEAT, 0), "a beat's lanes must be at least 1, not 0"),
    (lambda: AxisIn(BEAT, 0), "a tensor's beats must be at least 1, not 0"),
]


@pytest.mark.parametrize(("build", "text"), WRONG, ids=[w[1] for w in WRONG])
def test_impossible_parts_are_refused_in_words(build: Callable[[], Any], text: str) -> None:
    refused(build, text)
