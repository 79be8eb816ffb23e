"""FakeQuantize as OpenVINO's CPU plugin computes it, once its passes have been over the model.

The plugin keeps codes and moves what they mean behind the next operator. A quantizer that reads a
layer's sum, an average or codes computes of them in float32, each operation rounded; so its codes
are a step function of the whole numbers, and are found as such.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.ort import softmax
from hwsim.frontends.openvino.announcements import NORMALIZED, SOFTMAX
from hwsim.frontends.openvino.averages import Stepped, average_rule
from hwsim.frontends.openvino.code_range import CodeRange
from hwsim.frontends.openvino.from_codes import narrow_code, of_level, of_pair, of_residual
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.openvino.kernels import kernel_rule
from hwsim.frontends.openvino.pools import flattened
from hwsim.frontends.shared import fine_units
from hwsim.frontends.shared.exact_sums import weighed
from hwsim.frontends.shared.node_by_node import in_parts, pools
from hwsim.frontends.shared.rounding import quantize
from hwsim.frontends.shared.step_functions import FloatRule, Reals, WholeSums, step_function
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.trying import absorbed
from hwsim.frontends.shared.turning import by_path
from hwsim.frontends.shared.values import (
    Arithmetic,
    Codes,
    FloatArray,
    Joined,
    Level,
    Mean,
    Pair,
    RawInput,
    Real,
    Scaled,
    Softmax,
    Total,
    Unary,
    Weighing,
)
from hwsim.ops import Op, Relu, TensorType
from hwsim.ops.base import IntArray


@dataclass(frozen=True, slots=True)
class FakeQuantizer(CodeRange):
    """The same as what rounds: by thresholds of whole numbers, or a table of codes."""

    def enter(self, run: TensorBuilder, raw: RawInput, name: str, out: str) -> Codes:
        """At the input's port."""
        if self.zeros:
            raise HwsimError(f"{name}: an input of the graph must have one place of 0")
        kind = TensorType((), self.format, self.quant)
        if self.levels == self.format.max + 1:
            return run.input_codes(raw, kind, self.port(name), out)
        codes = run.input_codes(raw, kind, self.port(name), f"{out}.all")
        cut = Relu(zero_point=0, maximum=self.levels - 1)  # a port cuts at a format's end alone
        return replace(codes, edge=run.emit(f"{name}.cut", cut, [codes.edge], out))

    def own(self, run: TensorBuilder, real: Real, name: str, out: str) -> Codes | None:
        """By thresholds of sums and averages, or a table of pairs."""
        real = absorbed(real)
        source = real.source
        match source:
            case Weighing() | Total() | Mean():
                edge, sums, rule = _stepped(run, source, real, self)
            case Joined() if any(isinstance(step, Arithmetic) for step in real.steps):
                return quantize(run, in_parts(real, source), self, name, out)
            case Scaled(unit=None):
                edge, sums, rule = _fine(run, source, real, self)
            case Pair(a=Weighing()) if isinstance(run, OvImporter) and source.tensor in run.clipped:
                return of_residual(run, source, self, name, out, real)
            case Pair(a=Level(), b=Level()) if isinstance(run, OvImporter):
                return of_pair(run, source, self, name, out, real)
            case Level() if isinstance(run, OvImporter) and narrow_code(source):
                return of_level(run, source, self, real, name, out)
            case _:
                return None
        ahead, behind = pools(real)
        uneven = isinstance(source, Mean) and sums.rows > 1
        if uneven and ahead:
            raise HwsimError(f"{name}: it must stand ahead of a pool of averages of unlike windows")
        edge = run.chain(name, edge, ahead, f"{out}.pool")
        found = step_function(sums, rule)
        if found is None:
            path = by_path(sums, rule)
            if path is None:
                raise HwsimError(f"{name}: what is computed before it must have fewer thresholds")
            ops: list[Op] = path.ops(self.format, self.quant)
        else:
            ops = found.ops(self.format, self.quant)
        if uneven:
            ops = flattened(run.types[edge].shape, ops)
        return Codes(run.chain(name, edge, [*ops, *behind], out), self.format, real.layout)

    def sum(
        self, run: TensorBuilder, edge: str, scale: FloatArray, zero: int
    ) -> tuple[str, list[Op]]:
        """Thresholds of whole numbers with that meaning."""
        kind, worth = run.types[edge], scale.astype(np.float64)

        def reals(k: IntArray) -> Reals:
            return ((k - zero) * worth).astype(np.float64)

        sums = WholeSums(kind, reals, np.zeros(1), worth.size)
        found = step_function(sums, FloatRule((), self.codes, 1, len(self.low)))
        if found is None:
            raise HwsimError(f"{edge}: what is computed before a quantizer must have fewer codes")
        return edge, found.ops(self.format, self.quant)

    def softmax(self, run: TensorBuilder, source: Softmax, out: str) -> tuple[str, list[Op]]:
        """Exact exponentials and their quotients, where the plugin has floats."""
        run.warn(source.name, SOFTMAX)
        return softmax.rounded(run, source, self, out)

    def mean(self, run: TensorBuilder, edge: str, source: Mean) -> list[Op]:
        """Never asked for: `own` takes averages."""
        raise HwsimError(f"{source.name}: it must be quantized at once")

    def pair(self, run: TensorBuilder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """Of wide codes: what is left open so far."""
        raise HwsimError(f"{source.name}: both of its inputs must be quantized to 8 bits")

    def scaled(self, run: TensorBuilder, source: Scaled, out: str) -> tuple[str, list[Op]]:
        """Never asked for: arithmetic with constants is followed step by step."""
        raise HwsimError(f"{source.name}: it must be quantized at once")


def _fine(run: TensorBuilder, source: Scaled, real: Real, by: CodeRange) -> Stepped:
    """Of what has been computed in a unit finer than a float32's."""
    run.warn(source.name, NORMALIZED)
    functions = tuple(s for s in real.steps if isinstance(s, Unary | Arithmetic))
    edge, unit = fine_units.line(run, source, by.scale)
    rows, worth = max(1, len(by.low)), np.full(1, unit)
    sums = WholeSums(run.types[edge], lambda k: k * worth, np.zeros(1), rows, worth)
    return edge, sums, FloatRule(functions, by.codes, 1, rows)


def _stepped(
    run: TensorBuilder, source: Weighing | Total | Mean, real: Real, by: CodeRange
) -> Stepped:
    """The edge of whole numbers, what they mean, and what becomes of that."""
    functions = tuple(s for s in real.steps if isinstance(s, Unary | Arithmetic))
    if isinstance(source, Weighing):
        edge, scale = weighed(run, source)
        if isinstance(run, OvImporter) and source.tensor in run.between:
            rows, worth = max(scale.size, len(by.low)), scale.astype(np.float64)
            sums = WholeSums(run.types[edge], lambda k: k * worth, np.zeros(1), rows, worth)
            return edge, sums, FloatRule(functions, by.codes, 1, rows)
        return edge, *kernel_rule(run, edge, source, scale, functions, by)
    return average_rule(run, source, functions, by)
