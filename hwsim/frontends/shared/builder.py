"""The Graph that grows while a front end reads a model, whatever the framework.

A `Builder` gives nodes and edges names of their own, infers each edge's type and proven bounds as
it is made, refuses tensors that are too large and gathers warnings. `Builder.graph` leaves out what
no output depends on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hwsim.errors import HwsimError
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.notices import warn
from hwsim.ops import Carrier, Op, TensorType
from hwsim.state import State

WIDE = 31  # bits of codes with which an operator may pass 63 bits
MAX_ELEMENTS = 1 << 26  # of one activation tensor, so that a tiny file cannot ask for gigabytes


class RuntimeDifference(UserWarning):
    """A node that the model's runtime computes otherwise: its integers may differ now and then."""


class Builder:
    """Inputs and nodes of the Graph so far, with the type of every edge.

    `source` is what errors and warnings name: the model's file, or None where there is none.
    """

    def __init__(self, source: object = None) -> None:
        self.place = "" if source is None else f"{source}: "
        self.inputs: dict[str, InputPort] = {}
        self.nodes: list[Node] = []
        self.states: dict[str, State] = {}  # by the edge that is read
        self.types: dict[str, TensorType] = {}
        self.warnings: list[str] = []
        self._names: set[str] = set()

    def warn(self, node: str, text: str) -> None:
        """Say once, when the Graph is done, that the runtime computes otherwise at a node."""
        sentence = f"{self.place}node {node!r}: {text}"
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def input(self, port: InputPort) -> str:
        """Add an input of the Graph; gives its edge."""
        _bounded(f"input {port.name!r}", port.type)
        self.inputs[port.name], self.types[port.tensor] = port, port.type
        return port.tensor

    def state(self, name: str, kind: TensorType, initial: Any) -> str:
        """Add a state, whose bounds must hold at every step; gives the edge that is read.

        `carry` then says what it holds next.
        """
        _bounded(f"state {name!r}", kind)
        edge = _free(name, self.types)
        self.states[edge] = State(name=edge, tensor=edge, type=kind, next="", initial=initial)
        self.types[edge] = kind
        return edge

    def carry(self, state: str, edge: str) -> None:
        """Let the state that is read as one edge hold in the next step what another edge holds."""
        self.states[state] = replace(self.states[state], next=edge)

    def unique(self, name: str) -> str:
        """`name`, or with a number where it is taken."""
        chosen = _free(name or "node", self._names)
        self._names.add(chosen)
        return chosen

    def emit(self, name: str, op: Op, inputs: Sequence[str], edge: str) -> str:
        """Append a node; gives its edge. HwsimError names the node whose inputs do not fit."""
        (made,) = self.emit_all(name, op, inputs, [edge])
        return made

    def emit_all(
        self, name: str, op: Op, inputs: Sequence[str], edges: Sequence[str]
    ) -> tuple[str, ...]:
        """As `emit`, for an operator with several outputs; gives their edges."""
        name = self.unique(name)
        try:
            given = [self.types[i] for i in inputs]
            kinds = op.output_types(given)
            _fits(op, given, kinds)
        except HwsimError as error:
            raise HwsimError(f"node {name!r}: {error}") from None
        made = []
        for edge, kind in zip(edges, kinds, strict=True):
            _bounded(f"node {name!r}: its output", kind)
            made.append(_free(edge, self.types))
            self.types[made[-1]] = kind
        self.nodes.append(Node(name, op, tuple(inputs), made))
        return tuple(made)

    def rename(self, edge: str, name: str) -> str:
        """Another name for an edge and the node that makes it, if it is free; readers follow."""
        name = _free(name, self.types)
        self.types[name] = self.types.pop(edge)

        def renamed(edges: Sequence[str]) -> tuple[str, ...]:
            return tuple(name if e == edge else e for e in edges)

        for place, node in enumerate(self.nodes):
            title = self.unique(name) if edge in node.outputs else node.name
            self.nodes[place] = Node(title, node.op, renamed(node.inputs), renamed(node.outputs))
        for read, state in self.states.items():
            if state.next == edge:
                self.carry(read, name)
        return name

    def chain(self, name: str, edge: str, ops: Sequence[Op], out: str) -> str:
        """Operators one after the other; the last one's edge is `out`."""
        for op in ops[:-1]:
            edge = self.emit(name, op, [edge], f"{out}.{op.kind}")
        return self.emit(name, ops[-1], [edge], out) if ops else edge

    def graph(self, outputs: Sequence[OutputPort], *, inputs: Sequence[str] | None = None) -> Graph:
        """The Graph of what `outputs` depend on, through state too; warnings are given now.

        `inputs` are the model's, in its order; HwsimError where nothing has read one of them.
        """
        names = list(self.inputs) if inputs is None else inputs
        missing = [name for name in names if name not in self.inputs]
        if missing:
            raise HwsimError(
                f"{self.place}input {missing[0]!r} must be quantized and used by a node"
            )
        ports = tuple(self.inputs[name] for name in names)
        try:
            graph = Graph(ports, *self._live(outputs))
        except HwsimError as error:
            raise HwsimError(f"{self.place}{error}") from None
        for text in self.warnings:
            warn(text, RuntimeDifference)
        return graph

    def _live(
        self, outputs: Sequence[OutputPort]
    ) -> tuple[tuple[Node, ...], tuple[OutputPort, ...], tuple[State, ...]]:
        """Nodes and states that some output depends on, at whatever later time step."""
        needed = {port.tensor for port in outputs}
        while True:
            kept: list[Node] = []
            for node in reversed(self.nodes):
                if not needed.isdisjoint(node.outputs):
                    needed.update(node.inputs)
                    kept.append(node)
            held = tuple(state for edge, state in self.states.items() if edge in needed)
            if needed.issuperset(state.next for state in held):
                return tuple(reversed(kept)), tuple(outputs), held
            needed.update(state.next for state in held)


def _free(name: str, taken: set[str] | Mapping[str, object]) -> str:
    chosen, count = name, 1
    while chosen in taken:
        count += 1
        chosen = f"{name}.{count}"
    return chosen


def _fits(op: Op, given: Sequence[TensorType], made: Sequence[TensorType]) -> None:
    """Refuse what no backend can compute, here and not when it is run."""
    if max((kind.format.width for kind in (*given, *made)), default=0) < WIDE:
        return
    bound = max(op.bound(given), *(kind.magnitude for kind in made))
    if bound >= Carrier.INT64.limit:
        raise HwsimError(
            f"its whole numbers must fit 63 bits, not {bound.bit_length()}; what it is computed of "
            "must be quantized, or to fewer bits"
        )


def _bounded(what: str, kind: TensorType) -> None:
    if kind.size > MAX_ELEMENTS:
        raise HwsimError(
            f"{what} must have at most {MAX_ELEMENTS} elements, not {kind.size} of shape "
            f"{kind.shape}"
        )
