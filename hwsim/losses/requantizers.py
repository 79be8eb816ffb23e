"""Requantizers as places where numbers get lost: what saturates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, Node
from hwsim.losses.count import Count, Extent, Into
from hwsim.losses.sites import Seen, Site
from hwsim.ops import (
    Op,
    Quotient,
    Relu,
    Requantize,
    ScaledAdd,
    Scheme,
    TensorType,
)

WIDE = Format.int(24)
"""A format past all that requantizers to 8 or 16 bits give; the float schemes take no wider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequantizeSite(Site):
    """A Requantize, a ScaledAdd or a Quotient: it rounds every code by design, so only ends count.

    Where the least code stands for 0, numbers below it are those of a ReLU, and do not count.
    """

    op: Requantize | ScaledAdd | Quotient
    sources: tuple[str, ...]
    kinds: tuple[TensorType, ...]
    wide: Requantize | ScaledAdd | Quotient

    @classmethod
    def of(cls, graph: Graph, node: Node) -> RequantizeSite | None:
        """Of a node; none where its format is too wide for a wider one."""
        op, kinds = node.op, graph.input_types(node)
        assert isinstance(op, Requantize | ScaledAdd | Quotient)
        room = max(WIDE.width, op.out.width + 1)
        if room > WIDE.width and not (isinstance(op, Requantize) and op.scheme is Scheme.SHIFT):
            return None
        mode, rounding = Overflow.SAT, Rounding.RND_CONV
        if isinstance(op, Requantize):
            mode, rounding = op.overflow, op.rounding
        if isinstance(op, Quotient):
            mode, rounding = Overflow.SAT, op.rounding
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
