"""Quantizers of codes, of two tensors or of one: tables, by trying all codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.openvino import codes as codes_of
from hwsim.frontends.openvino.announcements import ARITHMETIC, DIFFERENCE
from hwsim.frontends.openvino.code_range import CodeRange
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.openvino.residual import summed
from hwsim.frontends.shared.node_by_node import pools
from hwsim.frontends.shared.values import NO_PADDING, Arithmetic, Codes, Level, Pair, Real, Unary
from hwsim.ops import ChannelTable, Op, PairTable, Table

NARROW = 8


def _clamps(real: Real, by: CodeRange) -> list[Unary] | None:
    """Clamps between a tensor and its quantizer that change something; None where there is more."""
    found = [step for step in real.steps if isinstance(step, Unary)]
    left = [step for step in found if not codes_of.vanishes(step, by)]
    if len(found) < len(real.steps) or not all(step.clamp for step in left):
        return None
    return left


def narrow_code(level: Level) -> bool:
    return level.codes.format.width <= NARROW and not level.fine


def of_residual(
    run: OvImporter, source: Pair, by: CodeRange, name: str, out: str, real: Real
) -> Codes:
    """The sum of a convolution and a tensor, a ReLU behind it maybe."""
    found = run.clipped[source.tensor]
    if real.steps:
        found = replace(found, rectified=True)
    low, high = (end / found.unit for end in by.ends)
    edge, ops = summed(run, found, by.kernel(low, high), by, out)
    return Codes(run.chain(name, edge, ops, out), by.format, real.layout)


def _narrow(*levels: Level) -> bool:
    return all(x.codes.format.width <= NARROW and x.scales is None for x in levels)


def of_pair(
    run: OvImporter, source: Pair, by: CodeRange, name: str, out: str, real: Real
) -> Codes | None:
    """All pairs of codes, tried; None where they are too many, or more is done to the result."""
    a, b = source.a, source.b
    assert isinstance(a, Level) and isinstance(b, Level)
    clamps = _clamps(real, by)
    if source.tensor not in run.pairs or not _narrow(a, b) or clamps is None:
        return None
    levels = a, b
    held = [np.arange(1 << x.codes.format.width) for x in levels]
    codes = held[0][:, None], held[1][None, :]
    one, two = (run.meaning(x) for x in levels)
    joint = run.pairs[source.tensor]
    if source.op.kind == "sub":
        run.warn(source.name, DIFFERENCE)
    if source.op.kind == "mul":
        values = codes_of.of_product(codes, (one, two), by, joint.alone, clamps)
    elif source.op.kind == "add":
        alone = joint.alone[joint.full]
        values = codes_of.of_sum(codes, (one, two), joint.full, by, alone=alone, clamps=clamps)
    else:
        values = codes_of.of_reals(codes, (one, two), np.subtract, by, joint.alone, clamps)
    op = PairTable(values=values, out=by.format, quant=by.quant)
    edge = run.emit(name, op, [levels[0].codes.edge, levels[1].codes.edge], out)
    return Codes(edge, by.format, real.layout)


def of_level(
    run: OvImporter, level: Level, by: CodeRange, real: Real, name: str, out: str
) -> Codes:
    """All codes, tried, in each channel where that matters."""
    ahead, behind = pools(real)
    kind = run.types[level.codes.edge]
    functions = [s for s in real.steps if isinstance(s, Unary | Arithmetic)]
    if {"mul", "add"} <= {f.op for f in functions if isinstance(f, Arithmetic)}:
        run.warn(name, ARITHMETIC)
    met = np.arange(kind.format.min, kind.format.max + 1)
    meaning = run.meaning(level)
    rows = max(
        [
            len(by.low),
            level.factors.size,
            *(f.values.size for f in functions if isinstance(f, Arithmetic)),
        ]
    )
    codes = np.repeat(met[:, None], rows, axis=1)
    values = codes_of.of_codes(codes, meaning, level.factors, functions, by)
    values = np.broadcast_to(values, codes.shape)
    op: Op = Table(values=values[:, 0].copy(), out=by.format, quant=by.quant)
    if rows > 1 and (values != values[:, :1]).any():
        op = ChannelTable(
            values=values.T.copy(), out=by.format, first=kind.format.min, quant=by.quant
        )
    same = isinstance(op, Table) and np.array_equal(op.values, met) and kind.quant == by.quant
    ops = [*ahead, *([] if same and kind.format == by.format else [op]), *behind]
    if level.codes.padding != NO_PADDING:
        raise HwsimError(f"{name}: a Pad must be followed by a convolution")
    return Codes(run.chain(name, level.codes.edge, ops, out), by.format, real.layout)
