"""LOG_SOFTMAX of codes: what a distance gives is a row of thresholds on the row's sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.tflite import gemmlowp
from hwsim.frontends.tflite.fixed_point import LONG
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import KernelSet, only
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.softmax import distances, gemmlowp_sum
from hwsim.ops import Add, ChosenThresholds, Quant, Requantize, Scheme
from hwsim.ops.base import IntArray
from hwsim.ops.share import MOST_SUM

FIXED = {
    "int8": (KernelSet.TFLM, KernelSet.REFERENCE),
    "uint8": (KernelSet.REFERENCE,),
}
"""Kernel sets without floats; those of the others depend on the row's largest code, too."""

STEP = 2.0**-4  # of the result
CODES = 256
SUM_BITS, LOG_BITS = 12, gemmlowp.INTEGER_BITS  # integer bits of a sum and of its logarithm
RIGHT = 22  # bits of a logarithm that a code drops
NOISE = 8  # last bits that the kernel's logarithm is at most off
DISTANCE, WIDE = Format.uint(8), Format.int(10)


def log_softmax(run: LiteImporter, node: LiteNode) -> None:
    """Distances to the row's largest code less the logarithm of their exponentials' sum."""
    given, made, edge = run.tensor(node, 0), run.made(node), run.edge(node)
    if given.dtype not in FIXED or made.dtype != given.dtype:
        raise HwsimError(
            f"{node}: it must be of int8, or of uint8, not {given.dtype} and {made.dtype}"
        )
    if run.like not in FIXED[given.dtype]:
        raise only(f"{node} of {given.dtype}", FIXED[given.dtype])
    result, out = run.meaning(made), run.format(made)
    if (float(result.scale), result.zero_point) != (STEP, out.max):
        raise HwsimError(
            f"{node}: its output must have scale 1/16 and zero point {out.max}, not "
            f"{result.scale} and {result.zero_point}"
        )
    name, scale = run.label(made), float(run.meaning(given).scale)
    below = distances(run, name, edge)
    total = gemmlowp_sum(run, name, below, gemmlowp.exponentials(scale, 1.0))
    kind = run.types[total]
    if kind.hi > MOST_SUM:
        raise HwsimError(f"{node}: its rows must have fewer than {1 << SUM_BITS} codes")
    rows = LogRows.of(scale, kind.lo, kind.hi)
    quant, base = run.meant(made), rows.base + out.max
    row = run.emit(f"{name}.row", plain(DISTANCE), [below], f"{name}.row")
    if not rows.back.size:
        falling = ChosenThresholds(
            values=rows.falling, base=base, step=np.full(CODES, -1), out=out, quant=quant
        )
        run.give(node, [falling], row, total)
        return
    edges = []
    for part, values, first, step in (
        ("falling", rows.falling, base, -1),
        ("back", rows.back, np.zeros(CODES, np.int64), 1),
    ):
        steps = ChosenThresholds(values=values, base=first, step=np.full(CODES, step), out=WIDE)
        edges.append(run.emit(f"{name}.{part}", steps, [row, total], f"{name}.{part}"))
    run.give(node, [Add(), plain(out, quant)], *edges)


def plain(out: Format, quant: Quant | None = None) -> Requantize:
    """Codes of another format, as they are."""
    return Requantize(scheme=Scheme.SHIFT, multiplier=(1.0,), out=out, zero_point=0, quant=quant)


@dataclass(frozen=True, slots=True)
class LogRows:
    """For each distance the sums at which the result falls by one, and where it comes back.

    The kernel's logarithm is not monotone in its last bits where sums are large. `base` is what the
    least sum gives.
    """

    falling: IntArray
    back: IntArray
    base: IntArray

    @classmethod
    def of(cls, scale: float, low: int, high: int) -> LogRows:
        """For codes of that scale and sums from `low` to `high`."""
        scaled, near = gemmlowp.distances(scale, 1.0)
        steps = np.arange(1, CODES)
        levels = (steps << RIGHT) - (1 << RIGHT - 1) + scaled[:, None]  # of logarithms
        least, most = (int(LONG.log(np.array([s]), SUM_BITS, LOG_BITS)[0]) for s in (low, high))
        always = levels < least - NOISE
        some = ~always & (levels <= most + NOISE) & near[:, None]
        base = np.where(near, -always.sum(axis=1), 1 - CODES)
        rows, wanted = np.nonzero(some)[0], levels[some]
        firsts, ends = _around(wanted, low, high)
        sizes = ends - firsts
        starts = np.cumsum(sizes) - sizes  # of the sums tried for each level, one after the other
        sums = np.arange(sizes.sum()) + np.repeat(firsts - starts, sizes)
        met = LONG.log(sums, SUM_BITS, LOG_BITS) >= np.repeat(wanted, sizes)
        np.subtract.at(base, rows, met[starts])
        turns = np.diff(met.astype(np.int64), prepend=0)
        turns[starts] = 0
        row_of = np.repeat(rows, sizes)
        falls, backs = (
            [sums[(turns == way) & (row_of == row)] for row in range(CODES)] for way in (1, -1)
        )
        return cls(_filled(falls, high + 1, 1), _filled(backs, high + 1, 0), base)


def _around(levels: IntArray, low: int, high: int) -> tuple[IntArray, IntArray]:
    """The sums whose logarithm may be that, but for `NOISE` last bits: the first, and the end."""
    one, unit = 2.0 ** (31 - SUM_BITS), 2.0 ** (31 - LOG_BITS)
    first, last = (
        (one * np.exp((levels + noise) / unit)).astype(np.int64) for noise in (-NOISE, NOISE)
    )
    first = np.clip(first - 1, low, high)
    return first, np.maximum(np.minimum(last + 2, high + 1), first + 1)


def _filled(rows: list[IntArray], never: int, least: int) -> IntArray:
    """Rows in order, of one length of at least so much, filled up with what no sum reaches."""
    filled = np.full((len(rows), max(least, *map(len, rows))), never, np.int64)
    for row, sums in zip(filled, rows, strict=True):
        row[: len(sums)] = np.sort(sums)
    return filled
