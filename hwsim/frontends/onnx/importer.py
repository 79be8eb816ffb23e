"""The state of one import: ONNX tensors seen so far, and the Graph that grows out of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.file import MAX_ELEMENTS, OnnxModel, OnnxNode
from hwsim.frontends.onnx.kernels import FLOAT, Choice, Kernel
from hwsim.frontends.onnx.order import View, inverse, moving, view_of
from hwsim.frontends.shared.values import (
    Codes,
    Constant,
    Layout,
    Mean,
    RawInput,
    Real,
    Value,
    Weighing,
)
from hwsim.graph import InputPort, Node, user_shape
from hwsim.graph import Layout as PortLayout
from hwsim.ops import Cast, Flatten, Op, Relu, Requantize, Reshape, Table, TensorType

ELEMENTWISE = Cast | Relu | Requantize | Table


class RuntimeDifference(UserWarning):
    """A node that the model's runtime computes in floats: its integers may differ now and then."""


REALS = Choice(Kernel.FLOAT, bias_codes=True)
"""What a runtime does that computes all of the model in reals and has no kernels of its own."""


class Rearranged(Exception):
    """An input's port should show its edge in another way, so that no code has to move."""

    def __init__(self, name: str, view: View) -> None:
        super().__init__(name)
        self.name, self.view = name, view


class Importer:
    """The state of one import: tensors by name, and the nodes of the Graph so far.

    `views` are how the ports of some inputs have to show their edges. `warnings` are what `warn`
    was told, for when the import is done.
    """

    def __init__(self, model: OnnxModel, views: Mapping[str, View] | None = None) -> None:
        self.model, self.views = model, dict(views or {})
        self.warnings: list[str] = []
        self.choices: Mapping[str, Choice] | None = None
        self.values: dict[str, Value] = {n: Constant(a) for n, a in model.constants.items()}
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}
        self.inputs: dict[str, InputPort] = {}
        self._names: set[str] = set()
        self.made: dict[object, Codes] = {}
        self.sums: dict[Weighing | Mean, str] = {}

    def named(self, error: HwsimError, node: OnnxNode) -> HwsimError:
        """The same error with the file, and the node where it is not named yet."""
        text = str(error)
        place = "" if text.startswith((f"{node}:", "node ")) else f"{node}: "
        return HwsimError(f"{self.model.path}: {place}{text}")

    def value(self, node: OnnxNode, position: int) -> Value:
        """The tensor at an input of `node`."""
        name = node.input(position)
        if name not in self.values:
            raise HwsimError(f"{node}: input {position} must be a known tensor, not {name!r}")
        return self.values[name]

    def constant(self, node: OnnxNode, position: int) -> Constant:
        """A constant input."""
        value = self.value(node, position)
        if not isinstance(value, Constant):
            raise HwsimError(
                f"{node}: input {position} ({node.input(position)!r}) must be constant"
            )
        return value

    def real(self, node: OnnxNode, position: int) -> Real:
        """A float input that codes stand behind."""
        value = self.value(node, position)
        if isinstance(value, Real):
            return value
        what = {Constant: "a constant", Codes: "integer codes"}.get(
            type(value), "an input of the graph that nothing quantizes"
        )
        raise HwsimError(
            f"{node}: input {position} ({node.input(position)!r}) must be a quantized tensor "
            f"(behind QuantizeLinear and DequantizeLinear, or Quant), not {what}"
        )

    def choice(self, tensor: str) -> Choice:
        """The runtime's kernel for the node that makes an ONNX tensor."""
        if self.choices is None:
            return REALS
        return self.choices.get(tensor, FLOAT)

    def warn(self, node: str, text: str) -> None:
        """Say once, when the import is done, that the runtime computes otherwise."""
        sentence = f"{self.model.path}: node {node!r}: {text}"
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def unique(self, name: str) -> str:
        """`name`, or with a number where it is taken."""
        name = name or "node"
        chosen, count = name, 1
        while chosen in self._names:
            count += 1
            chosen = f"{name}.{count}"
        self._names.add(chosen)
        return chosen

    def emit(self, name: str, op: Op, inputs: Sequence[str], edge: str) -> str:
        """Append a node; gives its edge."""
        name, edge = self.unique(name), self._free(edge)
        try:
            kind = op.infer([self.types[i] for i in inputs])
        except HwsimError as error:
            raise HwsimError(f"node {name!r}: {error}") from None
        if kind.size > MAX_ELEMENTS:
            raise HwsimError(
                f"node {name!r}: its output must have at most {MAX_ELEMENTS} elements, not "
                f"{kind.size} of shape {kind.shape}"
            )
        self.types[edge] = kind
        self.nodes.append(Node(name, op, tuple(inputs), edge))
        return edge

    def _free(self, edge: str) -> str:
        chosen, count = edge, 1
        while chosen in self.types:
            count += 1
            chosen = f"{edge}.{count}"
        return chosen

    def chain(self, name: str, edge: str, ops: Sequence[Op], out: str) -> str:
        """Operators one after the other; the last one's edge is `out`."""
        for op in ops[:-1]:
            edge = self.emit(name, op, [edge], f"{out}.{op.kind}")
        return self.emit(name, ops[-1], [edge], out) if ops else edge

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
            layout=seen.layout,
            shape=seen.shape,
            **options,
        )
        known = self.inputs.get(raw.name)
        if known is None:
            self.inputs[raw.name], self.types[out] = port, kind
        elif replace(port, tensor=known.tensor) != known:
            raise HwsimError(f"input {raw.name!r} must be quantized in one way, not in several")
        else:
            port = known
        return Codes(port.tensor, kind.format, layout, raw.padding)

    def _seen(self, raw: RawInput) -> tuple[Layout, View]:
        """How the port of an input shows its edge, and where the tensor lies on it by now."""
        if raw.name in self.views:
            view = self.views[raw.name]
            return view.holds(raw.plain), view
        wanted = Layout.channels_last(raw.plain.shape).physical
        fits = raw.channels_last.physical == wanted or not raw.plain.standard
        if len(raw.channels_last.physical) == 3 and raw.channels_last.standard and fits:
            layout = raw.channels_last
            return layout, View(layout.physical, PortLayout.CHANNELS_FIRST, None)
        return raw.plain, View(raw.plain.physical, PortLayout.CHANNELS_LAST, None)

    def standard(self, codes: Codes, node: object) -> Codes:
        """Codes in the order and shape that operators on `codes.layout.shape` expect."""
        return self.arranged(codes, Layout.channels_last(codes.layout.shape), node)

    def arranged(self, codes: Codes, wanted: Layout, node: object) -> Codes:
        """Codes in the order and shape of `wanted`, a layout of the same tensor.

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

    def _ask_for_view(self, codes: Codes, wanted: Layout) -> None:
        """Start anew where the port of a graph input could show its edge in the wanted order."""
        makers, edge = {node.output: node for node in self.nodes}, codes.edge
        while edge in makers and isinstance(makers[edge].op, ELEMENTWISE):
            (edge,) = makers[edge].inputs
        port = next((p for p in self.inputs.values() if p.tensor == edge), None)
        if port is None or port.name in self.views:
            return
        user = user_shape(port.type, port)
        now = View(port.type.shape, port.layout, port.shape)
        order = now.order[inverse(codes.layout.order)[wanted.order]]
        view = view_of(order, wanted.physical, user)
        if view is not None:
            raise Rearranged(port.name, view)

    def flat(self, codes: Codes) -> Codes:
        """Codes on a one-dimensional edge, in whatever order they lie."""
        if len(codes.layout.physical) == 1:
            return codes
        return self._reshaped(codes, replace(codes.layout, physical=(codes.layout.size,)))

    def _reshaped(self, codes: Codes, layout: Layout) -> Codes:
        op = Flatten() if len(layout.physical) == 1 else Reshape(shape=layout.physical)
        for node in self.nodes:  # another reader may have asked for it before
            same = isinstance(node.op, Flatten | Reshape) and node.inputs == (codes.edge,)
            if same and self.types[node.output].shape == layout.physical:
                return replace(codes, edge=node.output, layout=layout)
        edge = self.emit(f"{codes.edge}.{op.kind}", op, [codes.edge], f"{codes.edge}.{op.kind}")
        return replace(codes, edge=edge, layout=layout)


Handler = Callable[[Importer, OnnxNode], None]
