"""QuantizeLinear and DequantizeLinear in a model of Quant nodes, as QCDQ's conversions leave them.

QONNX's executor runs each of them by itself: `round(x / scale) + zero_point`, in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx import qdq
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.ort.linear import Linear
from hwsim.frontends.onnx.ort.parameters import (
    dequantized,
    optional,
    quantizer,
)
from hwsim.frontends.onnx.qonnx_rules import IntQuant
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Codes, Constant, FloatArray, Level, Real
from hwsim.ops import Quant
from hwsim.ops.base import IntArray


@dataclass(frozen=True, slots=True)
class RoundedFirst(IntQuant):
    """A Quant's rule, but that the zero point is added to what is rounded already."""

    def codes(self, reals: FloatArray) -> IntArray:
        """ONNX's own arithmetic."""
        ratio = np.rint(reals.astype(np.float32) / np.float32(self.scale))
        whole = np.clip(ratio, self.low - self.zero_point, self.high - self.zero_point)
        codes: IntArray = whole.astype(np.int64) + self.zero_point
        return codes

    def port(self, node: object) -> dict[str, Any]:
        """As a Quant's, in the other order."""
        return {**IntQuant.port(self, node), "zero_point_first": False}

    def usual(self, run: TensorBuilder, real: Real) -> bool:
        """As a Quant's, unless an odd zero point turns ties the other way."""
        even = self.zero_point % 2 == 0 or isinstance(real.source, Level)
        return even and IntQuant.usual(self, run, real)


def quantize_linear(run: Importer, node: OnnxNode) -> None:
    """QuantizeLinear of a constant, an input of the graph or a computed tensor."""
    qdq.quantized_by(run, node, _rounded_first)


def _rounded_first(rule: Linear) -> RoundedFirst:
    """The rule of QONNX's executor."""
    fmt = rule.format
    ends = fmt.width, fmt.signed, fmt.min, fmt.max
    return RoundedFirst(*ends, "ROUND", rule.scale, rule.zero_point)


def dequantize_linear(run: Importer, node: OnnxNode) -> None:
    """DequantizeLinear of a constant, an input of whole numbers, or codes, as they were made."""
    value = run.value(node, 0)
    scale, zero = run.constant(node, 1), optional(run, node, 2)
    if isinstance(value, Constant):
        run.values[node.output] = dequantized(node, value, scale, zero)
        return
    if not isinstance(value, Codes):
        run.values[node.output] = qdq.leveled(run, node, 0, scale, zero)
        return
    kind = run.types[value.edge]
    rule = quantizer(node, scale, zero, "int8" if kind.format.signed else "uint8")
    held = kind.quant or Quant((2.0**-kind.format.frac_bits,))
    if (held.scale, held.zero_point) != ((rule.scale,), rule.zero_point):
        raise HwsimError(
            f"{node}: its scale and zero point must be those of the QuantizeLinear before it"
        )
    run.values[node.output] = Real(Level(value, rule.scale, rule.zero_point), value.layout)


HANDLERS = {
    ("", "QuantizeLinear"): quantize_linear,
    ("", "DequantizeLinear"): dequantize_linear,
}
