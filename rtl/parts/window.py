"""Sliding windows over a stream: rows held in a ring memory, windows read out beat by beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.ops.window import Window
from rtl.parts.loops import Loop, nest
from rtl.parts.stream import Beat, Slice, flat
from rtl.parts.window_parallel import ParallelWindow, PickLanes, check_pad
from rtl.parts.window_pixels import (
    Shape,
    masks,
    pixels_following,
    pixels_freed,
    pixels_needed,
    ring_pixels,
    window_need,
    window_starts,
)

__all__ = ["ParallelWindow", "PickLanes", "SerialWindow", "ring_pixels", "window_need"]


class SerialWindow(wiring.Component):
    """Give, for each output pixel, the codes under its window, some channels a beat.

    Ports: `i` and `o`, streams of `beat`, whose lanes divide the channels of `shape` (height,
    width, channels). Order of `o`: output pixels row by row; in each, `blocks` blocks of channel
    beats; in each, the kernel's positions row by row; at each, the block's beats. Positions outside
    the map hold `pad_code` in every lane. `last` of `i` is not looked at; that of `o` is on the
    final beat of the tensor.

    A beat a cycle as long as the pixels that a window needs have come (`window_need`); 3 cycles
    from the last of them to the window's first beat. The next image comes in while this one is
    read, as far as `capacity` (pixels held) lets it; its default, `ring_pixels`, says what that
    costs. `i.ready` and `o` come from registers. What it can give it gives without new input.
    Block memory with a registered read, `words` beats deep.

    Raises `HwsimError` for lanes or blocks that do not divide, a kernel that does not fit, a pad
    code that is no code, or a capacity that is less than some window needs.
    """

    def __init__(
        self,
        beat: Beat,
        shape: Shape,
        window: Window,
        *,
        pad_code: int,
        blocks: int = 1,
        capacity: int | None = None,
    ) -> None:
        needed, freed = pixels_needed(window, shape), pixels_freed(window, shape)
        if shape[2] % beat.lanes:
            raise HwsimError(
                f"a window's lanes must divide {shape[2]} channels, not be {beat.lanes}"
            )
        self.channel_beats = shape[2] // beat.lanes
        if blocks < 1 or self.channel_beats % blocks:
            raise HwsimError(
                f"a window's blocks must divide {self.channel_beats} channel beats, not be {blocks}"
            )
        check_pad(beat, window, pad_code)
        self.capacity = ring_pixels(window, shape) if capacity is None else capacity
        least = int((needed - freed).max())
        if self.capacity < least:
            raise HwsimError(
                f"a window's capacity must be at least {least} pixels, not {self.capacity}"
            )
        self.beat, self.shape, self.window, self.pad_code = beat, shape, window, pad_code
        self.blocks, self.needed, self.freed = blocks, needed, freed
        self.column_tables, self.row_tables = self._column_tables(), self._row_tables()
        super().__init__({"i": In(beat.stream), "o": Out(beat.stream)})

    @property
    def words(self) -> int:
        """Beats that the ring memory holds."""
        return self.capacity * self.channel_beats

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.store = store = memory.Memory(
            shape=unsigned(self.beat.lanes * self.beat.width), depth=self.words, init=[]
        )
        wrote, moved = Signal(), Signal()
        columns = Loop(m, "ox", self.needed.shape[1], self.column_tables)
        rows = Loop(m, "oy", self.needed.shape[0], self.row_tables)
        self._write(m, store.write_port(), wrote, self._space(m, wrote, moved, columns, rows))
        here = self._arrived(m, wrote, moved, columns, rows)
        self._read(m, store.read_port(), here, moved, columns, rows)
        return m

    # Bookkeeping: how far the writer is ahead, in pixels.

    def _column_tables(self) -> dict[str, list[int]]:
        needed, freed = np.diff(self.needed[0]), np.diff(self.freed[-1])
        _, starts = window_starts(self.window, self.shape)
        return {
            "needed": [*needed.tolist(), 0],
            "freed": [*freed.tolist(), 0],
            "inside": masks(starts, self.window.kernel[1], self.shape[1]),
        }

    def _row_tables(self) -> dict[str, list[int]]:
        """What is needed and freed by moving on to the next row, or to the next image."""
        pixels = self.shape[0] * self.shape[1]
        needed = [*self.needed[1:, 0].tolist(), int(self.needed[0, 0]) + pixels]
        freed = [*self.freed[1:, 0].tolist(), pixels]
        starts, _ = window_starts(self.window, self.shape)
        return {
            "needed": (np.array(needed) - self.needed[:, -1]).tolist(),
            "freed": (np.array(freed) - self.freed[:, -1]).tolist(),
            "frees": (starts >= 0).astype(int).tolist(),
            "inside": masks(starts, self.window.kernel[0], self.shape[0]),
        }

    def _space(self, m: Module, wrote: Any, moved: Any, columns: Loop, rows: Loop) -> Any:
        """Whether one more pixel can be written.

        Pixels may be freed before they come: those after the last window are never read, and
        writing them overwrites none but older ones.
        """
        ahead = max(0, int((pixels_following(self.freed, self.shape) - self.needed).max()))
        spare = Signal(range(-1, self.capacity + ahead), init=self.capacity - 1)
        in_row = Mux(rows.now["frees"], columns.now["freed"], 0)
        freed = Mux(columns.last, rows.now["freed"], in_row)
        m.d.sync += spare.eq(spare - wrote + Mux(moved, freed, 0))
        return ~spare[-1]

    def _arrived(self, m: Module, wrote: Any, moved: Any, columns: Loop, rows: Loop) -> Any:
        """Whether all pixels of the present window have come."""
        first = int(self.needed[0, 0])
        most = max(first, *self.column_tables["needed"], *self.row_tables["needed"])
        extra = Signal(range(-most, self.capacity + 1), init=-first)
        needed = Mux(columns.last, rows.now["needed"], columns.now["needed"])
        m.d.sync += extra.eq(extra + wrote - Mux(moved, needed, 0))
        return ~extra[-1]

    def _write(self, m: Module, port: Any, wrote: Any, space: Any) -> None:
        channel = Loop(m, "write_channel", self.channel_beats)
        place = Loop(m, "write", self.words)
        put = self.i.valid & space
        m.d.comb += [
            self.i.ready.eq(space),
            port.addr.eq(place.index),
            port.data.eq(flat(self.i.payload)),
            port.en.eq(put),
            place.step.eq(put),
            wrote.eq(nest(m, put, [channel])),
        ]

    # Reading: issue an address, wait for the memory, offer the beat.

    def _read(self, m: Module, port: Any, here: Any, moved: Any, columns: Loop, rows: Loop) -> None:
        m.submodules.cut = cut = Slice(self.beat)
        wiring.connect(m, cut.o, wiring.flipped(self.o))
        enable, issue, busy = cut.i.ready, Signal(), Signal()
        kh, kw = self.window.kernel
        inner = Loop(m, "channel", self.channel_beats // self.blocks)
        kx, ky, block = Loop(m, "kx", kw), Loop(m, "ky", kh), Loop(m, "block", self.blocks)
        m.d.comb += [
            issue.eq(enable & (busy | here)),
            moved.eq(nest(m, issue, [inner, kx, ky, block])),
            port.addr.eq(self._address(m, issue, [inner, kx, ky, block, columns, rows])),
            port.en.eq(issue),
        ]
        ended = nest(m, moved, [columns, rows])
        with m.If(issue):
            m.d.sync += busy.eq(~moved)
        inside = self._inside(m, kx, ky, columns, rows)
        valid, last, known = Signal(), Signal(), Signal()
        with m.If(enable):
            m.d.sync += [valid.eq(issue), last.eq(ended), known.eq(inside)]
        mask = (1 << self.beat.width) - 1
        pad = Const(self.pad_code & mask, self.beat.width).replicate(self.beat.lanes)
        m.d.comb += [
            cut.i.valid.eq(valid),
            cut.i.payload.last.eq(last),
            Cat(*cut.i.payload.data).eq(Mux(known, port.data, pad)),
        ]

    def _address(self, m: Module, issue: Any, loops: list[Loop]) -> Any:
        """The ring address of the beat to issue: a register that takes one step a beat.

        It is linear in the pixel's number since reset, modulo the ring; positions in the padding
        have addresses too, of beats that are not shown.
        """
        (top, left, _, _) = self.window.padding
        address = Signal(range(self.words), init=self._ring(-top * self.shape[1] - left, 0))
        step, wrapped = Signal(range(self.words)), Signal(range(-self.words, self.words))
        steps = self._steps()
        m.d.comb += step.eq(steps[-1])
        for loop, words in zip(reversed(loops), reversed(steps[:-1]), strict=True):
            with m.If(~loop.last):
                m.d.comb += step.eq(words)
        m.d.comb += wrapped.eq(address + step - self.words)
        with m.If(issue):
            m.d.sync += address.eq(Mux(wrapped[-1], address + step, wrapped))
        return address

    def _ring(self, pixels: int, words: int) -> int:
        return (pixels * self.channel_beats + words) % self.words

    def _steps(self) -> list[int]:
        """Address steps to the next channel beat, kx, ky, block, ox, oy and image."""
        height, width, _ = self.shape
        (kh, kw), (sh, sw) = self.window.kernel, self.window.stride
        out_rows, out_columns = self.needed.shape
        inner = self.channel_beats // self.blocks
        back = -(kh - 1) * width - (kw - 1)  # from the kernel's last position to its first
        row = sh * width - (out_columns - 1) * sw
        image = (height - (out_rows - 1) * sh) * width - (out_columns - 1) * sw
        first_block = 1 - self.channel_beats
        return [
            self._ring(0, 1),
            self._ring(1, 1 - inner),
            self._ring(width - kw + 1, 1 - inner),
            self._ring(back, 1),
            self._ring(back + sw, first_block),
            self._ring(back + row, first_block),
            self._ring(back + image, first_block),
        ]

    def _inside(self, m: Module, kx: Loop, ky: Loop, columns: Loop, rows: Loop) -> Any:
        """Whether the position to issue is on the map: masks that turn as the kernel is walked."""
        flags = []
        for name, position, outer, count in (
            ("column", kx, columns, self.window.kernel[1]),
            ("row", ky, rows, self.window.kernel[0]),
        ):
            table = outer.tables["inside"]
            if min(table) == (1 << count) - 1:
                continue
            mask = Signal(count, name=f"{name}_inside", init=table[0])
            with m.If(position.step):
                m.d.sync += mask.eq(mask.rotate_right(1))
            with m.If(outer.step):
                m.d.sync += mask.eq(outer.coming["inside"])
            flags.append(mask[0])
        return Cat(*flags).all() if flags else Const(1, 1)
