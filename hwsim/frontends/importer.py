"""The state of one import: ONNX tensors seen so far, and the Graph that grows out of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.onnx_file import MAX_ELEMENTS, OnnxModel, OnnxNode
from hwsim.frontends.values import (
    Codes,
    Constant,
    Layout,
    Mean,
    RawInput,
    Real,
    Value,
    Weighing,
)
from hwsim.graph import ELEMENTS, InputPort, Node
from hwsim.graph import Layout as PortLayout
from hwsim.ops import Flatten, Op, Reshape, TensorType


class RuntimeDifference(UserWarning):
    """A node that the model's runtime computes in floats: its integers may differ now and then."""


class Importer:
    """The state of one import: tensors by name, and the nodes of the Graph so far."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.values: dict[str, Value] = {n: Constant(a) for n, a in model.constants.items()}
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}
        self.inputs: dict[str, InputPort] = {}
        self._names: set[str] = set()
        self.made: dict[object, Codes] = {}
        self.sums: dict[Weighing | Mean, str] = {}
        self.uses: dict[str, int] = {port.name: 1 for port in model.outputs}
        for node in model.nodes:
            for tensor in node.inputs:
                self.uses[tensor] = self.uses.get(tensor, 0) + 1

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

    def warn(self, node: str, text: str) -> None:
        """Say that the runtime computes otherwise."""
        warnings.warn(f"{self.model.path}: node {node!r}: {text}", RuntimeDifference, stacklevel=2)

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
        """The codes of a graph input, whose port is made here."""
        wanted = Layout.channels_last(raw.plain.shape).physical
        fits = raw.channels_last.physical == wanted or not raw.plain.standard
        use_last = len(raw.channels_last.physical) == 3 and raw.channels_last.standard and fits
        layout = raw.channels_last if use_last else raw.plain
        view = PortLayout.CHANNELS_FIRST if use_last else PortLayout.CHANNELS_LAST
        kind = replace(kind, shape=layout.physical)
        element = raw.dtype if raw.dtype in ELEMENTS else None
        port = InputPort(
            name=raw.name, tensor=out, type=kind, layout=view, element=element, **options
        )
        known = self.inputs.get(raw.name)
        if known is None:
            self.inputs[raw.name], self.types[out] = port, kind
        elif replace(port, tensor=known.tensor) != known:
            raise HwsimError(f"input {raw.name!r} must be quantized in one way, not in several")
        else:
            port = known
        return Codes(port.tensor, kind.format, layout)

    def standard(self, codes: Codes, node: object) -> Codes:
        """Codes in the order and shape that operators on `codes.layout.shape` expect."""
        if not codes.layout.standard:
            raise HwsimError(
                f"{node}: its input must be in the order of its shape {codes.layout.shape}; a "
                "Transpose, or a Reshape after a map, that really moves data is not supported"
            )
        wanted = Layout.channels_last(codes.layout.shape)
        if wanted.physical == codes.layout.physical:
            return codes
        return self._reshaped(codes, wanted)

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
