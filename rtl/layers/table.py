"""The table of hardware: for every operator the ways in which it can be built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwsim import ops
from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node
from hwsim.ops import Op
from rtl.layers import (
    elementwise,
    matmul,
    pad,
    pairs,
    pool,
    quotient,
    reduce,
    requantize,
    rsqrt,
    scale,
    select,
    shape,
    share,
    sparse,
    tables,
    thresholds,
    weighted,
)
from rtl.layers.base import Implementation, Task, Wires
from rtl.layers.plans import NodePlan
from rtl.layers.windows import on_maps

Record = tuple[type[Implementation[Any]], ...]

HARDWARE: Mapping[type[Op], Record] = {
    ops.Add: (pairs.Added,),
    ops.ArgMax: (shape.Largest,),
    ops.AvgPool: (pool.Pooled,),
    ops.BatchNorm: (scale.Normalized, scale.NormalizedSerially, scale.NormalizedByLimbs),
    ops.Cast: (requantize.Casted,),
    ops.ChannelTable: (tables.LookedUpByChannel,),
    ops.ChosenThresholds: (thresholds.SearchedInRows,),
    ops.Concat: (shape.Interleaved,),
    ops.Conv1D: (weighted.Folded, sparse.Sparse, sparse.SparseByLane),
    ops.Conv2D: (weighted.Folded, sparse.Sparse, sparse.SparseByLane),
    ops.Dense: (weighted.Folded, sparse.Sparse, sparse.SparseByLane),
    ops.Divide: (scale.Divided, scale.DividedSerially, scale.DividedByLimbs),
    ops.Flatten: (Wires,),
    ops.Literal: (tables.Recited,),
    ops.MatMul: (matmul.RowsByColumns,),
    ops.MaxPool: (pool.Pooled,),
    ops.Maximum: (pairs.Chosen,),
    ops.Minimum: (pairs.Chosen,),
    ops.Mul: (pairs.Multiplied,),
    ops.Pad: (pad.Framed,),
    ops.Quotient: (quotient.LongDivision,),
    ops.Reduce: (reduce.Reduced,),
    ops.PairTable: (tables.LookedUpByPair, tables.AddedByPair),
    ops.Relu: (elementwise.Clipped,),
    ops.Requantize: (
        requantize.Requantized,
        requantize.RequantizedSerially,
        requantize.RequantizedByLimbs,
    ),
    ops.Reshape: (Wires,),
    ops.Rsqrt: (rsqrt.LookedUpRoot, rsqrt.DigitByDigit),
    ops.ScaledAdd: (pairs.ScaledAdded,),
    ops.Select: (select.Kept, select.Replayed, select.Reordered),
    ops.Share: (share.SharedSerially, share.SharedByLimbs, share.SharedAtOnce),
    ops.Split: (shape.InBlocks,),
    ops.Sub: (pairs.Added,),
    ops.Table: (elementwise.LookedUp,),
    ops.Thresholds: (
        thresholds.Compared,
        thresholds.Searched,
        thresholds.LinePipelined,
        thresholds.LineSerially,
        thresholds.LineByLimbs,
    ),
    ops.Transpose: (shape.Transposed,),
}

WITHOUT: Mapping[type[Op], str] = {}
"""The operators that have no hardware, each with the reason; all others stand in `HARDWARE`."""

UNKNOWN = "no hardware is known for this operator; the emulator runs it"
STATE = "a model with state runs in the emulator only"


def task(graph: Graph, node: Node) -> Task:
    """What a node of a graph has to do."""
    return Task(*on_maps(node.op, graph.input_types(node), graph.output_types(node)))


def implementations(graph: Graph, node: Node) -> tuple[Implementation[Any], ...]:
    """All ways in which a node can be built."""
    job = task(graph, node)
    every = [kind(job) for kind in HARDWARE.get(type(node.op), ())]
    return tuple(one for one in every if one.lacks() is None)


def implementation(graph: Graph, node: Node, plan: NodePlan) -> Implementation[Any]:
    """The way that a plan chose for a node; HwsimError where there is none of that name."""
    record = HARDWARE.get(type(node.op), ())
    for kind in record:
        if kind.name == plan.implementation and isinstance(plan, kind.plan_type):
            return kind(task(graph, node))
    names = ", ".join(f"{kind.name!r} with a {kind.plan_type.__name__}" for kind in record)
    raise HwsimError(
        f"node {node.name!r}: the plan of a {node.op.kind} must name {names or 'no hardware'}, "
        f"not {plan!r}"
    )


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A node (or a state) that no hardware can be built for, why, and what would help."""

    name: str
    kind: str
    why: str


def unsupported(graph: Graph) -> tuple[Unsupported, ...]:
    """All that no hardware can be built for: nodes in the graph's order, then its state."""
    nodes = [(node, _lacks(graph, node)) for node in graph.nodes]
    found = [Unsupported(node.name, node.op.kind, why) for node, why in nodes if why is not None]
    held = [Unsupported(state.name, "state", STATE) for state in graph.state]
    return (*found, *held)


def check_supported(graph: Graph) -> None:
    """Raise HwsimError that names everything without hardware at once, unless there is none."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for item in unsupported(graph):
        by_reason.setdefault((item.kind, item.why), []).append(repr(item.name))
    if by_reason:
        told = [f"{', '.join(n)} ({kind}): {why}" for (kind, why), n in by_reason.items()]
        raise HwsimError(f"every operator must have hardware, not lack it as {'; '.join(told)}")


def _lacks(graph: Graph, node: Node) -> str | None:
    record = HARDWARE.get(type(node.op), ())
    if not record:
        return WITHOUT.get(type(node.op), UNKNOWN)
    reasons = [kind(task(graph, node)).lacks() for kind in record]
    return None if None in reasons else " and ".join(map(str, dict.fromkeys(reasons)))
