"""Functions of float32 numbers between DEQUANTIZE and QUANTIZE, which codes have as tables.

What each kernel set computes of LEAKY_RELU, PRELU, HARD_SWISH and ABS is exact; of an exponential
or a tangent the last bits may be others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.tflite import curves
from hwsim.frontends.tflite.coded_floats import Curve, Reals, Slopes, Step, below
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import F32, KernelSet
from hwsim.frontends.tflite.model import LiteNode

THREE, SIX, SIXTH = F32(3), F32(6), F32(1 / 6)


def leaky_relu(run: LiteImporter, node: LiteNode) -> tuple[Step, ...]:
    """LEAKY_RELU, the same in all kernel sets."""
    alpha = F32(node.options["alpha"])
    return (Curve(lambda reals: below(reals, alpha)),)


def hard_swish(run: LiteImporter, node: LiteNode) -> tuple[Step, ...]:
    """HARD_SWISH: three orders of its products, XNNPACK's with a fused one."""
    return (Curve(HARD_SWISH.get(run.like, _divided)),)


def _divided(x: Reals) -> Reals:
    return np.asarray(x * np.clip(x + THREE, F32(0), SIX) / SIX, F32)


def _sixths(x: Reals) -> Reals:
    return np.asarray((x * SIXTH) * np.clip(x + THREE, F32(0), SIX), F32)


def _fused(x: Reals) -> Reals:
    inner = (x.astype(np.float64) * float(SIXTH) + 0.5).astype(F32)
    return np.asarray(x * np.clip(inner, F32(0), F32(1)), F32)


HARD_SWISH: Mapping[KernelSet, Callable[[Reals], Reals]] = {
    KernelSet.BUILTIN: _sixths,
    KernelSet.XNNPACK: _fused,
}
"""Where it is not divided by 6 at the end."""


def absolute(run: LiteImporter, node: LiteNode) -> tuple[Step, ...]:
    """ABS."""
    return (Curve(np.abs),)


def elu(run: LiteImporter, node: LiteNode) -> tuple[Step, ...]:
    """ELU, but for its last bits."""
    return (Curve(lambda x: np.where(x < 0, np.expm1(x.astype(np.float64)), x).astype(F32)),)


def gelu(run: LiteImporter, node: LiteNode) -> tuple[Step, ...]:
    """GELU, but for its last bits."""
    return (Curve(curves.gelu_of(node)),)


def prelu(run: LiteImporter, node: LiteNode) -> tuple[Step, ...]:
    """PRELU with one slope, or one a channel."""
    slopes, channels = run.constant(node, 1), run.view(run.made(node))[-1:]
    if slopes.dtype != np.dtype("<f4") or not np.isfinite(slopes).all():
        raise HwsimError(f"{node}: its slopes must be finite floats")
    if slopes.size == 1:
        one = F32(slopes.ravel()[0])
        return (Curve(lambda reals: below(reals, one)),)
    if slopes.shape[-1:] != channels or slopes.size != slopes.shape[-1]:
        raise HwsimError(f"{node}: its slopes must be one, or one a channel, not {slopes.shape}")
    return (Slopes(tuple(slopes.ravel().tolist())),)
