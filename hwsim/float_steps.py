"""Float32 arithmetic with constants at a Graph's ends, where a model computes with reals.

A network's input may be scaled before anything quantizes it, and its scores after the last layer:
nothing in between, and no hardware, knows of that. Each step is rounded to float32, as runtimes do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Array, Namespace
from hwsim.ops.base import MOST_TOLD

Shape = tuple[int, ...]

ARITHMETIC: Mapping[str, Callable[[Namespace, Array, Array], Array]] = {
    "add": lambda xp, x, value: x + value,
    "sub": lambda xp, x, value: x - value,
    "sub_from": lambda xp, x, value: value - x,
    "mul": lambda xp, x, value: x * value,
    "div": lambda xp, x, value: x / value,
    "max": lambda xp, x, value: xp.maximum(x, value),
    "min": lambda xp, x, value: xp.minimum(x, value),
}
"""What a step computes of a float32 and its constant, by name."""

SIGNS = {"add": "x + {}", "sub": "x - {}", "sub_from": "{} - x", "mul": "x * {}", "div": "x / {}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatStep:
    """One operation of `ARITHMETIC` with constants, which broadcast over a user's array.

    `values` are the elements of an array of `shape`, row-major; `shape` counts without the batch
    and its axes stand against the user's last ones. The default is one number for all.
    """

    op: str
    values: tuple[float, ...]
    shape: Shape = ()

    def __post_init__(self) -> None:
        if self.op not in ARITHMETIC:
            raise HwsimError(
                f"a float step must be one of {', '.join(ARITHMETIC)}, not {self.op!r}"
            )
        if len(self.values) != math.prod(self.shape):
            raise HwsimError(
                f"a float step must have {math.prod(self.shape)} values for its shape "
                f"{self.shape}, not {len(self.values)}"
            )
        held = self.array()
        if not np.isfinite(held).all() or (self.op == "div" and not held.all()):
            raise HwsimError(
                "a float step must have finite float32 constants, and none of 0 to divide by"
            )

    def array(self) -> Any:
        """The constants in float32."""
        with np.errstate(over="ignore"):
            return np.array(self.values, np.float32).reshape(self.shape)

    def __str__(self) -> str:
        few = ", ".join(f"{value:.9g}" for value in self.values[:MOST_TOLD])
        more = f", … {len(self.values)} in all" if len(self.values) > MOST_TOLD else ""
        constant = few if len(self.values) == 1 else f"({few}{more})"
        return SIGNS.get(self.op, f"{self.op}(x, {{}})").format(constant)


def narrowed(op: str, values: Any) -> FloatStep:
    """The step whose constants are those of an array in a user's order, axes that repeat left out.

    The array has the user's axes without the batch.
    """
    array = np.asarray(values, np.float32)
    for axis in range(array.ndim):
        first = array.take([0], axis=axis)
        array = first if (array == first).all() else array
    while array.ndim and array.shape[0] == 1:
        array = array[0]
    return FloatStep(op=op, values=tuple(array.ravel().tolist()), shape=array.shape)


def computed(xp: Namespace, steps: Sequence[FloatStep], x: Array) -> Array:
    """What the steps make of reals, (batch, *user's axes), one after the other in float32."""
    x = xp.astype(x, xp.float32, copy=False)
    for step in steps:
        x = ARITHMETIC[step.op](xp, x, xp.asarray(step.array()))
    return x


def check_steps(what: str, steps: Sequence[FloatStep], seen: Shape) -> None:
    """Raise HwsimError, naming `what`, unless the constants broadcast over the user's axes."""
    for step in steps:
        rank = len(step.shape)
        pairs = zip(step.shape, seen[len(seen) - rank :], strict=True) if rank <= len(seen) else ()
        if rank > len(seen) or any(size not in (1, whole) for size, whole in pairs):
            raise HwsimError(
                f"{what} must have float steps of shapes that broadcast over {seen}, not "
                f"{step.shape}"
            )
