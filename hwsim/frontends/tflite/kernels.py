"""The kernel sets of TensorFlow Lite's runtimes, and the arithmetic in which they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.ops import Scheme

F32 = np.float32
Float64Array = npt.NDArray[np.float64]


class KernelSet(Enum):
    """Which of the runtimes' kernels a model's integers are those of."""

    TFLM = "tflm"  # TensorFlow Lite Micro
    REFERENCE = "reference"  # TensorFlow Lite's reference kernels (BUILTIN_REF)
    BUILTIN = "builtin"  # its optimized kernels, without a delegate
    XNNPACK = "xnnpack"  # what its interpreter takes by itself


def only(what: object, sets: Iterable[KernelSet]) -> HwsimError:
    """What is said where a kernel set cannot run something, with those that can."""
    names = ", ".join(known.value for known in sets) or "none of those that are read"
    return HwsimError(f"{what}: it must be read like a kernel set that can run it: {names}")


DEFAULT = KernelSet.TFLM


def kernel_set(like: str | None) -> KernelSet:
    """The set of that name; HwsimError names all of them for another."""
    try:
        return DEFAULT if like is None else KernelSet(like)
    except ValueError:
        names = ", ".join(known.value for known in KernelSet)
        raise HwsimError(
            f"what a TensorFlow Lite model is to be like must be one of {names}, not {like!r}"
        ) from None


CONVOLUTIONS = {
    KernelSet.TFLM: Scheme.GEMMLOWP_DOUBLE,
    KernelSet.REFERENCE: Scheme.GEMMLOWP_DOUBLE,
    KernelSet.BUILTIN: Scheme.RUY,
    KernelSet.XNNPACK: Scheme.F32_RNE_OUT,
}
"""How the sums of CONV_2D are rounded."""

FULLY_CONNECTED = CONVOLUTIONS | {KernelSet.REFERENCE: Scheme.F64_AWAY}
"""How those of FULLY_CONNECTED are."""

NARROW = 8  # bits of codes whose functions are tables; wider ones are of int16
LANES = 8  # channels that the vector code of the optimized kernels takes at a time


def multipliers(
    like: KernelSet,
    given: np.float32,
    weights: npt.NDArray[np.float32],
    out: np.float32,
    *,
    single: bool = False,
) -> Float64Array:
    """What a step of the sums is worth in steps of the result, as each set computes it.

    With `single` scales other than XNNPACK's are multiplied in float32, too.
    """
    if like is KernelSet.XNNPACK:
        return ((F32(given) * weights).astype(F32) / F32(out)).astype(np.float64)
    if single:
        return (F32(given) * weights).astype(np.float64) / float(out)
    return float(given) * weights.astype(np.float64) / float(out)


def away(value: float) -> int:
    """To the nearest whole number, ties away from zero."""
    return int(np.copysign(np.floor(abs(value) + 0.5), value))


MOST_STEPS = 1 << 30  # of a bound, beyond which a kernel's 32 bits would not hold it
BOUNDS = {
    "NONE": (None, None),
    "RELU": (0, None),
    "RELU_0_TO_1": (0, 1),
    "RELU6": (0, 6),
    "RELU_N1_TO_1": (-1, 1),
}


def limits(
    like: KernelSet, activation: str, scale: np.float32, zero: int, codes: Sequence[int]
) -> tuple[int, int]:
    """The codes to which a fused activation keeps a result, of the format's least and largest.

    XNNPACK adds the zero point before it rounds, to even; the others round away from zero first.
    """
    least, largest = codes

    def code(value: float) -> int:
        steps = float(value) / float(scale)
        if abs(steps) >= MOST_STEPS:
            raise HwsimError(f"a scale must be above {abs(value) / MOST_STEPS:.3g}, not {scale}")
        if like is KernelSet.XNNPACK:
            whole = F32(F32(value) / F32(scale)) + F32(zero)
            return int(np.rint(np.clip(whole, F32(least), F32(largest))))
        return zero + away(float(F32(value) / F32(scale)))

    low, high = BOUNDS[activation]
    bottom = least if low is None else max(least, code(low))
    return bottom, largest if high is None else min(largest, code(high))
