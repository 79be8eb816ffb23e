"""A copy of an ONNX graph that rewrites may change: steps, and who makes and reads each tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.frontends.onnx.model import OnnxModel, OnnxNode

Array = npt.NDArray[Any]
Q, DQ = "QuantizeLinear", "DequantizeLinear"
CLAMPS = ("Relu", "Clip")
FAR_END = (1 << 63) - 1


@dataclass(slots=True, eq=False)
class CopiedNode:
    """A node of the copy; `origins` are the tensors of the model's nodes that it stands for."""

    op: str
    inputs: list[str]
    output: str
    node: OnnxNode | None = None
    origins: tuple[str, ...] = ()
    bias_codes: bool = False  # its bias was made int32 by the runtime
    weight_codes: bool = False  # and its float weights int8
    axis: int | None = None  # of its scales, where that changed

    def input(self, position: int) -> str:
        """The name of an input; empty where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else ""

    def integer(self, name: str, default: int) -> int:
        """An integer attribute, the default where it is no integer."""
        if name == "axis" and self.axis is not None:
            return self.axis
        value = self.node.attributes.get(name, default) if self.node else default
        return value if isinstance(value, int) else default

    @property
    def reads(self) -> int:
        """How many inputs are there."""
        return sum(1 for name in self.inputs if name)


@dataclass(slots=True)
class Copy:
    """A graph that rewrites change: its steps in order, and who makes and reads each tensor."""

    steps: list[CopiedNode]
    constants: dict[str, Array]
    outputs: set[str]
    ranks: dict[str, int]
    batch: bool  # whether the batch is a fixed number
    opset: int
    makers: dict[str, CopiedNode] = field(default_factory=dict)
    users: dict[str, list[CopiedNode]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)  # of the graph's inputs
    _count: int = 0

    def __post_init__(self) -> None:
        self.index()

    def index(self) -> None:
        """Count makers and readers anew, one entry for each use."""
        self.makers = {step.output: step for step in self.steps}
        self.users = {}
        for step in self.steps:
            for name in filter(None, step.inputs):
                self.users.setdefault(name, []).append(step)

    def maker(self, tensor: str, *ops: str) -> CopiedNode | None:
        """The step that makes a tensor, if it is one of `ops`."""
        step = self.makers.get(tensor)
        return step if step is not None and (not ops or step.op in ops) else None

    def each(self, *ops: str) -> Iterator[CopiedNode]:
        """Steps of these operators that are still there when their turn comes."""
        for step in list(self.steps):
            if step.op in ops and self.makers.get(step.output) is step:
                yield step

    def readers(self, tensor: str) -> list[CopiedNode]:
        """The steps that read a tensor."""
        return self.users.get(tensor, [])

    def only_reader(self, tensor: str) -> CopiedNode | None:
        """The one step that reads a tensor, if it is no output of the graph."""
        readers = self.readers(tensor)
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def fresh(self, tensor: str) -> str:
        """A new name."""
        self._count += 1
        return f"{tensor}\0{self._count}"

    def rename(self, old: str, new: str) -> None:
        """Readers of `old` read `new`."""
        for step in self.users.pop(old, []):
            step.inputs = [new if name == old else name for name in step.inputs]
            self.users.setdefault(new, []).append(step)

    def drop(self, step: CopiedNode) -> None:
        """Take out a step of one input: its readers read that input."""
        source = step.inputs[0]
        self.steps.remove(step)
        self.users[source].remove(step)
        del self.makers[step.output]
        self.rename(step.output, source)

    def scalar(self, tensor: str) -> Array | None:
        """A constant of one element and at most one axis."""
        value = self.constants.get(tensor)
        return value if value is not None and value.size == 1 and value.ndim <= 1 else None

    def dtype(self, step: CopiedNode) -> str:
        """The NumPy name of the codes of a QuantizeLinear or DequantizeLinear."""
        zero = self.constants.get(step.input(2))
        if zero is not None:
            return zero.dtype.name
        if step.op == DQ:
            codes = self.constants.get(step.inputs[0])
            maker = self.makers.get(step.inputs[0])
            if codes is not None:
                return codes.dtype.name
            known = self.types.get(step.inputs[0], "uint8")
            return self.dtype(maker) if maker is not None and maker.op == Q else known
        wanted = step.integer("output_dtype", 0)
        return {3: "int8", 4: "uint16", 5: "int16"}.get(wanted, "uint8")


def takes_all(node: OnnxNode, constants: Mapping[str, Array]) -> bool:
    """Whether the runtime takes away a Slice or Expand since it does nothing.

    A Slice from 0 to the very end (2**63 - 1) in steps of 1; an Expand by ones.
    """
    given = [constants.get(name) for name in node.inputs[1:]]
    if node.op == "Expand":
        return len(given) == 1 and given[0] is not None and bool((given[0] == 1).all())
    if node.op != "Slice":
        return False
    if len(node.inputs) == 1:
        starts, ends = node.integers("starts"), node.integers("ends")
        return not any(starts) and bool(ends) and min(ends) >= FAR_END
    if any(array is None for array, name in zip(given, node.inputs[1:], strict=True) if name):
        return False
    if len(given) < 2 or given[0] is None or given[1] is None:  # which its reader refuses
        return False
    starts_, ends_ = given[:2]
    steps = given[3] if len(given) > 3 else None
    assert starts_ is not None and ends_ is not None
    far = bool((starts_ == 0).all() and (ends_ >= FAR_END).all())
    return far and (steps is None or bool((steps == 1).all()))


NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}


def passed_on(node: OnnxNode, constants: Mapping[str, Array], ranks: Mapping[str, int]) -> int:
    """Which input the runtime puts in the place of a node that does nothing; -1 where none.

    A Slice or Expand as `takes_all` has it; x + 0, 0 + x, x - 0, x * 1, 1 * x and x / 1 with a
    float constant of one element that brings no more axes. Source: `noop_elimination.cc`.
    """
    if takes_all(node, constants):
        return 0
    if node.op not in NEUTRAL or node.domain or len(node.inputs) != 2:
        return -1
    given = [constants.get(name) for name in node.inputs]
    kept = 0 if given[1] is not None else 1
    value, rank = given[1 - kept], ranks.get(node.inputs[kept], 0)
    ordered = kept and node.op in ("Sub", "Div")
    if value is None or given[kept] is not None or ordered or value.size != 1:
        return -1
    nothing = value.dtype == np.float32 and float(value.ravel()[0]) == NEUTRAL[node.op]
    return kept if nothing and value.ndim <= max(rank, 1) else -1


def copy_of(model: OnnxModel) -> Copy:
    """A copy of the model's graph; `Constant` nodes are constants."""
    constants: dict[str, Array] = dict(model.constants)
    steps = []
    for node in model.nodes:
        value = node.attributes.get("value") if node.op == "Constant" else None
        if node.op == "Constant":
            given = value if value is not None else next(iter(node.attributes.values()), 0)
            narrow = {"value_float": np.float32, "value_floats": np.float32}
            dtype = narrow.get(next(iter(node.attributes), ""))
            constants[node.output] = np.asarray(given, dtype)
            continue
        op = node.op if node.domain == "" or node.op in (Q, DQ) else f"{node.domain}.{node.op}"
        steps.append(CopiedNode(op, list(node.inputs), node.output, node, (node.output,)))
    ranks = {port.name: len(port.shape) for port in model.inputs}
    batch = all(bool(port.shape) and port.shape[0] is not None for port in model.inputs)
    copy = Copy(steps, constants, {p.name for p in model.outputs}, ranks, batch, model.opset)
    copy.types = {port.name: port.dtype for port in model.inputs}
    for step in copy.steps:
        made = step.node.outputs if step.node is not None else (step.output,)
        copy.ranks.update(dict.fromkeys(filter(None, made), _rank(copy, step)))
    return copy


BROADCAST = (  # operators whose result has as many axes as the input with most of them
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "MatMul",
    "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
    "com.microsoft.MatMulIntegerToFloat", "com.microsoft.QLinearAdd", "com.microsoft.QLinearMul",
)  # fmt: skip
REDUCE = ("ArgMax", "ArgMin", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")


def _rank(copy: Copy, step: CopiedNode) -> int:
    """How many axes an output has, batch included; 0 where it is not known."""
    first = _axes_of(copy, step.inputs[0]) if step.inputs else 0
    more = copy.constants.get(step.input(1))
    axes = (
        int(more.size) if more is not None else len(step.node.integers("axes")) if step.node else 0
    )
    match step.op:
        case "Flatten" | "Gemm":
            return 2
        case "Reshape":
            return int(more.size) if more is not None else _length(copy, step.input(1))
        case "Gather":
            places = copy.ranks.get(step.input(1), 0)
            return first - 1 + (more.ndim if more is not None else places)
        case "Squeeze":
            return first - axes if axes else 0
        case "Unsqueeze":
            return first + axes
    if step.op in BROADCAST:
        return max(_axes_of(copy, name) for name in step.inputs)
    if step.op in REDUCE and not step.integer("keepdims", 1):
        return first - max(axes, 1)
    return first


def _axes_of(copy: Copy, tensor: str) -> int:
    value = copy.constants.get(tensor)
    return value.ndim if value is not None else copy.ranks.get(tensor, 0)


def _length(copy: Copy, tensor: str, depth: int = 4) -> int:
    """How many numbers a computed shape has; 0 where it is not known, or too deep to tell."""
    if tensor in copy.constants:
        return int(copy.constants[tensor].size)
    maker = copy.makers.get(tensor)
    if maker is None or not depth:
        return 0
    if maker.op == "Concat":
        parts = [_length(copy, name, depth - 1) for name in maker.inputs]
        return sum(parts) if all(parts) else 0
    if maker.op == "Shape":
        return copy.ranks.get(maker.inputs[0], 0)
    return 1 if maker.op in ("Unsqueeze", "Gather", "Slice") else 0
