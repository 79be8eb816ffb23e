"""Casts as places where numbers get lost, and those that are the index of a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, Node
from hwsim.losses.count import Count, Extent, Into
from hwsim.losses.sites import Seen, Site
from hwsim.ops import (
    Cast,
    Op,
    Relu,
    TensorType,
)

TABLES = ("table", "channel_table")


@dataclass(frozen=True, slots=True, kw_only=True)
class CastSite(Site):
    """A Cast."""

    op: Cast
    source: str
    kind: TensorType

    @classmethod
    def of(cls, graph: Graph, node: Node) -> CastSite:
        """Of a node."""
        op = node.op
        assert isinstance(op, Cast)
        into = Into(op.out, op.rounding, op.overflow)
        kind = graph.types()[node.inputs[0]]
        return cls(
            name=node.name,
            edge=node.output,
            what="cast",
            into=into,
            op=op,
            source=node.inputs[0],
            kind=kind,
        )

    def count(self, seen: Seen) -> Count:
        """Each channel in its own format, where channels have some."""
        codes, frac = seen.codes[self.source], self.kind.format.frac_bits
        if self.op.channels is None:
            return self.into.count(codes, frac)
        total = Count()
        for fmt in self.op.formats:
            mask = np.array([fmt == other for other in self.op.channels])
            total += replace(self.into, format=fmt).count(codes[..., mask], frac)
        gone = codes[..., np.array([fmt is None for fmt in self.op.channels])]
        if not gone.size:
            return total
        loss = float(np.abs(gone).max()) * 2.0**-frac
        return total + Count(
            codes=gone.size,
            rounded=int(np.count_nonzero(gone)),
            loss=loss,
            extent=Extent.of(gone, frac),
        )

    def proven(self) -> Extent:
        """What the input is proved to be."""
        return Extent.between(self.kind.lo, self.kind.hi, self.kind.format.frac_bits)

    def wide_op(self, into: Format) -> Op:
        """One format for all channels."""
        return replace(self.op, out=into, channels=None)

    def widened(self, graph: Graph, into: Format) -> Graph:
        """That operator alone."""
        return graph.with_op(self.name, self.wide_op(into))


def cast_site(graph: Graph, node: Node) -> Site:
    """Of a Cast: the index of a table where only tables read it."""
    after = graph.consumers(node.output)
    site = CastSite.of(graph, node)
    looked_up = bool(after) and all(reader.op.kind in TABLES for reader in after)
    return IndexSite(cast=site, **_fields(site, "index")) if looked_up else site


def _fields(site: Site, what: str) -> dict[str, Any]:
    return {"name": site.name, "edge": site.edge, "what": what, "into": site.into}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSite(Site):
    """The index of a table: that it has few steps is what a table is, so only ends count."""

    cast: CastSite

    @property
    def keeps_fraction(self) -> bool:
        """A table has as many steps as entries."""
        return False

    def count(self, seen: Seen) -> Count:
        """Indices that wrap, and those that stop at the table's ends."""
        found = self.cast.count(seen)
        return replace(found, rounded=0, loss=0.0, saturated=0, clamped=found.saturated)

    def proven(self) -> Extent:
        """What the index is made of."""
        return self.cast.proven()

    def widened(self, graph: Graph, into: Format) -> Graph:
        """Indices that wrap stop at the ends; a table has no entries for those that do."""
        if self.into.overflow is not Overflow.WRAP:
            raise HwsimError("a table has no entries beyond its ends")
        return graph.with_op(self.name, replace(self.cast.op, overflow=Overflow.SAT))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClampSite(Site):
    """An index that a ReLU with a maximum keeps inside of a table."""

    op: Relu
    source: str
    kind: TensorType

    @classmethod
    def of(cls, graph: Graph, node: Node) -> ClampSite | None:
        """Of a node; none where it is a ReLU of the network."""
        op, maker = node.op, graph.makers().get(node.inputs[0])
        assert isinstance(op, Relu)
        after = graph.consumers(node.output)
        looked_up = bool(after) and all(reader.op.kind in TABLES for reader in after)
        if op.maximum is None or not looked_up or maker is None or maker.op.kind != "cast":
            return None
        kind = graph.types()[node.inputs[0]]
        held = Format.holding(op.zero_point, op.maximum, kind.format.frac_bits)
        into = Into(held, Rounding.TRN, Overflow.SAT)
        return cls(
            name=node.name,
            edge=node.output,
            what="index",
            into=into,
            op=op,
            source=node.inputs[0],
            kind=kind,
        )

    @property
    def keeps_fraction(self) -> bool:
        """A table has as many steps as entries."""
        return False

    def count(self, seen: Seen) -> Count:
        """Indices that stop at the table's ends."""
        codes = seen.codes[self.source]
        top = self.op.maximum
        return Count(
            codes=codes.size,
            clamped=int(np.count_nonzero((codes < self.op.zero_point) | (codes > top))),
            extent=Extent.of(codes, self.kind.format.frac_bits),
        )

    def proven(self) -> Extent:
        """What the index is before it stops."""
        return Extent.between(self.kind.lo, self.kind.hi, self.kind.format.frac_bits)

    def widened(self, graph: Graph, into: Format) -> Graph:
        """No table has more."""
        raise HwsimError("a table has no entries beyond its ends")
