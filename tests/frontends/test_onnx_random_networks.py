"""Random networks in exporters' idioms: a runtime's integers, or a warning of the difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from support.onnx_builder import Array
from support.onnx_kernels import INTEGER, differing, emulated, foreseen
from support.onnx_run import session_of
from support.openvino_run import run_openvino
from support.qdq_outcomes import Outcome, Run, outcome
from support.tvm_run import run_tvm

import hwsim
from hwsim.ops import Requantize, Scheme, Weighted

SHORT, LONG = 60, 3000
OTHERS: dict[str, Run] = {"tvm": run_tvm, "openvino": run_openvino}
"""The other runtimes, by the name that `load` takes; the modules of that name must be there."""
COUNTS = [("tvm", 150, True), ("openvino", 40, False), ("openvino", 600, True)]
"""How many networks, and whether that is slow."""


class OnnxRuntime:
    """Runs networks in ONNX Runtime, and remembers the integer kernels of the last one."""

    ran: Counter[str]

    def __call__(self, model: onnx.ModelProto, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        session, ops = session_of(model, optimize=True)
        self.ran = Counter(op for op in ops if op.startswith(INTEGER))
        names = [port.name for port in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def outcomes(seed: int, count: int, like: str, run: Run) -> Iterator[tuple[int, Outcome | str]]:
    """Networks of the seeds after `seed`; a failure names its own."""
    for number in range(seed, seed + count):
        yield number, outcome(number, like, run)


def tallied(number: int, found: Outcome | str) -> str:
    """What became of a network; AssertionError where it differs otherwise than it says."""
    if isinstance(found, str):
        return "not run" if found.startswith("not run") else "refused"
    differ = found.differing()
    assert found.notes or not differ, f"network({number}) differs in silence"
    assert found.announced(), f"network({number}) differs by more than {found.notes}"
    return "silent" if not found.notes else "warned and equal" if not differ else "warned"


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_networks_give_the_runtimes_integers_or_a_warning(
    count: int, tmp_path: Path, seed: int
) -> None:
    """None differs in silence, the foreseen kernels are those that ran, and most load silently."""
    tally: Counter[str] = Counter()
    run, path = OnnxRuntime(), tmp_path / "model.onnx"
    for number, found in outcomes(seed, count, "onnxruntime", run):
        tally[tallied(number, found)] += 1
        if not isinstance(found, str):
            onnx.save(found.model, path)
            assert run.ran == foreseen(path), f"network({number})"
    print(f"seed {seed}: {dict(tally)}")
    assert tally["silent"] > count / 3
    assert tally["refused"] < count / 20


@pytest.mark.parametrize(
    ("like", "count"),
    [
        pytest.param(
            like,
            count,
            marks=[pytest.mark.needs(like), *([pytest.mark.slow] if slow else [])],
        )
        for like, count, slow in COUNTS
    ],
)
def test_networks_give_another_runtimes_integers_or_a_warning(
    like: str, count: int, seed: int
) -> None:
    tally: Counter[str] = Counter()
    for number, found in outcomes(seed, count, like, OTHERS[like]):
        tally[tallied(number, found)] += 1
    print(f"seed {seed}: {dict(tally)}")
    assert tally["silent"] + tally["warned and equal"] > count / 3
    assert tally["not run"] <= count / 20
    assert tally["refused"] < count / 2  # operators on codes, weights of 4 bits, 16 bits


def mutants(graph: hwsim.Graph) -> Iterator[tuple[str, hwsim.Graph]]:
    """The graph with a zero point added before the rounding, and with a bias off by one."""
    for node in graph.nodes:
        op = node.op
        if isinstance(op, Requantize) and op.scheme is Scheme.F32_RNE_OUT and op.zero_point % 2:
            yield "scheme", graph.with_op(node.name, replace(op, scheme=Scheme.F32_RNE_IN))
        if isinstance(op, Weighted) and op.bias.any():
            yield "bias", graph.with_op(node.name, replace(op, bias=op.bias + 1))


def test_the_comparison_notices_another_rounding_and_a_bias_off_by_one(seed: int) -> None:
    noticed: Counter[str] = Counter()
    for _, found in outcomes(seed, 10 * SHORT, "onnxruntime", OnnxRuntime()):
        if noticed["scheme"] > 0 and noticed["bias"] > 10:
            break
        if isinstance(found, str) or found.notes:
            continue
        for name, graph in mutants(found.graph):
            noticed[name] += differing(emulated(graph, found.feeds), dict(found.expected)) > 0
    print(f"seed {seed}: {dict(noticed)}")
    assert noticed["scheme"] > 0
    assert noticed["bias"] > 10
