"""Small float ONNX graphs written as text, and QONNX's results of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, parser

Array = npt.NDArray[Any]
HEAD = '<ir_version: 8, opset_import: ["" : {opset}]>'


def parsed(text: str, constants: Mapping[str, Array], *, opset: int = 17) -> onnx.ModelProto:
    """A model of a graph in ONNX's own text, with these constants beside."""
    model = parser.parse_model(HEAD.format(opset=opset) + text)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()
    )
    onnx.checker.check_model(model)
    return model


def between_convolutions(body: str, rng: np.random.Generator, *, opset: int = 17) -> Any:
    """A model of `body`, which makes `b` of `a`, between two convolutions of maps of 6 x 6."""
    kernels = {name: rng.normal(0, 0.4, (4, 4, k, k)) for name, k in (("v", 3), ("w", 1))}
    constants = {name: values.astype(np.float32) for name, values in kernels.items()}
    constants["c"] = rng.normal(0, 0.2, 4).astype(np.float32)
    return parsed(
        "net (float[N,4,8,8] x) => (float[N,4,6,6] y) "
        f"{{a = Conv(x, v, c) {body} y = Conv(b, w)}}",
        constants,
        opset=opset,
    )  # fmt: skip


def executed_by_names(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """QONNX's own results by output, sample by sample; tensors keep their names."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    wrapped = ModelWrapper(model).transform(InferShapes())
    names = [port.name for port in model.graph.output]
    count = len(next(iter(feeds.values())))
    rows = [
        execute_onnx(wrapped, {name: x[place : place + 1] for name, x in feeds.items()})
        for place in range(count)
    ]
    return {name: np.concatenate([row[name] for row in rows]) for name in names}
