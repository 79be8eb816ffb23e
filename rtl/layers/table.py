"""The table of hardware: for every operator the ways in which it can be built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node
from hwsim.ops import (
    Add,
    ArgMax,
    AvgPool,
    BatchNorm,
    Cast,
    Concat,
    Conv2D,
    Dense,
    Divide,
    Flatten,
    MaxPool,
    Op,
    Relu,
    Requantize,
    Reshape,
    ScaledAdd,
    Table,
    Transpose,
)
from rtl.layers.base import Implementation, Task, Wires
from rtl.layers.elementwise import Added, Clipped, LookedUp, ScaledAdded
from rtl.layers.plans import NodePlan
from rtl.layers.pool import Pooled
from rtl.layers.requantize import Casted, Requantized
from rtl.layers.scale import Divided, Normalized
from rtl.layers.shape import Interleaved, Largest, Transposed
from rtl.layers.weighted import Folded

Record = tuple[type[Implementation[Any]], ...]

HARDWARE: Mapping[type[Op], Record] = {
    Add: (Added,),
    ArgMax: (Largest,),
    AvgPool: (Pooled,),
    BatchNorm: (Normalized,),
    Cast: (Casted,),
    Concat: (Interleaved,),
    Conv2D: (Folded,),
    Dense: (Folded,),
    Divide: (Divided,),
    Flatten: (Wires,),
    MaxPool: (Pooled,),
    Relu: (Clipped,),
    Requantize: (Requantized,),
    Reshape: (Wires,),
    ScaledAdd: (ScaledAdded,),
    Table: (LookedUp,),
    Transpose: (Transposed,),
}


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A node that no hardware can be built for, and why."""

    node: str
    kind: str
    why: str

    def __str__(self) -> str:
        return f"{self.node!r} ({self.kind}): {self.why}"


def task(graph: Graph, node: Node) -> Task:
    """What a node of a graph has to do."""
    return Task(node.op, graph.input_types(node), graph.output_types(node))


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


def unsupported(graph: Graph) -> tuple[Unsupported, ...]:
    """All nodes that no hardware can be built for, in the graph's order."""
    return tuple(
        Unsupported(node.name, node.op.kind, why)
        for node in graph.nodes
        if (why := _lacks(graph, node)) is not None
    )


def check_supported(graph: Graph) -> None:
    """Raise HwsimError that names every node without hardware, unless there is none."""
    lacking = unsupported(graph)
    if lacking:
        told = "; ".join(map(str, lacking))
        raise HwsimError(f"every operator must have hardware, not lack it as {told}")


def _lacks(graph: Graph, node: Node) -> str | None:
    record = HARDWARE.get(type(node.op), ())
    if not record:
        return "no hardware is known for this operator"
    reasons = [kind(task(graph, node)).lacks() for kind in record]
    return None if None in reasons else " and ".join(str(reason) for reason in reasons)
