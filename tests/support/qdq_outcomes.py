"""Random QDQ networks in hwsim and in a runtime: what was announced, and how outputs differ."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference
from support.onnx_builder import Array
from support.onnx_kernels import differing, emulated
from support.qdq_graphs import feeds, network

Run = Callable[[onnx.ModelProto, Mapping[str, Array]], Mapping[str, Array]]


class NoResultError(Exception):
    """A runtime that cannot run a model."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One network in both: what was announced, and how the outputs differ."""

    model: onnx.ModelProto
    graph: hwsim.Graph
    feeds: dict[str, Array]
    expected: Mapping[str, Array]
    notes: tuple[str, ...]

    @property
    def got(self) -> dict[str, Array]:
        return emulated(self.graph, self.feeds)

    def differing(self) -> int:
        """Elements of all outputs that differ."""
        return differing(self.got, dict(self.expected))

    def distance(self) -> float:
        """The largest difference, as a part of the largest value."""
        got = self.got
        return max(
            float(np.abs(got[n].astype(float) - v).max() / max(np.abs(v).max(), 1e-30))
            for n, v in self.expected.items()
        )

    def announced(self) -> bool:
        """Whether the differences are no more than the warnings say.

        A step inside a network moves its outputs by a few steps, and reals altogether.
        """
        text = " ".join(self.notes)
        if "wrap" in text or "any amount" in text:
            return True
        if "MatMulNBits" in text or "exact ties" in text or "any code may differ" in text:
            return self.distance() < 0.5
        if "one step" not in text:
            return self.distance() < 1e-5  # only last bits
        if "last bits" in text or "1,000" in text:  # one 16-bit value may stand in every sample
            return self.distance() < 0.1
        total = sum(v.size for v in self.expected.values())
        return self.differing() <= max(3, total // 30) and self.distance() < 0.1


def outcome(seed: int, like: str, run: Run) -> Outcome | str:
    """Both sides of one network, or why it was refused, or not run."""
    model, data = network(seed), feeds(network(seed), seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            graph = hwsim.load(model, like=like)
        except hwsim.HwsimError as error:
            return str(error)
    notes = tuple(str(w.message) for w in caught if issubclass(w.category, RuntimeDifference))
    try:
        return Outcome(model, graph, data, run(model, data), notes)
    except NoResultError as error:
        return f"not run: {error}"
