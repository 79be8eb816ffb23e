"""The end of a layer's kernel: how OpenVINO rounds a layer's sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.frontends.openvino import near_ties
from hwsim.frontends.openvino.announcements import ARITHMETIC, FAR_BIAS, FUNCTIONS
from hwsim.frontends.openvino.code_range import CodeRange
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.shared.step_functions import FloatRule, Reals, WholeSums
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Arithmetic, FloatArray, Unary, Weighing
from hwsim.ops import Dense
from hwsim.ops.base import IntArray

F32 = np.float32
FAR = 1 << 23
"""Steps that float32 does not tell apart."""


def kernel_rule(
    run: TensorBuilder,
    edge: str,
    source: Weighing,
    scale: FloatArray,
    functions: tuple[Unary | Arithmetic, ...],
    by: CodeRange,
) -> tuple[WholeSums, FloatRule]:
    """What a layer's kernel makes of its whole numbers.

    Without a bias, and in a dense layer, the plugin moves the layer's scale into the quantizer.
    """
    kind, rows = run.types[edge], max(scale.size, len(by.low))
    bias, rest = _bias(functions)
    clamps = [f for f in rest if isinstance(f, Unary) and f.clamp]
    plain = len(clamps) == len(rest)
    low, high = by.ends
    if plain and bias is None and not _moved_bias(source):
        zero = _zero_sums(run, source)
        line = by.kernel(low / scale + zero, high / scale + zero)
        rows = max(rows, line.factor.size, line.offset.size)
        near_ties.note(run, source, edge, line, np.ones(1, F32), None)

        def codes(sums: FloatArray) -> IntArray:
            return by.without_zeros(_clamped(line.places(sums), clamps, by))

        whole = _zero_count(run, source) if zero.any() else np.zeros(1)
        sums = WholeSums(kind, lambda k: (k + whole).astype(np.float64), np.zeros(1), rows)
        return sums, FloatRule((), codes, 1, rows)
    line = by.kernel(low, high)
    if any(clamp.high is not None and clamp.high < high.min() for clamp in clamps):
        line = replace(line, last=False)
    if plain and isinstance(source.op, Dense) and line.plain and bias is not None:
        if float(np.abs(bias * line.factor).max()) > FAR:
            run.warn(source.name, FAR_BIAS)
        near_ties.note(run, source, edge, line, scale, bias)

        def codes(sums: FloatArray) -> IntArray:
            return by.without_zeros(_clamped(line.weighted(sums, scale, bias), clamps, by))

        sums = WholeSums(kind, lambda k: k.astype(np.float64), np.zeros(1), rows)
        return sums, FloatRule((), codes, 1, max(rows, bias.size))
    worth = scale.astype(np.float64)
    _note(run, source, functions)
    if plain:
        near_ties.note(run, source, edge, line, scale, bias)

    def last(values: FloatArray) -> IntArray:
        return by.without_zeros(line.places(values))

    sums = WholeSums(kind, lambda k: k * worth, np.zeros(1), rows, worth)
    return sums, FloatRule(functions, last, 1, rows)


def _note(run: TensorBuilder, source: Weighing, functions: tuple[Unary | Arithmetic, ...]) -> None:
    """Say what is not followed to the last bit: functions, and factors of a channel.

    A dense layer's own factor comes behind what it takes off.
    """
    ops = [f.op for f in functions if isinstance(f, Arithmetic)]
    own = int(ops[:1] == ["sub"])
    if any(isinstance(f, Unary) and not (f.clamp or f.arithmetic) for f in functions):
        run.warn(source.name, FUNCTIONS)
    elif ops.count("mul") > own:
        run.warn(source.name, ARITHMETIC)


def _bias(
    functions: tuple[Unary | Arithmetic, ...],
) -> tuple[FloatArray | None, tuple[Unary | Arithmetic, ...]]:
    """What is added to a layer's sum at once, and what is computed then."""
    first = functions[0] if functions else None
    if isinstance(first, Arithmetic) and first.op == "add":
        return first.values, functions[1:]
    return None, functions


def sums_of_weights(codes: IntArray, shift: np.float32) -> FloatArray:
    """Weights (inputs, outputs) times one number, added up in float32 one after the other."""
    total = np.zeros(codes.shape[-1], F32)
    for row in codes.reshape(-1, codes.shape[-1]):
        total = total + shift * row.astype(F32)
    return total


def _zero_sums(run: TensorBuilder, source: Weighing) -> FloatArray:
    """What a dense layer's sums of the plugin's codes hold more than those of reals."""
    zeros = run.zeros if isinstance(run, OvImporter) else {}
    return zeros.get(source.tensor, np.zeros(1, F32))


def _zero_count(run: TensorBuilder, source: Weighing) -> Reals:
    """The same exactly."""
    assert isinstance(run, OvImporter)
    place = source.input.zero_point + run.meaning(source.input).lowest
    return np.asarray(source.op.matrix().sum(axis=0) * place, np.float64)


def _moved_bias(source: Weighing) -> bool:
    """Whether a bias is among the whole numbers."""
    return bool(source.op.bias.any())


def _clamped(places: IntArray, clamps: list[Unary], by: CodeRange) -> IntArray:
    """Places no further than the ends of clamps, each rounded by itself."""
    factor, offset = by.line
    for clamp in clamps:
        for end, keep in ((clamp.low, np.maximum), (clamp.high, np.minimum)):
            if end is not None:
                place = np.clip(np.rint(F32(end) * factor + offset), 0, by.levels - 1)
                places = keep(places, place.astype(np.int64))
    return places
