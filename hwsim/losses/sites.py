"""Where numbers can get lost in a Graph: one record an operator that casts, sums or saturates."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, Node
from hwsim.losses.count import Count, Extent, Into
from hwsim.losses.sums import Sums, tree_count
from hwsim.ops import (
    AvgPool,
    Balanced,
    Cast,
    Conv,
    Dense,
    Op,
    Reduce,
    Relu,
    Requantize,
    ScaledAdd,
    Scheme,
    Stepwise,
    TensorType,
    Weighted,
)
from hwsim.ops.accumulate import Steps

TABLES = ("table", "channel_table")
WIDE = Format.int(24)
"""A format past all that requantizers to 8 or 16 bits give; the float schemes take no wider."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch: int64 codes by edge, and what the user gave by input name."""

    codes: Mapping[str, Any]
    given: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site(ABC):
    """A place where numbers are assigned to a format: a node, or an input by its port's name.

    `what` is `input`, `cast`, `index`, `sums`, or `requantize`.
    """

    name: str
    edge: str
    what: str
    into: Into

    @abstractmethod
    def count(self, seen: Seen) -> Count:
        """What happens to the codes of a batch."""

    @abstractmethod
    def proven(self) -> Extent | None:
        """Bounds of what is assigned, from intervals; None where nothing bounds it."""

    @abstractmethod
    def widened(self, graph: Graph, into: Format) -> Graph:
        """The graph with another format here; HwsimError where it does not fit what follows."""

    @property
    def keeps_fraction(self) -> bool:
        """Whether a wider format can have more fraction bits too."""
        return True


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

    def widened(self, graph: Graph, into: Format) -> Graph:
        """One format for all channels."""
        return graph.with_op(self.name, replace(self.op, out=into, channels=None))


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

    def widened(self, graph: Graph, into: Format) -> Graph:
        """Another format of the accumulator."""
        acc = self.op.accumulator
        assert isinstance(acc, Stepwise)
        return graph.with_op(self.name, replace(self.op, accumulator=replace(acc, format=into)))


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

    def widened(self, graph: Graph, into: Format) -> Graph:
        """Another format of the accumulator."""
        acc = self.op.accumulator
        assert isinstance(acc, Stepwise | Balanced)
        return graph.with_op(self.name, replace(self.op, accumulator=replace(acc, format=into)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequantizeSite(Site):
    """A Requantize or a ScaledAdd: its scale rounds every code by design, so only ends count.

    Where the least code stands for 0, numbers below it are those of a ReLU, and do not count.
    """

    op: Requantize | ScaledAdd
    sources: tuple[str, ...]
    kinds: tuple[TensorType, ...]
    wide: Requantize | ScaledAdd

    @classmethod
    def of(cls, graph: Graph, node: Node) -> RequantizeSite | None:
        """Of a node; none where its format is too wide for a wider one."""
        op, kinds = node.op, graph.input_types(node)
        assert isinstance(op, Requantize | ScaledAdd)
        room = max(WIDE.width, op.out.width + 1)
        if room > WIDE.width and not (isinstance(op, Requantize) and op.scheme is Scheme.SHIFT):
            return None
        mode, rounding = Overflow.SAT, Rounding.RND_CONV
        if isinstance(op, Requantize):
            mode, rounding = op.overflow, op.rounding
        return cls(
            name=node.name,
            edge=node.output,
            what="requantize",
            into=Into(op.out, rounding, mode),
            op=op,
            sources=node.inputs,
            kinds=kinds,
            wide=replace(op, out=Format(True, room - op.out.frac_bits, op.out.frac_bits)),
        )

    @property
    def keeps_fraction(self) -> bool:
        """Its scale says what a code is worth."""
        return False

    @property
    def _zero(self) -> int:
        quant = self.op.quant
        return quant.zero_point if quant is not None else getattr(self.op, "zero_point", 0)

    def count(self, seen: Seen) -> Count:
        """Codes before they saturate, up to those of the wider format."""
        carrier = self.wide.carriers(self.kinds)[-1]
        k = self.wide.prepare(self.kinds, carrier)
        given = [np.asarray(seen.codes[source]).astype(carrier.value) for source in self.sources]
        codes = np.asarray(self.wide.run(np, given, k)).astype(np.int64)
        if self._zero == self.op.out.min:
            codes = np.maximum(codes, self.op.out.min)
        return Count(
            codes=codes.size,
            extent=Extent.of(codes, self.op.out.frac_bits),
            **self.into.happened(self.into.outside(codes)),
        )

    def proven(self) -> Extent:
        """Bounds of the codes before they saturate, up to those of the wider format."""
        made = self.wide.infer(self.kinds)
        low = max(made.lo, self.op.out.min) if self._zero == self.op.out.min else made.lo
        return Extent.between(low, made.hi, self.op.out.frac_bits)

    def widened(self, graph: Graph, into: Format) -> Graph:
        """A wider format, and the ReLU that the lower end was."""
        graph = graph.with_op(self.name, replace(self.op, out=into))
        if self._zero != self.op.out.min:
            return graph
        return _followed(graph, graph.node(self.name), Relu(zero_point=self._zero))


def _followed(graph: Graph, node: Node, op: Op) -> Graph:
    """The graph with another operator right behind a node; the edge behind both keeps its name."""
    before = f"{node.output}/wide"
    pair = (Node(node.name, node.op, node.inputs, before), Node(before, op, [before], node.output))
    nodes = [made for n in graph.nodes for made in (pair if n.name == node.name else (n,))]
    return replace(graph, nodes=tuple(nodes))


RULES: Mapping[str, Callable[[Graph, Node], Site | None]] = {
    "cast": cast_site,
    "dense": SumsSite.of,
    "conv1d": SumsSite.of,
    "conv2d": SumsSite.of,
    "avgpool": SumsSite.of,
    "reduce": ReduceSite.of,
    "relu": ClampSite.of,
    "requantize": RequantizeSite.of,
    "scaled_add": RequantizeSite.of,
}
"""The site of a node by its operator's kind."""

SAFE = (
    "add", "argmax", "batchnorm", "channel_table", "concat", "divide", "flatten", "literal",
    "matmul", "maximum", "maxpool", "minimum", "mul", "pad", "pair_table", "quotient", "reshape",
    "rsqrt", "select", "split", "sub", "table", "thresholds", "transpose",
)  # fmt: skip
"""Kinds of operators that assign nothing to a format: what they give holds all that they compute.

A division, a table and thresholds lose by what they are, not by their formats.
"""


def sites_of(graph: Graph) -> tuple[list[Site], list[str]]:
    """All sites of the nodes, in order, and the kinds of operators that nobody looks into."""
    found, unknown = [], []
    for node in graph.nodes:
        rule = RULES.get(node.op.kind)
        site = None if rule is None else rule(graph, node)
        if site is not None:
            found.append(site)
        elif rule is None and node.op.kind not in SAFE:
            unknown.append(node.op.kind)
    return found, sorted(set(unknown))
