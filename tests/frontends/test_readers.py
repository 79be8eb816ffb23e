"""Functions of wide codes as tables of the codes that can occur; against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q
from support.onnx_compare import assert_same_arrays, load
from support.onnx_nets import Net, feed, typed

from hwsim.ops import Table


def squashed(source: str, function: str, *, relu: bool = False) -> onnx.ModelProto:
    """A function of 16-bit codes; with `relu` of those of real zero and above only."""
    n, wide = Net(source), Q(source, 0.0003, 1200 if source == "int16" else 33_000)
    x = n.qdq(n.input("x", (400,)), wide)
    if relu:
        x = n.qdq(n.do("Relu", x), wide)
    x = n.qdq(n.do(function, x), Q(source, 2.0**-15, 0))
    return typed(n, (x, 2, "float32"))


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.parametrize("relu", [False, True], ids=["all codes", "codes above zero"])
@pytest.mark.parametrize("function", ["Sigmoid", "HardSigmoid", "LeakyRelu"])
@pytest.mark.parametrize("source", ["uint16", "int16"])
def test_a_function_of_16_bit_codes_is_a_table_of_those_that_can_occur(
    source: str, function: str, relu: bool, tmp_path: Path, seed: int
) -> None:
    model = squashed(source, function, relu=relu)
    graph = load(model, tmp_path)
    table = next(n for n in reversed(graph.nodes) if isinstance(n.op, Table))
    (kind,) = graph.input_types(table)
    assert isinstance(table.op, Table) and table.op.first == kind.lo
    assert table.op.values.size == kind.hi - kind.lo + 1
    assert (table.op.values.size < 1 << 16) == relu
    x = feed(model, seed)
    x["x"] = np.clip(x["x"] * 4, -9.8, 9.8)
    assert_same_arrays(graph, model, x)
