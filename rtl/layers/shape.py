"""Operators that move codes without changing them, and the index of the largest."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from rtl.layers.base import Counts, OnLanes, divisors
from rtl.layers.layer import Dealt, Gathered, Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan
from rtl.parts import reduce, stream
from rtl.parts.lanes import Lanes
from rtl.parts.permute import Permute
from rtl.parts.stream import Beat, Slice


class OneByOne(OnLanes):
    """The shared base of what takes a code a cycle and can be no wider."""

    def lacks(self) -> str | None:
        """Always possible."""
        return None

    def widths(self) -> Sequence[int]:
        """One."""
        return (1,)

    def cycles(self, plan: LanePlan) -> int:
        """A code a cycle."""
        return self.task.codes

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    @abstractmethod
    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """What it keeps."""


class Transposed(OneByOne):
    """A memory of two tensors: one is written while the other is read."""

    name = "two-tensors"

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """Both tensors."""
        x = self.task.x
        return (Memory(2 * x.size, x.format.width, written=True),)

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """The whole tensor."""
        return np.full(self.task.out.size, self.task.x.size)

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """Code by code."""
        beat = beats[0].with_lanes(plan.lanes)
        permute = Permute(beat, self.task.x.shape, self.task.op.axes)
        return Layer(beats, beat, [Lanes(beats[0], plan.lanes), permute])


class Largest(OneByOne):
    """One code at a time against the best so far."""

    name = "compare"

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """None."""
        return ()

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """All channels of its position."""
        return np.arange(1, self.task.out.size + 1) * self.task.x.channels

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """Code by code."""
        beat, out = beats[0].with_lanes(plan.lanes), Beat.of(1, self.task.out.format)
        part = reduce.FirstLargest(beat, self.task.x.channels, self.task.out.format)
        return Layer(beats, out, [Lanes(beats[0], plan.lanes), part])


class Interleaved(OnLanes):
    """A concatenation: a block from each input in turn."""

    name = "in-turn"

    def lacks(self) -> str | None:
        """Always possible."""
        return None

    def widths(self) -> Sequence[int]:
        """What divides the channels of all inputs."""
        return divisors(math.gcd(*(x.channels for x in self.task.inputs)))

    def blocks(self) -> list[int]:
        """Codes of each input that come one after the other."""
        axis = self.task.op.place(self.task.x)
        return [math.prod(x.shape[axis:]) for x in self.task.inputs]

    def cycles(self, plan: LanePlan) -> int:
        """A beat a cycle."""
        return self.task.out.size // plan.lanes

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """None."""
        return ()

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """Codes before an input's block need only what earlier rounds needed of it."""
        widths = self.blocks()
        turn, place = np.divmod(np.arange(self.task.out.size), sum(widths))
        start = sum(widths[:index])
        return turn * widths[index] + np.clip(place - start + 1, 0, widths[index])

    def gathers(self, plan: LanePlan, index: int, map_cycles: int, pace: float) -> int:
        """What an even maker gives of its block while the blocks of the others go through."""
        widths = self.blocks()
        return -(-widths[index] * (sum(widths) - widths[index]) // sum(widths))

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """All inputs brought to the plan's lanes, then one after the other."""
        out = beats[0].with_lanes(plan.lanes)
        blocks = [codes // plan.lanes for codes in self.blocks()]
        part = stream.Interleave(out, blocks)
        ways = [[Lanes(beat, plan.lanes)] for beat in beats]
        head = Gathered(beats, ways, part, [part.i[k] for k in range(len(blocks))])
        return Layer(beats, out, [Slice(out)], head)


class InBlocks(OnLanes):
    """A split: a block of beats to each output in turn."""

    name = "in-turn"

    def lacks(self) -> str | None:
        """Always possible."""
        return None

    def widths(self) -> Sequence[int]:
        """What divides the channels of all outputs."""
        return divisors(math.gcd(*(made.channels for made in self.task.outputs)))

    def cycles(self, plan: LanePlan) -> int:
        """A beat a cycle."""
        return self.task.x.size // plan.lanes

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """None."""
        return ()

    def rounds(self) -> int:
        """How often each output gets a block."""
        return math.prod(self.task.x.shape[: self.task.op.axis])

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """All up to its place, those of the outputs before it in its round too."""
        blocks = [made.size // self.rounds() for made in self.task.outputs]
        turn, place = np.divmod(np.arange(self.task.outputs[output].size), blocks[output])
        return turn * sum(blocks) + sum(blocks[:output]) + place + 1

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Dealt:
        """The plan's lanes of codes, dealt out."""
        out, rounds = beats[0].with_lanes(plan.lanes), self.rounds()
        blocks = [made.size // rounds // plan.lanes for made in self.task.outputs]
        deal = stream.Distribute(out, blocks, rounds)
        return Dealt(beats[0], [Lanes(beats[0], plan.lanes), deal], [out] * len(blocks))
