"""A node that reads a tensor whose batch is not the first axis, as rules of operators see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer, Place
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared.values import Constant
from hwsim.ops.base import Shape

FIRST = Place(0, 1)
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
        return HwsimError(
            f"{self.node}: {must}; the batch is in axis {self.place.axis} of {name!r}"
        )

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
