"""Float32 arithmetic at a Graph's ends, where a model computes with reals.

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
from hwsim.fixed import Array, Namespace, Rounding
from hwsim.float_functions import log_softmax, minifloat, sigmoid, softmax, tanh
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


ROWS: Mapping[str, Callable[[Namespace, Array], Array]] = {
    "softmax": softmax,
    "log_softmax": log_softmax,
}
"""What a step computes of each row of float32 numbers, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStep:
    """A function of `ROWS` along axes that stand side by side, counted from 0 without the batch.

    The elements along them, row-major, are one row.
    """

    op: str
    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.op not in ROWS:
            raise HwsimError(f"a step on rows must be one of {', '.join(ROWS)}, not {self.op!r}")
        first = self.axes[0] if self.axes else -1
        if first < 0 or self.axes != tuple(range(first, first + len(self.axes))):
            raise HwsimError(
                f"a step on rows must be along axes side by side, from 0 on, not {self.axes}"
            )

    def run(self, xp: Namespace, x: Array) -> Array:
        """The rows of float32 reals (batch, *user's axes), each by itself."""
        first, last = self.axes[0] + 1, self.axes[-1] + 1
        shape = x.shape
        x = xp.reshape(x, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))
        rest = [axis for axis in range(x.ndim) if axis != first]
        out = ROWS[self.op](xp, xp.permute_dims(x, (*rest, first)))
        back = (*range(first), x.ndim - 1, *range(first, x.ndim - 1))
        return xp.reshape(xp.permute_dims(out, back), shape)

    def __str__(self) -> str:
        along = "axis" if len(self.axes) == 1 else "axes"
        return f"{self.op} along {along} {', '.join(str(axis + 1) for axis in self.axes)}"


FUNCTIONS: Mapping[str, Callable[[Namespace, Array], Array]] = {"sigmoid": sigmoid, "tanh": tanh}
"""What a step computes of each float32 number by itself, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnaryStep:
    """A function of `FUNCTIONS` of each number."""

    op: str

    def __post_init__(self) -> None:
        if self.op not in FUNCTIONS:
            raise HwsimError(
                f"a step on numbers must be one of {', '.join(FUNCTIONS)}, not {self.op!r}"
            )

    def __str__(self) -> str:
        return f"{self.op}(x)"


NEAREST = (Rounding.RND_CONV, Rounding.RND_INF, Rounding.RND_ZERO)
"""Roundings of a MinifloatStep: ties to even, away from zero, to zero."""
MANTISSA_BITS, EXPONENTS = 23, (-126, 127)  # of float32


@dataclass(frozen=True, slots=True, kw_only=True)
class MinifloatStep:
    """Each number rounded to a small float: `mantissa_bits` behind the leading one.

    Numbers below `2**lowest` are subnormal, those past `highest` saturate to it.
    """

    mantissa_bits: int
    lowest: int
    highest: float
    rounding: Rounding = Rounding.RND_CONV

    def __post_init__(self) -> None:
        bits, low = self.mantissa_bits, self.lowest
        if not 0 <= bits <= MANTISSA_BITS or not EXPONENTS[0] <= low - bits <= EXPONENTS[1]:
            raise HwsimError(
                f"a small float must have 0 to {MANTISSA_BITS} mantissa bits and steps from "
                f"2**{EXPONENTS[0]} to 2**{EXPONENTS[1]}, not {bits} and 2**{low - bits}"
            )
        if not (math.isfinite(self.highest) and self.highest > 0):
            raise HwsimError(f"a small float's largest must be above 0, not {self.highest}")
        if self.rounding not in NEAREST:
            raise HwsimError(
                f"a small float must be rounded to nearest, not by {self.rounding.name}"
            )

    def run(self, xp: Namespace, x: Array) -> Array:
        """What it makes of float32 numbers."""
        return minifloat(xp, x, self.mantissa_bits, self.lowest, self.highest, self.rounding)

    def __str__(self) -> str:
        return (
            f"minifloat(x) of {self.mantissa_bits} mantissa bits behind a leading one, steps from "
            f"{2.0 ** (self.lowest - self.mantissa_bits):.9g}, up to {self.highest:.9g}"
        )


PortStep = FloatStep | RowStep | UnaryStep | MinifloatStep
RealSteps = Sequence[PortStep]


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


def computed(xp: Namespace, steps: RealSteps, x: Array) -> Array:
    """What the steps make of reals, (batch, *user's axes), one after the other in float32."""
    x = xp.astype(x, xp.float32, copy=False)
    for step in steps:
        if isinstance(step, RowStep | MinifloatStep):
            x = step.run(xp, x)
        elif isinstance(step, UnaryStep):
            x = FUNCTIONS[step.op](xp, x)
        else:
            x = ARITHMETIC[step.op](xp, x, xp.asarray(step.array()))
    return x


def check_steps(what: str, steps: RealSteps, seen: Shape) -> None:
    """Raise HwsimError, naming `what`, unless constants and rows fit the axes that a user sees."""
    for step in steps:
        if isinstance(step, RowStep):
            if step.axes[-1] >= len(seen):
                raise HwsimError(
                    f"{what} must have steps along its {len(seen)} axes, not along {step.axes}"
                )
            continue
        if isinstance(step, UnaryStep | MinifloatStep):
            continue
        rank = len(step.shape)
        pairs = zip(step.shape, seen[len(seen) - rank :], strict=True) if rank <= len(seen) else ()
        if rank > len(seen) or any(size not in (1, whole) for size, whole in pairs):
            raise HwsimError(
                f"{what} must have float steps of shapes that broadcast over {seen}, not "
                f"{step.shape}"
            )
