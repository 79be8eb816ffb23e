"""The example models in ONNX Runtime: what the float one says, the integers of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hwsim.emulator.ports import dequantize
from hwsim.errors import HwsimError
from hwsim.graph import Graph


def installed() -> bool:
    """Whether ONNX Runtime is there."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return False
    return True


def run(model: Path, images: Any) -> Any:
    """Outputs of an ONNX file on one CPU thread, all optimizations on, hence integer kernels."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Without it, kernels of x86 processors without VNNI saturate sums of two products at 16 bits.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: images})
    return output


def codes(graph: Graph, reals: Any) -> Any:
    """The integers behind the float32 outputs of a model that ends in a DequantizeLinear.

    Raises HwsimError unless the integers give exactly those reals back.
    """
    kind = graph.types()[graph.outputs[0].tensor]
    whole = np.rint(np.asarray(reals, np.float64) / kind.scales()[0]) + kind.zero_point
    found = whole.astype(np.int64)
    if not np.array_equal(dequantize(np, kind, found), reals):
        raise HwsimError("ONNX Runtime's outputs must be whole codes times a scale, and are not")
    return found
