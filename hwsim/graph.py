"""A network as a graph of integer operators, with one format an edge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from hwsim import saved_ports, storage
from hwsim.errors import HwsimError
from hwsim.fixed import Overflow, Rounding
from hwsim.float_steps import FloatStep, MinifloatStep, RowStep, UnaryStep
from hwsim.ops import (
    OPERATORS,
    Balanced,
    Codebook,
    Division,
    Exact,
    Float32,
    Op,
    PowersOfTwo,
    Quant,
    Reduction,
    Scheme,
    Stepwise,
    TensorType,
    Window,
    Work,
)
from hwsim.ports import (
    ELEMENTS,
    InputPort,
    OutputPort,
    Port,
    check_view,
    user_shape,
)
from hwsim.state import State

__all__ = ["ELEMENTS", "Graph", "InputPort", "Node", "OutputPort", "Port", "user_shape"]

SCHEMA = 3  # the newest that is read; a graph is written in the oldest that can say it
_BROKEN = (LookupError, TypeError, AttributeError, ArithmeticError, ValueError, RecursionError)


@dataclass(frozen=True, slots=True, init=False)
class Node:
    """One use of an operator: the edges that it reads and those that it makes, most often one."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __init__(
        self, name: str, op: Op, inputs: Sequence[str], outputs: str | Sequence[str]
    ) -> None:
        edges = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        fields = {"name": name, "op": op, "inputs": tuple(inputs), "outputs": edges}
        for field_name, value in fields.items():
            object.__setattr__(self, field_name, value)

    @property
    def output(self) -> str:
        """The edge that it makes; HwsimError where there are several."""
        if len(self.outputs) != 1:
            raise HwsimError(f"node {self.name!r} must have one output, not {len(self.outputs)}")
        return self.outputs[0]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Graph:
    """Inputs, nodes in an order of computation, and outputs; edit with `dataclasses.replace`.

    With `state` it is run once a time step, and each step reads what the one before it left.
    """

    inputs: tuple[InputPort, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[OutputPort, ...]
    state: tuple[State, ...] = ()
    _types: dict[str, TensorType] = field(default_factory=dict, init=False, repr=False)
    _picture: ClassVar[Callable[[Graph], str] | None] = None

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise HwsimError unless names are unique, edges defined before use and all types fit."""
        if not self.inputs or not self.outputs:
            raise HwsimError("a graph must have at least one input and one output")
        _unique("node names", [node.name for node in self.nodes])
        sources: tuple[InputPort | State, ...] = (*self.inputs, *self.state)
        edges = [source.tensor for source in sources]
        edges += [edge for node in self.nodes for edge in node.outputs]
        _unique("edge names", edges)
        _unique("input names", [port.name for port in self.inputs])
        _unique("output names", [port.name for port in self.outputs])
        _unique("state names", [state.name for state in self.state])
        types = {source.tensor: source.type for source in sources}
        for node in self.nodes:
            types.update(zip(node.outputs, _infer(node, types), strict=True))
        for port in self.outputs:
            if port.tensor not in types:
                raise HwsimError(
                    f"output {port.name!r} must show an edge of the graph, not {port.tensor!r}"
                )
            check_view(port, types[port.tensor])
            codes = 1 << types[port.tensor].format.width
            if port.reals is not None and len(port.reals) != codes:
                raise HwsimError(
                    f"output {port.name!r} must have a real for each of {codes} codes, not "
                    f"{len(port.reals)}"
                )
        for state in self.state:
            state.check(types)
        self._types.clear()
        self._types.update(types)

    def __repr__(self) -> str:
        """One line: ports, and how many operators of each kind."""
        kinds = Counter(node.op.kind for node in self.nodes)
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "nothing"
        ways = (
            ", ".join(f"{p.name} {_shape_text(p, self._types[p.tensor])}" for p in ports)
            for ports in (self.inputs, self.outputs)
        )
        kept = ", ".join(f"{s.name} {_size(s.type.shape)} {s.type.format}" for s in self.state)
        ends = f"; state {kept}" if kept else ""
        return f"Graph({next(ways)} → {listed} → {next(ways)}{ends})"

    def _repr_html_(self) -> str | None:
        """The picture for a notebook, where a higher room has handed one in."""
        view = type(self)._picture
        return None if view is None else view(self)

    @classmethod
    def drawn_by(cls, picture: Callable[[Graph], str]) -> None:
        """Have notebooks show every Graph as the HTML that `picture` gives."""
        cls._picture = picture

    def types(self) -> Mapping[str, TensorType]:
        """The type of every edge."""
        return self._types

    def ranges(self) -> dict[str, tuple[int, int]]:
        """Proven bounds of the codes on every edge."""
        return {edge: (t.lo, t.hi) for edge, t in self._types.items()}

    def input_types(self, node: Node) -> tuple[TensorType, ...]:
        """The types of what `node` reads."""
        return tuple(self._types[edge] for edge in node.inputs)

    def output_types(self, node: Node) -> tuple[TensorType, ...]:
        """The types of what `node` makes."""
        return tuple(self._types[edge] for edge in node.outputs)

    def makers(self) -> dict[str, Node]:
        """The node that makes each edge; those of inputs have none."""
        return {edge: node for node in self.nodes for edge in node.outputs}

    def node(self, name: str) -> Node:
        """The node of that name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise HwsimError(f"a node must be one of {[n.name for n in self.nodes]}, not {name!r}")

    def consumers(self, edge: str) -> list[Node]:
        """The nodes that read `edge`, once for each use."""
        return [node for node in self.nodes for used in node.inputs if used == edge]

    def work(self) -> dict[str, Work]:
        """Multiply-accumulates, weights and activations of each node."""
        return {node.name: node.op.work(self.input_types(node)) for node in self.nodes}

    def with_op(self, name: str, op: Op) -> Graph:
        """The same graph with another operator at one node; arrays are shared."""
        self.node(name)
        nodes = tuple(replace(n, op=op) if n.name == name else n for n in self.nodes)
        return replace(self, nodes=nodes)

    def document(self) -> tuple[dict[str, Any], storage.Arrays]:
        """JSON and arrays that say everything about the graph."""
        body = storage.Body()
        parts = {
            "inputs": [self._saved_port(p, f"input.{p.name}", body) for p in self.inputs],
            "outputs": [self._saved_port(p, f"output.{p.name}", body) for p in self.outputs],
            "nodes": [_encode_node(n, body) for n in self.nodes],
        }
        if self.state:
            parts["state"] = [CODEC.encode(s, f"state.{s.name}", body) for s in self.state]
            body.schema = max(body.schema, 2)  # an older reader would pass over it
        return {"schema": body.schema, **parts}, body.arrays

    def _saved_port(self, port: Port, name: str, body: storage.Body) -> dict[str, Any]:
        plain, first = saved_ports.without_axes(port)
        return saved_ports.with_layout(CODEC.encode(plain, name, body), first=first)

    def hash(self) -> str:
        """SHA-256 of the content."""
        return storage.digest(*self.document())

    def save(self, path: str | Path) -> None:
        """Write one safetensors file (by custom `.hwsim`), whole or not at all."""
        storage.write(Path(path), *self.document())

    @classmethod
    def load(cls, path: str | Path) -> Graph:
        """Read what `save` wrote; HwsimError names the file and what is wrong with it."""
        return cls.of_document(*storage.read(Path(path)), str(path))

    @classmethod
    def of_document(
        cls, document: Mapping[str, Any], array: Callable[[str], Any], path: str
    ) -> Graph:
        """What `document` gave, its arrays by name; HwsimError names `path`, where it was."""
        schema = document.get("schema")
        if type(schema) is not int or not 1 <= schema <= SCHEMA:
            raise HwsimError(
                f"{path} must have a schema from 1 to {SCHEMA}, not {schema!r}; "
                "it was written by another version of hwsim"
            )
        try:
            ways = document["inputs"], document["outputs"]
            inputs, outputs = (
                CODEC.decode([saved_ports.without_layout(p) for p in ports], array)
                for ports in ways
            )
            state = CODEC.decode(document.get("state", []), array)
            nodes = tuple(_decode_node(n, array) for n in document["nodes"])
            _expect(inputs, InputPort)
            _expect(outputs, OutputPort)
            _expect(state, State)
            graph = cls(inputs, nodes, outputs, state)
            first = [[saved_ports.has_channels_first(p) for p in ports] for ports in ways]
            if not any(map(any, first)):
                return graph
            inputs = saved_ports.with_axes(inputs, first[0], graph.types())
            outputs = saved_ports.with_axes(outputs, first[1], graph.types())
            return cls(inputs, nodes, outputs, state)
        except _BROKEN as error:
            raise HwsimError(f"{path} must be a whole saved graph ({error!r})") from None
        except HwsimError as error:
            raise HwsimError(f"{path}: {error}") from None


CODEC = storage.Codec.of(
    InputPort, OutputPort, FloatStep, RowStep, UnaryStep, MinifloatStep, State, TensorType, Quant,
    Window, Exact, Stepwise, Balanced, Float32, Rounding, Overflow, Scheme, Reduction, Division,
    PowersOfTwo, Codebook,
    *OPERATORS.values(),
)  # fmt: skip
"""What a saved graph is made of."""


def _shape_text(port: Port, kind: TensorType) -> str:
    return f"{_size(user_shape(kind, port))} {port.element or kind.format}"


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _encode_node(node: Node, body: storage.Body) -> dict[str, Any]:
    made: dict[str, Any] = {"output": node.outputs[0]}
    if len(node.outputs) > 1:
        made, body.schema = {"outputs": list(node.outputs)}, max(body.schema, 2)
    op = CODEC.encode(node.op, node.name, body)
    return {"name": node.name, "inputs": list(node.inputs), **made, "op": op}


def _decode_node(data: Any, array: Any) -> Node:
    op = CODEC.decode(data["op"], array)
    _expect((op,), Op)
    edges = data["outputs"] if "outputs" in data else [data["output"]]
    return Node(
        str(data["name"]), op, [str(i) for i in data["inputs"]], [str(edge) for edge in edges]
    )


def _expect(values: tuple[Any, ...], kind: type[Any]) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise HwsimError(f"a saved value must be a {kind.__name__}, not {value!r}")


def _infer(node: Node, types: Mapping[str, TensorType]) -> tuple[TensorType, ...]:
    missing = [edge for edge in node.inputs if edge not in types]
    if missing:
        raise HwsimError(f"node {node.name!r}: input {missing[0]!r} must be an edge made before it")
    arity = node.op.arity
    if len(node.inputs) != arity and (arity >= 0 or not node.inputs):
        wanted = str(arity) if arity >= 0 else "at least 1"
        raise HwsimError(f"node {node.name!r} must have {wanted} inputs, not {len(node.inputs)}")
    try:
        found = node.op.output_types([types[edge] for edge in node.inputs])
    except HwsimError as error:
        raise HwsimError(f"node {node.name!r}: {error}") from None
    if len(found) != len(node.outputs):
        raise HwsimError(
            f"node {node.name!r} must have {_count(len(found))}, not {len(node.outputs)}"
        )
    return found


def _count(outputs: int) -> str:
    return "1 output" if outputs == 1 else f"{outputs} outputs"


def _unique(what: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise HwsimError(f"{what} must be unique, but {twice[0]!r} occurs more than once")
