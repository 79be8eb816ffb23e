"""Which tensors of a float model become codes, and what the others are computed from."""

from __future__ import annotations

from typing import Any

from hwsim.compress.float_model import WEIGHTED, FloatModel
from hwsim.frontends.onnx.file import from_proto
from hwsim.frontends.onnx.functions import FUNCTIONS
from hwsim.frontends.onnx.fused_norms import norms
from hwsim.frontends.onnx.logic import LOGIC

MOVES = (
    "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity",
    "MaxPool", "Pad", "ReduceMax", "ReduceMin", "Reshape", "Slice", "SpaceToDepth", "Split",
    "Squeeze", "Tile", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that only move codes: what they give has the quantizer of what they take."""

ON_THE_SUM = (*FUNCTIONS, "BatchNormalization", "Clip", "Dropout", "Identity", "PRelu")
"""Functions of one number that follow a sum: the quantizer stands behind them."""

WITH_A_CONSTANT = ("Add", "Div", "Mul", "Sub")
"""Sums and products that are such a function where one side is constant."""

OF_ONE = (*WITH_A_CONSTANT, *LOGIC, "Cast", "Max", "Min", "Pow", "Sum")
"""Operators that are such a function too where all they read are functions of one sum."""

SUMS = (
    *WEIGHTED, *WITH_A_CONSTANT, "AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum",
    "Softmax", "LogSoftmax", "ArgMax", "Resize", "Max", "Min", "Sum", "Mean",
    "LayerNormalization", "InstanceNormalization", "GroupNormalization", "LpNormalization",
    "RMSNormalization",
)  # fmt: skip
"""What reads codes and gives numbers of its own."""

PORT_FUNCTIONS = (*WITH_A_CONSTANT, "Clip", "Dropout", "Identity", "Relu", "Sigmoid", "Tanh")
"""Functions that a port computes of a sum."""

OF_PORTS = (*WITH_A_CONSTANT, "BatchNormalization", "Cast", "Clip", "Dropout", "Identity", "Relu")
"""Functions that a port computes of an input."""

SHOWN = (*WEIGHTED, "ArgMax", "LogSoftmax", "ReduceSum", "Resize", "Softmax")
"""What gives an output as it is; other outputs are codes."""

SHOWN_MOVES = (
    "Flatten", "GlobalMaxPool", "MaxPool", "Pad", "Slice", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""What may move sums on their way to an output, and Reshape to MOST_AXES at most."""

MOST_AXES = 3


class Origins:
    """Where tensors of a model come from, and which of them become codes: `wanted`."""

    def __init__(self, model: FloatModel) -> None:
        self.constants, self.inputs = model.constants, model.inputs
        self.makers = {out: node for node in model.nodes for out in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in model.nodes:
            for tensor in node.input:
                self.readers.setdefault(tensor, []).append(node)
        found = norms(from_proto(model.proto, model.path))
        self.norms = {one.last: one for one in found}
        self.inside = frozenset().union(*(one.gone for one in found))
        self.wanted: frozenset[str] = frozenset()
        self.shown: tuple[str, ...] = ()
        self.roots: dict[str, str] = {}
        while self._grows(model):
            pass

    def on_the_sum(self, node: Any) -> bool:
        """Whether a node is a function of one number: all it reads are functions of one sum."""
        part = node.output[0] in self.norms or node.output[0] in self.inside
        if part or (node.op_type not in ON_THE_SUM and node.op_type not in OF_ONE):
            return False
        roots = {self.root(tensor) for tensor in self.given(node)}
        varies = node.op_type == "PRelu" and self._varies(node)
        return len(roots) == 1 and not varies and not self.codes_of(node)

    def moves(self, node: Any) -> bool:
        """Whether a node only moves codes; a constant beside them becomes codes behind it."""
        fixed = node.op_type == "Concat" and any(name in self.constants for name in node.input)
        return node.op_type in MOVES and not fixed

    def root(self, tensor: str) -> str:
        """The tensor that one is a function of, number by number: a sum, codes, or itself."""
        return self.roots.get(tensor, tensor)

    def _grows(self, model: FloatModel) -> bool:
        """Find roots as far as codes are known, and then more tensors whose codes are wanted."""
        self.roots, before, found = {}, self.wanted, set(self.wanted)
        for node in model.nodes:
            if self.on_the_sum(node):
                if not self._varies(node):
                    root = self.root(self.given(node)[0])
                    self.roots |= {out: root for out in node.output if out not in before}
                if not self._before_codes(node):
                    found.update(self.given(node))
            elif not self.moves(node) and node.output[0] not in self.inside:
                found.update(code for tensor in self.given(node) for code in self.codes(tensor))
        shown: list[str] = []
        for name in model.outputs:
            if not self._is_shown(name):
                found.update(self.codes(name))
                shown += [name] if name in found else []
        self.wanted, self.shown = frozenset(found), tuple(shown)
        return self.wanted != before

    def _varies(self, node: Any) -> bool:
        """Whether a function of one number is another in each channel."""
        sizes = [self.constants[name].size for name in node.input if name in self.constants]
        return node.op_type == "BatchNormalization" or max(sizes, default=1) > 1

    def _before_codes(self, node: Any) -> bool:
        """Whether a function may be taken of what it reads before that becomes codes.

        Of a model's input those alone may that a port computes.
        """
        given = self.given(node)
        return given[0] not in self.inputs or (len(given) == 1 and node.op_type in OF_PORTS)

    def _is_shown(self, tensor: str) -> bool:
        """Whether a model's output may stay a sum, as it is, moved, or with a port's functions."""
        maker = self.makers.get(tensor)
        if maker is None or maker.op_type in SHOWN:
            return maker is not None
        given = self.given(maker)
        if len(given) != 1 or tensor in self.norms:
            return False
        if maker.op_type == "Reshape":
            shape = self.constants.get(maker.input[1])
            moves = shape is not None and shape.size <= MOST_AXES
        else:
            moves = maker.op_type in SHOWN_MOVES
        before = self.makers.get(given[0])
        whole = maker.op_type == "Cast" and before is not None and before.op_type == "ArgMax"
        return (moves or whole or maker.op_type in PORT_FUNCTIONS) and self._is_shown(given[0])

    def codes_of(self, node: Any) -> list[str]:
        """Constants of a sum or product that become codes: more than a number a channel."""
        if node.op_type not in WITH_A_CONSTANT or node.output[0] in (*self.norms, *self.inside):
            return []
        held = [t for t in node.input if t in self.constants]
        return [t for t in held if sum(n > 1 for n in self.constants[t].shape) > 1]

    def ends(self, tensor: str) -> bool:
        """Whether a tensor is moved to outputs, if anywhere, and no layer reads it."""
        readers = self.readers.get(tensor, [])
        return all(self.moves(node) and self.ends(node.output[0]) for node in readers)

    def is_known(self, node: Any) -> bool:
        """Whether there is a rule for a node, or for the normalization that it is a part of."""
        if node.output[0] in self.norms or node.output[0] in self.inside:
            return True
        known = node.op_type in {*MOVES, *ON_THE_SUM, *SUMS} or self.on_the_sum(node)
        return node.domain in ("", "ai.onnx") and known

    def given(self, node: Any) -> list[str]:
        """What a node reads that is not constant, or the normalization that ends in it."""
        if node.output[0] in self.norms:
            return [self.norms[node.output[0]].reads]
        return [tensor for tensor in node.input if tensor and tensor not in self.constants]

    def codes(self, tensor: str) -> tuple[str, ...]:
        """The tensors whose quantizers give the codes of this one."""
        if not tensor or tensor in self.constants:
            return ()
        maker = self.makers.get(tensor)
        if maker is None or not self.moves(maker):
            return (tensor,)
        return tuple(found for one in self.given(maker) for found in self.codes(one))

    def added(self, node: Any) -> str | None:
        """The bias of a MatMul that an Add of its own gives, a number a channel."""
        readers = self.readers.get(node.output[0], [])
        if node.op_type != "MatMul" or len(readers) != 1 or readers[0].op_type != "Add":
            return None
        channels = self.constants[node.input[1]].shape[-1:]
        found = [t for t in readers[0].input if t in self.constants]
        return next((t for t in found if self.constants[t].shape == channels), None)

    def chain(self, tensor: str) -> list[Any]:
        """The nodes that a tensor comes from, backwards to the sum."""
        found: list[Any] = []
        while (maker := self.makers.get(tensor)) is not None:
            found.append(maker)
            if not self.on_the_sum(maker):
                break
            tensor = self.given(maker)[0]
        return found
