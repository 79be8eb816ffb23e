"""Published QONNX models: the executor's values, and two of them as bitstreams."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from support.published import folder
from support.qonnx_nets import executed

import hwsim

pytest.importorskip("qonnx")

Array = npt.NDArray[Any]
LARGE = 1 << 16  # elements of an input from which a few samples must do
QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "MultiThreshold")


def quantized(path: Path) -> bool:
    """Whether a file is a QONNX model."""
    return any(node.op_type in QUANTIZERS for node in onnx.load(path).graph.node)


def elements(path: Path) -> int:
    """Of one sample of a model's input."""
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape
    return math.prod(d.dim_value for d in shape.dim[1:])


FILES = [
    path
    for place in ("qonnx", "hls4ml", "hls4ml/onnx")
    for path in sorted((folder() / place).glob("*.onnx"))
    if quantized(path)
]


def samples(model: onnx.ModelProto, count: int, seed: int) -> Array:
    """Reals on and off fine grids, and signs where the model's annotation wants these."""
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (count, *shape)).astype(np.float32)
    x[::3] = rng.uniform(0, 1, x[::3].shape)
    x[1::3] = np.rint(x[1::3] * 64) / 64
    signs = any(
        entry.value == "BIPOLAR"
        for note in model.graph.quantization_annotation
        if note.tensor_name == model.graph.input[0].name
        for entry in note.quant_parameter_tensor_names
    )
    return np.where(x < 0, -1, 1).astype(np.float32) if signs else x


def differing(path: Path, count: int, seed: int) -> tuple[int, int]:
    """Codes of the output that differ, of how many; reals where they are not only codes."""
    model = onnx.load(path)
    x = samples(model, count, seed)
    if x[0].size > LARGE:
        x = x[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = hwsim.load(path)
        got, expected = hwsim.emulate(graph, x), executed(model, x)
        kind = graph.types()[graph.outputs[0].tensor]
        if kind.quant is not None and not graph.outputs[0].steps:  # reals differ in last bits
            scale = np.array(kind.scales())
            got, expected = (np.rint(reals / scale) for reals in (got, expected))
    assert got.shape == expected.shape and len(np.unique(got)) > 1
    return int((got != expected).sum()), got.size


@pytest.mark.needs("models")
@pytest.mark.parametrize("path", [f for f in FILES if elements(f) <= LARGE], ids=lambda f: f.stem)
def test_a_published_model_gives_the_executors_values(path: Path, seed: int) -> None:
    wrong, compared = differing(path, 40, seed)
    assert wrong == 0, f"{wrong} of {compared}"


@pytest.mark.slow
@pytest.mark.needs("models")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_published_model_gives_the_executors_values_of_1000_inputs(path: Path, seed: int) -> None:
    wrong, compared = differing(path, 1000, seed)
    print(f"{compared} values compared")
    assert wrong == 0, f"{wrong} of {compared}"


@pytest.mark.slow
@pytest.mark.needs("models", "yosys", "nextpnr-ecp5", "ecppack", "verilator")
@pytest.mark.parametrize("name", ["qkeras_jettagging", "TFC_2W2A"])
def test_a_published_model_becomes_a_bitstream(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = hwsim.load(folder() / "qonnx" / f"{name}.onnx")
    built = hwsim.build(graph, tmp_path / "out")
    assert built["bitstream"] and built["met"]
    found = hwsim.verify(tmp_path / "out")
    assert found.ok, found
