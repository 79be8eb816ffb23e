"""Convolutions and dense layers in QDQ operators, where ONNX Runtime's rule gives their codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.graph import Node
from hwsim.onnx_export.qdq_draft import QdqDraft, weights_of
from hwsim.onnx_export.qdq_proofs import weight_scales
from hwsim.onnx_export.qdq_sums import rounded_behind, write_rounded
from hwsim.ops import Conv, Dense, Exact, Requantize, Scheme, TensorType

INT32 = (1 << 31) - 1
EXACT_FLOAT = 1 << 24


def write_layer(sheet: QdqDraft, node: Node) -> None:
    """A sum of products and what rounds it: Conv or Gemm between DequantizeLinear and Q."""
    op = node.op
    assert isinstance(op, Conv | Dense)
    if not isinstance(op.accumulator, Exact):
        raise HwsimError("its sums are rounded or brought into range step by step")
    (source,) = node.inputs
    if not sheet.graph.consumers(node.output) and isinstance(op, Dense):
        write_tail(sheet, node)
        return
    nodes, by = rounded_behind(sheet, node)
    x, held = sheet.kind(source), sheet.held(source)
    made = sheet.held(nodes[-1].output)
    weights, bias, by, sums, scale = _integers(op, x, sheet.kind(node.output), by)
    scales = weight_scales(by, scale, sheet.scale(source), sheet.scale(nodes[-1].output), sums)
    if int(np.abs(bias).max()) > INT32 or sums.magnitude > INT32:
        raise HwsimError("its sums and biases must fit 32 bits")
    exact = _powers(sheet, source, nodes[-1].output, scales) and op.bound([x]) * 2 < EXACT_FLOAT
    if not exact and not (held == made and held.endswith("t8") and _byte(weights, held)):
        raise HwsimError(
            f"ONNX Runtime has integer kernels for weights and codes of 8 bits, the same type "
            f"before and behind, not for {held} to {made}; and float32 adds exactly only where all "
            "scales are powers of two and sums lie below 2**24"
        )
    write = _conv if isinstance(op, Conv) else _gemm
    real = write(sheet, node, weights, scales, _biases(sheet, source, bias, scales))
    write_rounded(sheet, nodes, real, by, first=isinstance(op, Conv))


def write_tail(sheet: QdqDraft, node: Node) -> None:
    """A dense layer whose sums the model's user sees, as a Gemm that nothing quantizes."""
    op, (source,) = node.op, node.inputs
    assert isinstance(op, Dense)
    x, held = sheet.kind(source), sheet.held(source)
    weights, bias, scales = _aligned(op, x)
    byte = held.endswith("t8") and _byte(weights, held)
    if not byte or sheet.kind(node.output).magnitude > INT32 or int(np.abs(bias).max()) > INT32:
        raise HwsimError("weights and codes must have at most 8 bits, and sums 32")
    if node.output in {state.next for state in sheet.graph.state}:
        raise HwsimError("a state's codes must be quantized")
    unit = np.array(sheet.kind(node.output).scales(), np.float32)
    if (unit != sheet.scale(source) * scales).any():
        raise HwsimError("the scale of its sums must be the product of its own, in float32")
    biases = _biases(sheet, source, bias, scales)
    sheet.sums[node.output] = _gemm(sheet, node, weights, scales, biases)


def _conv(
    sheet: QdqDraft,
    node: Node,
    weights: npt.NDArray[np.int64],
    scales: npt.NDArray[np.float32],
    biases: list[str],
) -> str:
    op, draft = node.op, sheet.draft
    assert isinstance(op, Conv)
    turned = np.transpose(weights, (op.rank + 1, op.rank, *range(op.rank)))
    given = [
        sheet.real(node.inputs[0], first=True, zero=op.zero_point),
        weights_of(draft, turned, scales, 0),
        *biases,
    ]
    return draft.add(
        "Conv",
        given,
        kernel_shape=list(op.window.kernel),
        strides=list(op.window.stride),
        pads=list(op.window.padding),
        group=op.groups,
    )


def _gemm(
    sheet: QdqDraft,
    node: Node,
    weights: npt.NDArray[np.int64],
    scales: npt.NDArray[np.float32],
    biases: list[str],
) -> str:
    op, draft, (source,) = node.op, sheet.draft, node.inputs
    assert isinstance(op, Dense)
    if len(sheet.kind(source).shape) != 1:
        raise HwsimError("a Gemm's input must have one axis behind the batch's")
    given = [
        sheet.real(source, zero=op.zero_point),
        weights_of(draft, weights, scales, 1),
        *biases,
    ]
    return draft.add("Gemm", given)


def _biases(
    sheet: QdqDraft, source: str, bias: npt.NDArray[np.int64], scales: npt.NDArray[np.float32]
) -> list[str]:
    """The biases of a layer in units of its sums, if it has any."""
    if not bias.any():
        return []
    return [weights_of(sheet.draft, bias, sheet.scale(source) * scales, 0, "int32")]


def _byte(weights: npt.NDArray[np.int64], held: str) -> bool:
    """Whether ONNX Runtime has integer kernels for weights beside such an input."""
    low, high = int(weights.min()), int(weights.max())
    return (low >= -128 and high <= 127) or (held == "uint8" and low >= 0 and high <= 255)


def _powers(sheet: QdqDraft, source: str, made: str, scales: npt.NDArray[np.float32]) -> bool:
    every = [*scales.tolist(), float(sheet.scale(source)), float(sheet.scale(made))]
    return bool((np.frexp(every)[0] == 0.5).all())


OFFSETS: Mapping[Rounding, Callable[[int], int]] = {
    Rounding.RND: lambda s: 1,
    Rounding.RND_MIN_INF: lambda s: -1,
    Rounding.TRN: lambda s: 1 - (1 << s),
    Rounding.CEIL: lambda s: (1 << s) - 1,
}
"""What is added to twice a sum, shifted by `s + 1` then, so that nearest is this rounding."""


def _integers(
    op: Conv | Dense, x: TensorType, sums: TensorType, by: Requantize
) -> tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    Requantize,
    TensorType,
    npt.NDArray[np.float32],
]:
    """Weights, biases, requantizer, sums and scales of weights at one binary point.

    A rounding that is none to nearest even becomes that of twice the sums and an odd number.
    """
    weights, bias, unit = _aligned(op, x)
    offset = OFFSETS.get(by.rounding) if by.scheme is Scheme.SHIFT else None
    if offset is not None and max(by.shifts) > 0:
        adds = np.array([offset(s) if s > 0 else 0 for s in by.shifts])
        weights, bias, unit = 2 * weights, 2 * bias + adds, unit * np.float32(0.5)
        ends = 2 * sums.lo + int(adds.min()), 2 * sums.hi + int(adds.max())
        sums = TensorType(sums.shape, Format.holding(*ends), None, ends)
        halves = tuple(m / 2 for m in by.multiplier)
        by = replace(by, rounding=Rounding.RND_CONV, multiplier=halves)
    return weights, bias, by, sums, unit


def _aligned(
    op: Conv | Dense, x: TensorType
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Weights and biases at one binary point, and the scales of the weights there."""
    matrix, bias, frac = op.aligned(x)
    bias = bias + op.zero_point * matrix.sum(axis=0)
    left = frac - x.format.frac_bits - op.weight_format.frac_bits
    unit = np.asarray(op.weight_scale or (2.0**-op.weight_format.frac_bits,), float) * 2.0**-left
    return matrix.reshape(op.weights.shape), bias, np.asarray(unit, np.float32)
