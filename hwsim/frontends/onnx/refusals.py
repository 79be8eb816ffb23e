"""Why an ONNX model is not read, in one sentence with what helps."""

from __future__ import annotations

from collections.abc import Iterable

from hwsim.frontends.unread import QUANTIZE

DYNAMIC = ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul")
"""ONNX operators of models whose scales are found anew for each input."""

NAMED = 5
"""Nodes of one unsupported operator that are named; the others are counted."""

LEFT_OUT = "what comes after the scores can be done outside of the model"
ADVICE: dict[str, str] = {
    **dict.fromkeys(("TopK", "NonMaxSuppression", "Where", "Equal", "Greater", "Less"), LEFT_OUT),
}
"""What helps where a node of that operator is in the way."""

CUT = "onnx.utils.extract_model cuts out the part between two tensors"


def unsupported(name: object, nodes: Iterable[tuple[str, str]]) -> str:
    """Why a model is not read, from (operator, node's name) of each node without a rule."""
    found: dict[str, list[str]] = {}
    for op, node in nodes:
        found.setdefault(op if op.isprintable() else repr(op), []).append(repr(node))
    listed = "; ".join(f"{op} ({_some(names)})" for op, names in found.items())
    advice = [*dict.fromkeys(ADVICE[op] for op in found if op in ADVICE), CUT]
    return (
        f"{name} must use supported operators only, but has {listed}; what helps: "
        f"{'; '.join(advice)}; docs/frontends.md lists what is supported"
    )


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def unquantized(name: object, operators: Iterable[str]) -> str:
    """Why an ONNX model without a static quantizer is not read, with what would quantize it."""
    dynamic = sorted(set(DYNAMIC) & set(operators))
    if dynamic:
        return (
            f"{name} must be quantized with fixed scales, but {', '.join(dynamic)} finds them anew"
            f" for each input; instead of quantize_dynamic use {QUANTIZE}, with some typical inputs"
        )
    return (
        f"{name} must be quantized, but has no QuantizeLinear, QLinear operator or Quant node;"
        f" {QUANTIZE} or Brevitas (QONNX export) can quantize it"
    )
