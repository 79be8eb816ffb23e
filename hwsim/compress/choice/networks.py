"""Networks that a choice tries: integer ones and float ones, judged in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hwsim.compress.choice.channels import products
from hwsim.compress.figures import bit_operations, weight_bits
from hwsim.compress.float_accuracy import accuracy_of_floats
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.training.fit import LabelledBatch
from hwsim.emulator.run import planned
from hwsim.evaluation.measure import measure
from hwsim.graph import Graph


class TriedNetwork(Protocol):
    """What a choice came to, and what is counted of it.

    `bits` are those of its weights, `products` those of an inference, `operations` the products by
    the bits of their factors, both None of floats; `cycles` are None where nobody asked for them,
    and where a device has no room.
    """

    @property
    def bits(self) -> int: ...
    @property
    def operations(self) -> int | None: ...
    @property
    def products(self) -> int | None: ...
    @property
    def cycles(self) -> int | None: ...
    def outputs(self, batches: tuple[Batch, ...]) -> list[Mapping[str, Any]]:
        """What it gives for each batch, by name."""
        ...

    def accuracy(self, data: LabelledBatch, output: str | None) -> float | None:
        """The share of samples that an output gets right, the only one or the one of that name.

        None without labels.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TriedGraph:
    """A Graph, run by the emulator."""

    graph: Graph
    bits: int
    cycles: int | None = None

    @classmethod
    def of(cls, graph: Graph, cycles: int | None = None) -> TriedGraph:
        """With the bits of all weights."""
        return cls(graph=graph, bits=weight_bits(graph), cycles=cycles)

    @property
    def operations(self) -> int:
        """Bit operations."""
        return bit_operations(self.graph)

    @property
    def products(self) -> int:
        """Of an inference."""
        return products(self.graph)

    def outputs(self, batches: tuple[Batch, ...]) -> list[Mapping[str, Any]]:
        """What the emulator gives."""
        emulator = planned(self.graph)
        names = [port.name for port in self.graph.outputs]

        def outputs(batch: Batch) -> Mapping[str, Any]:
            found = emulator.decode(emulator.run_chunked(emulator.encode(dict(batch))))
            return found if isinstance(found, Mapping) else {names[0]: found}

        return [outputs(batch) for batch in batches]

    def accuracy(self, data: LabelledBatch, output: str | None) -> float | None:
        """The emulator's."""
        if data.labels is None:
            return None
        given = data.arrays, data.labels
        return measure(self.graph, *given, names=data.names, output=output).top1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TriedFloats:
    """A float model, run by ONNX Runtime."""

    model: FloatModel
    bits: int

    @property
    def operations(self) -> None:
        """Products of floats are none of bits."""
        return

    @property
    def products(self) -> None:
        """Not counted."""
        return

    @property
    def cycles(self) -> None:
        """Hardware takes integers."""
        return

    def outputs(self, batches: tuple[Batch, ...]) -> list[Mapping[str, Any]]:
        """What ONNX Runtime gives."""
        return list(self.model.run(batches, self.model.outputs))

    def accuracy(self, data: LabelledBatch, output: str | None) -> float | None:
        """ONNX Runtime's."""
        if data.labels is None:
            return None
        given = data.arrays, data.labels, data.names
        return accuracy_of_floats(self.model, *given, output=output).top1
