"""The state of one import: ONNX tensors seen so far, and the Graph that grows out of them."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx_file import MAX_ELEMENTS, OnnxModel, OnnxNode, OnnxPort
from hwsim.frontends.values import (
    NO_PADDING,
    Codes,
    Constant,
    FloatArray,
    Joined,
    Layout,
    Level,
    Mean,
    Pair,
    Pool,
    RawInput,
    Real,
    Unary,
    Value,
    Weighing,
)
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.graph import Layout as PortLayout
from hwsim.ops import AvgPool, Concat, Flatten, MaxPool, Op, Quant, Relu, Reshape, Table, TensorType
from hwsim.ops.base import IntArray

TABLE_BITS = 12


class RuntimeDifference(UserWarning):
    """The model's runtime computes a node in floats, so that its integers may differ now and then."""


class Quantizer(ABC):
    """How reals become codes: what QuantizeLinear, a QLinear operator or a Quant node asks for."""

    format: Format
    scale: float
    zero_point: int

    @property
    @abstractmethod
    def quant(self) -> Quant | None:
        """What the codes mean, as the edge's type says it."""

    @abstractmethod
    def codes(self, reals: FloatArray) -> IntArray:
        """Codes of float32 values."""

    @abstractmethod
    def port(self, node: OnnxNode) -> dict[str, Any]:
        """How an InputPort has to quantize."""

    @abstractmethod
    def sum(self, run: Importer, edge: str, scale: FloatArray, zero: int) -> tuple[str, list[Op]]:
        """Operators that round whole numbers with `scale` and `zero`, after the edge given back."""

    @abstractmethod
    def mean(self, run: Importer, edge: str, source: Mean) -> list[Op]:
        """Operators that round a sum over windows."""

    @abstractmethod
    def pair(self, run: Importer, source: Pair, out: str) -> tuple[str, list[Op]]:
        """Operators that round the sum of two tensors, after the edge given back."""

    def shifts(self, level: Level) -> bool:
        """Whether rounding codes of that meaning is a mere shift, better than a table."""
        return False


@dataclass(frozen=True, slots=True)
class _Made:
    """What an operator needs to be reused: who reads the same source by the same quantizer."""

    source: object
    steps: tuple[object, ...]
    quantizer: Quantizer


class Importer:
    """Walks a model's nodes through a table of handlers and collects the Graph."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.values: dict[str, Value] = {n: Constant(a) for n, a in model.constants.items()}
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}
        self.inputs: dict[str, InputPort] = {}
        self._names: set[str] = set()
        self._made: dict[_Made, Codes] = {}
        self._sums: dict[Weighing | Mean, str] = {}
        self.uses: dict[str, int] = {port.name: 1 for port in model.outputs}
        for node in model.nodes:
            for tensor in node.inputs:
                self.uses[tensor] = self.uses.get(tensor, 0) + 1

    def run(self, handlers: Mapping[tuple[str, str], Handler]) -> Graph:
        """The Graph of the whole model."""
        self._refuse_unknown(handlers)
        for port in self.model.inputs:
            self.values[port.name] = raw_input(self.model, port)
        for node in self.model.nodes:
            try:
                handlers[node.domain, node.op](self, node)
            except HwsimError as error:
                raise self.named(error, node) from None
        outputs = tuple(self._output(port) for port in self.model.outputs)
        missing = [port.name for port in self.model.inputs if port.name not in self.inputs]
        if missing:
            raise HwsimError(
                f"{self.model.path}: input {missing[0]!r} must be quantized and used by a node"
            )
        inputs = tuple(self.inputs[port.name] for port in self.model.inputs)
        try:
            return Graph(inputs, self._live(outputs), outputs)
        except HwsimError as error:
            raise HwsimError(f"{self.model.path}: {error}") from None

    def named(self, error: HwsimError, node: OnnxNode) -> HwsimError:
        """The same error with the file, and the node where it is not named yet."""
        text = str(error)
        place = "" if text.startswith((f"{node}:", "node ")) else f"{node}: "
        return HwsimError(f"{self.model.path}: {place}{text}")

    def _refuse_unknown(self, handlers: Mapping[tuple[str, str], Handler]) -> None:
        unknown: dict[str, list[str]] = {}
        for node in self.model.nodes:
            if (node.domain, node.op) not in handlers:
                kind = f"{node.domain}.{node.op}" if node.domain else node.op
                unknown.setdefault(kind, []).append(repr(node.name))
        if unknown:
            listed = "; ".join(f"{op} ({', '.join(names)})" for op, names in unknown.items())
            known = sorted({op for _, op in handlers})
            raise HwsimError(
                f"{self.model.path} must use supported operators only, but has {listed}; supported "
                f"are {', '.join(known)}"
            )

    def _live(self, outputs: Sequence[OutputPort]) -> tuple[Node, ...]:
        """Nodes that some output depends on."""
        needed = {port.tensor for port in outputs}
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if node.output in needed:
                needed.update(node.inputs)
                kept.append(node)
        return tuple(reversed(kept))

    # Tensors

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

    # Growing the graph

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
        use_last = raw.channels_last.standard and not raw.plain.standard
        layout = raw.channels_last if use_last else raw.plain
        view = PortLayout.CHANNELS_FIRST if use_last else PortLayout.CHANNELS_LAST
        kind = replace(kind, shape=layout.physical)
        port = InputPort(name=raw.name, tensor=out, type=kind, layout=view, **options)
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
            if node.inputs == (codes.edge,) and self.types[node.output].shape == layout.physical:
                if isinstance(node.op, Flatten | Reshape):
                    return replace(codes, edge=node.output, layout=layout)
        edge = self.emit(f"{codes.edge}.{op.kind}", op, [codes.edge], f"{codes.edge}.{op.kind}")
        return replace(codes, edge=edge, layout=layout)

    # Rounding

    def quantize(self, real: Real, by: Quantizer, name: str, out: str) -> Codes:
        """The codes of a float tensor: its source computed and rounded, then its other steps."""
        key = _Made(real.source, real.steps, by)
        if key not in self._made:
            self._made[key] = self._quantize(real, by, name, out)
        return replace(self._made[key], layout=real.layout)

    def _quantize(self, real: Real, by: Quantizer, name: str, out: str) -> Codes:
        source = real.source
        if isinstance(source, Level):
            return self._quantize_level(source, real, by, name, out)
        ops: list[Op]
        match source:
            case Weighing():
                edge, scale = self.weighed(source)
                edge, ops = by.sum(self, edge, scale, 0)
            case Mean():
                edge = self.averaged(source)
                ops = by.mean(self, edge, source)
            case Pair():
                edge, ops = by.pair(self, source, out)
            case Joined():
                parts = [
                    self.quantize(part, by, name, f"{out}.{i}")
                    for i, part in enumerate(source.parts)
                ]
                parts = [self.flat(p) if len(p.layout.shape) == 1 else p for p in parts]
                edges = [self._joinable(p, by, f"{out}.{i}") for i, p in enumerate(parts)]
                edge, ops = self.emit(source.name, Concat(), edges, f"{out}.concat"), []
        for step in real.steps:
            ops += self._step(step, by)
        edge = self.chain(name, edge, ops, out)
        return Codes(edge, by.format, real.layout)

    def weighed(self, source: Weighing) -> tuple[str, FloatArray]:
        """The exact sums of a layer, and the reals of one of their codes."""
        if source not in self._sums:
            edge = self.emit(source.name, source.op, [source.input.codes.edge], source.name)
            self._sums[source] = edge
        edge = self._sums[source]
        plain = self.types[source.input.codes.edge].format.frac_bits
        plain += source.op.weight_format.frac_bits
        finer = self.types[edge].format.frac_bits - plain
        return edge, source.scale * np.float32(2.0**-finer)

    def averaged(self, source: Mean) -> str:
        """The exact sums over windows behind an average."""
        if source not in self._sums:
            op = AvgPool(window=source.window, zero_point=source.input.zero_point)
            edge = self.emit(source.name, op, [source.input.codes.edge], source.name)
            self._sums[source] = edge
        return self._sums[source]

    def _joinable(self, part: Codes, by: Quantizer, out: str) -> str:
        """A part whose type says what `by` says; a mere relabelling costs nothing downstream."""
        kind = self.types[part.edge]
        if (kind.format, kind.quant) == (by.format, by.quant):
            return part.edge
        return self.relabel(part.edge, by.quant, out)

    def relabel(self, edge: str, quant: Quant | None, out: str) -> str:
        """The same codes with another meaning."""
        fmt = self.types[edge].format
        values = np.arange(fmt.min, fmt.max + 1)
        return self.emit(out, Table(values=values, out=fmt, quant=quant), [edge], out)

    def _step(self, step: Unary | Pool, by: Quantizer) -> list[Op]:
        if isinstance(step, Pool):
            return [MaxPool(window=step.window)]
        if not step.clamp:
            raise HwsimError(
                f"{step.name}: its input must be quantized first, since only 8-bit codes go through "
                "a table; put a quantizer (QuantizeLinear and DequantizeLinear, or Quant) before it"
            )
        low, high = by.format.min, by.format.max
        if step.low is not None:
            low = int(by.codes(np.array([step.low], np.float32))[0])
        if step.high is not None:
            high = int(by.codes(np.array([step.high], np.float32))[0])
        if low > high:
            raise HwsimError(f"{step.name}: its minimum must not be above its maximum")
        if (low, high) == (by.format.min, by.format.max):
            return []
        return [Relu(zero_point=low, maximum=None if high == by.format.max else high)]

    def _quantize_level(
        self, level: Level, real: Real, by: Quantizer, name: str, out: str
    ) -> Codes:
        codes = level.codes
        functions = [s for s in real.steps if isinstance(s, Unary)]
        pools: list[Op] = [MaxPool(window=s.window) for s in real.steps if isinstance(s, Pool)]
        after_pool = real.steps[
            next((i for i, s in enumerate(real.steps) if isinstance(s, Pool)), len(real.steps)) :
        ]
        if any(isinstance(s, Unary) and not s.rising for s in after_pool):
            raise HwsimError(f"{name}: a function after a max pool must be rising")
        ops: list[Op]
        if by.shifts(level) and all(f.clamp for f in functions):
            edge, ops = by.sum(
                self, codes.edge, np.array([level.scale], np.float32), level.zero_point
            )
            for function in functions:
                ops += self._step(function, by)
        else:
            edge, ops = codes.edge, self._table(level, functions, by)
        if (
            codes.padding != NO_PADDING
            and int(by.codes(np.zeros(1, np.float32))[0]) != by.zero_point
        ):
            raise HwsimError(f"{name}: padding must stay real zero up to the next convolution")
        edge = self.chain(name, edge, [*ops, *pools], out)
        same = edge == codes.edge
        return Codes(
            edge, by.format, real.layout, codes.padding, codes.as_unsigned if same else False
        )

    def _table(self, level: Level, functions: Sequence[Unary], by: Quantizer) -> list[Op]:
        """Nothing, a clamp or a table: the function of one code, made by trying all of them."""
        fmt = level.codes.format
        if fmt.width > TABLE_BITS:
            raise HwsimError(
                f"a tensor that a function is taken of must have at most {TABLE_BITS} bits, not "
                f"{fmt.width}"
            )
        codes = np.arange(fmt.min, fmt.max + 1)
        reals = (codes - level.zero_point).astype(np.float32) * np.float32(level.scale)
        for function in functions:
            reals = function.function(reals)
        values = by.codes(reals)
        same = (fmt, level.scale, level.zero_point) == (by.format, by.scale, by.zero_point)
        if same:
            low, high = int(values.min()), int(values.max())
            if np.array_equal(values, codes):
                return []
            if np.array_equal(values, np.clip(codes, low, high)):
                return [Relu(zero_point=low, maximum=None if high == fmt.max else high)]
        return [Table(values=values, out=by.format, quant=by.quant)]

    # Outputs

    def _output(self, port: OnnxPort) -> OutputPort:
        value = self.values.get(port.name)
        what = f"{self.model.path}: output {port.name!r}"
        try:
            edge, layout = self._output_edge(value, port.name)
        except HwsimError as error:
            raise HwsimError(f"{what}: {error}") from None
        view = PortLayout.CHANNELS_FIRST if len(layout.shape) == 3 else PortLayout.CHANNELS_LAST
        return OutputPort(name=port.name, tensor=edge, layout=view)

    def _output_edge(self, value: Value | None, name: str) -> tuple[str, Layout]:
        if isinstance(value, Codes):
            codes = value
        elif isinstance(value, Real):
            codes = self._settle(value, name)
        else:
            raise HwsimError("it must be computed from the graph's inputs by quantized operators")
        if codes.padding != NO_PADDING:
            raise HwsimError("a Pad must be followed by a convolution")
        codes = self.standard(codes, "output")
        return codes.edge, codes.layout

    def _settle(self, real: Real, name: str) -> Codes:
        """Codes that mean exactly the reals of `real`, which no quantizer reads."""
        source = real.source
        if isinstance(source, Weighing) and not real.steps:
            edge, _ = self.weighed(source)
            return Codes(edge, self.types[edge].format, real.layout)
        if isinstance(source, Level):
            codes = source.codes
            kind = self.types[codes.edge]
            quant = Quant((source.scale,), source.zero_point)
            if kind.scales() != (source.scale,) or kind.zero_point != source.zero_point:
                codes = replace(codes, edge=self.relabel(codes.edge, quant, f"{name}.codes"))
            if not real.steps:
                return replace(codes, layout=real.layout)
            ops = [op for step in real.steps for op in self._settled_step(step, source)]
            edge = self.chain(f"{name}.steps", codes.edge, ops, f"{name}.codes")
            return Codes(edge, codes.format, real.layout)
        raise HwsimError("it must be quantized, since its values are not codes times a scale")

    def _settled_step(self, step: Unary | Pool, level: Level) -> list[Op]:
        if isinstance(step, Pool):
            return [MaxPool(window=step.window)]
        if step.low == 0.0 and step.high is None:
            return [Relu(zero_point=level.zero_point)]
        raise HwsimError(f"{step.name} must be followed by a quantizer")


def raw_input(model: OnnxModel, port: OnnxPort) -> RawInput:
    """A graph input with a batch axis and known other axes."""
    shape = port.shape[1:]
    if not port.shape or any(d is None or d < 1 for d in shape):
        raise HwsimError(
            f"{model.path}: input {port.name!r} must have a batch axis and then fixed sizes, not "
            f"{port.shape}"
        )
    sizes = tuple(int(d) for d in shape if d is not None)
    if np.prod([float(d) for d in sizes], initial=1.0) > MAX_ELEMENTS:
        raise HwsimError(
            f"{model.path}: input {port.name!r} must have at most {MAX_ELEMENTS} elements, not "
            f"shape {sizes}"
        )
    return RawInput(port.name, Layout.plain(sizes), Layout.channels_last(sizes))


Handler = Callable[[Importer, OnnxNode], None]
