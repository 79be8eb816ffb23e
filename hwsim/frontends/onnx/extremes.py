"""Max and Min of tensors and constants, whose shapes broadcast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.pairs import of_one_code
from hwsim.frontends.shared.literals import lying_as
from hwsim.frontends.shared.pairing import common_shape, lying
from hwsim.frontends.shared.values import Constant, Extreme, FloatArray, Real, Unary
from hwsim.ops import Maximum, Minimum

F32 = np.float32
OPERATORS: dict[str, tuple[Maximum | Minimum, Callable[..., FloatArray]]] = {
    "Max": (Maximum(), np.maximum),
    "Min": (Minimum(), np.minimum),
}


def extreme(run: Importer, node: OnnxNode) -> None:
    """Max and Min."""
    values = [run.value(node, i) for i in range(len(node.inputs))]
    if not values:
        raise HwsimError(f"{node}: it must have at least one input")
    function = OPERATORS[node.op][1]
    constants = [v.array for v in values if isinstance(v, Constant)]
    limit = reduce(function, constants) if constants else None
    if len(constants) == len(values):
        run.values[node.output] = Constant(np.asarray(limit))
        return
    if limit is not None and np.isnan(limit).any():
        raise HwsimError(f"{node}: its constants must be numbers")
    reals = _distinct(node, [run.real(node, i) for i, v in enumerate(values) if _given(v)])
    if limit is not None and limit.size == 1 and limit.ndim <= len(reals[0].layout.shape) + 1:
        reals = [reals[0].then(_clamp(node, float(limit.ravel()[0]))), *reals[1:]]
        limit = None
    run.values[node.output] = _chosen(node, reals, limit)


def _given(value: object) -> bool:
    return not isinstance(value, Constant)


def _distinct(node: OnnxNode, reals: Sequence[Real]) -> list[Real]:
    """The operands, those that are functions of one code as one."""
    kept: list[Real] = []
    for real in reals:
        for k, other in enumerate(kept):
            both = of_one_code(node, other, real)
            if both is not None:
                kept[k] = both
                break
        else:
            kept.append(real)
    return kept


def _clamp(node: OnnxNode, value: float) -> Unary:
    """The larger or the smaller of a float32 and a number."""
    number, function = F32(value), OPERATORS[node.op][1]
    low, high = (value, None) if node.op == "Max" else (None, value)
    return Unary(str(node), lambda x: function(x, number), rising=True, low=low, high=high)


def _chosen(node: OnnxNode, reals: list[Real], limit: FloatArray | None) -> Real:
    """One tensor, or several in orders in which they broadcast."""
    if len(reals) == 1 and limit is None:
        return reals[0]
    shape = reduce(lambda a, b: common_shape(node, a, b), (r.layout.shape for r in reals))
    layouts, whole = lying([real.layout for real in reals], shape)
    if limit is not None:
        lying_as(whole, limit, str(node))
        limit = limit.astype(F32)
    op = OPERATORS[node.op][0]
    return Real(Extreme(node.name, tuple(reals), tuple(layouts), op, limit), whole)
