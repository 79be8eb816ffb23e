"""A Graph with other operators, whose sums may need fewer bits than before, or more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwsim.compress.training.wider import widened
from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node
from hwsim.ops import Op, Requantize, Scheme, TensorType


def rebuilt(graph: Graph, ops: Mapping[str, Op]) -> Graph:
    """The graph with `ops` in place of the operators of the nodes of those names.

    Fewer weights give narrower sums. What reads them by their format (a table of all its codes)
    gets them in the old one again, through a requantizer that changes no code. What is made for
    the codes of sums takes those of wider ones too (`widened`). Raises HwsimError where an operator
    does not fit for another reason.
    """
    rebuilding = _Rebuilding(graph)
    for node in graph.nodes:
        rebuilding.add(node, ops.get(node.name) or rebuilding.fitting(node))
    rebuilding.keep_what_ports_tell()
    return rebuilding.graph()


class _Rebuilding:
    """Nodes so far, and the types that their edges have now."""

    def __init__(self, old: Graph) -> None:
        self.old = old
        self.types = {port.tensor: port.type for port in old.inputs}
        self.types |= {state.tensor: state.type for state in old.state}
        self.nodes: list[Node] = []
        self.names = {node.name for node in old.nodes}
        self.wide: dict[str, str] = {}
        self.shown = list(old.outputs)

    def fitting(self, node: Node) -> Op:
        """A node's operator for what its edges hold now."""
        return widened(
            node.op, self.old.input_types(node), [self.types[edge] for edge in node.inputs]
        )

    def add(self, node: Node, op: Op) -> None:
        inputs = node.inputs
        try:
            made = self._made(op, inputs)
        except HwsimError:
            inputs = tuple(self._widened(edge) for edge in inputs)
            try:
                made = self._made(op, inputs)
            except HwsimError as error:
                raise HwsimError(f"node {node.name!r}: {error}") from None
        self.nodes.append(Node(node.name, op, inputs, node.outputs))
        self.types.update(zip(node.outputs, made, strict=True))

    def _made(self, op: Op, inputs: Sequence[str]) -> tuple[TensorType, ...]:
        return op.output_types([self.types[edge] for edge in inputs])

    def _widened(self, edge: str) -> str:
        """An edge with the same codes in the format that they had."""
        now, before = self.types[edge], self.old.types()[edge].format
        if now.format == before or now.format.frac_bits != before.frac_bits:
            return edge
        if edge not in self.wide:
            zero = now.zero_point
            op = Requantize(
                scheme=Scheme.SHIFT,
                multiplier=(1.0,),
                out=before,
                zero_point=zero,
                input_zero_point=zero,
                quant=now.quant,
            )
            name = f"{edge}_as_before"
            while name in self.names or name in self.old.types():
                name += "_"
            self.names.add(name)
            self.wide[edge] = name
            self.add(Node(name, op, (edge,), name), op)
        return self.wide[edge]

    def keep_what_ports_tell(self) -> None:
        """Outputs whose reals are listed by code, in the format that says which code is which."""
        for place, port in enumerate(self.shown):
            if port.reals is not None:
                self.shown[place] = replace(port, tensor=self._widened(port.tensor))

    def graph(self) -> Graph:
        return Graph(self.old.inputs, tuple(self.nodes), tuple(self.shown), self.old.state)
