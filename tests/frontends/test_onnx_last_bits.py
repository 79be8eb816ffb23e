"""Which kernel and scale ONNX Runtime takes where tensors have several readers, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from support.onnx_builder import Q
from support.onnx_compare import load
from support.onnx_kernels import differing, emulated, outcome
from support.onnx_nets import Net, feeds, typed
from support.onnx_run import run_ort

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference

WIDE, NARROW = Q("int8", 0.08206339180469513, 0), Q("int8", 0.07536784559488297, 0)
ONE, OTHER = Q("uint8", 0.0734, 131), Q("uint8", 0.09, 128)


def powers(shape: tuple[int, ...], rank: int, exponent: float) -> onnx.ModelProto:
    n = Net()
    x = n.start(*shape)
    given = n.constant("e", np.full((1,) * rank, exponent, np.float32))
    return n.model((n.do("Pow", x, given), len(shape) + 1, "float32"))


@pytest.mark.parametrize("exponent", [2.0, 3.0])
@pytest.mark.parametrize(
    ("shape", "rank"), [((49, 1), 2), ((7,), 0), ((1, 5), 1), ((49, 1), 0), ((3, 1, 1), 2)]
)
def test_squares_and_cubes_are_products_where_many_elements_meet_one_exponent(
    shape: tuple[int, ...], rank: int, exponent: float, tmp_path: Path, seed: int
) -> None:
    """Else they are the C library's, which is said."""
    _, said, differ = outcome(powers(shape, rank, exponent), tmp_path, seed)
    alone = all(size == 1 for size in shape[-max(rank, 1) :])
    assert ("last bits" in said) is alone
    assert not differ or alone


@pytest.mark.parametrize(
    "row", ["aab", "aaab", "bbba", "aaaab", "aaaaab", "ababaa", "aaaabb", "baaaaab"]
)
def test_a_pair_that_repeats_codes_goes_between_the_passes_over_rows(
    row: str, tmp_path: Path, seed: int
) -> None:
    """The codes of the first pair are read twice, so that it stands in no row."""
    n, kinds = Net(), {"a": WIDE, "b": NARROW}
    scale, zero = n.parameters("first", kinds[row[0]])
    codes = n.do("QuantizeLinear", n.input("x", (16,)), scale, zero)
    real, other = (n.do("DequantizeLinear", codes, scale, zero) for _ in range(2))
    for i, name in enumerate(row[1:]):
        real = n.qdq(real, kinds[name], f"{i}_real")
    ends = [(n.do("Tanh", tensor), 2, "float32") for tensor in (real, other)]
    assert outcome(n.model(*ends), tmp_path, seed)[1:] == ("", 0)


def reversed_row(n: Net, x: str) -> str:
    return n.do("Slice", x, n.ints(-1), n.ints(-(2**31)), n.ints(1), n.ints(-1))


def product(n: Net, x: str) -> str:
    return n.do("MatMul", x, n.kernel((12, 7), 1))


@pytest.mark.parametrize("further", [False, True])
def test_a_dequantizer_stays_before_what_a_quantizer_reads(
    further: bool, tmp_path: Path, seed: int
) -> None:
    """So the product beside that quantizer gets no codes, but rounds in blocks."""
    n = Net()
    moved = reversed_row(n, n.qdq(n.input("x", (12,)), ONE))
    real = n.qdq(moved, OTHER, "other")
    out = product(n, reversed_row(n, moved) if further else moved)
    model = n.model((out, 2, "float32"), (n.do("Sigmoid", real), 2, "float32"))
    ran, said, _ = outcome(model, tmp_path, seed)
    assert ran == ["MatMulNBits"]
    assert "in blocks" in said


@pytest.mark.parametrize("first", [ONE, Q("int8", 0.0734, 3)])
def test_a_dequantizer_moves_to_an_output_too(first: Q, tmp_path: Path, seed: int) -> None:
    """Codes of int8 then have two readers, and stay what they are: a product in float32."""
    n = Net()
    moved = reversed_row(n, n.qdq(n.input("x", (12,)), first))
    model = n.model((moved, 2, "float32"), (product(n, moved), 2, "float32"))
    ran, said, differ = outcome(model, tmp_path, seed)
    if first.dtype == "uint8":
        assert (ran, said, differ) == (["MatMulIntegerToFloat"], "", 0)
    else:
        assert ran == []
        assert "last bits" in said


def turned(n: Net, x: str) -> str:
    return n.do("Transpose", x, perm=[0, 2, 1])


def announced(model: onnx.ModelProto, text: str, folder: Path, seed: int) -> int:
    """How many values differ, where a warning says so."""
    with pytest.warns(RuntimeDifference, match=text):
        graph = load(model, folder)
    data = {name: 5 * x for name, x in feeds(model, seed).items()}
    return differing(emulated(graph, data), run_ort(model, data).outputs)


def test_a_quantizer_that_a_transpose_takes_to_an_output_is_announced(
    tmp_path: Path, seed: int
) -> None:
    n = Net()
    shown = n.do("Sigmoid", n.qdq(n.input("x", (2, 6)), ONE))
    real = n.qdq(turned(n, shown), OTHER)
    model = n.model((real, 3, "float32"), (shown, 3, "float32"))
    assert announced(model, "rounds this output", tmp_path, seed)


def test_transposes_that_leave_codes_of_int8_with_two_readers_are_announced(
    tmp_path: Path, seed: int
) -> None:
    n = Net()
    x = n.qdq(n.input("x", (9,)), Q("int8", 0.12056779861450195, 0))
    column = n.do("Reshape", x, n.ints(0, 9, 1, 1))
    once = n.do("Transpose", column, perm=[0, 1, 3, 2])
    out = n.do("MatMul", n.do("Transpose", once, perm=[0, 1, 3, 2]), once)
    model = n.model((out, 4, "float32"), (n.do("Tanh", x), 2, "float32"))
    assert announced(model, "choose another kernel", tmp_path, seed)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_products_that_the_runtime_has_saved_as_its_own_are_read(
    both: bool, several: bool, tmp_path: Path, seed: int
) -> None:
    """MatMulIntegerToFloat, in a file that ONNX Runtime's optimizer has written."""
    n = Net()
    x = n.qdq(n.input("x", (5, 12)), ONE)
    w = n.weights((12, 7), 7 if several else 1, pow2=False, dtype="int8").real(n, "w", 1)
    out = n.do("MatMul", x, turned(n, x) if both else w)
    model = n.model((out, 3, "float32"))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "saved.onnx")
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    saved = onnx.load(tmp_path / "saved.onnx")
    assert "MatMulIntegerToFloat" in {node.op_type for node in saved.graph.node}
    data = feeds(model, seed)
    graph = hwsim.load(tmp_path / "saved.onnx")
    assert differing(emulated(graph, data), run_ort(saved, data).outputs) == 0


def test_a_product_in_blocks_is_announced_before_another_layer_too(
    tmp_path: Path, seed: int
) -> None:
    """Weights of 8 bits behind a 16-bit input, and nothing that rounds the sum."""
    n = Net()
    x = n.qdq(n.input("x", (4, 12)), Q("int16", 0.003, 3))
    inner = n.do("MatMul", x, n.kernel((12, 7), 1))
    out = n.qdq(n.do("Conv", inner, n.kernel((3, 4, 3), 0)), Q("int16", 0.001, 3))
    model = typed(n, (out, 3, "float32"))
    ran, said, differ = outcome(model, tmp_path, seed)
    assert ran == ["MatMulNBits"]
    assert "in blocks" in said
    assert differ
