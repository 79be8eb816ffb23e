"""The parts of a design: what they are called in its netlist, what they are, what they take."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwsim.graph import Graph
from rtl.flow import cells
from rtl.flow.verilog import part_of
from rtl.names import edge_identifiers, identifiers
from rtl.targets import Family

REST = ""
"""Stands for all that is no node's: ports, forks, and cells that lost their names."""


@dataclass(frozen=True, slots=True)
class Part:
    """An instance in the top module, in words, and the node that it serves, if there is one."""

    words: str
    node: str | None = None


Parts = Mapping[str, Part]


class PartNames:
    """The instances of a Graph's top module, by what they are there for."""

    def __init__(self, graph: Graph) -> None:
        self._inputs = identifiers(p.name for p in graph.inputs)
        self._outputs = identifiers(p.name for p in graph.outputs)
        self._nodes = identifiers(n.name for n in graph.nodes)
        self.edges = edge_identifiers(graph)
        self._fan_in = {n.name: len(n.inputs) for n in graph.nodes}

    def input(self, name: str) -> str:
        """The adapter of an input port."""
        return f"in_{self._inputs[name]}"

    def output(self, name: str) -> str:
        """The adapter of an output port."""
        return f"out_{self._outputs[name]}"

    def node(self, name: str) -> str:
        """The hardware of a node."""
        return f"node_{self._nodes[name]}"

    def fork(self, edge: str) -> str:
        """Where an edge has several readers."""
        return f"fork_{self.edges[edge]}"

    def fifo(self, node: str, index: int) -> str:
        """A FIFO before one input of a node."""
        return f"fifo_{self._nodes[node]}_{index}"

    def parts(self) -> dict[str, Part]:
        """All that there can be, by name."""
        found = {self.input(name): Part(f"input {name!r}") for name in self._inputs}
        found |= {self.output(name): Part(f"output {name!r}") for name in self._outputs}
        found |= {self.fork(edge): Part(f"the fork of {edge!r}") for edge in self.edges}
        for name, count in self._fan_in.items():
            found[self.node(name)] = Part(f"node {name!r}", name)
            for index in range(count):
                found[self.fifo(name, index)] = Part(f"the FIFO before node {name!r}", name)
        return found


def path_in_words(cells_on_it: Sequence[str], parts: Parts) -> str:
    """The parts on a path: `in node 'a'`, `from node 'a' to node 'b'`; nothing if unknown."""
    names = [part_of(cell) for cell in cells_on_it]
    words = [parts[name].words for name in names if name is not None and name in parts]
    seen = list(dict.fromkeys(words))
    if len(seen) <= 1:
        return f"in {seen[0]}" if seen else ""
    between = [word for word in seen if word not in (words[0], words[-1])]
    through = f" through {', '.join(between)}" if between else ""
    if words[0] == words[-1]:
        return f"in {words[0]}{through}"
    return f"from {words[0]}{through} to {words[-1]}"


def by_node(netlist: Path, top: str, family: Family, parts: Parts) -> dict[str, dict[str, int]]:
    """`lut`, `ff`, `dsp` and `bram` of each node, from Yosys's JSON, and of `REST`."""
    found = json.loads(netlist.read_text(encoding="utf-8"))["modules"][top]["cells"]
    kinds: dict[str, Counter[str]] = {}
    for name, cell in found.items():
        part = parts.get(part_of(name) or "")
        node = part.node if part and part.node is not None else REST
        kinds.setdefault(node, Counter())[cell["type"]] += 1
    return {node: cells.count(counts, family)[0] for node, counts in kinds.items()}
