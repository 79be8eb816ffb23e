"""Where a float model gets quantizers: tensors that become codes, and layers with weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwsim.compress.float_model import WEIGHTED, FloatModel
from hwsim.errors import HwsimError

MOVES = (
    "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity",
    "MaxPool", "Pad", "ReduceMax", "ReduceMin", "Reshape", "Slice", "SpaceToDepth", "Split",
    "Squeeze", "Tile", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that only move codes: what they give has the quantizer of what they take."""

ON_THE_SUM = (
    "BatchNormalization", "Clip", "Dropout", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Mish", "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign",
    "Tanh",
)  # fmt: skip
"""Functions of one number that follow a sum: the quantizer stands behind them."""

WITH_A_CONSTANT = ("Add", "Div", "Mul", "Sub")
"""Sums and products that are such a function where one side is constant."""

SUMS = (
    *WEIGHTED, *WITH_A_CONSTANT, "AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum",
    "Softmax", "LogSoftmax", "ArgMax", "Resize", "Max", "Min", "Sum", "Mean",
    "LayerNormalization", "InstanceNormalization", "GroupNormalization",
)  # fmt: skip
"""What reads codes and gives numbers of its own."""


@dataclass(frozen=True, slots=True)
class FloatLayer:
    """A node with weights: its name, their tensors, and the axis of the output channels.

    `reads` are the tensors whose codes it takes, `input` and `output` those of the node. A
    transposed convolution in groups is `grouped`: its axis has the channels of one group.
    """

    name: str
    op: str
    weights: str
    bias: str | None
    axis: int
    input: str
    output: str
    reads: tuple[str, ...] = ()
    grouped: bool = False


@dataclass(frozen=True, slots=True)
class Quantizable:
    """Tensors to quantize, in order, and layers.

    `names` are, by such a tensor, what it may be called: its own name and those of the nodes that
    it comes from, down to the sum; `sums` are the tensors of these sums. `ends` are the first and
    the last layers, `joined` tensors that one node puts side by side, and which have one format
    therefore. `constants` are added or multiplied as codes.
    """

    tensors: tuple[str, ...]
    layers: tuple[FloatLayer, ...]
    names: Mapping[str, tuple[str, ...]]
    sums: Mapping[str, str]
    ends: tuple[FloatLayer, ...]
    joined: tuple[tuple[str, ...], ...]
    constants: tuple[str, ...]


def places(model: FloatModel, *, all_known: bool = True) -> Quantizable:
    """What becomes codes: inputs, and whatever a sum or a product reads.

    A quantizer stands behind the functions that follow a sum, and codes are moved as they are.
    The model's outputs stay sums. HwsimError lists every node that there is no rule for, unless not
    `all_known`: then such a node is taken for a sum.
    """
    walk = _Walk(model)
    if all_known:
        _expect_rules(model, walk)
    wanted: dict[str, None] = {}
    layers: list[FloatLayer] = []
    for node in model.nodes:
        if node.op_type in MOVES or walk.on_the_sum(node):
            continue
        for tensor in node.input:
            wanted.update(dict.fromkeys(walk.codes(tensor)))
        if node.op_type in WEIGHTED and node.input[1] in walk.constants:
            layers.append(_layer(node, walk))
    order = [*model.inputs, *(out for node in model.nodes for out in node.output)]
    tensors = tuple(t for t in order if t in wanted)
    return Quantizable(
        tensors,
        tuple(layers),
        {t: (t, *(node_name(node) for node in walk.chain(t))) for t in tensors},
        {t: next((str(n.output[0]) for n in reversed(walk.chain(t))), t) for t in tensors},
        _ends(model, walk, layers),
        tuple(
            tuple(t for t in dict.fromkeys(walk.codes(node.output[0])) if t in wanted)
            for node in model.nodes
            if node.op_type == "Concat"
        ),
        tuple(dict.fromkeys(t for node in model.nodes for t in walk.codes_of(node))),
    )


class _Walk:
    """Where tensors of a model come from."""

    def __init__(self, model: FloatModel) -> None:
        self.constants = model.constants
        self.makers = {out: node for node in model.nodes for out in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in model.nodes:
            for tensor in node.input:
                self.readers.setdefault(tensor, []).append(node)

    def on_the_sum(self, node: Any) -> bool:
        """Whether a node is a function of one number."""
        if node.op_type in ON_THE_SUM:
            return True
        held = [self.constants[t] for t in node.input if t in self.constants]
        return node.op_type in WITH_A_CONSTANT and bool(held) and not self.codes_of(node)

    def codes_of(self, node: Any) -> list[str]:
        """Constants of a sum or product that become codes: more than a number a channel."""
        if node.op_type not in WITH_A_CONSTANT:
            return []
        held = [t for t in node.input if t in self.constants]
        return [t for t in held if sum(n > 1 for n in self.constants[t].shape) > 1]

    def given(self, node: Any) -> list[str]:
        """What a node reads that is not constant."""
        return [tensor for tensor in node.input if tensor and tensor not in self.constants]

    def codes(self, tensor: str) -> tuple[str, ...]:
        """The tensors whose quantizers give the codes of this one."""
        if not tensor or tensor in self.constants:
            return ()
        maker = self.makers.get(tensor)
        if maker is None or maker.op_type not in MOVES:
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


def node_name(node: Any) -> str:
    """What a node is called: its name, or the tensor that it gives."""
    return str(node.name or node.output[0])


def _expect_rules(model: FloatModel, walk: _Walk) -> None:
    known = {*MOVES, *ON_THE_SUM, *SUMS}
    others = [node for node in model.nodes if node.domain not in ("", "ai.onnx")]
    unknown = [
        f"{node.op_type} {node_name(node)!r}"
        for node in model.nodes
        if (node.op_type not in known or node in others) and walk.given(node)
    ]
    if unknown:
        raise HwsimError(
            f"{model.path} must have only operators that there is a rule to quantize for, not "
            f"{', '.join(unknown)}"
        )


def _ends(model: FloatModel, walk: _Walk, layers: Sequence[FloatLayer]) -> tuple[FloatLayer, ...]:
    """Layers with no layer before them, and those with none behind them."""
    before: dict[str, bool] = dict.fromkeys(model.inputs, False)
    by_output = {layer.output: layer for layer in layers}
    first = []
    for node in model.nodes:
        some = any(before.get(tensor, False) for tensor in walk.given(node))
        layer = by_output.get(node.output[0])
        if layer is not None and not some:
            first.append(layer)
        before.update(dict.fromkeys(node.output, some or layer is not None))
    behind: dict[str, bool] = {}
    last = []
    for node in reversed(model.nodes):
        some = any(behind.get(tensor, False) for tensor in node.output)
        layer = by_output.get(node.output[0])
        if layer is not None and not some:
            last.append(layer)
        for tensor in node.input:
            behind[tensor] = behind.get(tensor, False) or some or layer is not None
    return tuple(layer for layer in layers if layer in first or layer in last)


def _layer(node: Any, walk: _Walk) -> FloatLayer:
    from onnx import helper

    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    op, inputs = node.op_type, list(node.input)
    axis = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}.get(
        op, 0 if attributes.get("transB") else 1
    )
    bias = inputs[2] if len(inputs) > 2 and inputs[2] else walk.added(node)
    reads = walk.codes(inputs[0])
    return FloatLayer(
        name=node_name(node),
        op=op,
        weights=inputs[1],
        bias=bias,
        axis=axis,
        input=inputs[0],
        output=node.output[0],
        reads=reads,
        grouped=op == "ConvTranspose" and attributes.get("group", 1) > 1,
    )
