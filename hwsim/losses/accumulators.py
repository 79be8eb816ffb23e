"""Accumulators with a format as places where numbers get lost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.fixed import Format
from hwsim.graph import Graph, Node
from hwsim.losses.count import Count, Extent, Into
from hwsim.losses.sites import Seen, Site
from hwsim.losses.sums import Sums, tree_count
from hwsim.ops import (
    AvgPool,
    Balanced,
    Conv,
    Dense,
    Op,
    Reduce,
    Stepwise,
    TensorType,
    Weighted,
)
from hwsim.ops.accumulate import Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class SumsSite(Site):
    """A step-wise accumulator."""

    op: Weighted | AvgPool
    source: str
    sums: Sums

    @classmethod
    def of(cls, graph: Graph, node: Node) -> SumsSite | None:
        """Of a node; none where its sums are exact."""
        op = node.op
        assert isinstance(op, Weighted | AvgPool)
        acc = op.accumulator
        if not isinstance(acc, Stepwise):
            return None
        steps = op.steps(graph.types()[node.inputs[0]])
        if isinstance(op, Weighted):
            sums = Sums(steps, op.bias, op.bias_frac)
        else:
            sums = Sums(steps, np.zeros(1, np.int64), 0)
        return cls(
            name=node.name,
            edge=node.output,
            what="sums",
            into=sums.into,
            op=op,
            source=node.inputs[0],
            sums=sums,
        )

    def count(self, seen: Seen) -> Count:
        """Over all sums of the batch."""
        total = Count()
        for channels, columns in _columns(self.op, seen.codes[self.source]):
            total += self.sums.part(channels).count(columns)
        return total

    def proven(self) -> Extent:
        """Of all partial sums that must be held."""
        return self.sums.proven()

    def wide_op(self, into: Format) -> Op:
        """Another format of the accumulator."""
        acc = self.op.accumulator
        assert isinstance(acc, Stepwise)
        return replace(self.op, accumulator=replace(acc, format=into))

    def widened(self, graph: Graph, into: Format) -> Graph:
        """That operator alone."""
        return graph.with_op(self.name, self.wide_op(into))


def _columns(op: Weighted | AvgPool, x: Any) -> Iterator[tuple[slice, Any]]:
    """The codes that each sum adds up, (sums of one channel, terms), for slices of channels."""
    every = slice(None)
    if isinstance(op, Dense):
        yield every, x.reshape(-1, x.shape[-1])
        return
    assert isinstance(op, Conv | AvgPool)
    padded = op.window.pad(np, x, 0)
    if isinstance(op, AvgPool):
        views = list(op.window.views(padded))
        yield every, np.stack(views, axis=-1).reshape(-1, len(views))
        return
    if op.groups == 1:
        yield every, op.window.gather(np, padded)
        return
    size, outputs = op.weights.shape[-2], op.outputs // op.groups
    for group in range(op.groups):
        part = np.ascontiguousarray(padded[..., group * size : (group + 1) * size])
        channels = slice(group * outputs, (group + 1) * outputs)
        yield channels, op.window.gather(np, part)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceSite(Site):
    """A sum along axes in an accumulator with a format, one code after the other or as a tree."""

    op: Reduce
    source: str
    kind: TensorType

    @classmethod
    def of(cls, graph: Graph, node: Node) -> ReduceSite | None:
        """Of a node; none where it is exact."""
        op = node.op
        assert isinstance(op, Reduce)
        acc = op.accumulator
        if not isinstance(acc, Stepwise | Balanced):
            return None
        return cls(
            name=node.name,
            edge=node.output,
            what="sums",
            into=Into(acc.format, acc.rounding, acc.overflow),
            op=op,
            source=node.inputs[0],
            kind=graph.types()[node.inputs[0]],
        )

    def count(self, seen: Seen) -> Count:
        """Over all sums of the batch."""
        x = seen.codes[self.source]
        axes = tuple(axis + 1 for axis in self.op.axes)
        terms = np.moveaxis(x, axes, range(-len(axes), 0)).reshape(-1, self._terms)
        acc, frac = self.op.accumulator, self.kind.format.frac_bits
        if isinstance(acc, Stepwise):
            return self._steps(acc).count(terms)
        return tree_count(self.into, terms, frac)

    @property
    def _terms(self) -> int:
        return math.prod(self.kind.shape[axis] for axis in self.op.axes)

    def _steps(self, acc: Stepwise) -> Sums:
        ones, none = np.ones((self._terms, 1), np.int64), np.zeros(1, np.int64)
        drop = self.kind.format.frac_bits - acc.format.frac_bits
        return Sums(Steps(acc, ones, none, drop, self.kind.lo, self.kind.hi), none, 0)

    def proven(self) -> Extent:
        """Of all partial sums."""
        low, high = min(self.kind.lo, 0) * self._terms, max(self.kind.hi, 0) * self._terms
        return Extent.between(low, high, self.kind.format.frac_bits)

    def wide_op(self, into: Format) -> Op:
        """Another format of the accumulator."""
        acc = self.op.accumulator
        assert isinstance(acc, Stepwise | Balanced)
        return replace(self.op, accumulator=replace(acc, format=into))

    def widened(self, graph: Graph, into: Format) -> Graph:
        """That operator alone."""
        return graph.with_op(self.name, self.wide_op(into))
