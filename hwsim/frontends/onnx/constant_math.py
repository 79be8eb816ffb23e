"""Operators of constants alone, which no computed tensor is given to: masks, products, sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.values import Constant

Arrays = Sequence[Any]
MOST_PRODUCTS = 1 << 30
LAST_BITS = (
    "it is computed of constants, in float64 and rounded once, while {runtime} rounds each "
    "float32 step: the constants that it gives may differ in their last bits"
)


def _trilu(node: OnnxNode, arrays: Arrays) -> Any:
    k = int(arrays[1].reshape(())[()]) if len(arrays) > 1 else 0
    return (np.triu if node.integer("upper", 1) else np.tril)(arrays[0], k)


def _eye(node: OnnxNode, arrays: Arrays) -> Any:
    rows, columns = arrays[0].shape
    return np.eye(rows, columns, node.integer("k", 0), dtype=arrays[0].dtype)


def _summed_up(node: OnnxNode, arrays: Arrays) -> Any:
    x, axis = arrays[0], int(arrays[1].reshape(())[()])
    x = np.flip(x, axis) if node.integer("reverse", 0) else x
    found = np.cumsum(x, axis=axis, dtype=_wide(x))
    found = found - x if node.integer("exclusive", 0) else found
    return np.flip(found, axis) if node.integer("reverse", 0) else found


def _product(node: OnnxNode, arrays: Arrays) -> Any:
    a, b = arrays
    work = a.size * (b.shape[-1] if b.ndim > 1 else 1) * math.prod(b.shape[:-2])
    if work > MOST_PRODUCTS:
        raise HwsimError(f"{node}: it must have at most {MOST_PRODUCTS} products, not {work}")
    return np.matmul(a.astype(_wide(a)), b.astype(_wide(b)))


def _softmax(node: OnnxNode, arrays: Arrays) -> Any:
    x, axis = arrays[0].astype(np.float64), node.integer("axis", -1)
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _reduced(function: Callable[..., Any]) -> Callable[[OnnxNode, Arrays], Any]:
    def reduce(node: OnnxNode, arrays: Arrays) -> Any:
        x = arrays[0].astype(_wide(arrays[0]))
        axes = node.integers("axes") or tuple(int(a) for a in arrays[1:2] for a in a.ravel())
        if not axes and node.integer("noop_with_empty_axes", 0):
            return x
        return function(x, axis=axes or None, keepdims=bool(node.integer("keepdims", 1)))

    return reduce


def _wide(x: Any) -> Any:
    return np.float64 if x.dtype.kind == "f" else x.dtype


MATH: Mapping[str, Callable[[OnnxNode, Arrays], Any]] = {
    "CumSum": _summed_up,
    "EyeLike": _eye,
    "MatMul": _product,
    "ReduceMax": _reduced(np.max),
    "ReduceMean": _reduced(np.mean),
    "ReduceMin": _reduced(np.min),
    "ReduceSum": _reduced(np.sum),
    "Softmax": _softmax,
    "Trilu": _trilu,
}
"""What nodes give of constants: sums and quotients in float64."""

ROUNDED = ("CumSum", "MatMul", "ReduceMean", "ReduceSum", "Softmax")


def is_constant(run: Importer, node: OnnxNode) -> bool:
    """Whether a node computes one of these of constants only."""
    known = not node.domain and node.op in MATH
    return known and all(isinstance(run.values.get(n), Constant) for n in node.inputs if n)


def compute(run: Importer, node: OnnxNode) -> None:
    """The result of a node of constants."""
    arrays = [run.constant(node, i).array for i, name in enumerate(node.inputs) if name]
    found = np.asarray(MATH[node.op](node, arrays))
    if found.size > MAX_ELEMENTS:
        raise HwsimError(f"{node}: its result must have at most {MAX_ELEMENTS} elements")
    if node.op in ROUNDED and found.dtype.kind == "f":
        run.note(node.name, LAST_BITS)
    run.values[node.output] = Constant(found.astype(arrays[0].dtype))


def of_constants(run: Importer, node: OnnxNode) -> None:
    """A handler of operators that are read of constants only."""
    raise HwsimError(f"{node}: its inputs must be constants")
