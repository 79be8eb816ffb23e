"""Two quantizers in a row as ONNX Runtime takes them: one, with a scale and zero point of its own.

Source: ONNX Runtime 1.32 `double_qdq_pairs_remover.cc`, checked by experiment (docs/frontends.md).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import OnnxModel, OnnxNode
from hwsim.frontends.onnx.ort.graph_copy import DQ, Q, copy_of, passed_on

F32 = np.float32
MERGED = ("int8", "uint8", "int16", "uint16")  # types of codes of which two pairs become one
Parameters = tuple[np.float32, int, str]


def merged_pairs(model: OnnxModel) -> tuple[OnnxModel, dict[str, float]]:
    """The model without what does nothing, and with one pair for each two in a row.

    Identity, Dropout, Cast, and the likes of a Slice that takes all or of x + 0.

    The runtime makes one pass over all nodes, rounds the float biases of layers, and only then
    makes more passes for longer rows of pairs. So also given are the scales that some tensors
    (outputs of a DequantizeLinear) had for these biases. Behind each pass go the quantizers that
    repeat the codes of the dequantizer before them, which then stand in no row any more.
    """
    model = _one_pass(_without_nothings(model))
    early = _scales(model)
    model = _without_repeated(model)
    while (smaller := _one_pass(model)) is not model:
        model = smaller
    now = _scales(model)
    return model, {tensor: early[tensor] for tensor in now if now[tensor] != early[tensor]}


def _one_pass(model: OnnxModel) -> OnnxModel:
    """Each pair merged with the next one, but none twice; the model itself where there is none."""
    done: set[str] = set()
    while (found := _first_double(model, done)) is not None:
        model = _merged(model, found)
        done |= {found.first.output, *(node.output for node in found.last)}
    return model


def _without_repeated(model: OnnxModel) -> OnnxModel:
    """Without the quantizers that give the very codes that their dequantizer has.

    A dequantizer behind a quantizer that it alone reads makes a pair, which the next pass takes.
    """
    makers = {node.output: node for node in model.nodes}
    outputs = {port.name for port in model.outputs}
    counts = Counter(name for node in model.nodes for name in node.inputs)
    same: dict[str, str] = {}
    for node in model.nodes:
        before = makers.get(node.input(0))
        if node.op != Q or node.output in outputs or before is None or before.op != DQ:
            continue
        given = parameters(model, node)
        if given is None or given != parameters(model, before):
            continue
        codes = same.get(before.input(0), before.input(0))
        first = makers.get(codes)
        pair = first is not None and first.op == Q and counts[codes] == 1
        if codes not in model.constants and not pair:
            same[node.output] = codes
    if not same:
        return model
    nodes = tuple(
        replace(node, inputs=tuple(same.get(name, name) for name in node.inputs))
        for node in model.nodes
        if node.output not in same
    )
    read = {name for node in nodes for name in node.inputs} | outputs
    return replace(model, nodes=tuple(n for n in nodes if n.op != DQ or n.output in read))


def _scales(model: OnnxModel) -> dict[str, float]:
    """The scales of all DequantizeLinear nodes that have one, by output."""
    found = {n.output: parameters(model, n) for n in model.nodes if n.op == DQ}
    return {tensor: float(given[0]) for tensor, given in found.items() if given is not None}


def _without_nothings(model: OnnxModel) -> OnnxModel:
    outputs = {port.name for port in model.outputs}
    copy = copy_of(model)
    same: dict[str, str] = {}
    reals: set[str] = set()
    kept = []
    for node in model.nodes:
        inputs = tuple(same.get(name, name) for name in node.inputs)
        plain = node.op in ("Identity", "Dropout") or _is_cast_of_reals(node, inputs, reals)
        passed = 0 if plain else passed_on(node, copy.constants, copy.ranks)
        nothing = passed >= 0
        if nothing and node.inputs and node.output not in outputs:
            same[node.output] = inputs[passed]
        else:
            kept.append(replace(node, inputs=inputs))
        if node.op == DQ or nothing:
            reals.add(node.output)
    return replace(model, nodes=tuple(kept))


def _is_cast_of_reals(node: OnnxNode, inputs: tuple[str, ...], reals: set[str]) -> bool:
    return node.op == "Cast" and node.integer("to", 0) == 1 and inputs[0] in reals


@dataclass(frozen=True, slots=True)
class Double:
    """Nodes in a row: quantize, dequantize, quantize, dequantize (the last perhaps several)."""

    first: OnnxNode
    second: OnnxNode
    third: OnnxNode
    last: tuple[OnnxNode, ...]


def _first_double(model: OnnxModel, done: set[str]) -> Double | None:
    makers = {node.output: node for node in model.nodes}
    readers: dict[str, list[OnnxNode]] = {}
    for node in model.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    outputs = {port.name for port in model.outputs}

    def alone(node: OnnxNode, op: str) -> OnnxNode | None:
        found = readers.get(node.output, [])
        fits = len(found) == 1 and found[0].op == op and node.output not in outputs
        return found[0] if fits and found[0].input(0) == node.output else None

    for second in model.nodes:
        first = makers.get(second.input(0))
        if second.op != DQ or first is None or first.op != Q or alone(first, DQ) is None:
            continue
        third = alone(second, Q)
        if third is None or first.output in done or third.output in outputs:
            continue
        last = tuple(readers.get(third.output, []))
        if not last or any(n.op != DQ or n.input(0) != third.output for n in last):
            continue
        inner, outer = parameters(model, first), parameters(model, third)
        agreed = inner == parameters(model, second)
        agreed = agreed and all(outer == parameters(model, node) for node in last)
        if inner is None or outer is None or not agreed or inner[2] != outer[2]:
            continue
        if inner[2] in MERGED:
            return Double(first, second, third, last)
    return None


def parameters(model: OnnxModel, node: OnnxNode) -> Parameters | None:
    """Scale, zero point and type, where both are given as constants of one element."""
    values = [model.constants.get(node.input(i)) for i in (1, 2)]
    if any(v is None or v.size != 1 or v.ndim > 1 for v in values):
        return None
    scale, zero = (np.asarray(v).ravel()[0] for v in values)
    if zero.dtype.kind not in "iu":  # which the reader of the node refuses
        return None
    return (F32(scale), int(zero), zero.dtype.name) if scale.dtype == np.float32 else None


def _merged(model: OnnxModel, double: Double) -> OnnxModel:
    inner, outer = parameters(model, double.first), parameters(model, double.third)
    assert inner is not None and outer is not None
    constants: dict[str, npt.NDArray[Any]] = dict(model.constants)
    given = double.first.inputs[1:3]
    if inner != outer:
        try:
            scale, zero = common(inner, outer)
        except HwsimError as error:
            raise HwsimError(f"{model.path}: {double.third}: {error}") from None
        given = tuple(f"{double.first.output}.{what}" for what in ("scale", "zero_point"))
        constants[given[0]] = np.array(scale, np.float32)
        constants[given[1]] = np.array(zero, inner[2])
    first = replace(double.first, inputs=(double.first.inputs[0], *given))
    new = {double.first.output: first}
    for node in double.last:
        new[node.output] = replace(node, inputs=(double.first.output, *given))
    gone = (double.second.output, double.third.output)
    nodes = tuple(new.get(n.output, n) for n in model.nodes if n.output not in gone)
    return replace(model, nodes=nodes, constants=constants)


def common(inner: Parameters, outer: Parameters) -> tuple[np.float32, int]:
    """Scale and zero point of the range that both pairs can hold, in float32."""
    info = np.iinfo(inner[2])
    lows = [F32(info.min - zero) * scale for scale, zero, _ in (inner, outer)]
    highs = [F32(info.max - zero) * scale for scale, zero, _ in (inner, outer)]
    low, high = max(lows), min(highs)
    scale = F32((high - low) / F32(info.max - info.min))
    if not scale > 0:
        raise HwsimError(
            "two quantizers in a row must have a range in common (ONNX Runtime makes them one), "
            f"not scales {inner[0]} and {outer[0]} with zero points {inner[1]} and {outer[1]}"
        )
    zero = F32(info.min) - low / scale
    return scale, int(np.sign(zero) * np.floor(np.abs(zero) + F32(0.5)))  # half away from zero
