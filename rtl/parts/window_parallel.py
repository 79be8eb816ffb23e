"""Whole windows in one beat, for folds that want more codes at a time than a pixel has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.ops.base import TensorType
from hwsim.ops.window import Window
from rtl.parts.loops import Loop, nest
from rtl.parts.stream import Beat, blank, flat


class ParallelWindow(wiring.Component):
    """Give, for each output pixel, all codes under its window in one beat.

    Ports: `i`, a stream of `beat`, a whole pixel of `shape` (height, width, channels) a beat; `o`,
    a stream of `out`, whose lanes are the kernel's positions row by row, in each the channels.
    Positions outside the map hold `pad_code`. `last` of `i` is not looked at.

    Walks over one position of the padded map a cycle, `cycles` for an image, whether or not a
    window ends there; a position in the padding takes no input. 1 cycle from a window's last pixel
    to its beat. `i.ready` depends on `o.ready` in the same cycle; `o.valid` comes from a register.
    Memory: a word of (kernel height - 1) pixels for each column of the padded map; registers:
    kernel height x (kernel width - 1) pixels.

    Raises `HwsimError` for lanes that are not the channels, a kernel that does not fit, or a pad
    code that is no code.
    """

    def __init__(
        self, beat: Beat, shape: tuple[int, ...], window: Window, *, pad_code: int
    ) -> None:
        if shape[2] != beat.lanes:
            raise HwsimError(f"a parallel window's lanes must be {shape[2]}, not {beat.lanes}")
        check_pad(beat, window, pad_code)
        self.beat, self.shape, self.window, self.pad_code = beat, shape, window, pad_code
        self.outputs = window.output(TensorType(shape, Format.int(1)))
        top, left, bottom, right = window.padding
        self.padded = shape[0] + top + bottom, shape[1] + left + right
        self.out = beat.with_lanes(beat.lanes * window.size)
        super().__init__({"i": In(beat.stream), "o": Out(self.out.stream)})

    @property
    def cycles(self) -> int:
        """Positions of the padded map: the fewest cycles for an image."""
        return self.padded[0] * self.padded[1]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        enable, step = Signal(), Signal()
        columns = Loop(m, "px", self.padded[1], self._tables(1))
        rows = Loop(m, "py", self.padded[0], self._tables(0))
        on_map, ends = Signal(), Signal()
        m.d.comb += [
            on_map.eq(rows.now["inside"] & columns.now["inside"]),
            ends.eq(rows.now["ends"] & columns.now["ends"]),
            self.i.ready.eq(enable & on_map),
            step.eq(enable & (self.i.valid | ~on_map)),
        ]
        nest(m, step, [columns, rows])
        last = rows.now["final"] & columns.now["final"]
        # The position's register: its pixel, and the lines above it from the memory.
        pixel, place = blank(unsigned(self._bits), "pixel"), blank(columns.index.shape(), "place")
        valid, emit, emit_last = Signal(), Signal(), Signal()
        with m.If(enable):
            m.d.sync += [valid.eq(step), emit.eq(step & ends), emit_last.eq(last)]
            m.d.sync += [
                pixel.eq(Mux(on_map, flat(self.i.payload), self._pad)),
                place.eq(columns.index),
            ]
        m.d.comb += enable.eq(~emit | self.o.ready)
        done = valid & enable
        above = self._lines(m, columns.index, step, place, done, pixel)
        self._shift(m, done, [*above, pixel])
        m.d.comb += [self.o.valid.eq(emit), self.o.payload.last.eq(emit_last)]
        return m

    @property
    def _bits(self) -> int:
        return self.beat.lanes * self.beat.width

    @property
    def _pad(self) -> Any:
        code = self.pad_code & ((1 << self.beat.width) - 1)
        return Const(code, self.beat.width).replicate(self.beat.lanes)

    def _tables(self, axis: int) -> dict[str, list[int]]:
        """For each row or column of the padded map: on the map, a window's end, the last one's."""
        before, size = self.window.padding[axis], self.shape[axis]
        kernel, stride = self.window.kernel[axis], self.window.stride[axis]
        ends = [k * stride + kernel - 1 for k in range(self.outputs[axis])]
        places = range(self.padded[axis])
        return {
            "inside": [int(before <= k < before + size) for k in places],
            "ends": [int(k in ends) for k in places],
            "final": [int(k == ends[-1]) for k in places],
        }

    def _lines(
        self, m: Module, ahead: Any, step: Any, place: Any, done: Any, pixel: Any
    ) -> list[Any]:
        """The pixels above the registered one, topmost first; its column's word moves up by one."""
        lines, bits = self.window.kernel[0] - 1, self._bits
        if not lines:
            return []
        if self.padded[1] == 1:  # the next position has this column too: no time for a memory
            word = blank(unsigned(lines * bits), "line")
            with m.If(done):
                m.d.sync += word.eq(Cat(word, pixel)[bits:])
        else:
            m.submodules.lines = store = memory.Memory(
                shape=unsigned(lines * bits), depth=self.padded[1], init=[]
            )
            read, write = store.read_port(), store.write_port()
            word = read.data
            m.d.comb += [
                read.addr.eq(ahead),
                read.en.eq(step),
                write.addr.eq(place),
                write.data.eq(Cat(word, pixel)[bits:]),
                write.en.eq(done),
            ]
        return [word[k * bits : (k + 1) * bits] for k in range(lines)]

    def _shift(self, m: Module, done: Any, column: Sequence[Any]) -> None:
        """Keep the last columns of the kernel's rows; with the present one they are the window."""
        kept, window = (self.window.kernel[1] - 1) * self._bits, []
        for k, pixel in enumerate(column):
            if not kept:
                window.append(pixel)
                continue
            past = blank(unsigned(kept), f"row_{k}")
            with m.If(done):
                m.d.sync += past.eq(Cat(past, pixel)[self._bits :])
            window.append(Cat(past, pixel))
        m.d.comb += Cat(*self.o.payload.data).eq(Cat(*window))


class PickLanes(wiring.Component):
    """Give several beats for each one: each picks the lanes of one of `selections`.

    Ports: `i`, a stream of `beat`; `o`, a stream of `out`, with as many lanes as each selection
    names. A beat a cycle without gaps, latency 1 cycle. The input is held here, so that its source
    can go on meanwhile, and the next is taken as the final pick leaves. One selection is only wires
    (latency 0). `last` is on the final pick of a last beat. `i.ready` depends on `o.ready` in the
    same cycle.

    Raises `HwsimError` for no selection, selections of unlike length, or lanes that are not there.
    """

    def __init__(self, beat: Beat, selections: Sequence[Sequence[int]]) -> None:
        counts = sorted({len(chosen) for chosen in selections})
        if len(counts) != 1 or counts[0] < 1:
            raise HwsimError(f"the lanes of all selections must be equally many, not {counts}")
        lanes = sorted({lane for chosen in selections for lane in chosen})
        if lanes[0] < 0 or lanes[-1] >= beat.lanes:
            raise HwsimError(
                f"the lanes of a selection must be from 0 to {beat.lanes - 1}, "
                f"not {lanes[0] if lanes[0] < 0 else lanes[-1]}"
            )
        self.beat, self.selections = beat, tuple(tuple(chosen) for chosen in selections)
        self.out = beat.with_lanes(counts[0])
        super().__init__({"i": In(beat.stream), "o": Out(self.out.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if len(self.selections) == 1:
            m.d.comb += [
                self.o.valid.eq(self.i.valid),
                self.i.ready.eq(self.o.ready),
                self.o.payload.last.eq(self.i.payload.last),
            ]
            self._pick(m, self.i.payload, self.selections[0])
            return m
        held, full, moved = blank(self.beat, "held"), Signal(), Signal()
        turn = Loop(m, "turn", len(self.selections))
        m.d.comb += [
            self.o.valid.eq(full),
            self.o.payload.last.eq(held.last & turn.last),
            moved.eq(full & self.o.ready),
            turn.step.eq(moved),
            self.i.ready.eq(~full | (moved & turn.last)),
        ]
        with m.If(self.i.ready):
            m.d.sync += [held.eq(self.i.payload), full.eq(self.i.valid)]
        with m.Switch(turn.index):
            for index, chosen in enumerate(self.selections):
                with m.Case(index):
                    self._pick(m, held, chosen)
        return m

    def _pick(self, m: Module, payload: Any, chosen: Sequence[int]) -> None:
        for k, lane in enumerate(chosen):
            m.d.comb += self.o.payload.data[k].eq(payload.data[lane])


def check_pad(beat: Beat, window: Window, code: int) -> None:
    """Raise `HwsimError` where the padding is filled with what `beat` cannot hold."""
    fmt = Format(beat.is_signed, beat.width)
    if any(window.padding) and not fmt.min <= code <= fmt.max:
        raise HwsimError(f"a window's pad code must be from {fmt.min} to {fmt.max}, not {code}")
