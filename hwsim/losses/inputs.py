"""The inputs of a Graph as places where numbers get lost: what reals do when they enter."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from hwsim.emulator.ports import from_user
from hwsim.fixed import Format, round_real
from hwsim.float_steps import computed
from hwsim.graph import Graph, InputPort
from hwsim.losses.count import Count, Extent, Into
from hwsim.losses.sites import Seen, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSite(Site):
    """A port that takes reals.

    Where the port has a scale that is no power of two, every real is rounded by design, so only
    its ends count.
    """

    port: InputPort

    @classmethod
    def of(cls, port: InputPort) -> InputSite:
        """Of a port."""
        into = Into(port.type.format, port.rounding, port.overflow)
        return cls(name=port.name, edge=port.tensor, what="input", into=into, port=port)

    @property
    def keeps_fraction(self) -> bool:
        """Whether codes are reals times a power of two."""
        return self.port.type.quant is None

    def count(self, seen: Seen) -> Count:
        """Reals out of range, and reals between two codes."""
        given = np.asarray(seen.given[self.port.name])
        codes = self.port.element is not None and given.dtype.kind in "iub"
        if codes or not given.size:
            return Count(codes=given.size)
        if self.port.steps:
            given = np.asarray(computed(np, self.port.steps, given))
        reals = from_user(np, self.port, self.port.type, given.astype(np.float64))
        if not self.keeps_fraction:
            return self._scaled(reals)
        scaled = np.ldexp(reals, self.into.format.frac_bits)
        whole = round_real(np, scaled, self.into.rounding)
        return Count(
            codes=reals.size,
            rounded=int(np.count_nonzero(whole != scaled)),
            loss=float(np.ldexp(np.abs(whole - scaled).max(), -self.into.format.frac_bits)),
            extent=_extent(reals),
            **self.into.happened(self.into.outside(whole)),
        )

    def _scaled(self, reals: Any) -> Count:
        kind = self.port.type
        codes = round_real(np, reals / np.array(kind.scales()), self.into.rounding)
        codes = np.clip(codes + kind.zero_point, -(2.0**62), 2.0**62)
        return Count(
            codes=reals.size,
            extent=Extent.of(codes.astype(np.int64), self.into.format.frac_bits),
            **self.into.happened(self.into.outside(codes)),
        )

    def proven(self) -> None:
        """Nothing bounds the reals that a user gives."""
        return

    def widened(self, graph: Graph, into: Format) -> Graph:
        """A port that takes more reals."""
        kind = replace(self.port.type, format=into, range=None)
        wide = replace(self.port, type=kind)
        ports = tuple(wide if p.name == self.port.name else p for p in graph.inputs)
        return replace(graph, inputs=ports)


def _extent(reals: Any) -> Extent:
    """Of float64 numbers, exactly."""
    some = reals[reals != 0]
    grain = None
    if some.size:
        fraction, exponent = np.frexp(some)
        digits = np.ldexp(fraction, 53).astype(np.int64)
        zeros = np.frexp((digits & -digits).astype(np.float64))[1] - 1
        grain = int((53 - exponent - zeros).max())
    low, high = float(reals.min()), float(reals.max())
    assert math.isfinite(low) and math.isfinite(high)
    return Extent(Fraction(low), Fraction(high), grain)
