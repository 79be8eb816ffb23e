"""What a plan claims before anything is built: cycles, what bounds them, multipliers, adders."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.graph import Graph, Node
from rtl.layers.plans import NodePlan
from rtl.layers.table import implementation
from rtl.plan.plan import Plan


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What bounds the rate: a node (or port), its cycles for one inference and why."""

    name: str
    cycles: int
    why: str


def node_cycles(graph: Graph, node: Node, plan: NodePlan) -> int:
    """Cycles from one inference to the next, by this node alone."""
    return implementation(graph, node, plan).cycles(plan)


def bottleneck(graph: Graph, plan: Plan) -> Bottleneck:
    """The node or port with the most cycles for one inference."""
    cycles = {node.name: node_cycles(graph, node, plan.nodes[node.name]) for node in graph.nodes}
    slowest = max(graph.nodes, key=lambda node: cycles[node.name], default=None)
    ports = {port.name: port.type.size // plan.inputs[port.name] for port in graph.inputs}
    port = max(ports, key=lambda name: ports[name])
    if slowest is None or ports[port] > cycles[slowest.name]:
        return Bottleneck(port, ports[port], f"{plan.inputs[port]} codes a beat")
    chosen = plan.nodes[slowest.name]
    why = implementation(graph, slowest, chosen).why(chosen)
    return Bottleneck(slowest.name, cycles[slowest.name], why)


def multiplier_cost(graph: Graph, plan: Plan) -> int:
    """Hard multipliers (18 x 18 bits) of a plan: sums of products and requantizers."""
    return sum(
        implementation(graph, node, chosen).multipliers(chosen)
        for node in graph.nodes
        for chosen in (plan.nodes[node.name],)
    )


def least_adder_bits(graph: Graph, plan: Plan) -> int:
    """Bits of adders that unrolled layers have at least: a term for each weight that is not 0.

    An adder takes a look-up table or more for each bit; a term is at least as wide as its code.
    """
    return sum(
        implementation(graph, node, chosen).adder_bits(chosen)
        for node in graph.nodes
        for chosen in (plan.nodes[node.name],)
    )
