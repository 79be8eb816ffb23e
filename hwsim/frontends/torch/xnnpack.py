"""How ExecuTorch's XNNPACK delegate rounds: int8 activations, one scale and zero point each.

The rules were found by experiment against ExecuTorch 1.5.1 on x86-64; docs/pytorch.md gives each
with the number of codes compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.frontends.shared.rounding import quantize
from hwsim.frontends.shared.step_functions import FloatRule, WholeSums, step_function
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import (
    Codes,
    FloatArray,
    Level,
    Mean,
    Pair,
    Real,
)
from hwsim.frontends.torch.averages import of_reals
from hwsim.frontends.torch.decomposed import F32, Decomposed
from hwsim.frontends.torch.float_sums import of_float_layer
from hwsim.frontends.torch.unary import CodeClamp
from hwsim.ops import Mul, Op, Quant, Relu, Requantize, Scheme, Table
from hwsim.ops.base import IntArray

SHIFT = 20  # bits of the larger factor of a sum, and one more
SUMS, PRODUCTS = (2.0**-10, 2.0**8), (2.0**-16, 2.0**8)
"""Between which the scales of operands must lie, as parts of the result's, for the delegate."""


@dataclass(frozen=True, slots=True)
class XnnQuantizer(Decomposed):
    """quantize_per_tensor behind what the delegate computes in integers, or in float32."""

    @property
    def in_turn(self) -> bool:
        """ExecuTorch's own operators do."""
        return True

    def bound(self, real: float) -> int:
        """The code of the bound of a clamp: the zero point goes into its rounding."""
        whole = F32(F32(real) / F32(self.scale)) + F32(self.zero_point)
        return int(np.rint(np.clip(whole, F32(self.format.min), F32(self.format.max))))

    def own(self, run: TensorBuilder, real: Real, name: str, out: str) -> Codes | None:
        """A clamp right behind what is computed in integers has bounds that are codes."""
        found = of_float_layer(run, real, self, name, out)
        if found is not None:
            return found
        if len(real.steps) != 1 or not isinstance(real.steps[0], CodeClamp):
            return of_reals(run, real, self, name, out)
        step, source = real.steps[0], real.source
        if isinstance(source, Level):
            return self._bounded(run, source, real, step, name, out)
        plain = quantize(run, replace(real, steps=()), self, name, f"{out}.rounded")
        return replace(plain, edge=run.chain(name, plain.edge, self._clamp(step), out))

    def _bounded(
        self, run: TensorBuilder, level: Level, real: Real, step: CodeClamp, name: str, out: str
    ) -> Codes:
        """A clamp of codes: in integers where the meaning stays, else the zero point goes first."""
        codes = replace(level.codes, layout=real.layout)
        same = (codes.format, level.scale, level.zero_point)
        if same == (self.format, self.scale, self.zero_point):
            return replace(codes, edge=run.chain(name, codes.edge, self._clamp(step), out))
        fmt = codes.format
        reals = (np.arange(fmt.min, fmt.max + 1) - level.zero_point).astype(F32) * F32(level.scale)
        whole = np.rint((reals * self.inverse).astype(F32) + F32(self.zero_point))
        values = np.clip(whole, *self._ends(step)).astype(np.int64)
        table = Table(values=values, out=self.format, quant=self.quant)
        return replace(codes, format=self.format, edge=run.emit(name, table, [codes.edge], out))

    def _ends(self, step: CodeClamp) -> tuple[int, int]:
        low = self.format.min if step.low is None else self.bound(step.low)
        high = self.format.max if step.high is None else self.bound(step.high)
        return low, max(low, high)

    def _clamp(self, step: CodeClamp) -> list[Op]:
        low, high = self._ends(step)
        if (low, high) == (self.format.min, self.format.max):
            return []
        return [Relu(zero_point=low, maximum=None if high == self.format.max else high)]

    def sum(
        self, run: TensorBuilder, edge: str, scale: FloatArray, zero: int
    ) -> tuple[str, list[Op]]:
        """`rint(f32(sum) * d) + zero_point` with d = f32(f32(x scale * w scale) / y scale)."""
        return edge, [self.requantize(scale / F32(self.scale), zero)]

    def mean(self, run: TensorBuilder, edge: str, source: Mean) -> list[Op]:
        """`rint(f32(f32(sum of codes * d)) + k)`; the sum on the edge is without zero points."""
        count, zero = source.window.size, source.input.zero_point
        d = F32(F32(F32(source.input.scale) / F32(self.scale)) / F32(count))
        k = F32(F32(self.zero_point) - F32(F32(zero * count) * d))

        def rounded(x: FloatArray) -> IntArray:
            sums = (x.astype(np.float64) + count * zero).astype(F32)
            whole = np.rint((sums * d).astype(F32) + k).astype(np.int64)
            found: IntArray = np.clip(whole, self.format.min, self.format.max)
            return found

        kind = run.types[edge]
        sums = WholeSums(kind, lambda codes: codes.astype(np.float64), np.zeros(1), 1)
        found = step_function(sums, FloatRule((), rounded))
        assert found is not None
        return found.ops(self.format, self.quant)

    def pair(self, run: TensorBuilder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """Sums in whole numbers, ties up; products as a layer's sums."""
        a, b = source.a, source.b
        if not (isinstance(a, Level) and isinstance(b, Level)) or source.wide or source.in_reals:
            return Decomposed.pair(self, run, source, out)
        if isinstance(source.op, Mul):
            scale = F32(a.scale) * F32(b.scale)
            _between(source.name, [scale / F32(self.scale)], PRODUCTS)
            op = Mul(zero_points=(a.zero_point, b.zero_point), quant=Quant((float(scale),)))
            edges = [a.codes.edge, b.codes.edge]
            product = run.emit(source.name, op, edges, f"{source.name}.product")
            return product, [self.requantize(scale / F32(self.scale))]
        return self._added(run, source, a, b)

    def _added(self, run: TensorBuilder, source: Pair, a: Level, b: Level) -> tuple[str, list[Op]]:
        ratios = [F32(level.scale) / F32(self.scale) for level in (a, b)]
        _between(source.name, ratios, SUMS)
        shift = SHIFT - (int(np.frexp(max(ratios))[1]) - 1)
        edges = []
        for place, (level, ratio) in enumerate(zip((a, b), ratios, strict=True)):
            factor = int(np.rint(np.float64(ratio) * 2.0**shift))
            edges.append(_times(run, f"{source.name}.{place}", level, factor))
        total = run.emit(source.name, source.op, edges, f"{source.name}.sum")
        rounding = Requantize(
            scheme=Scheme.SHIFT,
            multiplier=(2.0**-shift,),
            out=self.format,
            zero_point=self.zero_point,
            rounding=Rounding.RND,
            quant=self.quant,
        )
        return total, [rounding]


def _times(run: TensorBuilder, name: str, level: Level, factor: int) -> str:
    """Codes without their zero point times a whole number: a table."""
    fmt = level.codes.format
    values = (np.arange(fmt.min, fmt.max + 1) - level.zero_point) * factor
    made = Format.holding(int(values.min()), int(values.max()))
    return run.emit(name, Table(values=values, out=made), [level.codes.edge], name)


def _between(name: str, ratios: Sequence[Any], ends: tuple[float, float]) -> None:
    """Raise HwsimError where the delegate refuses scales."""
    if not all(ends[0] <= ratio < ends[1] for ratio in ratios):
        raise HwsimError(
            f"{name}: the scales of its operands must be from {ends[0]:.3g} to below {ends[1]:.3g} "
            f"of its result's, as the XNNPACK delegate has them, not {[float(r) for r in ratios]}"
        )
