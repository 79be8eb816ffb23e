"""Two tensors that meet: how they have to lie, and whether they are functions of the same codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.values import After, Arithmetic, Level, RawInput, Source, Unary
from hwsim.ops.base import Shape


def lying(held: Sequence[Arrangement], shape: Shape) -> tuple[Sequence[Arrangement], Arrangement]:
    """How tensors have to lie so that their edges broadcast, and how the result of `shape` does."""
    first = held[0]
    if all(layout.shape == first.shape and layout.same(first) for layout in held):
        return held, first
    plain = all(layout.same(Arrangement.plain(layout.shape)) for layout in held)
    way = Arrangement.plain if plain else Arrangement.map
    return [way(layout.shape) for layout in held], way(shape)


def common_shape(node: object, a: Shape, b: Shape) -> Shape:
    """Without the batch, which both have."""
    if len(a) == len(b):
        try:
            return tuple(int(size) for size in np.broadcast_shapes(a, b))
        except ValueError:
            pass
    raise HwsimError(f"{node}: its inputs must have shapes that broadcast, not {a} and {b}")


def same_codes(a: Source, b: Source) -> bool:
    """Whether two tensors are the same codes with the same meaning, or the same unrounded one."""
    if a is b:
        return not isinstance(a, RawInput)
    if not (isinstance(a, Level) and isinstance(b, Level)):
        return False
    given = [(x.codes.edge, x.codes.padding, x.scale, x.zero_point) for x in (a, b)]
    return given[0] == given[1] and a.scales is None and b.scales is None


def functions_of(steps: Sequence[After]) -> tuple[Unary, ...] | None:
    """The steps, where all of them are functions of one value."""
    found = tuple(one for step in steps if (one := _of_one_value(step)) is not None)
    return found if len(found) == len(steps) else None


def _of_one_value(step: After) -> Unary | None:
    """A step as a function: one with a number for all channels is one too."""
    if isinstance(step, Arithmetic) and step.values.size == 1:
        return Unary(step.name, step.function, rising=step.rising)
    return step if isinstance(step, Unary) else None
