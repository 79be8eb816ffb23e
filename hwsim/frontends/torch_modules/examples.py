"""What a module is run on to be read: the user's example inputs as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hwsim.errors import HwsimError

WANTED = (
    "a module in memory is read by running it once, and so needs an example of its input (or its "
    "shape, the batch first): hwsim.load(module, example=x)"
)


def tensors(model: Any, example: Any) -> tuple[torch.Tensor, ...]:
    """An array, a tensor or a shape, or a tuple or list of them, as the module's inputs."""
    if example is None:
        raise HwsimError(WANTED)
    several = isinstance(example, tuple | list) and not _is_shape(example)
    given = tuple(_tensor(one) for one in (example if several else (example,)))
    if not given:
        raise HwsimError("an example must hold at least one input, not none")
    place = next((p.device for p in (*model.parameters(), *model.buffers())), None)
    return given if place is None else tuple(t.to(place) for t in given)


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(type(size) is int for size in value)


def _tensor(value: Any) -> torch.Tensor:
    if _is_shape(value):
        made = _zeros(tuple(value))
    elif isinstance(value, torch.Tensor):
        made = value.detach()
    else:
        try:
            made = torch.from_numpy(np.array(value))
        except (TypeError, ValueError):
            raise HwsimError(
                f"an example must be an array, a tensor or a shape, not {type(value).__name__}"
            ) from None
    if made.dtype == torch.float64:
        made = made.float()
    if made.ndim < 2 or not made.numel():
        raise HwsimError(
            f"an example must have a batch and at least one further axis, not shape "
            f"{tuple(made.shape)}"
        )
    return made


def _zeros(shape: tuple[int, ...]) -> torch.Tensor:
    if len(shape) < 2 or min(shape) < 1:
        raise HwsimError(
            f"the shape of an example must be the batch's size and those of the further axes, each "
            f"from 1, not {shape}"
        )
    return torch.zeros(shape)
