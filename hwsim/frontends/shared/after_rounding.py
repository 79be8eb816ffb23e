"""What stands between a source and its quantizer, on the codes that the quantizer makes.

Moves, pools and clamps change places with rounding; functions of each element do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import After, Arithmetic, Moved, Padded, Pool, Real, Unary
from hwsim.ops import MaxPool, Op, Relu, Select


def parted(real: Real) -> tuple[tuple[After, ...], tuple[After, ...]]:
    """Functions, and what stands before the first move; then the moves, and pools among them.

    A function of each element goes ahead of what moves elements, and of a pool if it rises; what
    pads a tensor then pads it with the function's value.
    """
    steps, rank = real.steps, len(real.layout.physical)
    first = next((i for i, s in enumerate(steps) if isinstance(s, Moved | Padded)), len(steps))
    early, late = list(steps[:first]), list[After]()
    for step in steps[first:]:
        if not isinstance(step, Unary | Arithmetic):
            late.append(step)
            continue
        if not step.rising and any(isinstance(s, Pool) for s in late):
            raise HwsimError(f"{step.name}: a function after a max pool must be rising")
        by_channel = isinstance(step, Arithmetic) and step.values.size > 1
        if by_channel and not all(_keeps_channels(s, rank) for s in late):
            raise HwsimError(
                f"{step.name}: what has a constant for each channel must stand behind a quantizer "
                "where channels move before it"
            )
        early.append(step)
        late = [_padding(s, step) if isinstance(s, Padded) else s for s in late]
    return tuple(early), tuple(late)


def _keeps_channels(step: After, rank: int) -> bool:
    """Whether channels are where they were: only places are taken, of a tensor of that rank."""
    if isinstance(step, Moved):
        return all(isinstance(op, Select) and op.axis < rank - 1 for op in step.ops)
    return isinstance(step, Pool)


def _padding(padded: Padded, function: Unary | Arithmetic) -> Padded:
    value = function.function(np.array([padded.value], np.float32))[0]
    return replace(padded, value=float(value))


def move_ops(steps: Sequence[After], by: Quantizer) -> list[Op]:
    """Operators on codes that `by` made."""
    ops: list[Op] = []
    for step in steps:
        match step:
            case Moved():
                ops += step.ops
            case Padded():
                codes = set(by.codes(np.array([step.value], np.float32)).ravel().tolist())
                if len(codes) > 1:
                    raise HwsimError(
                        f"{step.name}: what pads must have one code for all channels, not "
                        f"{len(codes)}"
                    )
                ops.append(replace(step.op, code=codes.pop()))
            case Pool():
                ops.append(MaxPool(window=step.window))
    return ops


def step_ops(run: TensorBuilder, step: After, by: Quantizer) -> list[Op]:
    """A max pool, a move or a clamp on codes that `by` made."""
    if isinstance(step, Pool | Moved | Padded):
        return move_ops([step], by)
    if isinstance(step, Arithmetic) or not step.clamp:
        raise HwsimError(
            f"{step.name}: its input must be quantized first, since only narrow codes go through a "
            f"table; put {run.a_quantizer} before it"
        )
    low, high = by.format.min, by.format.max
    if step.low is not None:
        low = int(by.codes(np.array([step.low], np.float32))[0])
    if step.high is not None:
        high = int(by.codes(np.array([step.high], np.float32))[0])
    if low > high:
        raise HwsimError(f"{step.name}: its minimum must not be above its maximum")
    if (low, high) == (by.format.min, by.format.max):
        return []
    return [Relu(zero_point=low, maximum=None if high == by.format.max else high)]
