"""Where a float model gets quantizers: tensors that become codes, and layers with weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hwsim.compress.float_model import WEIGHTED, FloatModel
from hwsim.compress.quantize.origins import Origins
from hwsim.errors import HwsimError


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
    therefore. `constants` are added or multiplied as codes. `shown` are outputs that are codes,
    `ending` those of `joined` that outputs alone show, by the tensor of what puts them together.
    """

    tensors: tuple[str, ...]
    layers: tuple[FloatLayer, ...]
    names: Mapping[str, tuple[str, ...]]
    sums: Mapping[str, str]
    ends: tuple[FloatLayer, ...]
    joined: tuple[tuple[str, ...], ...]
    constants: tuple[str, ...]
    shown: tuple[str, ...] = ()
    ending: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def places(model: FloatModel, *, all_known: bool = True) -> Quantizable:
    """What becomes codes: inputs, and whatever a sum or a product reads.

    A quantizer stands behind the functions that follow a sum, and codes are moved as they are.
    The model's outputs stay sums. HwsimError lists every node that there is no rule for, unless not
    `all_known`: then such a node is taken for a sum.
    """
    walk = Origins(model)
    if all_known:
        _expect_rules(model, walk)
    wanted = walk.wanted
    layers = [
        _layer(node, walk)
        for node in model.nodes
        if node.op_type in WEIGHTED and node.input[1] in walk.constants
    ]
    joined = _joined(model, walk)
    order = [*model.inputs, *(out for node in model.nodes for out in node.output)]
    tensors = tuple(t for t in order if t in wanted)
    return Quantizable(
        tensors,
        tuple(layers),
        {t: (t, *(node_name(node) for node in walk.chain(t))) for t in tensors},
        {t: next((str(n.output[0]) for n in reversed(walk.chain(t))), t) for t in tensors},
        _ends(model, walk, layers),
        tuple(group for group, _ in joined),
        tuple(dict.fromkeys(t for node in model.nodes for t in walk.codes_of(node))),
        walk.shown,
        {out: group for group, outs in joined for out in outs},
    )


def node_name(node: Any) -> str:
    """What a node is called: its name, or the tensor that it gives."""
    return str(node.name or node.output[0])


def _expect_rules(model: FloatModel, walk: Origins) -> None:
    unknown = [
        f"{node.op_type} {node_name(node)!r}"
        for node in model.nodes
        if walk.given(node) and not walk.is_known(node)
    ]
    if unknown:
        raise HwsimError(
            f"{model.path} must have only operators that there is a rule to quantize for, not "
            f"{', '.join(unknown)}"
        )


def _joined(model: FloatModel, walk: Origins) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Tensors that nodes put side by side; those that have one in common are one group.

    With each go the tensors of these nodes where outputs alone show them.
    """
    groups: list[tuple[dict[str, None], list[str], bool]] = []
    for node in model.nodes:
        codes = [t for t in walk.codes(node.output[0]) if t in walk.wanted]
        if node.op_type != "Concat" or not walk.moves(node) or not codes:
            continue
        one, ends = dict.fromkeys(codes), walk.ends(node.output[0])
        outs = [str(node.output[0])]
        for group in [group for group in groups if not group[0].keys().isdisjoint(one)]:
            groups.remove(group)
            one, outs, ends = group[0] | one, group[1] + outs, group[2] and ends
        groups.append((one, outs, ends))
    return [(tuple(group), tuple(outs if ends else ())) for group, outs, ends in groups]


def _ends(model: FloatModel, walk: Origins, layers: Sequence[FloatLayer]) -> tuple[FloatLayer, ...]:
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


def _layer(node: Any, walk: Origins) -> FloatLayer:
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
