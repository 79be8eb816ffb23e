"""The Graph that grows while a front end reads a model, whatever the framework.

A `Builder` gives nodes and edges names of their own, infers each edge's type and proven bounds as
it is made, refuses tensors that are too large, brings codes into the order that an operator
expects, and gathers warnings. `Builder.graph` leaves out what no output depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.arrangement import Arrangement, View, inverse, moving, view_of
from hwsim.frontends.shared.values import NO_PADDING, Codes, Mean, RawInput, Weighing
from hwsim.graph import Graph, InputPort, Node, OutputPort, user_shape
from hwsim.notices import warn
from hwsim.ops import Cast, Flatten, Op, Relu, Requantize, Reshape, Table, TensorType
from hwsim.ports import channels_first
from hwsim.state import State

MAX_ELEMENTS = 1 << 26  # of one activation tensor, so that a tiny file cannot ask for gigabytes
ELEMENTWISE = Cast | Relu | Requantize | Table


class RuntimeDifference(UserWarning):
    """A node that the model's runtime computes otherwise: its integers may differ now and then."""


class Rearranged(Exception):
    """An input's port should show its edge in another way, so that no code has to move."""

    def __init__(self, name: str, view: View) -> None:
        super().__init__(name)
        self.name, self.view = name, view


def with_views(read: Callable[[Mapping[str, View]], Graph]) -> Graph:
    """What `read` gives for the views of inputs that its own Builder asks for by `Rearranged`."""
    views: dict[str, View] = {}
    while True:  # at most once more for each input
        try:
            return read(views)
        except Rearranged as asked:
            views[asked.name] = asked.view


class Builder:
    """Inputs and nodes of the Graph so far, with the type of every edge.

    `source` is what errors and warnings name: the model's file, or None where there is none.
    `views` are how the ports of some inputs have to show their edges. `made` and `sums` keep what
    was computed once, so that each further reader of the same tensor shares it. `a_quantizer` is
    what sentences call the operator that rounds reals in the model's framework.
    """

    a_quantizer: ClassVar[str] = "a quantizer"

    def __init__(self, source: object = None, views: Mapping[str, View] | None = None) -> None:
        self.place = "" if source is None else f"{source}: "
        self.views = dict(views or {})
        self.inputs: dict[str, InputPort] = {}
        self.nodes: list[Node] = []
        self.states: dict[str, State] = {}  # by the edge that is read
        self.types: dict[str, TensorType] = {}
        self.made: dict[object, Codes] = {}
        self.sums: dict[Weighing | Mean, str] = {}
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
            kinds = op.output_types([self.types[i] for i in inputs])
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

    def input_codes(
        self, raw: RawInput, kind: TensorType, options: Mapping[str, Any], out: str
    ) -> Codes:
        """The codes of a graph input, whose port is made here with `options` as its fields."""
        layout, seen = self._seen(raw)
        kind = replace(kind, shape=layout.physical)
        port = InputPort(
            name=raw.name,
            tensor=out,
            type=kind,
            axes=seen.axes,
            shape=seen.shape,
            **options,
        )
        known = self.inputs.get(raw.name)
        if known is None:
            self.input(port)
        elif replace(port, tensor=known.tensor) != known:
            raise HwsimError(f"input {raw.name!r} must be quantized in one way, not in several")
        else:
            port = known
        return Codes(port.tensor, kind.format, layout, raw.padding)

    def _seen(self, raw: RawInput) -> tuple[Arrangement, View]:
        """How the port of an input shows its edge, and where the tensor lies on it by now."""
        if raw.name in self.views:
            view = self.views[raw.name]
            return view.holds(raw.plain), view
        wanted = Arrangement.channels_last(raw.plain.shape).physical
        fits = raw.channels_last.physical == wanted or not raw.plain.standard
        if len(raw.channels_last.physical) == 3 and raw.channels_last.standard and fits:
            layout = raw.channels_last
            return layout, View(layout.physical, channels_first(3), None)
        return raw.plain, View(raw.plain.physical, None, None)

    def output(
        self,
        name: str,
        codes: Codes,
        *,
        element: str | None = None,
        reals: tuple[float, ...] | None = None,
    ) -> OutputPort:
        """The port that shows codes to the user; they are moved where no port can show them."""
        if codes.padding != NO_PADDING:
            raise HwsimError("a Pad must be followed by a convolution")
        layout = codes.layout
        if layout.standard and layout.shape:
            codes = self.standard(codes, "output")
        elif view_of(layout.order, layout.physical, layout.shape) is None:
            codes = self.arranged(codes, Arrangement.plain(layout.shape), "output")
        seen = view_of(codes.layout.order, codes.layout.physical, codes.layout.shape)
        assert seen is not None
        return OutputPort(
            name=name,
            tensor=codes.edge,
            axes=seen.axes,
            shape=seen.shape,
            element=element,
            reals=reals,
        )

    def standard(self, codes: Codes, node: object) -> Codes:
        """Codes in the order and shape that operators on `codes.layout.shape` expect."""
        return self.arranged(codes, Arrangement.channels_last(codes.layout.shape), node)

    def arranged(self, codes: Codes, wanted: Arrangement, node: object) -> Codes:
        """Codes in the order and shape of `wanted`, an arrangement of the same tensor.

        A graph input is shown in another way where that is enough (the import begins anew, see
        `Rearranged`); else a Transpose moves the codes.
        """
        if np.array_equal(codes.layout.order, wanted.order):
            same = codes.layout.physical == wanted.physical
            return codes if same else self._reshaped(codes, wanted)
        self._ask_for_view(codes, wanted)
        ops = moving(codes.layout, wanted)
        if ops is None or len(self.types[codes.edge].scales()) > 1:
            raise HwsimError(
                f"{node}: its input must be in the order of its shape {codes.layout.shape}, or a "
                "Transpose away from it (with one scale for all channels)"
            )
        key = (codes.edge, wanted.physical, wanted.order.tobytes(), codes.layout.order.tobytes())
        if key not in self.made:
            name = f"{codes.edge}.transpose"
            edge = self.chain(name, codes.edge, ops, name)
            self.made[key] = replace(codes, edge=edge, layout=wanted)
        return replace(self.made[key], padding=codes.padding)

    def _ask_for_view(self, codes: Codes, wanted: Arrangement) -> None:
        """Start anew where the port of a graph input could show its edge in the wanted order."""
        makers, edge = {edge: node for node in self.nodes for edge in node.outputs}, codes.edge
        while edge in makers and isinstance(makers[edge].op, ELEMENTWISE):
            (edge,) = makers[edge].inputs
        port = next((p for p in self.inputs.values() if p.tensor == edge), None)
        if port is None or port.name in self.views:
            return
        user = user_shape(port.type, port)
        now = View(port.type.shape, port.axes, port.shape)
        order = now.order[inverse(codes.layout.order)[wanted.order]]
        view = view_of(order, wanted.physical, user)
        if view is not None:
            raise Rearranged(port.name, view)

    def flat(self, codes: Codes) -> Codes:
        """Codes on a one-dimensional edge, in whatever order they lie."""
        if len(codes.layout.physical) == 1:
            return codes
        return self._reshaped(codes, replace(codes.layout, physical=(codes.layout.size,)))

    def _reshaped(self, codes: Codes, layout: Arrangement) -> Codes:
        op = Flatten() if len(layout.physical) == 1 else Reshape(shape=layout.physical)
        for node in self.nodes:  # another reader may have asked for it before
            same = isinstance(node.op, Flatten | Reshape) and node.inputs == (codes.edge,)
            if same and self.types[node.output].shape == layout.physical:
                return replace(codes, edge=node.output, layout=layout)
        edge = self.emit(f"{codes.edge}.{op.kind}", op, [codes.edge], f"{codes.edge}.{op.kind}")
        return replace(codes, edge=edge, layout=layout)


def _free(name: str, taken: set[str] | Mapping[str, object]) -> str:
    chosen, count = name, 1
    while chosen in taken:
        count += 1
        chosen = f"{name}.{count}"
    return chosen


def _bounded(what: str, kind: TensorType) -> None:
    if kind.size > MAX_ELEMENTS:
        raise HwsimError(
            f"{what} must have at most {MAX_ELEMENTS} elements, not {kind.size} of shape "
            f"{kind.shape}"
        )
