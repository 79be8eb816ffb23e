"""Constants in block RAM, where a device has some left: they take look-up tables otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwsim.graph import Graph
from rtl.layers.memory import Memory
from rtl.layers.plans import FoldPlan, LanePlan, NodePlan
from rtl.layers.table import implementation
from rtl.plan.memories import memories
from rtl.plan.plan import Plan
from rtl.targets import Target

SHARE = 0.9  # of a device's block RAMs; the last ones are hard to route to
LEAST = 32  # look-up tables that a block must save


@dataclass(frozen=True, slots=True)
class Move:
    """One node's constants in block RAM: what it takes, and look-up tables that it saves."""

    name: str
    plan: NodePlan
    blocks: int
    saved: int


def with_block_constants(graph: Graph, plan: Plan, target: Target) -> Plan:
    """The plan with constants in block RAM, those first that save most for a block.

    `plan` has its FIFOs: whatever else takes blocks goes before. A family without a device, and one
    whose block RAMs are not known, leave it as it is.
    """
    free = int(target.available.get("bram", 0) * SHARE)
    free -= sum(m.blocks for each in memories(graph, plan).values() for m in each)
    nodes = dict(plan.nodes)
    for move in sorted(_moves(graph, plan), key=lambda move: -move.saved / move.blocks):
        if move.blocks <= free:
            nodes[move.name] = move.plan
            free -= move.blocks
    return replace(plan, nodes=nodes)


def _moves(graph: Graph, plan: Plan) -> list[Move]:
    """The moves that are worth their blocks."""
    found = []
    for node in graph.nodes:
        chosen = plan.nodes[node.name]
        if not isinstance(chosen, LanePlan | FoldPlan):
            continue
        way, moved = implementation(graph, node, chosen), replace(chosen, block_constants=True)
        pairs = list(zip(way.memories(chosen), way.memories(moved), strict=True))
        blocks = sum(after.blocks - before.blocks for before, after in pairs)
        saved = sum(_tables(before) for before, after in pairs if after.blocks > before.blocks)
        if blocks and saved >= LEAST * blocks:
            found.append(Move(node.name, moved, blocks, saved))
    return found


def _tables(memory: Memory) -> int:
    """Look-up tables under constants, roughly: one for 16 words of each bit."""
    return -(-memory.words // 16) * memory.width
