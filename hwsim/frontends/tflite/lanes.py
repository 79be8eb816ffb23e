"""The vector code of the optimized kernels: whole groups of codes by one rule, the rest by another.

A run of codes is cut into groups of so many lanes; what is left at its end is computed one by one,
where ties may round otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.ops import Concat, Flatten, Op, Reshape, Split

Build = Callable[[str, list[str]], str]
"""Makes the edge of a result: from a name for its nodes, and the edges of the operands."""


def one(run: LiteImporter, op: Op) -> Build:
    """What makes a result by a single operator."""
    return lambda name, edges: run.emit(name, op, edges, name)


@dataclass(frozen=True, slots=True)
class VectorLanes:
    """How many codes the vector code takes at a time, and what it and the code for the rest do."""

    count: int
    vector: Build
    tail: Build

    def along(self, run: LiteImporter, name: str, edges: Sequence[str], axis: int) -> str:
        """A run along an axis (the batch apart) of tensors of one shape."""
        length = run.types[edges[0]].shape[axis]
        whole = length // self.count * self.count
        if whole in (0, length):
            return (self.vector if whole else self.tail)(name, list(edges))
        split = Split(axis=axis, sizes=(whole, length - whole))
        parts = [
            run.emit_all(f"{edge}.parts", split, [edge], [f"{edge}.lanes", f"{edge}.rest"])
            for edge in edges
        ]
        lanes, rest = (list(held) for held in zip(*parts, strict=True))
        made = [self.vector(f"{name}.lanes", lanes), self.tail(f"{name}.rest", rest)]
        return run.emit(f"{name}.joined", Concat(axis=axis), made, f"{name}.joined")

    def over(self, run: LiteImporter, name: str, edges: Sequence[str]) -> str:
        """A run over all codes of tensors of one shape."""
        kind = run.types[edges[0]]
        uneven = kind.size > self.count and kind.size % self.count
        if not uneven:
            return (self.vector if kind.size >= self.count else self.tail)(name, list(edges))
        if len(kind.shape) == 1:
            return self.along(run, name, edges, 0)
        flat = [run.emit(f"{edge}.flat", Flatten(), [edge], f"{edge}.flat") for edge in edges]
        joined = self.along(run, name, flat, 0)
        return run.emit(f"{name}.shape", Reshape(shape=kind.shape), [joined], f"{name}.shape")
