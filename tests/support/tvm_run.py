"""Runs ONNX models in TVM (Relax, LLVM), on the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from support.onnx_builder import Array


def run_tvm(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name; the model is compiled for the very shapes of the feeds."""
    run = compiled(model, {name: x.shape for name, x in feeds.items()})
    return run(feeds)


def compiled(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """A function from feeds to outputs by name."""
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that the outputs do not have yet
        module = from_onnx(model, shape_dict={name: list(shape) for name, shape in shapes.items()})
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    inputs = [port.name for port in model.graph.input]
    names = [port.name for port in model.graph.output]

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        given = [tvm.runtime.tensor(np.ascontiguousarray(feeds[name])) for name in inputs]
        made = machine["main"](*given)
        several = [made] if len(names) == 1 else list(made)
        return {name: array.numpy() for name, array in zip(names, several, strict=True)}

    return run
