"""Constant tensors as edges, that lie as the tensor does which they meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Codes
from hwsim.ops import Literal, Quant
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
