"""Functions of wide codes as tables of the codes that can occur; against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q
from test_frontend_graphs import Net
from test_frontend_onnx import load
from test_frontend_qonnx import Net as QonnxNet
from test_ports import assert_same_arrays, feed, typed

import hwsim
from hwsim.errors import HwsimError
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


def test_a_function_of_more_codes_than_a_table_has_is_refused(tmp_path: Path) -> None:
    n = QonnxNet(3)
    x = n.quant(n.do("Sigmoid", [n.start(6, scale=2.0**-10, bits=20)]), 2.0**-7, 8)
    with pytest.raises(HwsimError) as error:
        load(n.model(x, 6), tmp_path)
    assert str(error.value).endswith(
        "a tensor that a function is taken of must have at most 12 bits, or 65536 codes that can "
        "occur, not 20 bits and codes from -524288 to 524287"
    )


def test_a_function_of_few_codes_of_a_wide_format_is_a_table(tmp_path: Path, seed: int) -> None:
    """A clamp leaves 2**11 + 1 of the 2**20 codes."""
    n = QonnxNet(3)
    x = n.do("Clip", [n.start(400, scale=2.0**-10, bits=20), n.constant(0.0), n.constant(2.0)])
    x = n.quant(n.do("Sigmoid", [n.quant(x, 2.0**-10, 20)]), 2.0**-7, 8)
    graph = load(n.model(x, 400), tmp_path)
    table = next(node.op for node in graph.nodes if isinstance(node.op, Table))
    assert (table.first, table.values.size) == (0, 2049)
    reals = np.random.default_rng(seed).uniform(-3, 3, (4, 400)).astype(np.float32)
    clipped = np.clip(np.rint(reals * 1024) / 1024, 0, 2)
    expected = np.clip(np.rint(128 / (1 + np.exp(-clipped))), -128, 127) / 128
    off = np.abs(128 / (1 + np.exp(-clipped)) % 1 - 0.5) > 1e-4  # where float32 cannot matter
    assert np.array_equal(hwsim.emulate(graph, reals)[off], expected.astype(np.float32)[off])
