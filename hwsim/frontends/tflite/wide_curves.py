"""GELU, EXP and RSQRT of int16 codes: 513 entries of a table, between which LiteRT interpolates.

Source: TensorFlow Lite `lut.h`, `internal/common.h`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.frontends.tflite import curves
from hwsim.frontends.tflite.coded_floats import Reals
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.interpolated import entries, looked_up
from hwsim.frontends.tflite.kernels import F32, KernelSet
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.rounding import requantized
from hwsim.frontends.tflite.unary import handler as function_of
from hwsim.frontends.tflite.wide import bare
from hwsim.ops import Scheme
from hwsim.ops.base import IntArray

LAST_BITS = 1  # of a float, by which the runtime's function may be other than the true one
NEAR_TIES = (
    "GELU of int16: the last bits of the runtime's function decide {count} of the 513 entries of "
    "its table, which may be 1 off, and codes near them with it"
)


def interpolated(run: LiteImporter, node: LiteNode) -> None:
    """EXP and GELU, and RSQRT but for TensorFlow Lite Micro's."""
    before, after = (
        F32(run.meaning(tensor).scale) for tensor in (run.tensor(node, 0), run.made(node))
    )
    name, held = run.label(run.made(node)), _entries(_function(node, after), before, after)
    if node.op == "GELU":
        others = [
            _entries(curves.gelu_of(node, beside), before, after) != held
            for beside in (-LAST_BITS, LAST_BITS)
        ]
        count = int(np.any(others, axis=0).sum())
        if count:
            run.warn(name, NEAR_TIES.format(count=count))
    value = looked_up(run, name, bare(run, node), held)
    same = requantized(run, run.made(node), Scheme.SHIFT, np.array([1.0]))
    run.give(node, [same], value)


def reciprocal_root(run: LiteImporter, node: LiteNode) -> None:
    """RSQRT: in fixed point by TensorFlow Lite Micro, by LiteRT looked up."""
    if run.like is KernelSet.TFLM:
        function_of(curves.reciprocal_root)(run, node)
        return
    curves.warn_below(run, node, run.meaning(run.tensor(node, 0)))
    interpolated(run, node)


def _entries(real: Callable[[Reals], Reals], before: np.float32, after: np.float32) -> IntArray:
    low, high = F32(before * F32(-32768)), F32(before * F32(32767))
    with np.errstate(all="ignore"):
        return entries(real, low, high, after, F32)


def _function(node: LiteNode, after: np.float32) -> Callable[[Reals], Reals]:
    if node.op == "GELU":
        return curves.gelu_of(node)
    if node.op == "RSQRT":  # of 0 it is the largest number
        return lambda x: np.where(x > 0, F32(1) / np.sqrt(np.maximum(x, 0)), after * F32(32767))
    return lambda x: np.exp(x.astype(np.float64)).astype(F32)
