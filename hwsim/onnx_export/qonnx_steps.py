"""Functions of one code in a QONNX file: a Quant, or thresholds that rise and fall."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow, round_int
from hwsim.forms.adders import WeightedSum, choose_add
from hwsim.graph import Node
from hwsim.onnx_export.qonnx_draft import DOMAIN, EXACT, MODES, QonnxDraft, broadcast, unit
from hwsim.ops import Carrier, Cast, Op, ScaledAdd, TensorType, Thresholds

MOST_STEPS = 4096
"""Of one channel, in what is written."""

MOST_CODES = 1 << 17
"""Codes of a channel that are tried one by one."""

IntArray = npt.NDArray[np.int64]


def write_rounding(sheet: QonnxDraft, node: Node) -> None:
    """A Quant where QONNX has the rounding, and else thresholds."""
    op, (source,) = node.op, node.inputs
    if not (isinstance(op, Cast) and _is_quant(op, sheet.kind(source))):
        write_each(sheet, node)
        return
    first = sheet.lies_first(source)
    made = sheet.quant(
        sheet.value(source, first=first),
        2.0**-op.out.frac_bits,
        op.out.width,
        signed=op.out.signed,
        narrow=op.overflow is Overflow.SAT_SYM and op.out.signed,
        mode=MODES[op.rounding],
    )
    sheet.put(node.output, made, first=first)


def _is_quant(op: Cast, x: TensorType) -> bool:
    """Whether Quant rounds so, and saturates where that is needed."""
    shift = x.format.frac_bits - op.out.frac_bits
    ends = [round_int(end, shift, op.rounding) for end in (x.lo, x.hi)]
    inside = op.out.min <= min(ends) and max(ends) <= op.out.max
    saturates = op.overflow in (Overflow.SAT, Overflow.SAT_SYM)
    # Quant of one signed bit has the codes -1 and 1.
    known = op.rounding in MODES and op.channels is None and op.out.width > op.out.signed
    return known and (saturates or inside) and op.out.width <= 24


def write_thresholds(sheet: QonnxDraft, node: Node) -> None:
    """A MultiThreshold; a base and a step of each channel's own follow as Mul and Add."""
    op, (source,) = node.op, node.inputs
    assert isinstance(op, Thresholds)
    x, out, first = sheet.kind(source), sheet.kind(node.output), sheet.lies_first(source)
    values = (np.clip(op.values, x.lo, x.hi + 1) - x.zero_point) * unit(x)
    _hold(x)
    base, step = op.base - out.zero_point, op.step
    if len(set(base.tolist())) == len(set(step.tolist())) == 1:
        ends = float(step[0]) * unit(out), float(base[0]) * unit(out)
        made = sheet.thresholds(source, values, step=ends[0], bias=ends[1], first=first)
    else:
        made = sheet.thresholds(source, values, step=1.0, bias=0.0, first=first)
        for name, numbers in (("Mul", step), ("Add", base)):
            constant = sheet.by_channel(numbers * unit(out), source, first=first)
            made = sheet.draft.add(name, [made, constant])
        made = sheet.again(made, out)
    sheet.put(node.output, made, first=first)


def _hold(x: TensorType) -> None:
    if max(abs(x.lo - x.zero_point), abs(x.hi + 1 - x.zero_point)) >= EXACT:
        raise HwsimError("thresholds must lie below 2**24, which QONNX's float32 holds")


def write_each(sheet: QonnxDraft, node: Node) -> None:
    """Any function of a code: thresholds where it rises, and others where it falls."""
    op, (source,) = node.op, node.inputs
    x, out, first = sheet.kind(source), sheet.kind(node.output), sheet.lies_first(source)
    _hold(x)
    low, up, down = steps_of(op, x)
    starts = (low - out.zero_point) * unit(out)
    one = len(set(starts.tolist())) == 1
    bias = float(starts[0]) if one else 0.0
    values = [(at - x.zero_point) * unit(x) for at in (up, down)]
    made = sheet.thresholds(source, values[0], step=unit(out), bias=bias, first=first)
    if not one:
        made = sheet.draft.add("Add", [made, sheet.by_channel(starts, source, first=first)])
    if down.size and (down <= x.hi).any():
        falls = sheet.thresholds(source, values[1], step=unit(out), bias=0.0, first=first)
        made = sheet.draft.add("Sub", [made, falls])
    if sheet.draft.nodes[-1].op != "MultiThreshold":
        made = sheet.again(made, out)
    sheet.put(node.output, made, first=first)


def steps_of(op: Op, x: TensorType) -> tuple[IntArray, IntArray, IntArray]:
    """The result for the smallest code, then the codes at which it rises by one and falls by one.

    All by channel; rows are filled up with one past the largest code.
    """
    flat = x.with_shape((x.channels,))
    if op.rises_to([flat]) == x.hi:
        return _rising(op, flat)
    if x.hi - x.lo >= MOST_CODES:
        raise HwsimError("it neither rises with its codes nor is of few enough to be tried")
    codes = np.arange(x.lo, x.hi + 1)[:, None].repeat(x.channels, axis=1)
    found = _run(op, flat, codes)
    moves = np.diff(found, axis=0)
    longest = int(np.abs(moves).sum(axis=0).max(initial=0))
    if longest > MOST_STEPS:
        raise HwsimError(f"it must step at most {MOST_STEPS} times, not {longest}")
    at = np.arange(x.lo + 1, x.hi + 1)
    ways = []
    for sign in (1, -1):
        rows = [np.repeat(at, np.maximum(sign * moves[:, c], 0)) for c in range(x.channels)]
        ways.append(_filled(rows, x.hi + 1))
    return found[0], ways[0], ways[1]


def _filled(rows: list[IntArray], past: int) -> IntArray:
    longest = max(1, *(len(row) for row in rows))
    return np.stack([np.pad(row, (0, longest - len(row)), constant_values=past) for row in rows])


def _rising(op: Op, x: TensorType) -> tuple[IntArray, IntArray, IntArray]:
    """By bisection, all thresholds at once."""
    ends = _run(op, x, np.array([[x.lo], [x.hi]]).repeat(x.channels, axis=1))
    low, high = int(ends[0].min()), int(ends[1].max())
    if high - low > MOST_STEPS:
        raise HwsimError(f"it must step at most {MOST_STEPS} times, not {high - low}")
    codes = np.arange(low + 1, high + 1)[:, None]
    first = np.full((high - low, x.channels), x.lo)
    last = np.full_like(first, x.hi + 1)
    while (first < last).any():
        middle = np.minimum((first + last) >> 1, x.hi)
        reached = _run(op, x, middle) >= codes
        reached |= middle >= last
        last = np.where(reached, np.minimum(middle, last), last)
        first = np.where(reached, first, np.minimum(middle + 1, last))
    none = np.zeros((x.channels, 0), np.int64)
    up = first.T if len(first) else np.full((x.channels, 1), x.hi + 1)
    return np.full(x.channels, low), up, none


def _run(op: Op, x: TensorType, codes: IntArray) -> IntArray:
    """The codes of an operator for rows of one code a channel."""
    some = op.carriers([x])
    carrier = Carrier.INT64 if Carrier.INT64 in some else some[-1]
    made = op.run(np, [codes.astype(carrier.value)], op.prepare([x], carrier))
    return np.asarray(made).astype(np.int64)


def write_scaled_add(sheet: QonnxDraft, node: Node) -> None:
    """Two factors, their sum and its thresholds, where such a sum has the codes of all pairs."""
    op, types, out = node.op, sheet.graph.input_types(node), sheet.kind(node.output)
    assert isinstance(op, ScaledAdd)
    form = choose_add(op, *types)
    if not isinstance(form, WeightedSum):
        raise HwsimError("no sum of both with whole factors has its codes")
    factors = form.ma, form.mb
    ends = [
        sorted(f * (end - kind.zero_point) for end in (kind.lo, kind.hi))
        for f, kind in zip(factors, types, strict=True)
    ]
    low, high = ends[0][0] + ends[1][0], ends[0][1] + ends[1][1]
    if max(abs(low), abs(high) + 1) >= EXACT:
        raise HwsimError(f"its sums must lie below 2**24, not reach {max(abs(low), abs(high))}")
    zeros = sum(f * kind.zero_point for f, kind in zip(factors, types, strict=True))
    sums = np.arange(low, high + 1)
    codes = _of_sums(form, sums + zeros)
    at = np.repeat(sums[1:], np.diff(codes))
    rank = len(out.shape)
    terms = [
        sheet.draft.add("Mul", [tensor, sheet.constant(factor)])
        for tensor, factor in zip(broadcast(sheet, node.inputs, rank), factors, strict=True)
    ]
    first = sheet.lies_first(*node.inputs) and len({kind.shape for kind in types}) == 1
    total = sheet.draft.add("Add", terms)
    made = sheet.draft.add(
        "MultiThreshold",
        [total, sheet.constant(np.atleast_2d(at if len(at) else np.array([high + 1])))],
        domain=DOMAIN,
        out_dtype="FLOAT32",
        out_scale=unit(out),
        out_bias=float(codes[0] - out.zero_point) * unit(out),
        data_layout={1: "NC", 2: "NWC", 3: "NHWC"}.get(rank, "NC"),
    )
    sheet.put(node.output, made, first=first)


def _of_sums(form: WeightedSum, sums: IntArray) -> IntArray:
    """The codes of weighted sums."""
    return replace(form, ma=1, mb=0).run(sums, np.zeros_like(sums))
