"""SOFTMAX of int16 codes: two tables between whose entries the kernels interpolate.

Source: TensorFlow Lite `reference/softmax.h` (SoftmaxInt16).
"""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.interpolated import entries_of, halved, looked_up
from hwsim.frontends.tflite.kernels import F32, KernelSet
from hwsim.frontends.tflite.model import LiteNode
from hwsim.ops import (
    Mul,
    Quant,
    Reduce,
    Reduction,
    Relu,
    Requantize,
    Scheme,
    Sub,
    Table,
    Thresholds,
)
from hwsim.ops.base import IntArray

SPAN = 65535  # distances from the largest code, in steps of the table, beyond which none differ
FIRST = 15  # bits of the smallest sum that a shift of its own has
BITS = 30  # of a sum that is shifted to the left as far as it goes
LOOSE = 14  # of those that the table of reciprocals does not see
MIDDLE = (1 << 15) + (1 << 16)  # the code of the table's middle
NEAR = 1e-3  # by how much the output's scale may miss 1/32768


def softmax(run: LiteImporter, node: LiteNode) -> None:
    """Exponentials of the distance to the row's largest code, over their sum."""
    given, made = run.tensor(node, 0), run.made(node)
    scale, beta, edge = run.meaning(given).scale, F32(node.options["beta"]), run.edge(node)
    result = run.meaning(made).scale
    if run.meaning(given).zero_point or run.meaning(made).zero_point:
        raise HwsimError(f"{node}: its input and output must have zero point 0")
    if abs(float(result) - 2.0**-15) >= NEAR * 2.0**-15:
        raise HwsimError(f"{node}: its output must have scale 1/32768, not {result}")
    name = run.label(made)
    wide = float(scale) * float(beta) if run.like is KernelSet.TFLM else float(F32(scale * beta))
    factor = wide / (10.0 / SPAN)
    axes = (len(run.types[edge].shape) - 1,)
    top = run.emit(f"{name}.max", Reduce(reduction=Reduction.MAX, axes=axes), [edge], f"{name}.max")
    below = run.emit(f"{name}.below", Sub(), [edge, top], f"{name}.below")
    distance = Requantize(scheme=Scheme.SHIFT, multiplier=(1.0,), out=Format.int(17))
    steps = Requantize(
        scheme=Scheme.GEMMLOWP_DOUBLE, multiplier=(factor,), out=Format.int(16), zero_point=32767
    )
    ahead = [distance, Relu(zero_point=-SPAN, maximum=0), steps]
    places = run.chain(f"{name}.places", below, ahead, f"{name}.places")
    kind = np.dtype(np.float32 if run.like is KernelSet.TFLM else np.float64)
    exp = entries_of("exp", kind)
    terms = looked_up(run, f"{name}.exp", places, exp)
    terms = run.emit(f"{name}.terms", Relu(), [terms], f"{name}.terms")
    inverse = _reciprocal(run, name, terms, axes, entries_of("reciprocal", kind), _largest(exp))
    shares = run.emit(f"{name}.shares", Mul(), [terms, inverse], f"{name}.shares")
    meaning = Quant((float(result),))
    run.give(node, [halved(BITS, run.format(made), quant=meaning), Relu()], shares)


def _largest(entries: IntArray) -> int:
    """The term of the row's largest code."""
    return int(entries[-2] + ((entries[-1] - entries[-2]) * 127 + 64 >> 7))


def _reciprocal(
    run: LiteImporter,
    name: str,
    terms: str,
    axes: tuple[int, ...],
    entries: IntArray,
    least: int,
) -> str:
    """`2**45 / sum`, from the bits that the table sees, times the power of two that they need."""
    add = Reduce(reduction=Reduction.SUM, axes=axes)
    total = run.emit(f"{name}.sum", add, [terms], f"{name}.sum")
    total = run.emit(f"{name}.total", Relu(zero_point=least), [total], f"{name}.total")
    if run.types[total].hi >= 1 << BITS + 1:
        raise HwsimError(f"{name}: its rows must have a sum of up to 31 bits")
    reached = np.array([[1 << bits for bits in range(FIRST, BITS + 1)]])
    lefts = np.arange(BITS + 1 - FIRST, -1, -1)
    count = Thresholds(values=reached, base=np.array([0]), step=np.array([1]), out=Format.uint(5))
    powers = Table(values=1 << lefts, out=Format.uint(BITS + 2 - FIRST), first=0)
    power = run.chain(f"{name}.power", total, [count, powers], f"{name}.power")
    whole = run.emit(f"{name}.whole", Mul(), [total, power], f"{name}.whole")
    seen = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0**-LOOSE,),
        out=Format.int(16),
        rounding=halved(0, Format.int(16)).rounding,
        input_zero_point=MIDDLE << LOOSE,
    )
    place = run.emit(f"{name}.place", seen, [whole], f"{name}.place")
    found = looked_up(run, f"{name}.inverse", place, entries)
    return run.emit(f"{name}.scale", Mul(), [found, power], f"{name}.scale")
