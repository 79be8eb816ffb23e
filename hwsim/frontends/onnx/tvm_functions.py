"""Functions of one float32 as TVM 0.27 computes them on x86-64: its own steps, the C library's exp.

Those that are missing here are ONNX Runtime's to the bit. Each was compared bit for bit with TVM;
those with `roughly` differ in their last bit (the C library's logarithm, error function, circular
functions). Sources: TVM's `onnx_frontend.py`, `topi` and the rules by which it makes LLVM's calls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from hwsim import float_functions
from hwsim.frontends.onnx.functions import Maker, exactly, quiet, roughly
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared import glibc
from hwsim.frontends.shared.values import FloatArray, Unary

F32 = np.float32
ONE, TWO, HALF = F32(1), F32(2), F32(0.5)
REACH = F32(256)  # beyond, an exponential is 0 or infinite
CUBIC = 0.044715


def exp(x: FloatArray) -> FloatArray:
    """The C library's."""
    return glibc.expf(np.clip(x, -REACH, REACH))


def sigmoid(x: FloatArray) -> FloatArray:
    """By an exponential and a quotient."""
    return ONE / (ONE + exp(-x))


def tanh(x: FloatArray) -> FloatArray:
    """By the exponential that is no larger than 1."""
    small = exp(F32(-2) * np.abs(x))
    out: FloatArray = np.copysign((ONE - small) / (ONE + small), x)
    return out


def log(x: FloatArray) -> FloatArray:
    """The C library's of numbers from 1 up, but for infinity."""
    found: FloatArray = float_functions.logarithm(np, np.minimum(x, np.finfo(F32).max))
    out: FloatArray = np.where(np.isinf(x), x, found)
    return out


def softplus(x: FloatArray) -> FloatArray:
    """Its exponential never overflows."""
    return np.maximum(x, F32(0)) + log(ONE + exp(-np.abs(x)))


def mish(x: FloatArray) -> FloatArray:
    """By another softplus, which overflows."""
    return x * tanh(log(ONE + exp(x)))


def elu(x: FloatArray, alpha: float) -> FloatArray:
    """Both halves are computed of every number."""
    below: FloatArray = F32(-alpha) * np.maximum(ONE - exp(x), F32(0))
    return below + np.maximum(x, F32(0))


def hard_swish(x: FloatArray) -> FloatArray:
    """By a clip between 0 and 6."""
    out: FloatArray = x * (np.clip(x + F32(3), F32(0), F32(6)) / F32(6))
    return out


def gelu_tanh(x: FloatArray) -> FloatArray:
    """Gelu by the hyperbolic tangent."""
    inner = F32(math.sqrt(2 / math.pi)) * x * (ONE + F32(CUBIC) * x * x)
    return HALF * x * (ONE + tanh(inner))


def fast_gelu(x: FloatArray) -> FloatArray:
    """FastGelu, whose cube is computed first."""
    root = math.sqrt(2 / math.pi)
    return HALF * x * (ONE + tanh(F32(root) * x + F32(CUBIC * root) * (x * x * x)))


def _erf(x: FloatArray) -> FloatArray:
    return np.array([math.erf(v) for v in x.ravel().tolist()], F32).reshape(x.shape)


def _gelu(node: OnnxNode) -> Unary:
    if node.attributes.get("approximate", "none") == "tanh":
        return Unary(str(node), quiet(gelu_tanh), rising=False)
    root = F32(0.5**0.5)
    function = quiet(lambda x: x * (HALF + _erf(x * root) * HALF))
    return Unary(str(node), function, rising=False, rough=True)


def _elu(node: OnnxNode) -> Unary:
    alpha = node.real("alpha", 1.0)
    return Unary(str(node), quiet(partial(elu, alpha=alpha)), rising=alpha >= 0)


def _selu(node: OnnxNode) -> Unary:
    alpha = node.real("alpha", 1.67326319217681884765625)
    gamma = F32(node.real("gamma", 1.05070102214813232421875))
    function = quiet(lambda x: gamma * elu(x, alpha))
    return Unary(str(node), function, rising=alpha >= 0 and bool(gamma >= 0))


def _atanh(x: FloatArray) -> FloatArray:
    one, other = (np.log(v.astype(np.float64)).astype(F32) for v in (ONE + x, ONE - x))
    return HALF * (one - other)


def _softsign(x: FloatArray) -> FloatArray:
    size: FloatArray = np.abs(x)
    return x / (size + ONE)


def _quotient(x: FloatArray) -> FloatArray:
    """Tan."""
    wide = x.astype(np.float64)
    sines: FloatArray = np.sin(wide).astype(F32)
    cosines: FloatArray = np.cos(wide).astype(F32)
    return sines / cosines


FUNCTIONS: Mapping[str, Maker] = {
    "Atanh": roughly(_atanh),
    "Elu": _elu,
    "Erf": roughly(_erf, rising=True),
    "Exp": exactly(exp, rising=True),
    "FastGelu": exactly(fast_gelu),
    "Gelu": _gelu,
    "HardSwish": exactly(hard_swish),
    "Log": roughly(lambda x: np.log(x.astype(np.float64)).astype(F32)),
    "Mish": exactly(mish),
    "Selu": _selu,
    "Sigmoid": exactly(sigmoid, rising=True, step="sigmoid"),
    "Softplus": exactly(softplus, rising=True),
    "Softsign": exactly(_softsign, rising=True),
    "Tan": roughly(_quotient),
    "Tanh": exactly(tanh, rising=True, step="tanh"),
}
