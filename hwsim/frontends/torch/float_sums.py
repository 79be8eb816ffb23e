"""Layers whose products a runtime adds in float32, in an order of its own: their codes, and how
near to a threshold that order decides.
"""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.after_rounding import step_ops
from hwsim.frontends.shared.exact_sums import weighed
from hwsim.frontends.shared.step_functions import FloatRule, Reals, WholeSums, step_function
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.turning import by_path
from hwsim.frontends.shared.values import Codes, FloatArray, Real, Unary, Weighing
from hwsim.frontends.torch.decomposed import Decomposed
from hwsim.ops import Op, TensorType

UNIT = 2.0**-24  # of a float32's rounding
NARROW = 8  # bits of weights that a quantizer made
OWN = 2.0**-14
"""Steps by which the roundings of a quantizer's own product may move a threshold."""
SUMS = (
    "the runtime adds its products in float32, in an order of its own: a code may differ by one "
    "step where a sum lies within {part:.1g} steps of a rounding threshold, {which}; the layers "
    "behind it compute with that code"
)
EVERY, SOME = "as sums may at all of its thresholds", "as sums may at {near:,} of its {count:,}"


def of_float_layer(
    run: TensorBuilder, real: Real, by: Decomposed, name: str, out: str
) -> Codes | None:
    """The codes of a layer with float32 sums, and of functions of it; None of another tensor."""
    source = real.source
    if not isinstance(source, Weighing) or source.exact:
        return None
    note(run, source, by, name)
    edge, scale = weighed(run, source)
    functions = [step for step in real.steps if isinstance(step, Unary)]
    if len(functions) < len(real.steps) or all(step.clamp for step in functions):
        edge, ops = Decomposed.sum(by, run, edge, scale, 0)
        for step in real.steps:
            ops += step_ops(run, step, by)
    else:
        ops = _of_functions(run, edge, scale, functions, by)
    return Codes(run.chain(name, edge, ops, out), by.format, real.layout)


def _of_functions(
    run: TensorBuilder, edge: str, scale: FloatArray, functions: list[Unary], by: Decomposed
) -> list[Op]:
    worth = scale.astype(np.float64)
    sums = WholeSums(run.types[edge], lambda k: k * worth, np.zeros(1), worth.size, worth)
    rule = FloatRule(tuple(functions), by.codes)
    found = step_function(sums, rule) or by_path(sums, rule)
    if found is None:
        raise HwsimError(f"{functions[0].name}: a function of a sum must have few codes")
    return found.ops(by.format, by.quant)


def note(run: TensorBuilder, source: Weighing, by: Decomposed, name: str) -> None:
    """Say how near to a threshold the runtime's order of sums may decide, where it may."""
    kind = run.types[source.input.codes.edge]
    if exactly(source, kind):
        return
    error, offsets = _errors(source, kind), _offsets(source, kind)
    step = np.broadcast_to(by.scale / source.scale.astype(np.float64), error.shape)
    error = error + OWN * step
    count, near = 0, 0
    limits = np.arange(by.format.min, by.format.max) + 0.5 - by.zero_point
    for reach, width, offset in zip(error, step, offsets, strict=True):
        at = limits * width - offset  # in whole numbers of the sums
        count += at.size
        near += int((np.abs(at - np.rint(at)) <= reach).sum())
    if near:
        which = EVERY if near == count else SOME.format(near=near, count=count)
        part = float((error / step).max())
        run.warn(source.name, SUMS.format(part=part, which=which))


def exactly(source: Weighing, kind: TensorType) -> bool:
    """Whether float32 holds every sum, in whatever order it is added up."""
    scales = np.concatenate([source.scale, source.input.factors])
    whole = not source.op.bias.any() or source.op.bias_frac == kind.format.frac_bits
    fits = source.op.bound([kind]) < 1 << 24
    return bool((np.frexp(scales)[0] == 0.5).all()) and whole and fits


def _errors(source: Weighing, kind: TensorType) -> Reals:
    """By how much the runtime's sums may lie from ours, in products of codes, a channel.

    Each operand, each product and each partial sum was rounded; and float weights here.
    """
    weights = np.abs(source.op.weights.astype(np.float64)).reshape(-1, source.op.outputs)
    most = max(abs(kind.lo - source.input.zero_point), abs(kind.hi - source.input.zero_point))
    terms = (weights > 0).sum(axis=0)
    total = weights.sum(axis=0) * most + np.abs(_offsets(source, kind))
    cut = 0.5 * terms * most if source.op.weight_format.width > NARROW else 0
    return np.asarray((terms + 4) * UNIT * total + cut)


def _offsets(source: Weighing, kind: TensorType) -> Reals:
    """The bias of each channel in products of codes."""
    finer = 0 if source.op.bias_frac is None else source.op.bias_frac - kind.format.frac_bits
    return source.op.bias.astype(np.float64) * 2.0**-finer
