"""The strategy and the reuse factor by which a layer of products is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from hwsim.errors import HwsimError

LATENCY, RESOURCE, UNROLLED = "Latency", "Resource", "Resource_Unrolled"
EXACTLY = "Distributed_Arithmetic"
STRATEGIES = (LATENCY, RESOURCE, UNROLLED, EXACTLY)


class KernelFamily(Enum):
    """What layers have kernels in common: hls4ml's C++ has not each of them for each strategy."""

    DENSE = "a dense layer"
    CONV = "a convolution"
    DEPTHWISE = "a depthwise layer"


@dataclass(frozen=True, slots=True)
class Strategy:
    """What a user asks for, and what layers have instead where hls4ml's C++ cannot follow."""

    name: str
    reuse: int
    stream: bool

    def __post_init__(self) -> None:
        if self.name == EXACTLY and self.reuse != 1:
            raise HwsimError(f"reuse_factor must be 1 for {EXACTLY}, not {self.reuse}")

    @property
    def exactly(self) -> bool:
        """Whether sums are added at full precision, whatever their accumulator's type is."""
        return self.name == EXACTLY

    def options(self, family: KernelFamily, terms: int, outputs: int) -> dict[str, str | int]:
        """The nearest that csim runs: sums of so many terms, so many outputs at each place."""
        name = self._name(family, terms * outputs)
        if name in (LATENCY, EXACTLY):
            return {"Strategy": name, "ReuseFactor": 1}
        factors = sorted(_factors(family, terms, outputs))
        if name == UNROLLED:
            factors = factors[:-1]
        return {"Strategy": name, "ReuseFactor": _nearest(factors, self.reuse)}

    def _name(self, family: KernelFamily, products: int) -> str:
        """The strategy that a layer of a family has kernels for."""
        if family is KernelFamily.DEPTHWISE:
            return RESOURCE if self.name == RESOURCE and self.stream else LATENCY
        if self.name != UNROLLED:
            return self.name
        if products == 1:
            return LATENCY
        whole = family is KernelFamily.CONV and not self.stream
        return RESOURCE if whole or self.reuse == 1 else UNROLLED

    def said(self, what: str, options: dict[str, str | int]) -> str | None:
        """A sentence where a layer has not what was asked for."""
        given = str(options["Strategy"]), int(options["ReuseFactor"])
        asked = self.name, 1 if self.name == LATENCY else self.reuse
        if given == asked:
            return None
        text = [f"{name} with a reuse factor of {reuse}" for name, reuse in (given, asked)]
        return f"{what} has {text[0]} instead of {text[1]}, for which hls4ml has no kernel"


def _factors(family: KernelFamily, terms: int, outputs: int) -> Iterator[int]:
    """The reuse factors that kernels can follow.

    hls4ml takes the nearest of them by itself for most layers, not for those of one position, and
    its convolutions in parallel stop above the number of terms all the same.
    """
    yield from _divisors(terms)
    if family is KernelFamily.DENSE:
        yield from (terms * more for more in _divisors(outputs) if more > 1)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def _nearest(factors: Sequence[int], wanted: int) -> int:
    """Of two that are equally near the smaller one, as hls4ml takes it."""
    return min(factors, key=lambda factor: (abs(factor - wanted), factor))
