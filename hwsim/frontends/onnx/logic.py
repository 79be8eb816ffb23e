"""Comparisons, logic and choices, of constants and of functions of one code."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.pairs import NARROW, jointly
from hwsim.frontends.onnx.two_codes import of_operands
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.literals import lying_as, smallest
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import Constant, FloatArray, PerChannel, Real

F32 = np.float32
LOGIC: dict[str, Callable[..., Any]] = {
    "And": np.logical_and,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Where": np.where,
    "Xor": np.logical_xor,
}
"""What nodes give of truths and numbers; a truth counts as 1 and its contrary as 0."""

OPERANDS = {"Not": 1, "Where": 3}
"""How many operands there are, where not two."""


def logic(run: Importer, node: OnnxNode) -> None:
    """A comparison, a connective, or a choice by one."""
    values = [run.value(node, i) for i in range(len(node.inputs))]
    constants = [v for v in values if isinstance(v, Constant)]
    function, count = LOGIC[node.op], OPERANDS.get(node.op, 2)
    if len(values) != count:
        raise HwsimError(f"{node}: it must have inputs to the number of {count}, not {len(values)}")
    if len(constants) == len(values):
        if math.prod(np.broadcast_shapes(*(v.array.shape for v in constants))) > MAX_ELEMENTS:
            raise HwsimError(f"{node}: its result must have at most {MAX_ELEMENTS} elements")
        run.values[node.output] = Constant(np.asarray(function(*(v.array for v in constants))))
        return
    operands = [v if isinstance(v, Constant) else run.real(node, i) for i, v in enumerate(values)]
    found = jointly(node, operands, _as_number(function))
    if found is None and node.op == "Where":
        found = _by_mask(run, node, operands)
    if found is None:
        found = of_operands(run, node, operands, _as_number(function))
    if found is None:
        raise HwsimError(
            f"{node}: what it compares must be numbers, and functions of one tensor of codes or of "
            f"two of at most {NARROW} bits"
        )
    run.values[node.output] = found


def _as_number(function: Callable[..., Any]) -> Callable[..., FloatArray]:
    """In float32, truths as 1 and 0."""
    return lambda *operands: np.asarray(function(*operands)).astype(F32)


def _by_mask(run: Importer, node: OnnxNode, operands: list[Real | Constant]) -> Real | None:
    """Where of a constant mask: each element is the tensor's, or a constant."""
    mask, *choices = operands
    reals = [c for c in choices if isinstance(c, Real)]
    if not isinstance(mask, Constant) or len(reals) != 1:
        return None
    (real,) = reals
    level = level_of(run, node, real)
    codes = run.flat(replace(level.codes, layout=real.layout))
    parts = [
        smallest(lying_as(codes.layout, c.array, str(node))).reshape(-1)
        for c in operands
        if isinstance(c, Constant)
    ]
    first = isinstance(choices[0], Real)

    def chosen(x: FloatArray) -> FloatArray:
        other = parts[1].astype(F32)
        return np.where(parts[0], x, other) if first else np.where(parts[0], other, x)

    return Real(PerChannel(node.name, replace(level, codes=codes), chosen), codes.layout)
