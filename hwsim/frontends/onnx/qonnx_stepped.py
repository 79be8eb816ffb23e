"""The shared base of QONNX's rules that become thresholds, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.qonnx_rules import no_factors
from hwsim.frontends.shared.node_by_node import Stepped
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import FloatArray, Mean, Pair, Real, Scaled
from hwsim.ops import Op


@dataclass(frozen=True, slots=True, eq=False)
class OnlySteps(Stepped):
    """A rule without a zero point and without a requantizer; `wanted` says what it must be of."""

    wanted: ClassVar[str]

    @property
    def zero_point(self) -> int:  # type: ignore[override]
        """Codes have none, or it is taken off."""
        return 0

    def usual(self, run: TensorBuilder, real: Real) -> bool:
        """Never."""
        return False

    def products(self, scale: npt.NDArray[np.float64]) -> list[Op] | None:
        """None: they are thresholds."""
        return None

    def sum(
        self, run: TensorBuilder, edge: str, scale: FloatArray, zero: int
    ) -> tuple[str, list[Op]]:
        """Never asked for."""
        raise HwsimError(self.wanted)

    def mean(self, run: TensorBuilder, edge: str, source: Mean) -> list[Op]:
        """Never asked for."""
        raise HwsimError(self.wanted)

    def pair(self, run: TensorBuilder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """Never asked for."""
        raise HwsimError(self.wanted)

    def scaled(self, run: TensorBuilder, source: Scaled, out: str) -> tuple[str, list[Op]]:
        """Refused, as by a Quant of one scale."""
        raise no_factors(source)
