"""Max and average pools: windows, then a running maximum or sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.fixed import Overflow
from hwsim.ops import AvgPool, MaxPool, Stepwise, Window
from rtl.layers.base import Counts, OnLanes, Task, divisors
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan
from rtl.layers.windows import ring_memory
from rtl.parts import caster, reduce, window
from rtl.parts.lanes import Lanes
from rtl.parts.stream import Beat


class Pooled(OnLanes):
    """Serial windows of some channels at a time; one over the whole map needs no line memory."""

    name = "serial-window"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.op: MaxPool | AvgPool = task.op
        self.window: Window = self.op.window

    def lacks(self) -> str | None:
        """Every pool can be built."""
        return None

    @property
    def whole_map(self) -> bool:
        """Whether the only window is all of the map, so that none has to be kept."""
        return self.window.kernel == self.task.x.shape[:2] and not any(self.window.padding)

    def widths(self) -> Sequence[int]:
        """Divisors of the channels."""
        return divisors(self.task.x.channels)

    def cycles(self, plan: LanePlan) -> int:
        """The codes that come in, or those under all windows."""
        most = max(self.task.codes, self.task.out.size * self.window.size)
        return -(-most // plan.lanes)

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """The rows of the window, and what runs of each channel."""
        x, out = self.task.x, self.task.out
        rows = [] if self.whole_map else [ring_memory(self.window, x, plan.lanes)]
        if x.channels == plan.lanes:
            return rows
        width = plan.lanes * out.format.width
        return [*rows, Memory(x.channels // plan.lanes, width, written=True)]

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """The window of its pixel."""
        x, out = self.task.x, self.task.out
        pixels = window.window_need(self.window, x.shape)
        return pixels[np.arange(out.size) // out.channels] * x.channels

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """Windows, a cast of each code where the sum has steps, and the running result."""
        op, x, lanes = self.op, self.task.x, plan.lanes
        beat, out = beats[0].with_lanes(lanes), Beat.of(lanes, self.task.out.format)
        largest = isinstance(op, MaxPool)
        parts: list[Any] = [Lanes(beats[0], lanes)]
        zero = 0 if isinstance(op, MaxPool) else op.zero_point
        if not self.whole_map:
            pad = x.format.min if largest else zero
            parts.append(window.SerialWindow(beat, x.shape, op.window, pad_code=pad))
        overflow = Overflow.WRAP
        if isinstance(op, AvgPool) and isinstance(op.accumulator, Stepwise):
            acc = op.accumulator
            overflow = acc.overflow
            parts.append(
                caster.caster(
                    lanes, src=x.format, dst=acc.format, rounding=acc.rounding, overflow=overflow
                )
            )
            beat = out
        parts.append(
            reduce.Running(
                beat,
                out,
                positions=op.window.size,
                channel_beats=x.channels // lanes,
                combine=reduce.Combine.MAX if largest else reduce.Combine.SUM,
                initial=-op.window.size * zero,
                overflow=overflow,
            )
        )
        return Layer(beats, out, parts)
