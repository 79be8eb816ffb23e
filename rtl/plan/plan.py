"""One hardware for one Graph, node by node."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hwsim.errors import HwsimError
from rtl.layers.plans import FoldPlan, NodePlan

FifoKey = tuple[str, int]  # a node's name and the index of its input
TOLD = 4
"""Nodes that a plan's `repr` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One hardware for one Graph: a plan a node, lanes by input, FIFO depths by link.

    `nodes` names the implementation of each node. `fifos` maps (node, input index) to a depth in
    beats. Change a plan with `dataclasses.replace`.
    """

    nodes: Mapping[str, NodePlan]
    inputs: Mapping[str, int]
    fifos: Mapping[FifoKey, int] = field(default_factory=dict)

    @property
    def multipliers(self) -> int:
        """Multipliers of all sums of products."""
        return sum(chosen.products for chosen in self.nodes.values())

    def __repr__(self) -> str:
        """One line: multipliers, and the folds that have most of them."""
        products = {name: chosen.products for name, chosen in self.nodes.items() if chosen.products}
        most = sorted(products, key=lambda name: -products[name])[:TOLD]
        told = [f"{name} {products[name]}" for name in most]
        more = len(products) - len(told)
        told += [f"{more} more"] if more else []
        of = f": {', '.join(told)}" if told else ""
        return f"Plan({len(self.nodes)} nodes, {self.multipliers:,} multipliers{of})"

    def hash(self) -> str:
        """SHA-256 of the content."""
        text = repr([sorted(part.items()) for part in (self.nodes, self.inputs, self.fifos)])
        return hashlib.sha256(text.encode()).hexdigest()

    def with_fold(self, name: str, **lanes: int) -> Plan:
        """The same plan with other `group_lanes`, `pe` or `simd` at one node; FIFOs as before."""
        chosen = self.nodes[name]
        if not isinstance(chosen, FoldPlan):
            raise HwsimError(f"a fold must be of a dense or convolution node, not of {name!r}")
        return replace(self, nodes={**self.nodes, name: chosen.with_fold(**lanes)})
