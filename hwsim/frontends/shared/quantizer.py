"""How reals become codes: what a framework's quantizer has to answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import (
    Codes,
    FloatArray,
    Level,
    Mean,
    Pair,
    RawInput,
    Real,
    Scaled,
    Softmax,
)
from hwsim.ops import Op, Quant, TensorType
from hwsim.ops.base import IntArray


class Quantizer(ABC):
    """How reals become codes: what a framework's quantizer asks for."""

    format: Format
    scale: float
    zero_point: int

    @property
    @abstractmethod
    def quant(self) -> Quant | None:
        """What the codes mean, as the edge's type says it."""

    @abstractmethod
    def codes(self, reals: FloatArray) -> IntArray:
        """Codes of float32 values."""

    @abstractmethod
    def port(self, node: object) -> dict[str, Any]:
        """How an InputPort has to quantize."""

    def enter(self, run: TensorBuilder, raw: RawInput, name: str, out: str) -> Codes:
        """The codes of a graph input, at whose port the quantizer stands; `name` is its node's."""
        return run.input_codes(raw, TensorType((), self.format, self.quant), self.port(name), out)

    @abstractmethod
    def sum(
        self, run: TensorBuilder, edge: str, scale: FloatArray, zero: int
    ) -> tuple[str, list[Op]]:
        """Operators that round whole numbers with `scale` and `zero`, after the edge given back."""

    @abstractmethod
    def mean(self, run: TensorBuilder, edge: str, source: Mean) -> list[Op]:
        """Operators that round a sum over windows."""

    @abstractmethod
    def pair(self, run: TensorBuilder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """Operators that round the sum of two tensors, after the edge given back."""

    @abstractmethod
    def scaled(self, run: TensorBuilder, source: Scaled, out: str) -> tuple[str, list[Op]]:
        """Operators that round a tensor times a factor a channel, after the edge given back."""

    def own(self, run: TensorBuilder, real: Real, name: str, out: str) -> Codes | None:
        """The codes of a tensor by a way of its own; None where it is the usual one."""
        return None

    def softmax(self, run: TensorBuilder, source: Softmax, out: str) -> tuple[str, list[Op]]:
        """Operators that round a softmax, after the edge given back; HwsimError where none do."""
        raise HwsimError(f"{source.name}: a softmax must stand at the end of the model")

    def shifts(self, level: Level) -> bool:
        """Whether rounding codes of that meaning is a mere shift, better than a table."""
        return False
