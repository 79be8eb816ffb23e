"""DIV of int8 codes: a table of both codes, by the kernel's own arithmetic.

Source: TensorFlow Lite `reference/div.h`, `internal/common.h` (GetReciprocal).
"""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.tflite import gemmlowp
from hwsim.frontends.tflite.fixed_point import LONG
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import F32, NARROW, KernelSet
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.pairs import operands
from hwsim.frontends.tflite.rounding import activation
from hwsim.ops import Add, Quant, Requantize, Scheme, Table
from hwsim.ops.base import IntArray
from hwsim.ops.fixed_point import divide_by_power, high_product

BITS = 32  # of the kernel's numbers
CODES = 1 << NARROW
BY_ZERO = (
    "DIV: LiteRT stops with an error where it divides by 0, the code {zero}, which may come here; "
    "the result is then what TensorFlow Lite Micro makes of it"
)
REPEATED, STEPS = 1515870810, 3  # 48/17 with 29 fraction bits, and how often it is bettered
BOTH = Format.uint(2 * NARROW)


def div(run: LiteImporter, node: LiteNode) -> None:
    """DIV of tensors that broadcast."""
    edges = operands(run, node)
    made, name = run.made(node), run.label(run.made(node))
    formats = [run.types[edge].format for edge in edges]
    if any(fmt.width > NARROW for fmt in formats):
        raise HwsimError(f"{node}: it must be of int8 or uint8, not int16")
    first, second, after = (
        run.meaning(tensor) for tensor in (run.tensor(node, 0), run.tensor(node, 1), made)
    )
    kind = run.types[edges[1]]
    if run.like is not KernelSet.TFLM and kind.lo <= second.zero_point <= kind.hi:
        run.warn(name, BY_ZERO.format(zero=second.zero_point))
    factor = float(first.scale) / float(F32(second.scale) * F32(after.scale))
    codes = [np.arange(fmt.min, fmt.max + 1) for fmt in formats]
    values = quotients(
        (codes[0] - first.zero_point)[:, None], (codes[1] - second.zero_point)[None, :], factor
    )
    out, quant = run.format(made), Quant((float(after.scale),), after.zero_point)
    table = Table(
        values=np.clip(values + after.zero_point, out.min, out.max).ravel(),
        out=out,
        first=0,
        quant=quant,
    )
    parts = []
    for place, (edge, held, step) in enumerate(zip(edges, codes, (CODES, 1), strict=True)):
        moved = Table(values=(held - held[0]) * step, out=BOTH)
        parts.append(run.emit(f"{name}.{place}", moved, [edge], f"{name}.{place}"))
    both = run.emit(f"{name}.both", Add(), parts, f"{name}.both")
    narrow = Requantize(scheme=Scheme.SHIFT, multiplier=(1.0,), out=BOTH)
    run.give(node, [narrow, table, *activation(run, node, made)], both)


def quotients(above: IntArray, below: IntArray, factor: float) -> IntArray:
    """Steps of the result for codes without their zero points; by 0 too."""
    above, below = np.broadcast_arrays(above, below)
    above, below = np.where(below < 0, -above, above), np.abs(below)
    m, shift = gemmlowp.multiplier(factor)
    room = BITS - np.frexp(below.astype(np.float64))[1]  # leading zeros
    held = (below << room) - (1 << BITS - 1)
    inverse = np.where(below == 0, _of_nothing(), LONG.left(LONG.reciprocal(held), 1))
    signs = np.where(above < 0, 2 * -above - 1, 2 * above)
    free = np.minimum(BITS - np.frexp(signs.astype(np.float64))[1], BITS - 1)  # of leading signs
    quotient = high_product(np, above << free, inverse)
    right = (BITS - 1 - room) + free - shift
    if (right < 0).any():
        raise HwsimError(f"scales must have a ratio below 2**{BITS - NARROW}, not {factor:.3g}")
    steps = high_product(np, quotient, np.array(m))
    near = divide_by_power(np, steps, np.minimum(right, BITS - 1))
    return np.asarray(np.where(right < BITS, near, _wrapped(steps, right)), np.int64)


def _wrapped(steps: IntArray, right: IntArray) -> IntArray:
    """What the kernel makes of a shift by 32 bits or more: of one by 32 fewer, and 1 above 0."""
    return np.asarray((steps >> np.maximum(right - BITS, 0)) + (steps >= 0), np.int64)


def _of_nothing() -> int:
    """The reciprocal of 0: Newton's steps double their start until it wraps."""
    value = REPEATED
    for _ in range(STEPS):
        value = (2 * value + (1 << BITS - 1)) % (1 << BITS) - (1 << BITS - 1)
    return max(2 * value, -(1 << BITS - 1))
