"""Arithmetic of constants, as exporters write it to compute shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.openvino.lowering import Array, IrConstant, Lowering, Rule
from hwsim.frontends.openvino.model import IrLayer

Compute = Callable[..., Array]


def quotient(a: Array, b: Array) -> Array:
    """A quotient, of whole numbers the next whole number below it."""
    whole = a.dtype.kind in "iu" and b.dtype.kind in "iu"
    if whole and not b.all():
        raise HwsimError("what a shape is divided by must not be 0")
    return np.asarray(a // b if whole else a / b)


def remainder(a: Array, b: Array) -> Array:
    """What a division leaves, with the sign of what is divided."""
    if not b.all():
        raise HwsimError("what a shape is divided by must not be 0")
    return np.asarray(np.fmod(a, b))


def of_constants(compute: Compute, plain: Rule | None = None) -> Rule:
    """A rule that computes of constants; else it is `plain`, or HwsimError says what it wants."""

    def rule(state: Lowering, layer: IrLayer) -> None:
        held = [state.constant(layer, place) for place in range(len(layer.inputs))]
        arrays = [one.array for one in held if one is not None]
        if len(arrays) == len(held):
            with np.errstate(all="ignore"):
                state.held[layer.id, 0] = IrConstant(np.asarray(compute(*arrays)))
        elif plain is not None:
            plain(state, layer)
        else:
            raise HwsimError(f"{layer}: its inputs must be constant")

    return rule


ALONE: dict[str, Any] = {
    "Equal": np.equal, "FloorMod": np.mod, "Greater": np.greater, "GreaterEqual": np.greater_equal,
    "Less": np.less, "LessEqual": np.less_equal, "Mod": remainder, "NotEqual": np.not_equal,
    "Select": np.where,
}  # fmt: skip
"""What is read of constants alone."""
OTHERWISE: dict[str, Any] = {
    "Abs": np.abs, "Ceiling": np.ceil, "Floor": np.floor, "Maximum": np.maximum,
    "Minimum": np.minimum, "Negative": np.negative, "Sign": np.sign,
}  # fmt: skip
"""What is read of constants, and of tensors by a rule of its own."""


def with_shapes(rules: dict[str, Rule]) -> dict[str, Rule]:
    """Rules of layers that compute of constants too."""
    alone = {kind: of_constants(compute) for kind, compute in ALONE.items()}
    both = {kind: of_constants(compute, rules[kind]) for kind, compute in OTHERWISE.items()}
    return {**rules, **alone, **both}
