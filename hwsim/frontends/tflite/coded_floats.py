"""Steps of float32 numbers that codes stand for: those of a port, and functions for a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.float_steps import FloatStep, PortStep, UnaryStep, computed

Reals = npt.NDArray[np.float32]
F32 = np.float32


@dataclass(frozen=True, slots=True)
class Curve:
    """A function of one number that no port computes: what codes give is a table."""

    function: Callable[[Reals], Reals]


@dataclass(frozen=True, slots=True)
class Slopes:
    """PRELU: what is below zero times a factor, one a channel."""

    values: tuple[float, ...]


Step = PortStep | Curve | Slopes
FUNCTIONS: Mapping[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def alone(step: Step) -> bool:
    """Whether a step computes of each number by itself, the same for all of them."""
    return isinstance(step, UnaryStep | Curve) or (isinstance(step, FloatStep) and not step.shape)


def tabled(step: Step) -> bool:
    """Whether a step is one that a port cannot compute as the runtime does."""
    return isinstance(step, UnaryStep | Curve)


def of_ports(steps: Sequence[Step]) -> tuple[PortStep, ...]:
    """Steps that a port can have; HwsimError of others."""
    if any(isinstance(step, Curve | Slopes) for step in steps):
        raise HwsimError("what is computed of floats must be quantized, or first of all")
    return tuple(step for step in steps if not isinstance(step, Curve | Slopes))


def applied(steps: Sequence[Step], reals: Reals, channel: int = 0) -> Reals:
    """What steps make of the reals of codes; functions are rounded once, as few runtimes do."""
    for step in steps:
        if isinstance(step, UnaryStep):
            reals = FUNCTIONS[step.op](reals.astype(np.float64)).astype(F32)
        elif isinstance(step, Curve):
            reals = step.function(reals)
        elif isinstance(step, Slopes):
            reals = below(reals, F32(step.values[channel]))
        else:
            reals = np.asarray(computed(np, [step], reals), F32)
    return reals


def below(reals: Reals, factor: np.float32) -> Reals:
    """Numbers below zero times a factor."""
    return np.where(reals > 0, reals, reals * factor)
