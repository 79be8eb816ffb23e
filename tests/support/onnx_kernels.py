"""The integer kernels that ran in ONNX Runtime, those foreseen, and what was said."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import onnx

import hwsim
from hwsim.frontends.onnx.file import read_file
from hwsim.frontends.onnx.ort import kernels
from hwsim.frontends.onnx.ort.pairs import merged_pairs
from hwsim.frontends.shared.builder import RuntimeDifference
from support.onnx_builder import Array
from support.onnx_compare import load
from support.onnx_nets import feeds
from support.onnx_run import run_ort

INTEGER = ("QLinear", "QGemm", "MatMulIntegerToFloat", "MatMulNBits")


NAMES = {
    ("Conv", "INTEGER"): "QLinearConv",
    ("MatMul", "INTEGER"): "QLinearMatMul",
    ("MatMul", "TO_FLOAT"): "MatMulIntegerToFloat",
    ("Gemm", "INTEGER"): "QGemm",
    ("Gemm", "TO_FLOAT"): "QGemm",
    ("MatMul", "BLOCKS"): "MatMulNBits",
    ("Gemm", "BLOCKS"): "MatMulNBits",
}


def emulated(graph: hwsim.Graph, feeds: dict[str, Array]) -> dict[str, Array]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # saturating inputs, which are meant
        out = hwsim.emulate(graph, feeds)
    return out if isinstance(out, dict) else {graph.outputs[0].name: out}


def differing(got: dict[str, Array], expected: dict[str, Array]) -> int:
    assert {n: v.shape for n, v in got.items()} == {n: v.shape for n, v in expected.items()}
    return sum(int((got[name] != value).sum()) for name, value in expected.items())


def foreseen(path: Path) -> Counter[str]:
    """The integer kernels that the front end expects the runtime to choose."""
    copy = kernels.ready(*merged_pairs(read_file(path)))
    found: Counter[str] = Counter()
    for step in copy.steps:
        kernel = kernels.chosen(copy, step).kernel.name
        op = step.op.removeprefix("com.microsoft.")
        if kernel != "FLOAT":
            found[op if op.startswith("Q") else NAMES.get((op, kernel), f"QLinear{op}")] += 1
    return found


def outcome(model: onnx.ModelProto, folder: Path, seed: int) -> tuple[list[str], str, int]:
    """The integer kernels that ran (also foreseen), what was said, and how many values differ."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        graph = load(model, folder)
    said = " ".join(str(w.message) for w in caught if issubclass(w.category, RuntimeDifference))
    data = feeds(model, seed)
    result = run_ort(model, data)
    ran = sorted(op for op in result.ops if op.startswith(INTEGER))
    assert ran == sorted(foreseen(folder / "model.onnx").elements())
    return ran, said, differing(emulated(graph, data), result.outputs)
