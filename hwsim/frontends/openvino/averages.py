"""Quantized averages of codes, whose scale and place of 0 the plugin moves into the ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.openvino.announcements import MEANS
from hwsim.frontends.openvino.code_range import CodeRange
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.openvino.lines import factor_and_offset
from hwsim.frontends.openvino.pools import sizes
from hwsim.frontends.openvino.residual import QuantizedScale
from hwsim.frontends.shared.exact_sums import averaged, totalled
from hwsim.frontends.shared.step_functions import FloatRule, Reals, WholeSums
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Arithmetic, FloatArray, Mean, Total, Unary
from hwsim.ops.base import IntArray

F32 = np.float32
Stepped = tuple[str, WholeSums, FloatRule]


def folded(by: CodeRange, meaning: QuantizedScale) -> tuple[FloatArray, FloatArray]:
    """The line for codes with that meaning, which the plugin has moved into a quantizer's ends."""
    low, high = (end / meaning.scale + meaning.shift for end in by.ends)
    return factor_and_offset(low, high, by.levels)


def held_meaning(run: TensorBuilder, source: Total | Mean) -> QuantizedScale:
    """What codes mean to the plugin, whose place of 0 need not be whole."""
    level = source.input
    plain = QuantizedScale(F32(level.scale), F32(level.zero_point), 0)
    return run.meaning(level) if isinstance(run, OvImporter) else plain


def average_rule(
    run: TensorBuilder,
    source: Total | Mean,
    functions: tuple[Unary | Arithmetic, ...],
    by: CodeRange,
) -> Stepped:
    """The edge of whole sums, what they mean, and what becomes of that."""
    level = source.input
    if isinstance(source, Total):
        edge, unit = totalled(run, source)
        count = np.array([round(float(F32(level.scale) / unit[0])) if source.mean else 1])
        if int(count[0]) & (int(count[0]) - 1):
            run.warn(source.name, MEANS)
    else:
        edge = averaged(run, source)
        count = sizes(source, run.types[edge].shape[-1])
        if count.size > 1 and any(isinstance(f, Arithmetic) for f in functions):
            raise HwsimError(
                f"{source.name}: nothing must be computed of averages of unlike windows"
            )
    meaning = held_meaning(run, source)
    zero = count * (level.zero_point + meaning.lowest)
    kind = run.types[edge]
    codes: Callable[[FloatArray], IntArray] = by.codes
    one, offset = meaning.scale, meaning.shift

    def averages(k: IntArray) -> Reals:
        whole = (k + zero).astype(F32) / count.astype(F32)
        return np.asarray((whole - offset) * one if functions else whole, np.float64)

    if not functions:
        line = folded(by, meaning)

        def codes(values: FloatArray) -> IntArray:
            return by.on_line(values, *line)

    sums = WholeSums(kind, averages, np.zeros(1), count.size)
    return edge, sums, FloatRule(functions, codes, 1, count.size)
