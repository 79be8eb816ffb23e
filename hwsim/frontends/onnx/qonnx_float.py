"""QONNX's FloatQuant: small floats, which are whole numbers of their smallest step.

A rounded weight is such a number at once. A computed tensor's code is first the place of its float
among all that there are, by thresholds, and then, by a table, that float's number of steps. Source:
QONNX 1.0 `custom_op/general/floatquant.py`, which knows signed floats with subnormals alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.float_functions import minifloat
from hwsim.float_steps import NEAREST, MinifloatStep, PortStep, narrowed
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.qonnx_channels import innermost
from hwsim.frontends.onnx.qonnx_rules import MODES, power_of_two
from hwsim.frontends.onnx.qonnx_stepped import OnlySteps
from hwsim.frontends.shared.rounding import quantize
from hwsim.frontends.shared.values import Codes, Constant, FloatArray, Level, RawInput, Real
from hwsim.frontends.shared.whole_numbers import whole_numbers
from hwsim.ops import Quant, Table, TensorType
from hwsim.ops.base import IntArray

F32 = np.float32
MOST_BITS = 32
"""Of a code: E4M3 needs 19 with its sign, E5M2 34."""
MOST_PLACES = 1 << 15
WIDE = (
    "{node}: its floats must be whole numbers of {most} bits of their smallest step, not of {bits}:"
    " fewer exponent bits (E4M3 and smaller), or a smaller largest float"
)


@dataclass(frozen=True, slots=True)
class Minifloats:
    """All floats `sign * mantissa * 2**exponent` of one node, before its scale."""

    mantissa_bits: int
    lowest: int  # the exponent below which they are subnormal
    highest: float
    rounding: Rounding

    @property
    def step(self) -> int:
        """The exponent of the smallest one."""
        return self.lowest - self.mantissa_bits

    def rounded(self, x: FloatArray) -> FloatArray:
        """The nearest of each."""
        found: FloatArray = minifloat(
            np, x, self.mantissa_bits, self.lowest, self.highest, self.rounding
        )
        return found

    def magnitudes(self) -> FloatArray:
        """Those not below 0, in order."""
        ones = np.arange(1 << self.mantissa_bits, dtype=np.float64)
        binades = max(math.frexp(self.highest)[1] - self.lowest, 0)
        normal = [(ones + ones.size) * 2.0**power for power in range(binades)]
        every = np.concatenate([ones, *normal]) * 2.0**self.step
        return every[every <= self.highest].astype(F32)


@dataclass(frozen=True, slots=True, eq=False)
class Places(OnlySteps):
    """The place of a real's float: 0 for zero, -1 for the smallest one below it."""

    wanted: ClassVar[str] = "FloatQuant must be of reals"
    floats: Minifloats
    scales: FloatArray  # one, or one a channel as the codes lie

    @property
    def rows(self) -> int:
        """One, or one a channel."""
        return len(self.scales)

    @property
    def scale(self) -> float:  # type: ignore[override]
        """The smallest step, which sums that are rounded must hold well."""
        return float(self.scales.min()) * 2.0**self.floats.step

    @property
    def format(self) -> Format:  # type: ignore[override]
        """Of all places."""
        last = len(self.floats.magnitudes()) - 1
        return Format.holding(-last, last)

    @property
    def quant(self) -> Quant | None:
        """None: a place is no real yet."""
        return None

    def codes(self, reals: FloatArray) -> IntArray:
        """The executor's own arithmetic, in float32."""
        found = self.floats.rounded(reals.astype(F32) / self.scales)
        places = np.searchsorted(self.floats.magnitudes(), np.abs(found))
        return np.where(found < 0, -places, places).astype(np.int64)

    def port(self, node: object) -> dict[str, Any]:
        """Not asked for: an input of the graph is rounded by a step of its port."""
        raise HwsimError(f"{node}: {self.wanted}")


def float_quant(run: Importer, node: OnnxNode) -> None:
    """FloatQuant of a constant, an input of the graph or a computed tensor."""
    scale = _scale(run, node)
    floats = _floats(run, node)
    value = run.value(node, 0)
    if isinstance(value, Constant):
        run.values[node.output] = _constant(node, value, scale, floats)
        return
    if isinstance(value, RawInput):
        level = _entered(run, node, value, scale, floats)
        run.values[node.output] = Real(level, level.codes.layout)
        return
    real = run.real(node, 0)
    alike = np.unique(scale).size == 1
    scales = scale.ravel()[:1] if alike else innermost(node, real.layout, scale, "scale")
    by = Places(floats, scales)
    places = quantize(run, real, by, node.name, f"{node.output}.places")
    codes, one = _numbered(run, node, places, by)
    run.values[node.output] = Real(
        Level(codes, one, 0, None if alike else _steps(by)), codes.layout
    )


def _steps(by: Places) -> FloatArray:
    """What a step of the codes is worth, channel by channel."""
    steps: FloatArray = by.scales * F32(2.0**by.floats.step)
    return steps


def _numbered(run: Importer, node: OnnxNode, places: Codes, by: Places) -> tuple[Codes, float]:
    """Places as whole numbers of the smallest step, and what that is worth (NaN by channel)."""
    kind = run.types[places.edge]
    met = np.arange(kind.lo, kind.hi + 1)
    sizes = by.floats.magnitudes().astype(np.float64)[np.abs(met)] * 2.0**-by.floats.step
    _check_width(node, float(sizes.max()))
    values = np.where(met < 0, -sizes, sizes).astype(np.int64)
    one = float(_steps(by)[0]) if by.rows == 1 else float("nan")
    fmt, quant = _meaning(one, int(values.min()), int(values.max()))
    table = Table(values=values, out=fmt, quant=quant, first=kind.lo)
    edge = run.emit(f"{node.name}.floats", table, [places.edge], f"{node.output}.codes")
    return Codes(edge, fmt, places.layout, places.padding), one


def _meaning(one: float, low: int, high: int) -> tuple[Format, Quant | None]:
    """The format and scale of codes of which a step is worth `one`, where all channels share it."""
    power = None if np.isnan(one) else power_of_two(one)
    quant = None if power is not None or np.isnan(one) else Quant((one,))
    return Format.holding(low, high, -(power or 0)), quant


def _entered(
    run: Importer, node: OnnxNode, raw: RawInput, scale: FloatArray, floats: Minifloats
) -> Level:
    """A graph input, rounded in float32 at its port."""
    if np.unique(scale).size != 1:
        raise HwsimError(f"{node}: an input of the graph must have one scale for all channels")
    top = floats.highest * 2.0**-floats.step
    _check_width(node, top)
    factor = scale.ravel()[:1].reshape(())
    small = MinifloatStep(
        mantissa_bits=floats.mantissa_bits,
        lowest=floats.lowest,
        highest=floats.highest,
        rounding=floats.rounding,
    )
    steps: Sequence[PortStep] = [small]
    if factor != 1:
        steps = [narrowed("div", factor), small, narrowed("mul", factor)]
    one = float(factor * F32(2.0**floats.step))
    fmt, quant = _meaning(one, -int(top), int(top))
    entering = RawInput(
        raw.name, raw.dtype, raw.plain, raw.channels_last, raw.padding, (*raw.steps, *steps)
    )
    codes = run.input_codes(entering, TensorType((), fmt, quant), {}, f"{raw.name}.codes")
    return Level(codes, one, 0)


def _check_width(node: OnnxNode, top: float) -> None:
    bits = math.frexp(top)[1] + 1
    if bits > MOST_BITS:
        raise HwsimError(WIDE.format(node=node, most=MOST_BITS, bits=bits))


def _constant(node: OnnxNode, value: Constant, scale: FloatArray, floats: Minifloats) -> Constant:
    """Weights or a bias, as whole numbers of a step as coarse as they allow."""
    array = value.array.astype(F32)
    if not np.isfinite(array).all():
        raise HwsimError(f"{node}: weights must be finite")
    try:
        ratio = array / (
            scale.ravel()[0] if scale.size == 1 else np.broadcast_to(scale, array.shape)
        )
    except ValueError:
        raise HwsimError(
            f"{node}: scales of shape {scale.shape} must fit weights of shape {array.shape}"
        ) from None
    whole = whole_numbers(floats.rounded(ratio))
    if whole is None:
        raise HwsimError(f"{node}: its floats must be nearer to each other than 2**62 steps")
    codes, power = whole
    _check_width(node, float(np.abs(codes).max(initial=0)))
    scales = scale.reshape((1,) * (array.ndim - scale.ndim) + scale.shape)
    if scale.size == 1:
        scales = scale.reshape((1,) * array.ndim)
    steps = scales * F32(2.0**power)
    one = float(steps.ravel()[0]) if scale.size == 1 else 1.0
    fmt, _ = _meaning(one, int(codes.min(initial=0)), int(codes.max(initial=0)))
    return Constant(codes.astype(F32) * steps, codes, fmt, steps)


def _scale(run: Importer, node: OnnxNode) -> FloatArray:
    scale = np.asarray(run.constant(node, 1).array, F32)
    if not scale.size or not (np.isfinite(scale) & (scale > 0)).all():
        raise HwsimError(f"{node}: its scale must be finite numbers above 0")
    return scale


def _floats(run: Importer, node: OnnxNode) -> Minifloats:
    """What floats the node knows, as its parameters say."""
    names = ("exponent bit width", "mantissa bit width", "exponent bias")
    exponent_bits, mantissa_bits, bias = (
        _whole(run, node, place, what) for place, what in enumerate(names, 2)
    )
    if not (1 <= exponent_bits <= 8 and 0 <= mantissa_bits <= 23 and -100 <= bias <= 127):
        raise HwsimError(
            f"{node}: its floats must have 1 to 8 exponent bits, 0 to 23 mantissa bits and a bias "
            f"from -100 to 127, not {exponent_bits}, {mantissa_bits} and {bias}"
        )
    if node.integer("saturation", 1) == 0:
        raise HwsimError(
            f"{node}: its floats must saturate (saturation=1), not become infinities or NaN"
        )
    mode = node.text("rounding_mode", "ROUND").upper()
    rounding = MODES.get(mode)
    if rounding not in NEAREST:
        raise HwsimError(
            f"{node}: 'rounding_mode' must be ROUND, HALF_EVEN, HALF_UP or HALF_DOWN, not {mode!r}"
        )
    most = (2.0 - 2.0**-mantissa_bits) * 2.0 ** (2.0**exponent_bits - 1 - bias)
    given = _number(run, node, 5, "largest value")
    floats = Minifloats(mantissa_bits, 1 - bias, min(most, given), rounding)
    _check(node, floats)
    return floats


def _check(node: OnnxNode, floats: Minifloats) -> None:
    """Raise HwsimError unless the largest float is one, within float32, and places are few."""
    top = floats.highest
    fits = 0 < top <= float(np.finfo(F32).max) and floats.step >= -126
    if not fits or top % 2.0 ** (max(math.frexp(top)[1] - 1, floats.lowest) - floats.mantissa_bits):
        raise HwsimError(f"{node}: its largest value must be one of its floats, not {top:.9g}")
    binades = max(math.frexp(top)[1] - floats.lowest + 1, 1)
    if binades << floats.mantissa_bits > MOST_PLACES:
        raise HwsimError(
            f"{node}: its floats must have at most {MOST_PLACES.bit_length() - 1} bits for exponent"
            " and mantissa"
        )


def _whole(run: Importer, node: OnnxNode, place: int, what: str) -> int:
    value = _number(run, node, place, what)
    if value != round(value):
        raise HwsimError(f"{node}: its {what} must be a whole number, not {value}")
    return round(value)


def _number(run: Importer, node: OnnxNode, place: int, what: str) -> float:
    array: npt.NDArray[Any] = np.asarray(run.constant(node, place).array, F32)
    if array.size != 1 or not np.isfinite(array).all():
        raise HwsimError(f"{node}: its {what} must be one finite number, not {array.ravel()[:4]}")
    return float(array.ravel()[0])
