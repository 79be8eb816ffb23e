"""A project under construction: hls4ml's layers, their precisions, what could not be written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, Node
from hwsim.hls4ml_project.precision import Assigned, assignment, reals_of, room
from hwsim.hls4ml_project.strategy import KernelFamily, Strategy
from hwsim.ops import Cast, Flatten, Requantize, Reshape, TensorType

RESERVED = {
    "and", "auto", "bool", "break", "case", "catch", "char", "class", "const", "continue",
    "default", "delete", "do", "double", "else", "enum", "export", "extern", "false", "float",
    "for", "friend", "goto", "if", "inline", "int", "long", "namespace", "new", "not", "operator",
    "or", "private", "protected", "public", "register", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "template", "this", "throw", "true", "try", "typedef", "union",
    "unsigned", "using", "virtual", "void", "volatile", "while", "xor",
}  # fmt: skip
"""Words that C++ keeps to itself."""


@dataclass(slots=True)
class Draft:
    """The layers so far; `types` holds, for each edge that was written, its type in hls4ml.

    `names` are the layers that hold edges, `parts` the edges whose shape those between layers have
    that make up one node. `done` are nodes that a layer before them took in, and
    `troubles` sentences about those that cannot be written, `notes` about those that are otherwise
    than asked for.
    """

    graph: Graph
    stream: bool
    strategy: Strategy
    layers: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    types: dict[str, Assigned] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    troubles: list[str] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def shown(self) -> dict[str, str]:
        """The edge that each output shows, before moves that leave the order of the codes."""
        makers, found = self.graph.makers(), {}
        for port in self.graph.outputs:
            edge = port.tensor
            while edge in makers and isinstance(makers[edge].op, Flatten | Reshape):
                edge = makers[edge].inputs[0]
            found[port.name] = edge
        return found

    def kind(self, edge: str) -> TensorType:
        """The type of an edge in the Graph, or of one that stands for a part of a node."""
        return self.graph.types()[self.parts.get(edge, edge)]

    def like(self, edge: str, other: str) -> None:
        """Have an edge that the Graph may not have count as another, for its shape."""
        if edge not in self.graph.types():
            self.parts[edge] = self.parts.get(other, other)

    def reals(self, edge: str) -> Format:
        """The format of the numbers on an edge."""
        return reals_of(self.kind(edge))

    def result(self, node: Node) -> tuple[str, Assigned]:
        """The edge that a node's layer gives, and its type: those of a cast that alone follows.

        Without one the type holds all that the node computes.
        """
        edge, held = node.output, self.reals(node.output)
        after = self.graph.consumers(edge)
        if len(after) == 1 and edge not in self.shown.values():
            (cast,) = after
            into = self._assigned(cast)
            if into is not None and room(held, into) == held:
                self.done.add(cast.name)
                return cast.output, into
        return edge, Assigned(held)

    def _assigned(self, node: Node) -> Assigned | None:
        """The type that a node assigns to, where it is an assignment."""
        if not isinstance(node.op, Cast | Requantize):
            return None
        kinds = self.kind(node.inputs[0]), self.kind(node.output)
        try:
            return assignment(node.op, *kinds, f"node {node.name!r}")
        except HwsimError:
            return None  # told when it is its turn

    def add(
        self,
        kind: str,
        edge: str,
        result: Assigned,
        inputs: list[str],
        *,
        precision: dict[str, Assigned] | None = None,
        options: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """A layer of hls4ml's class `kind` that gives `edge`, and reads layers by name."""
        name = self._name(edge)
        self.layers.append({"name": name, "class_name": kind, "inputs": inputs, **fields})
        given = {"result": result, **(precision or {})}
        self.config[name] = {
            "Precision": {key: str(value) for key, value in given.items()},
            **(options or {}),
        }
        self.names[edge], self.types[edge] = name, result

    def options(self, what: str, family: KernelFamily, terms: int, outputs: int) -> dict[str, Any]:
        """Strategy and reuse factor of a layer whose sums take any order: as asked for, or near."""
        found = self.strategy.options(family, terms, outputs)
        said = self.strategy.said(what, found)
        if said is not None:
            self.notes.append(said)
        return found

    def source(self, node: Node, place: int = 0) -> list[str]:
        """The layer that a node reads, as hls4ml's list of inputs."""
        return [self.names[node.inputs[place]]]

    def add_input(self, name: str, edge: str, into: Assigned) -> str:
        """An input layer; gives its name."""
        layer = self._name(name)
        shape = list(self.kind(edge).shape)
        self.layers.append({"name": layer, "class_name": "InputLayer", "input_shape": shape})
        self.config[layer] = {"Precision": {"result": str(into)}}
        self.names[edge], self.types[edge] = layer, into
        return layer

    def cast(self, edge: str, into: Assigned, source: str) -> None:
        """An assignment by itself: an activation that computes nothing."""
        given, name = self.types[source], self.names[source]
        wide = room(given.format, into)
        if wide != given.format:
            name = self._linear(f"{edge}/wide", Assigned(wide), name, source)
        self._linear(edge, into, name, source)

    def _linear(self, edge: str, into: Assigned, name: str, source: str) -> str:
        size = self.kind(source).size
        self.add("Activation", edge, into, [name], activation="linear", n_in=size)
        return self.names[edge]

    def with_sign(self, edge: str, source: str) -> str:
        """A layer that holds `source` in a type with a sign, on an edge of its own if need be."""
        held = self.types[source].format
        if held.signed:
            self.stands_for(edge, source)
            return self.names[source]
        into = Assigned(Format(True, held.int_bits + 1, held.frac_bits))
        return self._linear(edge, into, self.names[source], source)

    def stands_for(self, edge: str, source: str) -> None:
        """An edge that needs no layer."""
        self.names[edge], self.types[edge] = self.names[source], self.types[source]

    def unwritten(self, edges: Sequence[str]) -> None:
        """Edges that no layer gives, so that what reads them is looked at all the same."""
        for edge in edges:
            if edge not in self.names:
                self.names[edge], self.types[edge] = edge, Assigned(self.kind(edge).format)

    def _name(self, edge: str) -> str:
        """A name that C++ takes, no layer's yet."""
        plain = re.sub(r"\W", "_", edge, flags=re.ASCII).strip("_") or "layer"
        plain = plain if plain[0].isalpha() else f"n{plain}"
        plain = f"{plain}_" if plain in RESERVED else plain
        name, number, taken = plain, 1, {n.lower() for n in self.config}
        while name.lower() in taken:
            name, number = f"{plain}_{number}", number + 1
        return name


def require(condition: bool, sentence: str) -> None:
    """Raise HwsimError with a sentence unless a condition holds."""
    if not condition:
        raise HwsimError(sentence)
