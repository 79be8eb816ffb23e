"""RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR."""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import F32, NARROW, KernelSet, only
from hwsim.frontends.tflite.model import LiteNode
from hwsim.ops import Dense, Op, Quant, Requantize, Scheme, Select, Transpose
from hwsim.ops.base import IntArray

FRACTION = 10  # bits of a share in the reference kernel, for each axis
FRACTION_XNNPACK = 11
MOST = 1 << 14  # places of an axis


def _sizes(run: LiteImporter, node: LiteNode) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Height and width before and after, and the channels."""
    shape = run.types[run.edge(node)].shape
    wanted = run.whole(node, 1)
    if len(shape) != 3 or len(wanted) != 2 or not 1 <= min(wanted) <= max(wanted) <= MOST:
        raise HwsimError(
            f"{node}: it must make a map of two sizes from 1 to {MOST}, not {wanted} of "
            f"{(1, *shape)}"
        )
    if node.options["align_corners"] and node.options["half_pixel"]:
        raise HwsimError(f"{node}: it must align corners or take half pixels, not both")
    return (shape[0], shape[1]), (wanted[0], wanted[1]), shape[2]


def nearest(run: LiteImporter, node: LiteNode) -> None:
    """The code of the nearest place, by the kernel's float32 arithmetic."""
    before, after, _ = _sizes(run, node)
    align, half = bool(node.options["align_corners"]), bool(node.options["half_pixel"])
    ops: list[Op] = []
    for axis, (size, wanted) in enumerate(zip(before, after, strict=True)):
        corners = align and wanted > 1
        step = F32(size - 1) / F32(wanted - 1) if corners else F32(size) / F32(wanted)
        places = np.arange(wanted).astype(F32) + F32(0.5 if half else 0)
        moved = places * step
        found = np.floor(moved + F32(0.5)) if align else np.floor(moved)
        indices = tuple(np.clip(found.astype(np.int64), 0, size - 1).tolist())
        if indices != tuple(range(size)):
            ops.append(Select(axis=axis, indices=indices))
    run.give(node, ops, run.edge(node))


def bilinear(run: LiteImporter, node: LiteNode) -> None:
    """Shares of the four nearest codes: whole numbers along each axis, rounded once."""
    before, after, _ = _sizes(run, node)
    edge, made = run.edge(node), run.made(node)
    align, half = bool(node.options["align_corners"]), bool(node.options["half_pixel"])
    xnnpack = run.like is KernelSet.XNNPACK and run.format(made).width <= NARROW
    if made.dtype == "uint8" and not xnnpack:  # whose kernels add in float32
        raise only(f"{node} of uint8", [KernelSet.XNNPACK])
    how = _shares_of_xnnpack if xnnpack else _shares
    rows, columns = (
        how(size, wanted, align=align, half=half)
        for size, wanted in zip(before, after, strict=True)
    )
    bits = 2 * (FRACTION_XNNPACK if xnnpack else FRACTION)
    quant, out = run.meaning(made), run.format(made)
    rounding = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0**-bits,),
        out=out,
        rounding=Rounding.RND if xnnpack else Rounding.RND_INF,
        quant=Quant((float(quant.scale),), quant.zero_point),
    )
    run.give(
        node,
        [
            Transpose(axes=(1, 2, 0)),
            _along(rows),
            Transpose(axes=(2, 1, 0)),
            _along(columns),
            Transpose(axes=(0, 2, 1)),
            rounding,
        ],
        edge,
    )


def _along(shares: IntArray) -> Dense:
    """The shares of an axis, that stands innermost."""
    lo, hi = int(shares.min()), int(shares.max())
    return Dense(
        weights=shares,
        bias=np.zeros(shares.shape[1], np.int64),
        weight_format=Format.holding(lo, hi),
        bias_frac=0,
    )


def _matrix(size: int, low: IntArray, high: IntArray, share: IntArray, one: int) -> IntArray:
    """What each place gives to each place of the result, (size, wanted)."""
    found = np.zeros((size, low.size), np.int64)
    places = np.arange(low.size)
    np.add.at(found, (low, places), one - share)
    np.add.at(found, (high, places), share)
    return found


def _shares(size: int, wanted: int, *, align: bool, half: bool) -> IntArray:
    """The reference kernel's, from a step of 10 bits; at the edges shares may be below 0."""
    one = 1 << FRACTION
    if align and wanted > 1:
        step = (one * (size - 1) + (wanted - 1) // 2) // (wanted - 1)
    else:
        step = (one * size + wanted // 2) // wanted
    moved = np.arange(wanted) * step + (step // 2 - one // 2 if half else 0)
    low = np.maximum(_toward_zero(moved, one), 0)
    if low.max() >= size:
        raise HwsimError(f"{wanted} places of {size} must not reach past them, as this step does")
    high = np.minimum(_toward_zero(moved + one - 1, one), size - 1)
    return _matrix(size, low, high, moved - one * low, one)


def _toward_zero(values: IntArray, by: int) -> IntArray:
    return np.where(values >= 0, values // by, -(-values // by))


def _shares_of_xnnpack(size: int, wanted: int, *, align: bool, half: bool) -> IntArray:
    """XNNPACK's, of 11 bits, from float32 positions."""
    one, corners = 1 << FRACTION_XNNPACK, int(align and wanted != 1)
    step = F32(size - corners) / F32(wanted - corners)
    moved = np.arange(wanted).astype(F32) * step
    if half and not align:
        moved = moved + F32(F32(0.5) * step - F32(0.5))
    moved = np.clip(moved, F32(0), F32(size - 1))
    low = moved.astype(np.int64)
    share = np.asarray(np.rint((moved - low.astype(F32)) * F32(one)), np.int64)
    return _matrix(size, low, np.minimum(low + 1, size - 1), share, one)
