"""How many codes lie so near a tie that float32 may decide otherwise than the exact result.

Where an edge has few codes all are tried; `shares.py` draws some of those that have many.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.shared.exact_sums import totalled
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.values import FloatArray, Level, Mean, Scaled, Total
from hwsim.ops import BatchNorm, Carrier, ChannelTable, Mul, PairTable, Requantize, TensorType

MOST_SUMS = 1 << 20  # of an average that are tried one by one
EXACT_FLOAT = 1 << 24  # whole numbers below it are exact in float32
ROUGH = 2.0**-13  # steps of the result
ROUGH_SHARE = 2.0**-21  # of a result's distance from its zero point, where that is more


def tried_product(run: Importer, a: Level, b: Level, by: Quantizer) -> tuple[int, int]:
    """All pairs of codes, and for how many of them the Graph's product is rounded otherwise."""
    reals = [_all_reals(run, level)[:, 0] for level in (a, b)]
    theirs = by.codes((reals[0][:, None] * reals[1]).ravel())
    edges = a.codes.edge, b.codes.edge
    both = [n for n in run.nodes if n.inputs == edges and isinstance(n.op, Mul | PairTable)]
    product = both[-1]
    if isinstance(product.op, PairTable):
        return theirs.size, 0  # a function of the product: the runtime's own codes
    rounding = next(n for n in reversed(run.nodes) if n.inputs == product.outputs)
    kinds = [run.types[edge] for edge in edges]
    codes = np.meshgrid(*(np.arange(kind.lo, kind.hi + 1) for kind in kinds), indexing="ij")
    whole = product.op.run(np, [part.reshape(-1, 1) for part in codes], {})
    constants = rounding.op.prepare([run.types[product.output]], Carrier.INT64)
    ours = rounding.op.run(np, [whole], constants).ravel()
    return ours.size, int(np.count_nonzero(ours != theirs))


def _all_reals(run: Importer, level: Level) -> FloatArray:
    """What all codes mean, in every channel."""
    kind = run.types[level.codes.edge]
    codes = np.repeat(np.arange(kind.lo, kind.hi + 1)[:, None], kind.channels, axis=1)
    return (codes - level.zero_point).astype(np.float32) * np.float32(level.scale)


def tried_line(run: Importer, source: Scaled, level: Level, by: Quantizer) -> tuple[int, int]:
    """Codes in all channels, and how many of them the Graph rounds otherwise."""
    assert source.function is not None
    kind = run.types[level.codes.edge]
    codes = np.repeat(np.arange(kind.lo, kind.hi + 1)[:, None], kind.channels, axis=1)
    theirs = by.codes(source.function(_all_reals(run, level)))
    edge, ours = level.codes.edge, codes
    if any(
        isinstance(n.op, ChannelTable) and n.inputs == (edge,) and n.op.quant == by.quant
        for n in run.nodes
    ):
        return codes.size, 0  # the runtime's own codes
    for op in (BatchNorm, Requantize):
        node = next(n for n in reversed(run.nodes) if n.inputs == (edge,) and isinstance(n.op, op))
        constants = node.op.prepare([run.types[edge]], Carrier.INT64)
        ours, edge = node.op.run(np, [ours], constants), node.output
    return codes.size, int(np.count_nonzero(ours != theirs))


def near_means(run: Importer, source: Mean, by: Quantizer) -> float:
    """The share of all sums whose mean lies so near a tie that float32 may decide otherwise.

    Integer kernels of global averages are followed exactly, and powers of two have no errors.
    """
    if source.whole and not source.in_reals:
        return 0.0
    counts = {source.window.size} if source.counts is None else set(source.counts.ravel().tolist())
    scales = (source.input.scale, by.scale, *counts)
    kind = run.types[run.sums[source]]
    if all(math.frexp(scale)[0] == 0.5 for scale in scales) and kind.magnitude < EXACT_FLOAT:
        return 0.0
    if all(_followed(run, kind, source, by, count) for count in counts):
        return 0.0
    return max(_ties_of(kind, source, by, count) for count in counts)


def near_totals_of(run: Importer, source: Total, by: Quantizer) -> float:
    """The share of sums along axes that lie so near a tie that float32 may decide otherwise."""
    edge, unit = totalled(run, source)
    kind, step = run.types[edge], float(unit[0]) / by.scale
    exact = all(math.frexp(scale)[0] == 0.5 for scale in (float(unit[0]), by.scale))
    if exact and kind.magnitude < EXACT_FLOAT:
        return 0.0
    terms = run.types[source.input.codes.edge].size // kind.size
    return _near_totals(kind, step, by, terms)


def _followed(run: Importer, kind: TensorType, source: Mean, by: Quantizer, count: int) -> bool:
    """Whether all sums over `count` elements give the codes of the runtime's integer kernel.

    That is tried where its sums in float32 are exact: scales that are powers of two.
    """
    exact = math.frexp(source.input.scale)[0] == 0.5 and kind.magnitude < EXACT_FLOAT
    if source.in_reals or not exact or kind.hi - kind.lo >= MOST_SUMS:
        return False
    alone = replace(source, counts=np.full((1, 1), count))
    (op,) = by.mean(run, run.sums[source], alone)
    sums = np.arange(kind.lo, kind.hi + 1)
    ours = op.run(np, [sums[:, None].astype(np.float64)], op.prepare([kind], Carrier.FLOAT64))
    mean = (sums * source.input.scale).astype(np.float32) / np.float32(count)
    theirs = np.rint(mean / np.float32(by.scale) + np.float32(by.zero_point))
    return np.array_equal(ours.ravel(), np.clip(theirs, by.format.min, by.format.max))


def _ties_of(kind: TensorType, source: Mean, by: Quantizer, count: int) -> float:
    """The share of sums near a tie where windows hold `count` elements."""
    return _near_totals(kind, source.input.scale / (by.scale * count), by, count)


def _near_totals(kind: TensorType, step: float, by: Quantizer, count: int) -> float:
    """The share of sums of `count` terms, in steps of the result, that lie near a tie."""
    if kind.hi - kind.lo >= MOST_SUMS:  # too many to try: as likely as the errors are large
        reach = min(kind.magnitude * step, by.format.max - by.format.min)
        return min(1.0, (count + 8) * 2.0**-23 * (reach + 1))
    means = np.arange(kind.lo, kind.hi + 1) * step
    inside = (means > by.format.min - by.zero_point - 1) & (
        means < by.format.max - by.zero_point + 1
    )
    errors = (count + 8) * 2.0**-24 * (np.abs(means) + abs(by.zero_point) + 1)
    near = np.abs(means - np.floor(means) - 0.5) <= errors
    return float((near & inside).sum() / inside.sum()) if inside.any() else 1.0


def near_ties(reals: FloatArray, by: Quantizer) -> float:
    """The share of reals that lie so near a tie that other last bits give another code."""
    steps = reals.astype(np.float64) / by.scale
    lowest, highest = by.format.min - by.zero_point - 1, by.format.max - by.zero_point + 1
    inside = (steps > lowest) & (steps < highest)
    errors = np.maximum(ROUGH, np.abs(steps) * ROUGH_SHARE)
    with np.errstate(invalid="ignore"):  # infinite ones are not inside
        near = np.abs(steps - np.floor(steps) - 0.5) < errors
    return float((near & inside).sum() / near.size)
