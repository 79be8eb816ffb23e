"""An ONNX model in hwsim and in ONNX Runtime: read, run and compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

import hwsim
from hwsim import Graph
from support import onnx_models as om
from support.onnx_builder import Array
from support.onnx_run import run_ort


def load(model: onnx.ModelProto, folder: Path) -> hwsim.Graph:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return hwsim.load(path)


def emulated(graph: hwsim.Graph, feeds: dict[str, Array]) -> dict[str, Array]:
    """Outputs by name, from the very arrays that ONNX Runtime gets."""
    whole = all(x.dtype.kind in "iu" for x in feeds.values())
    out = hwsim.emulate(graph, feeds, codes=whole)
    return out if isinstance(out, dict) else {graph.outputs[0].name: out}


def differences(graph: hwsim.Graph, model: onnx.ModelProto, feeds: dict[str, Array]) -> int:
    """Differing elements of all outputs; values are compared, which for codes times one scale is
    the same as comparing codes."""
    expected = om.run_ort(model, feeds).outputs
    got = emulated(graph, feeds)
    assert {n: v.shape for n, v in got.items()} == {n: v.shape for n, v in expected.items()}
    return sum(int((got[name] != value).sum()) for name, value in expected.items())


def assert_same_arrays(graph: Graph, model: onnx.ModelProto, feeds: Mapping[str, Array]) -> None:
    """Values, types and shapes are the runtime's."""
    expected = run_ort(model, feeds).outputs
    got = hwsim.emulate(graph, dict(feeds))
    found = got if isinstance(got, dict) else dict.fromkeys(expected, got)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert np.array_equal(found[name], array)
