"""Rows of codes less their mean over their deviation: exact sums, and one reciprocal root.

With n codes in a row and d = n * code - (their sum), the result is d * sqrt(n) over the square root
of (sum of d**2) + eps * n**3 / scale**2, times a factor and plus an offset a channel. Runtimes
compute all of it in float32; here only the root, its product with d and the result are rounded,
finer than that. Where no mean is taken off, d is the code, and eps * n / scale**2 is added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Codes, Level, Real, Scaled
from hwsim.ops import (
    BatchNorm,
    Mul,
    Quant,
    Reduce,
    Reduction,
    Relu,
    Requantize,
    Reshape,
    Rsqrt,
    Scheme,
    Sub,
)

PRECISE = 25  # bits of the smallest root, where they fit
LEAST_PRECISE = 14
WIDEST = 63  # bits of a row's squares, which are below 2**63
SHORT = 27  # bits of the largest distance of wide codes, as many as a float32 has and more
MOST = 61  # bits of a product with a root
FRACTION = 24  # bits of a normalized code


@dataclass(frozen=True, slots=True, eq=False)
class Normalization:
    """What normalizes: a node with its constants; `title` is what sentences call it.

    Where it is not `centred`, no mean is taken off.
    """

    name: str
    title: str
    epsilon: float
    factor: npt.NDArray[np.generic]
    offset: npt.NDArray[np.generic]
    centred: bool = True

    def __str__(self) -> str:
        return self.title


def normalized(
    run: TensorBuilder, at: Normalization, level: Level, codes: Codes, places: tuple[int, ...]
) -> Real:
    """The normalized tensor, still to be rounded; `places` are the edge's axes of one row."""
    kind = run.types[codes.edge]
    # Groups lie apart only as long as they are normalized.
    grouped = len(kind.shape) > len(codes.layout.shape)
    physical = (*kind.shape[:-2], codes.layout.shape[0]) if grouped else kind.shape
    channels = physical[-1]
    factor, offset = (np.asarray(array, np.float64).ravel() for array in (at.factor, at.offset))
    if any(array.size not in (1, channels) for array in (factor, offset)):
        raise HwsimError(f"{at}: its factors and offsets must be one, or one for each channel")
    if not (np.isfinite(factor).all() and np.isfinite(offset).all()):
        raise HwsimError(f"{at}: its factors and offsets must be finite")
    epsilon = at.epsilon
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise HwsimError(f"{at}: 'epsilon' must be a finite number above 0, not {epsilon}")
    n = math.prod(kind.shape[place] for place in places)
    name, distance = at.name, _distances(run, at, level, codes, places, n)
    distance, dropped = _shortened(run, name, distance, n)
    widest = (n * run.types[distance].magnitude ** 2).bit_length()
    if widest > WIDEST:
        raise HwsimError(
            f"{at}: the squares of its input must fit {WIDEST} bits, not {widest}; put "
            f"{run.a_quantizer} before it, or one of fewer bits"
        )
    product = Mul(quant=Quant((1.0,)))
    squares = run.emit(f"{name}.squares", product, [distance, distance], f"{name}.squares")
    add = Reduce(reduction=Reduction.SUM, axes=places)
    total = run.emit(f"{name}.spread", add, [squares], f"{name}.spread")
    # Squares are not below 0, which the bounds of a product do not know.
    total = run.emit(f"{name}.positive", Relu(), [total], f"{name}.positive")
    under = (
        epsilon
        * float(n) ** (3 if at.centred else 1)
        / (float(np.float32(level.scale)) * 2.0**dropped) ** 2
    )
    bits = _bits(at, run.types[distance].magnitude, run.types[total].hi, under)
    root = run.emit(
        f"{name}.root", Rsqrt(offset=under, bits=bits, quant=Quant((1.0,))), [total], f"{name}.root"
    )
    wide = run.emit(f"{name}.product", product, [distance, root], f"{name}.product")
    unit = math.sqrt(n) * 2.0**-FRACTION
    rounding = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0 ** (FRACTION - bits),),
        out=Format.int(FRACTION + 2),
        quant=Quant((unit,)),
    )
    edge = run.emit(f"{name}.normal", rounding, [wide], f"{name}.normal")
    layout = codes.layout
    if layout.physical != physical:
        edge = run.emit(f"{name}.whole", Reshape(shape=physical), [edge], f"{name}.whole")
        layout = replace(layout, physical=physical)
    held = Codes(edge, rounding.out, layout)
    return Real(Scaled(name, Level(held, unit, 0), factor, offset), layout)


def _distances(
    run: TensorBuilder,
    at: Normalization,
    level: Level,
    codes: Codes,
    places: tuple[int, ...],
    n: int,
) -> str:
    """The edge of n times each code less the sum of its row, or of the codes less their zero."""
    codes = _whole(run, at.name, codes)
    kind, zero = run.types[codes.edge], level.zero_point
    if not at.centred:
        return _from_zero(run, at, codes, zero)
    mean = Reduce(reduction=Reduction.MEAN, axes=places, zero_point=zero)
    total = run.emit(f"{at.name}.total", mean, [codes.edge], f"{at.name}.total")
    times = BatchNorm(
        scale=np.full(kind.channels, n),
        bias=np.full(kind.channels, -n * zero),
        scale_format=Format.holding(0, n),
        quant=run.types[total].quant,
    )
    scaled = run.emit(f"{at.name}.times", times, [codes.edge], f"{at.name}.times")
    return run.emit(f"{at.name}.distance", Sub(), [scaled, total], f"{at.name}.distance")


def _from_zero(run: TensorBuilder, at: Normalization, codes: Codes, zero: int) -> str:
    if not zero:
        return codes.edge
    kind = run.types[codes.edge]
    less = BatchNorm(
        scale=np.ones(kind.channels, np.int64),
        bias=np.full(kind.channels, -zero),
        scale_format=Format.holding(0, 1),
        quant=Quant((1.0,)),
    )
    return run.emit(f"{at.name}.distance", less, [codes.edge], f"{at.name}.distance")


def _whole(run: TensorBuilder, name: str, codes: Codes) -> Codes:
    """The same codes as whole numbers with a scale, where their format has the power of two."""
    kind = run.types[codes.edge]
    if kind.quant is not None:
        return codes
    held = kind.format
    out = Format(held.signed, held.width, 0)
    rule = Requantize(
        scheme=Scheme.SHIFT, multiplier=(1.0,), out=out, quant=Quant((2.0**-held.frac_bits,))
    )
    edge = run.emit(f"{name}.codes", rule, [codes.edge], f"{name}.codes")
    return replace(codes, edge=edge, format=out)


def _shortened(run: TensorBuilder, name: str, distance: str, n: int) -> tuple[str, int]:
    """Distances whose n squares add up, and how many bits they lost: none of narrow codes."""
    room = min(SHORT, (WIDEST - 1 - (n - 1).bit_length()) // 2)
    extra = run.types[distance].magnitude.bit_length() - room
    if extra <= 0:
        return distance, 0
    rounding = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0**-extra,),
        out=Format.int(room + 1),
        quant=Quant((1.0,)),
    )
    return run.emit(f"{name}.short", rounding, [distance], f"{name}.short"), extra


def _bits(at: Normalization, distance: int, spread: int, under: float) -> int:
    """Bits of a reciprocal root: PRECISE for the largest number under it, as far as they fit."""
    wanted = PRECISE + math.ceil(math.log2(spread + under) / 2)
    room = MOST - distance.bit_length() + math.floor(math.log2(under) / 2)
    if min(wanted, room) < wanted - PRECISE + LEAST_PRECISE:
        raise HwsimError(
            f"{at}: 'epsilon' must be larger beside the square of its input's scale, so that its "
            f"roots fit {MOST} bits"
        )
    return min(wanted, room)
