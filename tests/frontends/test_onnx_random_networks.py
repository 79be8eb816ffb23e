"""Random networks in exporters' idioms: ONNX Runtime's integers, or a warning of the difference."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Array
from support.onnx_compare import load
from support.onnx_kernels import INTEGER, differing, emulated, foreseen
from support.onnx_run import session_of
from support.qdq_graphs import feeds, network

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.ops import Requantize, Scheme, Weighted

SHORT, LONG = 60, 3000


@dataclass(frozen=True, slots=True)
class Outcome:
    """One network in both: what was announced, and how the outputs differ."""

    model: onnx.ModelProto
    graph: hwsim.Graph
    feeds: dict[str, Array]
    expected: dict[str, Array]
    ran: Counter[str]
    foreseen: Counter[str]
    notes: tuple[str, ...]

    @property
    def got(self) -> dict[str, Array]:
        return emulated(self.graph, self.feeds)

    def differing(self) -> int:
        """Elements of all outputs that differ."""
        return differing(self.got, self.expected)

    def distance(self) -> float:
        """The largest difference, as a part of the largest value."""
        got = self.got
        return max(
            float(np.abs(got[n].astype(float) - v).max() / max(np.abs(v).max(), 1e-30))
            for n, v in self.expected.items()
        )


def outcome(seed: int, folder: Path) -> Outcome | str:
    """Both sides of one network, or why it was refused."""
    model, data = network(seed), feeds(network(seed), seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            graph = load(model, folder)
        except hwsim.HwsimError as error:
            return str(error)
    notes = tuple(str(w.message) for w in caught if issubclass(w.category, RuntimeDifference))
    session, ops = session_of(model, optimize=True)
    names = [o.name for o in session.get_outputs()]
    expected = dict(zip(names, session.run(names, data), strict=True))
    ran = Counter(op for op in ops if op.startswith(INTEGER))
    return Outcome(model, graph, data, expected, ran, foreseen(folder / "model.onnx"), notes)


def outcomes(seed: int, count: int, folder: Path) -> Iterator[tuple[int, Outcome | str]]:
    """Networks of the seeds after `seed`; a failure names its own."""
    for number in range(seed, seed + count):
        yield number, outcome(number, folder)


def announced(found: Outcome) -> bool:
    """Whether the differences are no more than the warnings say.

    A step inside a network moves its outputs by a few steps, and reals altogether.
    """
    text = " ".join(found.notes)
    if "wrap" in text:
        return True  # by anything
    if "MatMulNBits" in text or "exact ties" in text or "any code may differ" in text:
        return found.distance() < 0.5
    if "one step" not in text:
        return found.distance() < 1e-5  # only last bits
    if "last bits" in text or "1,000" in text:  # one 16-bit value may stand in every sample
        return found.distance() < 0.1
    total = sum(v.size for v in found.expected.values())
    return found.differing() <= max(3, total // 30) and found.distance() < 0.1


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_networks_give_the_runtimes_integers_or_a_warning(
    count: int, tmp_path: Path, seed: int
) -> None:
    """None differs in silence, the foreseen kernels are those that ran, and most load silently."""
    tally: Counter[str] = Counter()
    for number, found in outcomes(seed, count, tmp_path):
        if isinstance(found, str):
            tally["refused"] += 1
            continue
        assert found.ran == found.foreseen, f"network({number})"
        differ = found.differing()
        tally["silent" if not found.notes else "warned and equal" if not differ else "warned"] += 1
        assert found.notes or not differ, f"network({number}) differs in silence"
        assert announced(found), f"network({number}) differs by more than {found.notes}"
    print(f"seed {seed}: {dict(tally)}")
    assert tally["silent"] > count / 3
    assert tally["refused"] < count / 20


def mutants(graph: hwsim.Graph) -> Iterator[tuple[str, hwsim.Graph]]:
    """The graph with a zero point added before the rounding, and with a bias off by one."""
    for node in graph.nodes:
        op = node.op
        if isinstance(op, Requantize) and op.scheme is Scheme.F32_RNE_OUT and op.zero_point % 2:
            yield "scheme", graph.with_op(node.name, replace(op, scheme=Scheme.F32_RNE_IN))
        if isinstance(op, Weighted) and op.bias.any():
            yield "bias", graph.with_op(node.name, replace(op, bias=op.bias + 1))


def test_the_comparison_notices_another_rounding_and_a_bias_off_by_one(
    tmp_path: Path, seed: int
) -> None:
    noticed: Counter[str] = Counter()
    for _, found in outcomes(seed, 10 * SHORT, tmp_path):
        if noticed["scheme"] > 0 and noticed["bias"] > 10:
            break
        if isinstance(found, str) or found.notes:
            continue
        for name, graph in mutants(found.graph):
            noticed[name] += differing(emulated(graph, found.feeds), found.expected) > 0
    print(f"seed {seed}: {dict(noticed)}")
    assert noticed["scheme"] > 0
    assert noticed["bias"] > 10
