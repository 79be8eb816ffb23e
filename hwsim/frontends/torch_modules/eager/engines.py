"""PyTorch's quantized engines, and how each of their kernels rounds a layer's sums.

Every rule was found by experiment (docs/pytorch-modules.md), on x86-64 with VNNI instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.torch_modules.eager.sums import NearProduct, Rounded
from hwsim.ops.base import IntArray

F32 = np.float32
Float32Array = npt.NDArray[np.float32]


class Engine(Enum):
    """`torch.backends.quantized.engine`."""

    FBGEMM = "fbgemm"
    QNNPACK = "qnnpack"
    ONEDNN = "onednn"
    X86 = "x86"


class LayerKernel(Enum):
    """The libraries that compute linear layers and convolutions."""

    FBGEMM = "fbgemm"
    QNNPACK = "qnnpack"
    ONEDNN = "onednn"


MOST_GROUPS = 100  # of a convolution that the engine x86 gives to oneDNN


def engine_of(like: str) -> Engine:
    """The engine of that name; HwsimError where it is none, or PyTorch here lacks it."""
    import torch

    supported = torch.backends.quantized.supported_engines
    if like not in supported:
        raise HwsimError(
            f"what a PyTorch module is to be like must be an engine that PyTorch has here, one of "
            f"{', '.join(name for name in supported if name != 'none')}, not {like!r}"
        )
    return Engine(like)


@contextmanager
def running(engine: Engine | None) -> Iterator[None]:
    """PyTorch's engine for a while, and one thread."""
    import torch

    backend, threads = torch.backends.quantized, torch.get_num_threads()
    before = backend.engine
    try:
        torch.set_num_threads(1)
        if engine is not None:
            backend.engine = engine.value
        yield
    finally:
        backend.engine = before
        torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True, eq=False)
class LayerScales:
    """What decides how sums are rounded: scales, zero point and bias.

    Scales of tensors are in double precision, as PyTorch holds them.
    """

    given: float
    weights: Float32Array  # one scale a channel, or a single one (of no axes) for all
    out: float
    zero_point: int
    bias: Float32Array | None
    dense: bool


def rounded(kernel: LayerKernel, layer: LayerScales) -> Rounded:
    """How a kernel rounds the sums of a layer."""
    return RULES[kernel](layer)


def _fbgemm(layer: LayerScales) -> Rounded:
    """The bias in steps of the sums, added in float32; the zero point behind the rounding.

    With one scale for all weights it is multiplied by the step's inverse, and rounded once.
    """
    step = F32(layer.given) * layer.weights
    factor = step / F32(layer.out)
    bias, inverse = layer.bias, F32(1) / step

    def codes(sums: IntArray) -> IntArray:
        x = sums.astype(F32)
        if bias is not None and not step.ndim:  # a fused multiply-add, exact in float64
            x = (sums + bias.astype(np.float64) * float(inverse)).astype(F32)
        elif bias is not None:
            x = x + bias / step
        return np.asarray(np.rint(x * factor), np.int64) + layer.zero_point

    return codes


def _qnnpack(layer: LayerScales) -> Rounded:
    """A whole bias."""
    step = F32(layer.given) * layer.weights
    factor = step * (F32(1) / F32(layer.out))
    bias = whole_bias(layer)

    def codes(sums: IntArray) -> IntArray:
        x = (sums + bias).astype(F32)
        return np.asarray(np.rint(x * factor), np.int64) + layer.zero_point

    return codes


def whole_bias(layer: LayerScales) -> IntArray:
    """The bias in whole steps of the sums."""
    if layer.bias is None:
        return np.zeros(1, np.int64)
    step = F32(layer.given) * layer.weights
    return np.asarray(np.rint(layer.bias * (F32(1) / step)), np.int64)


def _onednn(layer: LayerScales) -> Rounded:
    """Reals, bias and all, one float32 step after another; the zero point before the rounding."""
    given = F32(1) / F32(1 / layer.given)
    weights = F32(1) / (F32(1) / layer.weights) if layer.dense else layer.weights
    inverse, zero = F32(1) / (F32(1) / F32(1 / layer.out)), F32(layer.zero_point)

    def codes(sums: IntArray) -> IntArray:
        x = sums.astype(F32) * given * weights
        x = x if layer.bias is None else x + layer.bias
        return np.asarray(np.rint(x * inverse + zero), np.int64)

    return codes


def near(kernel: LayerKernel, layer: LayerScales) -> NearProduct:
    """The multiplication that a kernel does, or that comes nearest to what it does."""
    step = F32(layer.given) * layer.weights
    if kernel is LayerKernel.QNNPACK:
        return NearProduct(step * (F32(1) / F32(layer.out)), whole_bias(layer).astype(F32))
    bias = np.zeros(1, F32) if layer.bias is None else layer.bias / step
    return NearProduct(step / F32(layer.out), bias)


RULES: dict[LayerKernel, Callable[[LayerScales], Rounded]] = {
    LayerKernel.FBGEMM: _fbgemm,
    LayerKernel.QNNPACK: _qnnpack,
    LayerKernel.ONEDNN: _onednn,
}


def kernel_of(engine: Engine, *, dense: bool, groups: int, whole: bool, grown: bool) -> LayerKernel:
    """Which library an engine takes for a layer.

    `whole` says that all zero points of its weights are 0, `grown` that it is a transposed
    convolution with an output padding. Source: PyTorch `OnednnUtils.h`.
    """
    if engine is not Engine.X86:
        return LayerKernel(engine.value)
    if dense or groups > MOST_GROUPS or not whole or grown:
        return LayerKernel.FBGEMM
    return LayerKernel.ONEDNN
