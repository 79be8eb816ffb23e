"""QONNX's Quant with a scale or a bit width for each channel: a fixed-point format a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.qonnx_rules import IntQuant, no_factors, power_of_two
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import FloatArray, Level, Mean, Pair, Scaled, Weighing
from hwsim.ops import Add, Cast, Op, Quant
from hwsim.ops.base import IntArray

ONE_FORMAT = (
    "a quantizer with a format for each channel must follow a layer, a pool, a sum or codes, all "
    "of scales that are powers of two"
)


@dataclass(frozen=True, slots=True)
class ByChannel(Quantizer):
    """The rules of a Quant node, channel by channel, each a fixed-point format."""

    formats: tuple[Format, ...]
    rounding: Rounding
    overflow: Overflow
    zero_point: int = 0

    @property
    def cast(self) -> Cast:
        """What it does to codes."""
        return Cast.by_channel(self.formats, rounding=self.rounding, overflow=self.overflow)

    @property
    def format(self) -> Format:  # type: ignore[override]
        """The narrowest format that holds all channels'."""
        return self.cast.out

    @property
    def scale(self) -> float:  # type: ignore[override]
        """Of that format."""
        return float(2.0**-self.format.frac_bits)

    @property
    def quant(self) -> Quant | None:
        """The format says it all."""
        return None

    def codes(self, reals: FloatArray) -> IntArray:
        """Those of zeros only; whatever else is asked needs one rule for all channels."""
        if reals.any():
            raise HwsimError(ONE_FORMAT)
        return np.zeros(reals.shape, np.int64)

    def port(self, node: object) -> dict[str, Any]:
        """Refused: a port rounds all channels alike."""
        raise HwsimError(f"{node}: an input of the graph must have one format for all channels")

    def shifts(self, level: Level) -> bool:
        """From a power of two."""
        return power_of_two(level.scale) is not None

    def sum(
        self, run: TensorBuilder, edge: str, scale: FloatArray, zero: int
    ) -> tuple[str, list[Op]]:
        """A cast, of whole numbers whose scale is their format's."""
        kind = run.types[edge]
        if kind.quant is not None or zero or set(scale.tolist()) != set(kind.scales()):
            raise HwsimError(ONE_FORMAT)
        return edge, [self.cast]

    def mean(self, run: TensorBuilder, edge: str, source: Mean) -> list[Op]:
        """As a sum, where the window's size is a power of two."""
        if source.counts is not None or run.types[edge].quant is not None:
            raise HwsimError(f"{source.name}: {ONE_FORMAT}")
        return [self.cast]

    def scaled(self, run: TensorBuilder, source: Scaled, out: str) -> tuple[str, list[Op]]:
        """Refused, as for one format."""
        raise no_factors(source)

    def pair(self, run: TensorBuilder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """An exact sum of two fixed-point tensors."""
        a, b = source.a, source.b
        if isinstance(a, Weighing) or isinstance(b, Weighing):
            raise HwsimError(f"{source.name}: a layer's sum must be quantized before it is added")
        if any(run.types[level.codes.edge].quant is not None for level in (a, b)):
            raise HwsimError(f"{source.name}: {ONE_FORMAT}")
        return run.emit(source.name, Add(), [a.codes.edge, b.codes.edge], source.name), [self.cast]


def innermost(node: OnnxNode, held: Arrangement, values: FloatArray, what: str) -> FloatArray:
    """A parameter for each of the innermost indices of the codes."""
    try:
        lying = np.broadcast_to(values, (1, *held.shape)).ravel()[held.order]
    except ValueError:
        raise HwsimError(
            f"{node}: its {what} must fit a tensor of shape {held.shape}, not be of shape "
            f"{values.shape}"
        ) from None
    rows = lying.reshape(-1, held.physical[-1])
    if (rows != rows[:1]).any():
        raise HwsimError(f"{node}: its {what} must be one, or one a channel")
    found: FloatArray = rows[0]
    return found


def by_channel(
    node: OnnxNode, held: Arrangement, scale: FloatArray, bits: FloatArray, rule: Any
) -> ByChannel:
    """The rules of all channels of a tensor that lies as `held` says.

    `rule` makes an IntQuant of a scale and a bit width. Raises HwsimError where they are not one a
    channel, or no fixed-point formats.
    """
    what = "scale and bit width"
    each = [innermost(node, held, parameter, what) for parameter in (scale, bits)]
    rules: list[IntQuant] = [rule(float(s), int(b)) for s, b in zip(*each, strict=True)]
    first = rules[0].port(node)
    if any(r.fraction is None or r.limits() or r.format.width < 1 + r.signed for r in rules):
        raise HwsimError(
            f"{node}: scales or bit widths that differ by channel must be powers of two, have zero "
            "point 0 and at least 2 bits, and use all codes of an unsigned format"
        )
    return ByChannel(tuple(r.format for r in rules), first["rounding"], first["overflow"])
