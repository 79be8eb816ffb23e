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
    Split,
    Table,
    Transpose,
)
from rtl.layers.base import Implementation, Task, Wires
from rtl.layers.elementwise import Added, Clipped, LookedUp, ScaledAdded
from rtl.layers.plans import NodePlan
from rtl.layers.pool import Pooled
from rtl.layers.requantize import Casted, Requantized
from rtl.layers.scale import Divided, Normalized
from rtl.layers.shape import InBlocks, Interleaved, Largest, Transposed
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
    Split: (InBlocks,),
    Table: (LookedUp,),
    Transpose: (Transposed,),
}

UNKNOWN = "no hardware is known for this operator; the emulator runs it"
STATE = "a model with state runs in the emulator only"


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
        return UNKNOWN
    reasons = [kind(task(graph, node)).lacks() for kind in record]
    return None if None in reasons else " and ".join(str(reason) for reason in reasons)
