"""How many sums come so near to a tie that a float32 may round them the other way.

They are counted: codes are drawn, the Graph's exact operators make sums of them, and those near a
tie are compared with how many there would be if sums lay anywhere. Scales with few digits, equal
scales and shares of a half meet ties far more often.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum

import numpy as np
import numpy.typing as npt

from hwsim.frontends.shared.builder import Builder
from hwsim.graph import Node
from hwsim.ops import Carrier, Conv, Requantize, TensorType
from hwsim.ops.base import IntArray

SAMPLES = 1 << 15  # sums that are drawn
FEW = 1 << 18  # whose sums are all tried, or so many of them
MOST_FACTORS = 16  # of channels that are tried so
MOST_WORK = 1 << 22  # multiplications and elements of one drawing
MOST_NODES = 64
LEAF_BITS = 16  # codes of at most so many bits are drawn, others computed
REACHES = (2.0**-20, 2.0**-23)  # of a float32's errors, beside a sum in steps of the result
TIMES, LEAST = 3.0, 8  # so much more often than by chance, and so many at least
Steps = npt.NDArray[np.float64]


class Drawing(Enum):
    """Which codes are drawn."""

    ALL = "from all over the range"
    ALIKE = "nearly alike"
    ENDS = "half of the rows at the ends of the range"


def share_of_ties(run: Builder, rounding: Requantize, edge: str) -> float:
    """The largest share of sums near a tie among kinds of random codes; 0: no more than by chance.

    `rounding` reads the sums on `edge`.
    """
    drawn, kind = list(_drawn(run, edge)), run.types[edge]
    if kind.hi - kind.lo < FEW:
        drawn.append(np.arange(kind.lo, kind.hi + 1)[:, None])
    elif not drawn:
        drawn = [np.linspace(kind.lo, kind.hi, FEW).astype(np.int64)[:, None]]
    return max(_of(rounding, values) for values in drawn)


def _of(rounding: Requantize, values: IntArray) -> float:
    factors = np.array(rounding.multiplier)
    if values.shape[-1] == 1 and len(factors) > 1:
        return max(
            _of(replace(rounding, multiplier=(factor,)), values)
            for factor in sorted(set(rounding.multiplier))[:MOST_FACTORS]
        )
    steps: Steps = (values - rounding.input_zero_point) * factors
    low, high = rounding.out.min - rounding.zero_point, rounding.out.max - rounding.zero_point
    steps = steps[(steps > low - 1) & (steps < high + 1)]
    if not steps.size:
        return 0.0
    away = np.abs(steps - np.floor(steps) - 0.5)
    found = 0.0
    for reach in REACHES:
        errors = reach * (np.abs(steps) + 1)
        near, chance = np.count_nonzero(away <= errors), float(np.minimum(2 * errors, 1).sum())
        if near > TIMES * chance + LEAST:
            found = max(found, near / steps.size)
    return found


def _drawn(run: Builder, edge: str) -> Iterator[IntArray]:
    """Sums of codes of each kind; none where there is too much to compute.

    What the last codes are computed of is drawn too, since codes of one tensor belong together.
    """
    near, whole = (_needed(run, edge, most) for most in (LEAF_BITS, 0))
    if near is not None:
        yield from _sums(run, edge, near, tuple(Drawing))
    if whole is not None and whole != near:
        yield from _sums(run, edge, whole, (Drawing.ALL,))


def _sums(
    run: Builder, edge: str, order: list[Node], drawings: tuple[Drawing, ...]
) -> Iterator[IntArray]:
    kinds = dict(run.types)
    one = order[-1]
    if len(order) == 1 and isinstance(one.op, Conv):  # some places of a map are enough
        kind = kinds[one.inputs[0]]
        sizes = zip(kind.shape[:-1], one.op.window.kernel, strict=True)
        places = tuple(min(size, 4 * kernel) for size, kernel in sizes)
        kinds[one.inputs[0]] = kind.with_shape((*places, kind.shape[-1]))
    work = 0
    for node in order:
        given = [kinds[name] for name in node.inputs]
        made = node.op.output_types(given)
        kinds.update(zip(node.outputs, made, strict=True))
        work += node.op.work(given).macs + sum(each.size for each in (*given, *made))
    if work > MOST_WORK:
        return
    rows = max(1, min(math.ceil(SAMPLES / kinds[edge].size), MOST_WORK // max(work, 1)))
    for drawing in drawings:
        held = _computed(order, kinds, rows, drawing)
        yield held[edge].reshape(-1, kinds[edge].channels)


def _computed(
    order: list[Node], kinds: dict[str, TensorType], rows: int, drawing: Drawing
) -> dict[str, IntArray]:
    rng = np.random.default_rng(0)  # the same warnings each time
    made = {name for node in order for name in node.outputs}
    held: dict[str, IntArray] = {}
    for node in order:
        for name in node.inputs:
            if name not in held and name not in made:
                held[name] = _codes(kinds[name], rows, rng, drawing)
        given = [kinds[name] for name in node.inputs]
        constants = node.op.prepare(given, Carrier.INT64)
        out = node.op.run(np, [held[name] for name in node.inputs], constants)
        several = out if isinstance(out, tuple) else (out,)
        held.update(zip(node.outputs, several, strict=True))
    return held


def _codes(kind: TensorType, rows: int, rng: np.random.Generator, drawing: Drawing) -> IntArray:
    low, high = kind.lo, kind.hi
    if drawing is Drawing.ALIKE:
        middle = (low + high) // 2
        low, high = max(low, middle - 1), min(high, middle + 1)
    codes: IntArray = rng.integers(low, high + 1, (rows, *kind.shape))
    if drawing is Drawing.ENDS:
        end = rng.choice([low, high], (rows, *kind.shape))
        codes = np.where(rng.random((rows, *(1,) * len(kind.shape))) < 0.5, end, codes)
    return codes


def _needed(run: Builder, edge: str, most: int) -> list[Node] | None:
    """The nodes from codes of at most so many bits to an edge; None where they are too many."""
    makers = {name: node for node in run.nodes for name in node.outputs}
    wanted, found = [edge], dict[str, Node]()
    while wanted:
        name = wanted.pop()
        node = makers.get(name)
        narrow = name != edge and run.types[name].format.width <= most
        if node is None or narrow:
            continue
        carriers = node.op.carriers([run.types[given] for given in node.inputs])
        if Carrier.INT64 not in carriers or len(found) > MOST_NODES:
            return None
        if node.outputs[0] not in found:
            found[node.outputs[0]] = node
            wanted += node.inputs
    return [node for node in run.nodes if node.outputs[0] in found]
