"""QONNX's quantizer to a sign: `scale` where x is not negative, else `-scale`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.onnx.qonnx_rules import no_factors, power_of_two
from hwsim.frontends.shared.float_sums import exact, powers_of_two
from hwsim.frontends.shared.node_by_node import Stepped
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import (
    Codes,
    FloatArray,
    Level,
    Mean,
    Pair,
    Pool,
    RawInput,
    Real,
    Scaled,
    Unary,
    Weighing,
)
from hwsim.ops import Op, Quant, Requantize, Scheme, Table, TensorType
from hwsim.ops.base import IntArray


@dataclass(frozen=True, slots=True)
class Bipolar(Stepped):
    """BipolarQuant: `scale` where x >= 0, else `-scale`; codes 1 and -1."""

    scale: float
    zero_point: int = 0

    @property
    def fraction(self) -> int | None:
        """Fraction bits of a power of two."""
        power = power_of_two(self.scale)
        return None if power is None else -power

    @property
    def format(self) -> Format:  # type: ignore[override]
        """Two bits, of which -2 and 0 are not used."""
        fraction = self.fraction or 0
        return Format(True, 2 - fraction, fraction)

    @property
    def quant(self) -> Quant | None:
        """None where the format says it all."""
        return None if self.fraction is not None else Quant((self.scale,))

    def codes(self, reals: FloatArray) -> IntArray:
        """The sign, of zero too."""
        return np.where(reals >= 0, 1, -1).astype(np.int64)

    def port(self, node: object) -> dict[str, Any]:
        """Down to -1 or 0, the codes of a signed bit."""
        return {"rounding": Rounding.TRN, "overflow": Overflow.SAT}

    def enter(self, run: TensorBuilder, raw: RawInput, name: str, out: str) -> Codes:
        """The codes of a graph input: its port's bit, then the two entries.

        The port's step is 1 whatever the scale, so that no quotient can lose its sign.
        """
        bit = TensorType((), Format.int(1))
        sign = run.input_codes(raw, bit, self.port(name), raw.name)
        edge = run.emit(name, self._entries(), [sign.edge], out)
        return Codes(edge, self.format, sign.layout)

    def _entries(self) -> Op:
        """-1 and 1 for the codes -1 and 0."""
        return Table(values=np.array([-1, 1]), out=self.format, quant=self.quant)

    def sum(
        self, run: TensorBuilder, edge: str, scale: FloatArray, zero: int
    ) -> tuple[str, list[Op]]:
        """A shift that leaves only the sign, then a table of two entries."""
        kind = run.types[edge]
        width = max(abs(kind.lo - zero), abs(kind.hi - zero), 1).bit_length() + 1
        sign = Requantize(
            scheme=Scheme.SHIFT,
            multiplier=(2.0**-width,),
            out=Format.int(1),
            input_zero_point=zero,
            rounding=Rounding.TRN,
        )
        return edge, [sign, self._entries()]

    @property
    def spacing(self) -> int:
        """From -1 to 1."""
        return 2

    def usual(self, run: TensorBuilder, real: Real) -> bool:
        """Where only clamps and pools stand behind an exact sum; or a table of narrow codes."""
        functions = [s for s in real.steps if not isinstance(s, Pool)]
        clamps = all(isinstance(f, Unary) and f.clamp for f in functions)
        source = real.source
        match source:
            case Level():
                scalar = all(isinstance(f, Unary) for f in functions)
                return source.scales is None and scalar
            case Weighing():
                return clamps and exact(run, source)
            case Mean():
                return clamps and powers_of_two(source.input.factors)
        return not isinstance(source, Pair)

    def products(self, scale: npt.NDArray[np.float64]) -> list[Op] | None:
        """None: thresholds say it."""
        return None

    def mean(self, run: TensorBuilder, edge: str, source: Mean) -> list[Op]:
        """The sign of an average is that of the sum."""
        return self.sum(run, edge, np.ones(1, np.float32), 0)[1]

    def scaled(self, run: TensorBuilder, source: Scaled, out: str) -> tuple[str, list[Op]]:
        """Refused, as IntQuant does."""
        raise no_factors(source)

    def pair(self, run: TensorBuilder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """Not needed by any model seen."""
        raise HwsimError(f"{source.name}: a sum of two tensors must be quantized by Quant")
