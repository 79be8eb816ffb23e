"""Many cases of the catalogue as one graph, so that one run of a tool serves all of them."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.graph import Graph, InputPort, Node, OutputPort
from rtl.layers.base import Option
from rtl.plan.plan import Plan
from rtl.plan.search import menu
from support.cases import Case


def three_options(case: Case) -> dict[str, Option]:
    """The smallest, the middle and the fastest hardware of a case; some may be the same."""
    options = menu(case.graph()).nodes["op"]
    return {
        "smallest": options[0],
        "middle": options[len(options) // 2],
        "fastest": options[-1],
    }


def fed_fast(graph: Graph, option: Option) -> Plan:
    """The plan of a case's graph whose inputs come a whole pixel a beat."""
    return Plan(
        nodes={"op": option.plan}, inputs={port.name: port.type.channels for port in graph.inputs}
    )


def together(chosen: Sequence[tuple[Case, Option]]) -> tuple[Graph, Plan]:
    """One graph and plan with a node `c<number>` and ports of its own for each case."""
    ports, nodes, outs, lanes = [], [], [], {}
    for number, (case, _) in enumerate(chosen):
        name = f"c{number}"
        edges = [f"{name}_{k}" for k in range(len(case.types))]
        for edge, kind in zip(edges, case.types, strict=True):
            ports.append(InputPort(name=edge, tensor=edge, type=kind))
            lanes[edge] = 1
        (alone,) = case.graph().nodes
        made = [f"{name}_y{k}" for k in range(len(alone.outputs))]
        nodes.append(Node(name, case.op, edges, made))
        outs += [OutputPort(name=edge, tensor=edge) for edge in made]
    graph = Graph(tuple(ports), tuple(nodes), tuple(outs))
    plans = {f"c{number}": option.plan for number, (_, option) in enumerate(chosen)}
    return graph, Plan(nodes=plans, inputs=lanes)
