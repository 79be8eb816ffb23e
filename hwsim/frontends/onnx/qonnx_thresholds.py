"""FINN's MultiThreshold: the number of thresholds of its channel that a value reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.qonnx_rules import power_of_two
from hwsim.frontends.onnx.qonnx_stepped import OnlySteps
from hwsim.frontends.shared.rounding import quantize
from hwsim.frontends.shared.values import FloatArray, Level, Real
from hwsim.ops import Quant
from hwsim.ops.base import IntArray

LAYOUTS = {1: "NC", 2: "NWC", 3: "NCHW"}
"""Where the channels are by the number of axes behind the batch, if the node does not say it."""


@dataclass(frozen=True, slots=True, eq=False)
class MultiThreshold(OnlySteps):
    """Rows of thresholds, one or one a channel as the codes lie; codes `low + spacing * n`.

    Source: QONNX 1.0 `custom_op/general/multithreshold.py`.
    """

    wanted: ClassVar[str] = "thresholds must be of reals"
    values: FloatArray
    low: int
    gap: int
    unit: float

    @property
    def spacing(self) -> int:
        """Of two codes."""
        return abs(self.gap)

    @property
    def rows(self) -> int:
        """One, or one a channel."""
        return len(self.values)

    @property
    def scale(self) -> float:  # type: ignore[override]
        """What a step of the codes is worth."""
        return self.unit

    @property
    def format(self) -> Format:  # type: ignore[override]
        """The narrowest that holds all codes."""
        high = self.low + self.gap * self.values.shape[1]
        power = power_of_two(self.unit)
        return Format.holding(min(self.low, high), max(self.low, high), -power if power else 0)

    @property
    def quant(self) -> Quant | None:
        """None where the format says it all."""
        return None if power_of_two(self.unit) is not None else Quant((self.unit,))

    def codes(self, reals: FloatArray) -> IntArray:
        """How many thresholds each value reaches, as codes."""
        rows = max(self.rows, reals.shape[-1])
        held = np.broadcast_to(reals, (*reals.shape[:-1], rows))
        counts = [
            np.searchsorted(self.values[c % self.rows], held[..., c], side="right")
            for c in range(rows)
        ]
        out: IntArray = self.low + self.gap * np.stack(counts, axis=-1).astype(np.int64)
        return out

    def port(self, node: object) -> dict[str, Any]:
        """Refused: a port rounds to a grid."""
        raise HwsimError(f"{node}: an input of the graph must have a Quant node, or be annotated")


def multi_threshold(run: Importer, node: OnnxNode) -> None:
    """MultiThreshold of a computed tensor."""
    values = np.asarray(run.constant(node, 1).array).astype(np.float32)
    if values.ndim != 2 or not values.size or np.isnan(values).any():
        raise HwsimError(f"{node}: its thresholds must be a matrix, not of shape {values.shape}")
    real = run.real(node, 0)
    shape = real.layout.shape
    layout = node.text("data_layout", "") or LAYOUTS.get(len(shape), "NC")
    axis = layout.index("C") if "C" in layout else 1
    if not 1 <= axis <= len(shape) or len(values) not in (1, shape[axis - 1]):
        raise HwsimError(
            f"{node}: its thresholds must have 1 row, or one for each channel of {shape}, not "
            f"{len(values)}"
        )
    if len(values) > 1:
        values = values[_channels(node, real, axis - 1)]
    low, gap, unit = _spread(node, values.shape[1])
    by = MultiThreshold(np.sort(values, axis=1), low, gap, unit)
    codes = quantize(run, real, by, node.name, f"{node.output}.codes")
    run.values[node.output] = Real(Level(codes, unit, 0), codes.layout)


def _channels(node: OnnxNode, real: Real, axis: int) -> Sequence[int]:
    """The channel of each of the innermost indices of the codes."""
    layout = real.layout
    places = [1] * len(layout.shape)
    places[axis] = layout.shape[axis]
    ids = np.broadcast_to(np.arange(layout.shape[axis]).reshape(places), layout.shape)
    lying = ids.ravel()[layout.order].reshape(-1, layout.physical[-1])
    if (lying != lying[:1]).any():
        raise HwsimError(f"{node}: its channels must be the innermost axis of what it reads")
    found: list[int] = lying[0].tolist()
    return found


def _spread(node: OnnxNode, count: int) -> tuple[int, int, float]:
    """The lowest code, the gap between two, and what a step is worth, all reals being codes."""
    scale, bias = node.real("out_scale", 1.0), node.real("out_bias", 0.0)
    if not scale:
        raise HwsimError(f"{node}: 'out_scale' must not be 0")
    reals = np.float32(scale) * np.arange(count + 1, dtype=np.float32) + np.float32(bias)
    for parts in (1, 2, 4):
        unit = abs(scale) / parts
        low = bias / unit
        codes = round(low) + np.sign(scale) * parts * np.arange(count + 1)
        if low == round(low) and np.array_equal(codes.astype(np.float32) * np.float32(unit), reals):
            return round(low), int(np.sign(scale)) * parts, float(np.float32(unit))
    raise HwsimError(
        f"{node}: 'out_bias' must be a whole number of quarters of 'out_scale', not {bias} of "
        f"{scale}"
    )
