"""Repeat the codes of a tensor where it broadcasts against a larger one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.ops.base import IntArray
from rtl.parts.permute import Reread
from rtl.parts.stream import Beat

Shape = Sequence[int]


@dataclass(frozen=True, slots=True)
class Repeats:
    """How a tensor of one shape becomes one of another, beat by beat.

    `lanes` codes come in a beat, and leave `copies` times side by side. A block of `words` beats is
    gone over by loops of `counts` turns, the outermost first, that move on by `strides` beats;
    `blocks` blocks are a tensor. Where nothing is repeated there are no loops.
    """

    lanes: int
    copies: int
    words: int
    blocks: int
    counts: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, shape: Shape, wanted: Shape, lanes: int) -> Repeats:
        """What `shape` needs to leave as `wanted`, in beats of `lanes` codes.

        Axes of `wanted` that are missing in `shape`, or 1 long, are repeated.
        """
        full = (1,) * (len(wanted) - len(shape)) + tuple(shape)
        axes = list(zip(full, wanted, strict=True))
        outer = 0
        while outer < len(axes) and axes[outer][0] == axes[outer][1]:
            outer += 1
        blocks, inner = math.prod(wanted[:outer]), axes[outer:]
        if not inner:
            return cls(lanes, 1, 1, math.prod(wanted) // lanes, (), ())
        alone = inner[-1][0] < inner[-1][1]  # a code serves all lanes
        entering = 1 if alone else lanes
        loops: list[tuple[int, int]] = []  # turns and stride, the innermost first
        words = 1
        for k, (size, count) in enumerate(reversed(inner)):
            turns = count // lanes if k == 0 else count
            held = size // entering if k == 0 else size
            _add(loops, turns, words if size == count else 0)
            words *= held
        counts, strides = zip(*reversed(loops), strict=True) if loops else ((1,), (0,))
        return cls(entering, lanes // entering, words, blocks, counts, strides)

    @property
    def some(self) -> bool:
        """Whether anything is repeated."""
        return bool(self.counts)

    @property
    def stored(self) -> int:
        """Beats in its memory; a block of one is held by its maker."""
        return 2 * self.words if self.some and self.words > 1 else 0

    def used(self) -> IntArray:
        """For each code of the output in turn, how many codes must have come in."""
        if not self.some:
            return np.arange(1, self.blocks * self.lanes + 1)
        block = np.repeat(np.arange(1, self.blocks + 1), self.given * self.lanes * self.copies)
        return block * (self.words * self.lanes)

    @property
    def given(self) -> int:
        """Beats that one block becomes."""
        return math.prod(self.counts)


def _add(loops: list[tuple[int, int]], turns: int, stride: int) -> None:
    """One more loop around, merged with the one inside where they go on as one."""
    if turns == 1:
        return
    if loops and (stride == loops[-1][0] * loops[-1][1]):
        loops[-1] = (turns * loops[-1][0], loops[-1][1])
    else:
        loops.append((turns, stride))


def spread(beat: Beat, repeats: Repeats) -> Reread | Held:
    """The part that repeats; `beat` is that of its input, of `repeats.lanes` codes."""
    if repeats.stored:
        return Reread(
            beat,
            words=repeats.words,
            counts=repeats.counts,
            strides=repeats.strides,
            blocks=repeats.blocks,
            copies=repeats.copies,
        )
    return Held(beat, times=repeats.given, copies=repeats.copies)


class Held(wiring.Component):
    """Give each beat `times` times, with `copies` copies of its codes.

    Ports: `i` (In), a stream of `beat`, and `o` (Out), one of `out`. Latency 0. `i.ready` depends
    on `o.ready` in the same cycle: a beat is kept by its maker until it has left for the last time.
    """

    def __init__(self, beat: Beat, *, times: int, copies: int = 1) -> None:
        self.times, self.copies, self.out = times, copies, beat.with_lanes(beat.lanes * copies)
        super().__init__({"i": In(beat.stream), "o": Out(self.out.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        turn = Signal(range(self.times))
        done, given = turn == self.times - 1, self.i.payload.data.as_value()
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.o.payload.data.as_value().eq(given.replicate(self.copies)),
            self.o.payload.last.eq(self.i.payload.last & done),
            self.i.ready.eq(self.o.ready & done),
        ]
        with m.If(self.i.valid & self.o.ready):
            m.d.sync += turn.eq(Mux(done, 0, turn + 1))
        return m
