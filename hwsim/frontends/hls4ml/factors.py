"""What a layer's inputs are multiplied by: hls4ml picks the product by both types (`nnet_mult.h`).

Weights of one bit stand for -1 and 1, weights of `int<2>` for -1, 0 and 1, exponents for powers of
two; so does an input of one bit. Here all of them become plain factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, overflow
from hwsim.frontends.hls4ml.importer import LayerBuilder
from hwsim.frontends.hls4ml.types import read_weights
from hwsim.ops import BatchNorm, TensorType
from hwsim.ops.base import IntArray

PLAIN = ("WeightVariable", "StaticWeightVariable", "BramWeightVariable")
SIGN = Format.int(2)
MOST_WEIGHT_BITS = 32
COMPRESSED = "weights must not be compressed: hls4ml 1.3 writes no C++ for them"
TAKEN = (
    "which hls4ml takes away for distributed arithmetic under Vivado and Vitis; convert the model "
    'with backend="hwsim"'
)


@dataclass(frozen=True, slots=True)
class Factors:
    """Codes of the weights in the variable's shape, and their format.

    `kept` is how many fraction bits a product keeps in C++, where some would have more.
    """

    codes: IntArray
    format: Format
    kept: int | None = None


def is_sign(precision: Any) -> bool:
    """Whether the codes 0 and 1 of a type stand for -1 and 1."""
    return "Xnor" in type(precision).__name__


def is_bit(precision: Any) -> bool:
    """Whether C++ sees `ap_uint<1>`, be it a sign or a number."""
    whole = is_sign(precision) or "Integer" in type(precision).__name__
    return whole and int(precision.width) == 1 and not precision.signed


def read_factors(layer: Any, name: str, data: TensorType) -> Factors:
    """The weights `name` as factors of inputs of type `data`, however they are encoded."""
    variable = layer.weights[name]
    if "Exponent" in type(variable.type.precision).__name__:
        return _powers(name, variable, data)
    if any("Compressed" in type(told).__name__ for told in (variable, variable.type)):
        raise HwsimError(COMPRESSED)
    if type(variable).__name__ not in PLAIN:
        raise HwsimError(f"{name} must be plain weights, not a {type(variable).__name__}")
    codes, precision = read_weights(name, variable)
    if is_sign(variable.type.precision):
        unrolled = layer.get_attr("strategy") == "resource_unrolled"
        # The unrolled code leaves out weights of 0, which are the -1 of a sign.
        return Factors(codes if unrolled else 2 * codes - 1, SIGN)
    if is_ternary(variable.type.precision):
        return Factors(np.where(codes == -2, 1, codes), SIGN)  # whatever is not 0 or -1 passes
    if precision.format.width == 1:  # too narrow for hardware's factors; the same numbers in two
        fmt = precision.format
        return Factors(codes, Format(True, fmt.int_bits + (not fmt.signed), fmt.frac_bits))
    return narrowed(name, codes, precision.format)


def narrowed(name: str, codes: IntArray, fmt: Format) -> Factors:
    """The same numbers in the fewest bits where their type has more than hardware's factors."""
    if fmt.width <= MOST_WEIGHT_BITS:
        return Factors(codes, fmt)
    every = int(np.bitwise_or.reduce(np.abs(codes), axis=None))
    zeros = (every & -every).bit_length() - 1 if every else 0
    codes = codes >> zeros
    low, high = min(int(codes.min()), -1), max(int(codes.max()), 0)
    least = Format.holding(low, high, fmt.frac_bits - zeros)
    if least.width > MOST_WEIGHT_BITS:
        raise HwsimError(
            f"{name} must have at most {MOST_WEIGHT_BITS} bits that count, not {least.width}: "
            f"give its precision fewer than the {fmt.width} that it has"
        )
    return Factors(codes, least)


def read_exact(layer: Any, name: str) -> Factors:
    """The weights `name` as the numbers that they are, whatever their type.

    Distributed arithmetic builds its adders from them (`distributed_arithmetic.py`).
    """
    variable = layer.weights.get(name)
    if variable is None:
        raise HwsimError(f"a layer must have its {name}, {TAKEN}")
    values = np.asarray(variable.data, np.float64)
    for frac in range(MOST_WEIGHT_BITS):
        codes = np.ldexp(values, frac)
        if (codes == np.rint(codes)).all():
            break
    most = float(np.abs(codes).max(initial=0.0))
    if not (codes == np.rint(codes)).all() or most >= 1 << (MOST_WEIGHT_BITS - 1):
        raise HwsimError(
            f"{name} must be whole steps of a power of two in {MOST_WEIGHT_BITS} bits, as "
            "quantizers leave them: distributed arithmetic takes them as they are"
        )
    whole = codes.astype(np.int64)
    fmt = Format.holding(min(int(whole.min()), -1), int(whole.max()), frac)
    return Factors(whole, fmt)


def is_ternary(precision: Any) -> bool:
    """Whether weights of a type are multiplied as -1, 0 and 1."""
    whole = "Integer" in type(precision).__name__
    return whole and int(precision.width) == 2 and bool(precision.signed)


def _powers(name: str, variable: Any, data: TensorType) -> Factors:
    """Signs and exponents, of a product whose first bits are all kept."""
    values, width = np.asarray(variable.data, np.float64), int(variable.type.precision.width)
    if not (np.isfinite(values).all() and values.all()):
        raise HwsimError(f"{name} must be powers of two, but hold 0, NaN or infinity")
    exponents = (np.log2(np.abs(values)) / np.log2(2.0)).astype(np.int64)  # as it is written
    exponents = np.asarray(overflow(np, exponents, Format.int(width), Overflow.WRAP), np.int64)
    low, high = int(exponents.min()), int(exponents.max())
    # A product has so many bits before and behind its point (`weight_exponential`).
    room = width + data.format.width
    if data.format.int_bits + high > room:
        raise HwsimError(
            f"products with {name} must keep all bits in {room} before the point, not be of "
            f"{data.format} with factors of up to 2**{high}"
        )
    kept = room if data.format.frac_bits - low > room else None
    fmt = Format(True, (high if kept is None else max(high, 0)) + 2, -low)  # then 1 is a factor
    if fmt.width > MOST_WEIGHT_BITS:
        raise HwsimError(
            f"{name} must span at most 2**{MOST_WEIGHT_BITS - 2}, not 2**{low} to 2**{high}"
        )
    codes = np.where(values < 0, -1, 1) << (exponents - low)
    return Factors(codes, fmt, kept)


def signs(build: LayerBuilder, edge: str, name: str, precision: Any) -> str:
    """The edge itself, or where its codes 0 and 1 are signs one of -1 and 1, called `name`."""
    if not is_sign(precision):
        return edge
    channels = build.types[edge].channels
    op = BatchNorm(
        scale=np.full(channels, 2), bias=np.full(channels, -1), scale_format=Format.int(3)
    )
    return build.add(name, op, edge)
