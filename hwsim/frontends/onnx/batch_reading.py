"""A node that reads a tensor whose batch is not the first axis, as rules of operators see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer, Place
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.shape import BATCH
from hwsim.frontends.shared.values import Constant
from hwsim.ops.base import Shape

FIRST = Place(0, 1)
NOWHERE = Place(-1, 1)
"""Of a model for one sample at a time: it cannot mix samples, whatever it does with its axes."""
MADE = "\0"  # ahead of what is added to the name of a tensor, which no file has


@dataclass(frozen=True, slots=True)
class Reading:
    """A node whose first tensor holds its batch at `place`; `shape` is that of one sample."""

    run: Importer
    node: OnnxNode
    position: int  # of that tensor among the node's inputs
    place: Place
    shape: Shape

    @property
    def rank(self) -> int:
        """How many axes the tensor has in the model."""
        return len(self.shape)

    def refusal(self, must: str) -> HwsimError:
        """What to say of a node that would mix samples, or that no rule reads."""
        name = self.node.input(self.position).partition(MADE)[0]
        held = f"is in axis {self.place.axis} of" if self.place != NOWHERE else "is not that of"
        return HwsimError(f"{self.node}: {must}; the batch {held} {name!r}")

    @property
    def counted(self) -> list[int]:
        """The tensor's sizes, below 0 where they count samples."""
        axis = self.place.axis if self.place != NOWHERE else None
        return [BATCH * size if i == axis else size for i, size in enumerate(self.shape)]

    def became(self, kept: Sequence[int]) -> Place:
        """The batch's place where the tensor's axes are these axes of the result's, in order."""
        return Place(kept[self.place.axis], self.place.inner) if self.place != NOWHERE else NOWHERE

    def apart(self, given: int, rank: int) -> int:
        """An axis of a tensor of that rank, counted from 0, that does not hold the batch."""
        if not -rank <= given < rank:
            raise HwsimError(
                f"{self.node}: its axes must lie in a tensor of rank {rank}, not {given}"
            )
        if given % rank == self.place.axis:
            raise self.refusal(f"it must keep samples apart, not work along axis {given}")
        return given % rank

    def constant(self, what: str, values: Sequence[int]) -> str:
        """The name of new integers for the node."""
        name = f"{self.node.output}{MADE}{what}"
        self.run.values[name] = Constant(np.array(values, np.int64))
        return name

    def with_inputs(self, *names: str) -> OnnxNode:
        """The node with other inputs behind the first, and no attribute that they stand for."""
        kept = {k: v for k, v in self.node.attributes.items() if k in ("keepdims", "axis")}
        return replace(self.node, inputs=(self.node.inputs[0], *names), attributes=kept)

    def with_axis(self, axis: int) -> OnnxNode:
        """The node along an axis of the model's tensor, the batch before all others."""
        return replace(self.node, attributes={**self.node.attributes, "axis": axis + 1})
