"""QONNX's Trunc, of both its versions: the upper bits of codes, as Brevitas' averages take them.

Source: QONNX 1.0 `custom_op/general/trunc.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.qonnx_rules import MODES, no_factors, power_of_two, round_reals
from hwsim.frontends.shared.node_by_node import Stepped
from hwsim.frontends.shared.rounding import quantize
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import (
    FloatArray,
    Level,
    Mean,
    Pair,
    Pool,
    Real,
    Scaled,
    Unary,
)
from hwsim.ops import Op, Quant
from hwsim.ops.base import IntArray

MAX_BITS = 32
F32 = np.float32


@dataclass(frozen=True, slots=True)
class Truncation(Stepped):
    """`mode(round(x / before + zero) / 2**shift) - after`, cut to `low` and `high` first if given.

    `zero` is that of the codes that are cut, `after` of those that are left.
    """

    before: float
    zero: int
    shift: int
    after: int
    mode: str
    scale: float
    format: Format
    low: int | None = None
    high: int | None = None

    @property
    def zero_point(self) -> int:  # type: ignore[override]
        """Taken off."""
        return 0

    @property
    def quant(self) -> Quant | None:
        """None where the format says it all."""
        return None if power_of_two(self.scale) is not None else Quant((self.scale,))

    def codes(self, reals: FloatArray) -> IntArray:
        """QONNX's own arithmetic, in float32."""
        whole = np.rint(reals.astype(F32) / F32(self.before) + F32(self.zero))
        whole = whole / F32(2.0**self.shift)
        if self.low is not None:
            whole = np.clip(whole, self.low, self.high)
        return round_reals(whole, self.mode).astype(np.int64) - self.after

    def port(self, node: object) -> dict[str, Any]:
        """Refused."""
        raise HwsimError(f"{node}: an input of the graph must have a Quant node before it")

    def usual(self, run: TensorBuilder, real: Real) -> bool:
        """A table of narrow codes."""
        scalar = all(isinstance(s, Unary | Pool) for s in real.steps)
        return isinstance(real.source, Level) and real.source.scales is None and scalar

    def products(self, scale: npt.NDArray[np.float64]) -> list[Op] | None:
        """None: thresholds say it."""
        return None

    def sum(
        self, run: TensorBuilder, edge: str, scale: FloatArray, zero: int
    ) -> tuple[str, list[Op]]:
        """Never asked for."""
        raise HwsimError("a Trunc must be of reals")

    def mean(self, run: TensorBuilder, edge: str, source: Mean) -> list[Op]:
        """Never asked for."""
        raise HwsimError("a Trunc must be of reals")

    def pair(self, run: TensorBuilder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """Never asked for."""
        raise HwsimError("a Trunc must be of reals")

    def scaled(self, run: TensorBuilder, source: Scaled, out: str) -> tuple[str, list[Op]]:
        """Refused, as by a Quant."""
        raise no_factors(source)


def trunc(run: Importer, node: OnnxNode) -> None:
    """Trunc with five inputs (version 1) or six (version 2)."""
    names = ("scale", "zero point", "input bit width", "output bit width")
    second = len(node.inputs) > 5
    places = (1, 2, 3, 5) if second else (1, 2, 3, 4)
    scale, zero, bits_in, bits = (
        _number(run, node, place, what) for place, what in zip(places, names, strict=True)
    )
    for what, value in zip(names[1:], (zero, bits_in, bits), strict=True):
        if value != round(value) or abs(value) > 2.0**MAX_BITS:
            raise HwsimError(f"{node}: its {what} must be a whole number, not {value}")
    if scale <= 0 or not 1 <= bits <= MAX_BITS or not 1 <= bits_in <= MAX_BITS:
        raise HwsimError(
            f"{node}: its scale must be above 0 and its bit widths from 1 to {MAX_BITS}, not "
            f"{scale}, {bits_in} and {bits}"
        )
    mode = node.text("rounding_mode", "FLOOR").upper()
    if mode not in MODES:
        raise HwsimError(f"{node}: 'rounding_mode' must be one of {', '.join(MODES)}, not {mode!r}")
    by = (_second if second else _first)(
        run, node, scale, (int(zero), int(bits_in), int(bits)), mode
    )
    codes = quantize(run, run.real(node, 0), by, node.name, f"{node.output}.codes")
    run.values[node.output] = Real(Level(codes, by.scale, 0), codes.layout)


def _number(run: Importer, node: OnnxNode, place: int, what: str) -> float:
    array = np.asarray(run.constant(node, place).array, np.float32)
    if array.size != 1 or not np.isfinite(array).all():
        raise HwsimError(f"{node}: its {what} must be one finite number, not {array.ravel()[:4]}")
    return float(array.ravel()[0])


def _meant(scale: float, bits: int) -> Format:
    """A signed format of that many bits at the scale's binary point."""
    power = power_of_two(scale)
    return Format(True, bits + (power or 0), -(power or 0))


def _first(
    run: Importer, node: OnnxNode, scale: float, numbers: tuple[int, int, int], mode: str
) -> Truncation:
    """The scale stays; codes may have either sign."""
    zero, bits_in, bits = numbers
    wide = max(bits + 1, abs(zero).bit_length() + 2)
    return Truncation(scale, zero, bits_in - bits, zero, mode, scale, _meant(scale, wide))


def _second(
    run: Importer, node: OnnxNode, scale: float, numbers: tuple[int, int, int], mode: str
) -> Truncation:
    """Another scale, a power of two apart, and the codes' own limits."""
    zero, _, bits = numbers
    out = _number(run, node, 4, "output scale")
    if out <= 0:
        raise HwsimError(f"{node}: its output scale must be above 0, not {out}")
    shift = int(np.rint(np.log2(F32(out) / F32(scale))))
    after = zero / 2.0**shift
    if after != round(after):
        raise HwsimError(f"{node}: its zero point must stay whole, not become {after}")
    signed, narrow = node.integer("signed", 1) != 0, node.integer("narrow", 0) != 0
    low = -(1 << (bits - 1)) + narrow if signed else 0
    high = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1 - narrow
    fmt = Format.holding(low - round(after), high - round(after))
    power = power_of_two(out) or 0
    fmt = Format(fmt.signed, fmt.width + power, -power)
    return Truncation(scale, zero, shift, round(after), mode, out, fmt, low, high)
