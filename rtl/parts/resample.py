"""Beats left out or held, and beats of one code put in between: no memory, only counters."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from rtl.parts.loops import Loop, nest
from rtl.parts.stream import Beat


class Resample(wiring.Component):
    """Give each part of a stream as often as `times` says: not at all, once or held.

    A part is `words` beats, `len(times)` parts are a round and `rounds` rounds a tensor. Parts of
    more than one beat are given once at most. Ports: `i` (In) and `o` (Out), streams of `beat`.
    Latency 0; a beat that is left out takes a cycle. `i.ready` depends on `o.ready` in the same
    cycle: a beat is kept by its maker until it has left for the last time. `last` is on the final
    beat that leaves.
    """

    def __init__(self, beat: Beat, *, words: int, times: Sequence[int], rounds: int) -> None:
        if not any(times) or (words > 1 and max(times) > 1):
            raise HwsimError(
                f"parts of {words} beats must be given some times, and more than once only where "
                f"they are one beat, not {list(times)}"
            )
        self.beat, self.words, self.times, self.rounds = beat, words, tuple(times), rounds
        super().__init__({"i": In(beat.stream), "o": Out(beat.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        final = max(place for place, count in enumerate(self.times) if count)
        tables = {
            "kept": [int(count > 0) for count in self.times],
            "turns": [max(count - 1, 0) for count in self.times],
            "final": [int(place == final) for place in range(len(self.times))],
        }
        beat, place = Loop(m, "beat", self.words), Loop(m, "place", len(self.times), tables)
        round_ = Loop(m, "round", self.rounds)
        moved, turn, done = Signal(), Signal(range(max(self.times))), Signal()
        nest(m, moved, [beat, place, round_])
        kept = place.now["kept"].bool()
        end = beat.last & place.now["final"].bool() & round_.last
        m.d.comb += [
            done.eq(turn == place.now["turns"]),
            self.o.valid.eq(self.i.valid & kept),
            self.o.payload.data.eq(self.i.payload.data),
            self.o.payload.last.eq(end & done),
            self.i.ready.eq(~kept | (self.o.ready & done)),
            moved.eq(self.i.valid & self.i.ready),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += turn.eq(Mux(done, 0, turn + 1))
        return m


class Insert(wiring.Component):
    """Put beats of one code into a stream.

    `real` says for nested loops, the outermost first, which of their turns read a beat of the
    input: where all do, one is given, else a beat of `code`. Ports: `i` (In) and `o` (Out), streams
    of `beat`. Latency 0, a beat a cycle. A tensor begins once its first beat is offered, so that
    nothing leaves before. `i.ready` depends on `o.ready` in the same cycle.
    """

    def __init__(self, beat: Beat, *, real: Sequence[Sequence[bool]], code: int) -> None:
        if not all(map(any, real)):
            raise HwsimError("every loop of an insertion must read a beat in some turn")
        self.beat, self.real, self.code = beat, [list(map(int, each)) for each in real], code
        super().__init__({"i": In(beat.stream), "o": Out(beat.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        loops = [
            Loop(m, f"axis_{k}", len(each), {"real": each}) for k, each in enumerate(self.real)
        ]
        given, real, begun = Signal(), Signal(), Signal()
        end = Cat(*(loop.last for loop in loops)).all()
        nest(m, given, loops[::-1])
        m.d.comb += [
            real.eq(Cat(*(loop.now["real"].bool() for loop in loops)).all()),
            self.o.valid.eq(self.i.valid | (begun & ~real)),
            self.o.payload.last.eq(end),
            self.i.ready.eq(self.o.ready & real),
            given.eq(self.o.valid & self.o.ready),
        ]
        for k in range(self.beat.lanes):
            m.d.comb += self.o.payload.data[k].eq(Mux(real, self.i.payload.data[k], self.code))
        with m.If(given):
            m.d.sync += begun.eq((begun | real) & ~end)
        return m


def merged(real: Sequence[Sequence[bool]]) -> list[list[bool]]:
    """The same with one loop for each row of loops that read a beat in every turn."""
    found: list[list[bool]] = []
    for each in real:
        if found and all(each) and all(found[-1]):
            found[-1] = found[-1] * len(each)
        else:
            found.append(list(each))
    return found
