"""ONNX with QuantizeLinear and DequantizeLinear as OpenVINO's importer takes it.

A pair of both on a computed tensor is one FakeQuantize; a bias, and a Gemm's, is an Add by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import OnnxModel, OnnxNode
from hwsim.frontends.onnx.ort.parameters import quantized_constant
from hwsim.frontends.openvino.lowering import DOMAIN
from hwsim.frontends.shared.values import Constant

F32 = np.float32
Q, DQ = "QuantizeLinear", "DequantizeLinear"
LACKING = ("QLinear", "QGemm", "MatMulIntegerToFloat", "DynamicQuantize")
"""Operators that OpenVINO's importer does not have, by how they begin."""
TYPES = ("uint8", "int8")
LEVELS = 256


@dataclass(slots=True)
class Rewriting:
    """A model that changes, and its constants."""

    model: OnnxModel
    constants: dict[str, Any]
    computed: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)

    def array(self, node: OnnxNode, place: int) -> Any:
        """A constant input."""
        name = node.input(place)
        if name not in self.constants:
            raise HwsimError(f"{node}: input {place} ({name!r}) must be constant")
        return self.constants[name]

    def new(self, node: OnnxNode, what: str, array: Any) -> str:
        """The name of a new constant."""
        name = f"{node.output}/{what}"
        self.constants[name] = array
        return name


def with_fake_quantizers(model: OnnxModel) -> OnnxModel:
    """The model with one FakeQuantize in the place of each pair; HwsimError where it is none."""
    state = Rewriting(model, dict(model.constants))
    for node in model.nodes:
        if node.op == "Constant" and isinstance(node.attributes.get("value"), np.ndarray):
            state.constants[node.output] = node.attributes["value"]
    lacking = [f"{node.op} ({node.name!r})" for node in model.nodes if node.op.startswith(LACKING)]
    if lacking:
        raise HwsimError(
            f"{model.path}: OpenVINO has no {', '.join(sorted(set(lacking)))}; in the format "
            "QuantFormat.QDQ the same quantizer writes operators that it has"
        )
    state.computed = {port.name for port in model.inputs}
    for node in model.nodes:
        if any(name in state.computed for name in node.inputs):
            state.computed |= set(node.outputs)
    nodes: list[OnnxNode] = []
    for node in model.nodes:
        try:
            nodes += _rewritten(state, node)
        except HwsimError as error:
            raise HwsimError(f"{model.path}: {error}") from None
    named = _alive(_merged(state, nodes), {port.name for port in model.outputs})
    return replace(model, nodes=tuple(named), constants=state.constants)


def _merged(state: Rewriting, nodes: Iterable[OnnxNode]) -> list[OnnxNode]:
    """Nodes by the names that tensors have now; equal pairs that read one tensor are one."""
    kept: list[OnnxNode] = []
    first: dict[tuple[object, ...], str] = {}
    shown = {port.name for port in state.model.outputs}
    for node in nodes:
        node = replace(node, inputs=tuple(state.renamed.get(name, name) for name in node.inputs))
        if node.op == "FakeQuantize":
            ends = [float(state.constants[name]) for name in node.inputs[1:]]
            alike = (node.inputs[0], node.attributes["codes"], node.attributes["scale"], *ends)
            if alike in first and node.output not in shown:
                state.renamed[node.output] = first[alike]
                continue
            first.setdefault(alike, node.output)
        kept.append(node)
    return kept


def _alive(nodes: list[OnnxNode], read: set[str]) -> list[OnnxNode]:
    """Nodes without those that nothing reads."""
    kept: list[OnnxNode] = []
    for node in reversed(nodes):
        if any(name in read for name in node.outputs):
            kept.append(node)
            read = read | set(node.inputs)
    return kept[::-1]


def _rewritten(state: Rewriting, node: OnnxNode) -> Iterator[OnnxNode] | Iterable[OnnxNode]:
    if node.op == "Constant" and node.output in state.constants:
        return []
    if node.op == Q and node.inputs[0] in state.constants:
        state.constants[node.output] = _codes_of_constant(state, node)
        return []
    if node.op == Q and node.inputs[0] in state.computed:
        return _pair(state, node)
    if node.op == DQ and node.inputs[0] in state.computed:
        return _read_again(state, node)
    if node.op == "Conv" and node.input(2):
        return _with_addend(state, node, node.inputs[:2])
    if node.op == "Gemm":
        return _products(state, node)
    return [node]


def _codes_of_constant(state: Rewriting, node: OnnxNode) -> Any:
    """Floats of the file that a QuantizeLinear makes codes of."""
    zero = _zero_point(state, node)
    held = quantized_constant(
        node,
        Constant(np.asarray(state.array(node, 0))),
        Constant(np.asarray(state.array(node, 1))),
        None if zero is None else Constant(zero),
        "uint8" if zero is None else zero.dtype.name,
    )
    return held.array


def _zero_point(state: Rewriting, node: OnnxNode) -> Any:
    """The zero point of a quantizer, None where there is none."""
    return state.array(node, 2) if node.input(2) else None


def _pair(state: Rewriting, node: OnnxNode) -> list[OnnxNode]:
    """A QuantizeLinear and those that read it."""
    scale = np.asarray(state.array(node, 1), F32)
    zero = state.array(node, 2) if node.input(2) else np.zeros((), np.uint8)
    if scale.size != 1 or zero.size != 1 or not np.isfinite(scale).all() or not (scale > 0).all():
        raise HwsimError(f"{node}: an activation must have one scale above 0, and one zero point")
    if str(zero.dtype) not in TYPES:
        raise HwsimError(f"{node}: its codes must be of 8 bits for OpenVINO, not {zero.dtype}")
    lowest, place = np.iinfo(zero.dtype).min, int(zero.reshape(())[()])
    one = F32(scale.reshape(())[()])
    ends = [F32(code - place) * one for code in (lowest, lowest + LEVELS - 1)]
    names = [state.new(node, f"end{i}", np.array(end, F32)) for i, end in enumerate(ends * 2)]
    readers = [other for other in state.model.nodes if node.output in other.inputs]
    shown = any(port.name == node.output for port in state.model.outputs)
    if shown or not readers or any(other.op != DQ for other in readers):
        raise HwsimError(
            f"{node}: nothing but a DequantizeLinear may read its codes, and the model must end in "
            "reals"
        )
    for other in readers:
        _check_same(state, node, other)
    first, *others = [other.output for other in readers]
    made = [
        OnnxNode(
            node.name,
            "FakeQuantize",
            DOMAIN,
            (node.inputs[0], *names),
            (first,),
            {
                "levels": LEVELS,
                "codes": str(zero.dtype),
                "scale": float(one),
                "zero": readers[0].input(2),
            },
        )
    ]
    outputs = {port.name for port in state.model.outputs}
    for name in others:
        if name in outputs:
            made.append(OnnxNode(name, "Identity", "", (first,), (name,), {}))
        else:
            state.renamed[name] = first
    return made


def _check_same(state: Rewriting, node: OnnxNode, other: OnnxNode) -> None:
    """Raise HwsimError unless a DequantizeLinear means what its QuantizeLinear does."""
    for place in (1, 2):
        if not (node.input(place) or other.input(place)):
            continue
        alike = bool(node.input(place)) == bool(other.input(place))
        if not alike or not np.array_equal(state.array(node, place), state.array(other, place)):
            raise HwsimError(f"{other}: it must have the scale and zero point of {node}")


def _read_again(state: Rewriting, node: OnnxNode) -> list[OnnxNode]:
    """A DequantizeLinear: gone with its QuantizeLinear."""
    maker = next((other for other in state.model.nodes if node.inputs[0] in other.outputs), None)
    if maker is None or maker.op != Q:
        raise HwsimError(f"{node}: it must read a QuantizeLinear, or constant codes")
    return []


def _with_addend(state: Rewriting, node: OnnxNode, inputs: tuple[str, ...]) -> list[OnnxNode]:
    """A convolution, then its bias."""
    bare = f"{node.output}/sum"
    weights = next((o for o in state.model.nodes if node.inputs[1] in o.outputs), None)
    held = state.constants.get(node.inputs[1])
    if held is None and weights is not None:
        held = state.constants.get(weights.input(0))
    rank = 2 if held is None else held.ndim - 2
    shape = state.new(node, "shape", np.array([1, -1, *(1,) * rank], np.int64))
    lifted = f"{node.output}/bias"
    return [
        replace(node, inputs=inputs, outputs=(bare,)),
        OnnxNode(lifted, "Reshape", "", (node.inputs[2], shape), (lifted,), {}),
        OnnxNode(f"{node.name}/bias", "Add", "", (bare, lifted), node.outputs, {}),
    ]


def _products(state: Rewriting, node: OnnxNode) -> list[OnnxNode]:
    """A Gemm as a MatMul and an Add."""
    plain = node.real("alpha", 1.0) == 1.0 and (node.real("beta", 1.0) == 1.0 or not node.input(2))
    if not plain or node.integer("transA", 0):
        raise HwsimError(f"{node}: its 'alpha' and 'beta' must be 1, and 'transA' 0")
    made: list[OnnxNode] = []
    weights = node.inputs[1]
    if node.integer("transB", 0):
        weights = f"{node.output}/turned"
        made.append(
            OnnxNode(weights, "Transpose", "", (node.inputs[1],), (weights,), {"perm": [1, 0]})
        )
    out = f"{node.output}/sum" if node.input(2) else node.output
    made.append(OnnxNode(node.name, "MatMul", "", (node.inputs[0], weights), (out,), {}))
    if node.input(2):
        given = (out, node.inputs[2])
        made.append(OnnxNode(f"{node.name}/bias", "Add", "", given, node.outputs, {}))
    return made
