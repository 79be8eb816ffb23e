"""ONNX operators on reals that may give a function of one code, or of two: to be tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from hwsim.onnx_export.onnx_draft import OnnxDraft
from hwsim.onnx_export.qdq_proofs import Write
from hwsim.ops import Op, Relu, Table, TensorType

UNARY = (
    "Sigmoid", "Tanh", "HardSwish", "Elu", "Softplus", "Gelu", "Exp", "Abs", "Neg", "Sqrt", "Erf",
    "Selu", "Softsign", "Mish",
)  # fmt: skip
SLOPES = (0.01, 0.1, 0.2, 0.3, 0.125, 0.25, 0.05, 0.02, 0.15, 0.5, 0.1015625)
"""Of leaky ReLUs, the frequent ones first."""

BINARY = {
    "add": ("Add",), "mul": ("Mul",), "sub": ("Sub",), "maximum": ("Max",), "minimum": ("Min",),
    "scaled_add": ("Add", "Sub"), "pair_table": ("Add", "Mul", "Sub", "Max", "Min", "Div"),
}  # fmt: skip


def one(draft: OnnxDraft, reals: Sequence[str], *, op: str, **attributes: Any) -> str:
    """One node."""
    return draft.add(op, reals, **attributes)


def same(draft: OnnxDraft, reals: Sequence[str]) -> str:
    """The larger of a real and the smallest there is: the real.

    ONNX Runtime would make one quantizer, of another scale, of two with nothing in between.
    """
    lowest = draft.constant(np.array(np.finfo(np.float32).min, np.float32))
    return draft.add("Max", [*reals, lowest])


def clipped(draft: OnnxDraft, reals: Sequence[str], *, low: float, high: float) -> str:
    """A Clip."""
    ends = [draft.constant(np.array(end, np.float32)) for end in (low, high)]
    return draft.add("Clip", [*reals, *ends])


def of_one(op: Op, types: Sequence[TensorType], out: TensorType) -> Iterator[Write]:
    """For a function of one code."""
    (x,) = types
    if isinstance(op, Relu):
        if op.maximum is not None:
            step = np.float32(x.scales()[0])
            ends = [float(step * (c - x.zero_point)) for c in (op.zero_point, op.maximum)]
            yield partial(clipped, low=ends[0], high=ends[1])
        yield partial(one, op="Relu")
        return
    yield same
    yield partial(one, op="Relu")
    if not isinstance(op, Table):
        return
    yield partial(clipped, low=0.0, high=6.0)
    for slope in SLOPES:
        yield partial(one, op="LeakyRelu", alpha=slope)
    yield partial(one, op="HardSigmoid", alpha=1 / 6, beta=0.5)
    for name in UNARY:
        yield partial(one, op=name)


def of_two(op: Op, types: Sequence[TensorType], out: TensorType) -> Iterator[Write]:
    """For a function of two codes."""
    for name in BINARY.get(op.kind, ()):
        yield partial(one, op=name)


FUNCTIONS: Mapping[int, Callable[[Op, Sequence[TensorType], TensorType], Iterator[Write]]] = {
    1: of_one,
    2: of_two,
}
"""What is tried, by how many tensors the function is of."""
