"""What a piece of hardware for an operator has to say about itself before anything is built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from hwsim.ops import TensorType
from rtl.layers.layer import Dealt, Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan, NodePlan, WirePlan
from rtl.parts.stream import Beat

Counts = npt.NDArray[np.int64]
P = TypeVar("P", bound=NodePlan)
MULTIPLIER = 500
"""Look-up tables that a hard multiplier is worth: an ECP5 has 540 to 870 for each."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What a node has to do, whatever does it: an operator between tensors of given types."""

    op: Any  # an Op; each implementation knows which
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]

    @property
    def x(self) -> TensorType:
        """The first input."""
        return self.inputs[0]

    @property
    def out(self) -> TensorType:
        """The output of a task that has one."""
        (out,) = self.outputs
        return out

    @property
    def codes(self) -> int:
        """Codes of the largest tensor."""
        return max(kind.size for kind in (*self.inputs, *self.outputs))


@dataclass(frozen=True, slots=True)
class Option:
    """One hardware that a task can have: how it ranks among others, its cycles and its plan.

    `cost` is compared item by item; all implementations of one operator mean the same by each. The
    first item is in look-up tables, roughly, those that `multipliers` are worth among them; these
    count products that adders make too.
    """

    cost: tuple[int, ...]
    cycles: int
    plan: NodePlan
    multipliers: int = 0

    @property
    def tables(self) -> int:
        """Look-up tables, roughly, without what its multipliers are worth."""
        return self.cost[0] - MULTIPLIER * self.multipliers

    def ranks(self, price: int) -> tuple[int, ...]:
        """`cost` where a multiplier is worth `price` look-up tables."""
        return (self.cost[0] + (price - MULTIPLIER) * self.multipliers, *self.cost[1:])


class Implementation(ABC, Generic[P]):
    """One way to do a task in hardware. An instance belongs to one task; nothing has a default.

    `name` is unique among the implementations of an operator: plans name it. `plan_type` is the
    class of its plans. Costly questions about the task are asked once an instance.
    """

    name: ClassVar[str]
    plan_type: ClassVar[type[Any]]

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def lacks(self) -> str | None:
        """Why the task cannot be done this way, and what would help; None where it can."""

    @abstractmethod
    def options(self) -> Sequence[Option]:
        """What can be planned, with the cost and the cycles of each; in any order."""

    @abstractmethod
    def cycles(self, plan: P) -> int:
        """Cycles from one inference to the next where neither side makes it wait."""

    @abstractmethod
    def why(self, plan: P) -> str:
        """What its cycles come from, in a few words."""

    @abstractmethod
    def multipliers(self, plan: P) -> int:
        """Hard multipliers (18 x 18 bits), counted as Yosys will build them."""

    @abstractmethod
    def adder_bits(self, plan: P) -> int:
        """Bits of adders that it has at least, each a look-up table or more."""

    @abstractmethod
    def memories(self, plan: P) -> Sequence[Memory]:
        """All memories, exactly; those of no bits count as none."""

    @abstractmethod
    def input_lanes(self, plan: P, index: int) -> int:
        """Codes of input `index` that it takes in at a time."""

    @abstractmethod
    def output_lanes(self, plan: P, given: Sequence[int]) -> tuple[int, ...]:
        """Codes a beat of each output; `given` are those of the inputs."""

    @abstractmethod
    def used(self, plan: P, index: int, output: int) -> Counts:
        """For each code of an output in turn, how many codes of input `index` it depends on.

        All codes are counted that must have come before that output code can leave.
        """

    @abstractmethod
    def gathers(self, plan: P, index: int, map_cycles: int, pace: float) -> int:
        """Codes of input `index` that must wait for it, so that it never waits for them.

        A tensor of the input comes in and is worked on in `map_cycles`; its maker gives a code
        every `pace` cycles. Of what the implementation holds itself nothing is counted.
        """

    @abstractmethod
    def lower(self, plan: P, beats: tuple[Beat, ...]) -> Layer | Dealt:
        """The component, for inputs that come in `beats`."""

    def needs(self, plan: P, index: int, output: int = 0) -> Counts:
        """`used` in whole beats of the input, as far as it goes."""
        lanes = self.input_lanes(plan, index)
        whole = -(-self.used(plan, index, output) // lanes) * lanes
        return np.minimum(whole, self.task.inputs[index].size)


class OnLanes(Implementation[LanePlan]):
    """What works on a number of codes side by side, as many out as in, and adds up no products."""

    plan_type: ClassVar[type[LanePlan]] = LanePlan

    @abstractmethod
    def widths(self) -> Sequence[int]:
        """The numbers of lanes that can be had, the least first."""

    def plan(self, lanes: int) -> LanePlan:
        """The plan of so many lanes."""
        return LanePlan(implementation=self.name, lanes=lanes)

    def options(self) -> Sequence[Option]:
        """One for each width; lanes are what they cost."""
        plans = [self.plan(lanes) for lanes in self.widths()]
        return [Option((0, plan.lanes), self.cycles(plan), plan) for plan in plans]

    def why(self, plan: LanePlan) -> str:
        """A beat a cycle."""
        return f"{plan.lanes} codes a beat"

    def adder_bits(self, plan: LanePlan) -> int:
        """No adders that count."""
        return 0

    def input_lanes(self, plan: LanePlan, index: int) -> int:
        """A beat."""
        return plan.lanes

    def gathers(self, plan: LanePlan, index: int, map_cycles: int, pace: float) -> int:
        """It takes its codes evenly, or into a memory of its own."""
        return 0

    def output_lanes(self, plan: LanePlan, given: Sequence[int]) -> tuple[int, ...]:
        """A beat of the same width."""
        return (plan.lanes,) * len(self.task.outputs)


class Pointwise(OnLanes):
    """The shared base of operators that give a code for a code: any divisor of the channels."""

    def widths(self) -> Sequence[int]:
        """Divisors of the channels."""
        return divisors(self.task.out.channels)

    def cycles(self, plan: LanePlan) -> int:
        """A beat a cycle."""
        return -(-self.task.codes // plan.lanes)

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """A code for a code."""
        return np.arange(1, self.task.outputs[output].size + 1)


class Wires(Implementation[WirePlan]):
    """Row-major order is the stream's own order: nothing is built."""

    name = "wires"
    plan_type = WirePlan

    def lacks(self) -> str | None:
        """Always possible."""
        return None

    def options(self) -> Sequence[Option]:
        """The only one there is."""
        return [Option((0, 0), 0, WirePlan(implementation=self.name))]

    def cycles(self, plan: WirePlan) -> int:
        """None of its own: its maker's and its reader's."""
        return 0

    def why(self, plan: WirePlan) -> str:
        """Never asked for."""
        return "no cycles of its own"

    def multipliers(self, plan: WirePlan) -> int:
        """None."""
        return 0

    def adder_bits(self, plan: WirePlan) -> int:
        """None."""
        return 0

    def memories(self, plan: WirePlan) -> Sequence[Memory]:
        """None."""
        return ()

    def input_lanes(self, plan: WirePlan, index: int) -> int:
        """It gathers nothing."""
        return 1

    def output_lanes(self, plan: WirePlan, given: Sequence[int]) -> tuple[int, ...]:
        """As they come."""
        return (given[0],)

    def gathers(self, plan: WirePlan, index: int, map_cycles: int, pace: float) -> int:
        """It takes what comes."""
        return 0

    def used(self, plan: WirePlan, index: int, output: int) -> Counts:
        """A code for a code."""
        return np.arange(1, self.task.out.size + 1)

    def lower(self, plan: WirePlan, beats: tuple[Beat, ...]) -> Layer:
        """No part."""
        return Layer(beats, beats[0], [])


def divisors(n: int) -> list[int]:
    """All divisors, in order."""
    return [d for d in range(1, n + 1) if n % d == 0]
