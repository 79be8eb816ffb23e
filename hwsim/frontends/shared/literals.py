"""Constant tensors as edges, that lie as the tensor does which they meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import (
    Codes,
    Extreme,
    Fixed,
    Joined,
    Level,
    OfTwoCodes,
    Pair,
    PerChannel,
    Product,
    RawInput,
    Scaled,
    Softmax,
    Source,
)
from hwsim.ops import Flatten, Literal, Op, Quant, Reshape, Select
from hwsim.ops.base import IntArray

Values = npt.NDArray[Any]


def literal(
    run: TensorBuilder,
    like: Codes,
    values: IntArray,
    fmt: Format,
    *,
    quant: Quant | None,
    name: str,
) -> Codes:
    """Codes that lie as those of `like` do; `values` broadcast to its shape in the model."""
    lying = smallest(lying_as(like.layout, values, name))
    edge = run.emit(
        name, Literal(values=lying, out=fmt, quant=quant), [like.edge], f"{like.edge}.{name}"
    )
    return Codes(edge, fmt, like.layout)


def alone(
    run: TensorBuilder,
    like: Codes,
    values: IntArray,
    fmt: Format,
    *,
    quant: Quant | None,
    name: str,
) -> str:
    """The edge of codes for every sample, of a shape of its own; any edge of `like` drives it."""
    size = run.types[like.edge].size
    ops: list[Op] = [Flatten()]
    if size != values.size:
        ops.append(Select(axis=0, indices=(0,) * values.size))
    ops += [Reshape(shape=values.shape), Literal(values=values, out=fmt, quant=quant)]
    return run.chain(name, like.edge, ops, f"{like.edge}.{name}")


def level_behind(source: Source) -> Level:
    """The codes, or the first of them, that a source reads; HwsimError where there are none."""
    match source:
        case Level():
            return source
        case Joined() | Extreme():
            moving = [part.source for part in source.parts if not isinstance(part.source, Fixed)]
            return level_behind(moving[0])
        case Pair() | OfTwoCodes():
            return level_behind(source.a)
        case Product():
            return source.a
        case Scaled() | PerChannel():
            return level_behind(source.term)
        case Softmax():
            return level_behind(source.input.source)
        case RawInput() | Fixed():
            raise HwsimError(f"{source.name!r} must be quantized first")
    return source.input


def lying_as(layout: Arrangement, values: Values, name: str) -> Values:
    """Values that broadcast to a tensor's shape, as many as it has codes, in their order."""
    shape = tuple(values.shape)
    extra = max(len(shape) - len(layout.shape), 0)
    if set(shape[:extra]) <= {1}:
        try:
            spread = np.broadcast_to(values.reshape(shape[extra:]), layout.shape)
        except ValueError:
            pass
        else:
            return spread.reshape(-1)[layout.order].reshape(layout.physical)
    raise HwsimError(
        f"{name}: its constant must broadcast to (batch, {', '.join(map(str, layout.shape))}), "
        f"not be of shape {shape}"
    )


def smallest(values: Values) -> Values:
    """Values without what repeats along an axis."""
    for axis in range(values.ndim):
        first = values.take([0], axis=axis)
        values = first if (first == values).all() else values
    return values
