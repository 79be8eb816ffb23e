"""Step functions of a code: a factor and an offset a channel, and an assignment that cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.forms.adders import FittedSum, WeightedSum, choose_add
from hwsim.forms.narrow import narrowest
from hwsim.forms.requantizers import Affine, Output
from hwsim.forms.thresholds import StepFunction, thresholds
from hwsim.graph import Node
from hwsim.hls4ml_project.affine import affine_layer, at_channel
from hwsim.hls4ml_project.draft import Draft, require
from hwsim.hls4ml_project.lookup import lookup
from hwsim.hls4ml_project.precision import Assigned, units
from hwsim.ops import Requantize, ScaledAdd, Thresholds

MOST_STEPS = 4096
"""Codes of an output whose thresholds are looked for."""


@dataclass(frozen=True, slots=True)
class Ends:
    """A type whose assignment cuts at the ends of some codes, `offset` further up."""

    type: Assigned
    offset: int

    @classmethod
    def of(
        cls, low: int, high: int, rounding: Rounding = Rounding.TRN, *, odd: bool | None = None
    ) -> Ends | None:
        """Of codes from `low` to `high`; with `odd` by an odd offset only, or by an even one."""
        count = high - low + 1
        bits = count.bit_length() - 1
        if count == 1 << bits and bits:
            for signed in (low < 0, low >= 0):
                fmt = Format(signed, bits, 0)
                if odd is None or (fmt.min - low) % 2 == odd:
                    return cls(Assigned(fmt, rounding, Overflow.SAT), fmt.min - low)
        if count + 1 == 1 << count.bit_length() and count > 1:
            middle = -(low + high) // 2
            if odd is None or middle % 2 == odd:
                fmt = Format(True, count.bit_length(), 0)
                return cls(Assigned(fmt, rounding, Overflow.SAT_SYM), middle)
        return None


def by_steps(draft: Draft, node: Node, op: Requantize) -> None:
    """A requantizer by any factors: where its thresholds lie on a line, that line."""
    kind, out = draft.kind(node.inputs[0]), draft.kind(node.output)
    require(op.out.max - op.out.min < MOST_STEPS, "a requantizer must give at most 12 bits")
    found = narrowest(thresholds(op, kind.lo, kind.hi), Output(format=op.out), shared=False)
    if found is None:
        raise HwsimError("its thresholds must lie on a line, and do not")
    ends = Ends.of(op.out.min, op.out.max)
    assert ends is not None  # of a format
    channels = range(kind.channels)
    made = [(1, -out.zero_point, at_channel(units(out), c)) for c in channels]
    _lay(draft, node, found, ends, made)


def by_line(draft: Draft, node: Node, op: Thresholds) -> bool:
    """Write many thresholds as a line, where they lie on one; whether they do."""
    kind, out = draft.kind(node.inputs[0]), draft.kind(node.output)
    count = op.values.shape[1]
    ends = Ends.of(0, count)
    if ends is None:
        return False
    low, high = (np.full(op.rows, end) for end in (kind.lo, kind.hi))
    at = np.clip(op.values.T, kind.lo, kind.hi + 1)
    steps = StepFunction(low, high, 0, count, at)
    found = narrowest(steps, Output(format=Format.holding(0, count)), shared=False)
    if found is None:
        return False
    step, base = op.step.tolist(), [int(b) - out.zero_point for b in op.base]
    sides = step, base, units(out)
    made = [tuple(at_channel(side, c) for side in sides) for c in range(kind.channels)]
    _lay(draft, node, found, ends, made)
    return True


def _lay(
    draft: Draft, node: Node, line: Affine, ends: Ends, made: Sequence[tuple[int, ...]]
) -> None:
    """A line into codes that an assignment cuts, and what those stand for.

    `made` has for each channel the step and the base of the codes less their zero point, and the
    binary point of what they stand for.
    """
    source = node.inputs[0]
    kind = draft.kind(source)
    given, codes = units(kind), f"{node.output}/codes"
    factors, offsets = [], []
    for c in range(kind.channels):
        m, r, shift = (at_channel(values, c) for values in (line.m, line.r, line.shift))
        unit = Fraction(2) ** at_channel(given, c)
        factors.append(Fraction(m, 1 << shift) * unit)
        offsets.append(Fraction(kind.zero_point * m + r, 1 << shift) + ends.offset)
    points = {(step, base, v) for step, base, v in made}
    if len(points) == 1:
        ((step, base, point),) = points
        if step == 1 and base == ends.offset:  # the cut codes are what is wanted
            scaled = [[f * Fraction(2) ** -point for f in side] for side in (factors, offsets)]
            affine_layer(draft, node.output, ends.type.scaled(-point), source, *scaled)
            return
    affine_layer(draft, codes, ends.type, source, factors, offsets)
    draft.like(codes, node.output)
    scale = [Fraction(2) ** -v * step for step, _, v in made]
    bias = [Fraction(2) ** -v * (base - step * ends.offset) for step, base, v in made]
    edge, result = draft.result(node)
    affine_layer(draft, edge, result, codes, scale, bias)


FEW_THRESHOLDS = 3
"""Of a channel: more of them are written as a line, where they lie on one."""

MOST_THRESHOLDS = 16
"""Of a channel: each is a comparison of its own."""

STEP = Assigned(Format(True, 1, 0), Rounding.TRN, Overflow.SAT)
"""What keeps the sign of a number: -1 below 0, else 0."""


def write_thresholds(draft: Draft, node: Node) -> None:
    """Thresholds as comparisons: the sign of each difference, and the sum of all."""
    op, source = node.op, node.inputs[0]
    assert isinstance(op, Thresholds)
    kind, out = draft.kind(source), draft.kind(node.output)
    rows, count = op.values.shape
    if count > FEW_THRESHOLDS and by_line(draft, node, op):
        return
    require(
        count <= MOST_THRESHOLDS,
        f"there must be at most {MOST_THRESHOLDS} thresholds a channel that lie on no line, not "
        f"{count}",
    )
    given, made, channels = units(kind), units(out), range(kind.channels)
    values = np.clip(op.values, kind.lo, kind.hi + 1)
    edges = []
    for place in range(count):
        bias = [kind.zero_point - int(values[c % rows, place]) for c in channels]
        edges.append(f"{node.output}/step{place}")
        ones = [Fraction(1)] * kind.channels
        affine_layer(draft, edges[-1], STEP, source, ones, _at_point(bias, given))
    total = edges[0]
    for place, edge in enumerate(edges[1:], start=2):
        total, before = f"{node.output}/sum{place}", total
        held = Assigned(Format.holding(-place, 0))
        draft.like(total, node.output)
        draft.add("Merge", total, held, [draft.names[before], draft.names[edge]], op="add")
    step, base = ([int(array[c % array.size]) for c in channels] for array in (op.step, op.base))
    offset = [b + s * count - out.zero_point for b, s in zip(base, step, strict=True)]
    edge, result = draft.result(node)
    affine_layer(draft, edge, result, total, _at_point(step, made), _at_point(offset, made))


def _at_point(codes: list[int], points: list[int]) -> list[Fraction]:
    """Codes of each channel at its binary point."""
    return [code * Fraction(2) ** -at_channel(points, c) for c, code in enumerate(codes)]


def write_scaled_add(draft: Draft, node: Node) -> None:
    """Two codes times a factor each, or by a table each; their sum is rounded and cut."""
    op, out = node.op, draft.kind(node.output)
    assert isinstance(op, ScaledAdd)
    kinds = [draft.kind(edge) for edge in node.inputs]
    require(
        all(kind.shape == out.shape for kind in kinds),
        f"two tensors that meet must have one shape, not {kinds[0].shape} and {kinds[1].shape}",
    )
    form = choose_add(op, *kinds)
    if not isinstance(form, WeightedSum | FittedSum):
        raise HwsimError("a scaled add must be a sum of two factors or tables, and is none")
    zero, ties = form.out.zero_point, form.rounding is not Rounding.TRN
    # Where ties go to the even code, moving codes by an odd number changes them.
    ends = Ends.of(op.out.min, op.out.max, form.rounding, odd=zero % 2 == 1 if ties else None)
    if ends is None:
        raise HwsimError("a scaled add that rounds to even must have an even zero point")
    point, direct = units(out)[0], ends.offset == -out.zero_point
    worth = point if direct else 0
    terms = [f"{node.output}/{place}" for place in range(2)]
    for place, (edge, source, kind) in enumerate(zip(terms, node.inputs, kinds, strict=True)):
        codes = np.arange(kind.lo, kind.hi + 1)
        first = 0 if place else zero + ends.offset << form.shift
        if isinstance(form, WeightedSum):
            m, first = (form.ma, form.mb)[place], first + (0 if place else form.r)
            values = codes * m + first
        else:
            values = np.array((form.table_a, form.table_b)[place]) + first
        frac = form.shift + worth
        held = Format.holding(min(int(values.min()), -1), int(values.max()), frac)
        if isinstance(form, WeightedSum):
            unit = Fraction(2) ** -frac
            factor = m * Fraction(2) ** units(kind)[0] * unit
            offset = (kind.zero_point * m + first) * unit
            each = kind.channels
            affine_layer(draft, edge, Assigned(held), source, [factor] * each, [offset] * each)
        else:
            lookup(draft, edge, source, values, f"node {node.name!r}'s table", held)
        draft.like(edge, source)
    met = node.output if direct else f"{node.output}/codes"
    draft.add("Merge", met, ends.type.scaled(-worth), [draft.names[e] for e in terms], op="add")
    if direct:
        return
    draft.like(met, node.output)
    edge, result = draft.result(node)
    scale, bias = Fraction(2) ** -point, -(ends.offset + out.zero_point) * Fraction(2) ** -point
    affine_layer(draft, edge, result, met, [scale] * out.channels, [bias] * out.channels)
