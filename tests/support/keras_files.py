"""ONNX files node by node as Keras 3's exporter writes them, without Keras.

With PyTorch each layer stands between a Transpose from channels last and one back, casts to the
type that a tensor has, a norm taken apart, and a flat shape that is computed. With TensorFlow lines
are maps of one row, and a bias stands behind the Squeeze.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]


class KerasFile:
    """Collects nodes; weights are drawn."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def held(self, values: npt.ArrayLike, dtype: Any = np.float32) -> str:
        name = f"onnx::Held_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def drawn(self, *shape: int, middle: float = 0.0) -> str:
        return self.held(self.rng.normal(middle, 0.3, shape))

    def do(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"/{op}_{len(self.nodes)}"
        out = f"{name}_output_0"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name, **attributes))
        return out

    def cast(self, x: str) -> str:
        return self.do("Cast", x, to=TensorProto.FLOAT)

    def turned(self, x: str, perm: Sequence[int]) -> str:
        return self.do("Transpose", x, perm=list(perm))

    def conv(self, x: str, taken: int, given: int, size: int, *, pad: int = 0, **how: Any) -> str:
        """A convolution of channels last, and its bias behind the Transpose back."""
        weights = self.drawn(given, taken // how.get("group", 1), size, size)
        attributes = {"kernel_shape": [size, size], "pads": [pad] * 4, **how}
        y = self.do("Conv", self.turned(self.cast(x), FIRST), weights, **attributes)
        y = self.cast(self.turned(y, LAST))
        return self.cast(self.do("Add", y, self.drawn(1, 1, 1, given)))

    def norm(self, x: str, channels: int) -> str:
        """A batch norm in its parts."""
        y = self.do("Sub", x, self.drawn(1, 1, 1, channels))
        y = self.do("Mul", y, self.drawn(1, 1, 1, channels, middle=1.0))
        return self.cast(self.do("Add", y, self.drawn(1, 1, 1, channels)))

    def pooled(self, x: str) -> str:
        y = self.turned(self.cast(x), FIRST)
        y = self.do("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
        return self.cast(self.turned(self.cast(y), LAST))

    def flat(self, x: str, size: int) -> str:
        """All of a sample, by a shape that is computed."""
        batch = self.do("Gather", self.do("Shape", x), self.held(0, np.int64), axis=0)
        batch = self.do("Unsqueeze", batch, self.held([0], np.int64))
        shape = self.do("Concat", batch, self.held([size], np.int64), axis=0)
        return self.cast(self.do("Reshape", self.cast(x), shape))

    def dense(self, x: str, taken: int, given: int) -> str:
        y = self.cast(self.do("MatMul", x, self.drawn(taken, given)))
        return self.do("Add", y, self.drawn(given))

    def file(self, out: str, shape: Sequence[int], given: Sequence[int]) -> onnx.ModelProto:
        ports = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *sizes])
            for name, sizes in (("keras_tensor", shape), (out, given))
        ]
        graph = helper.make_graph(self.nodes, "main_graph", ports[:1], ports[1:], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def small_cnn(seed: int) -> onnx.ModelProto:
    """Conv2D, BatchNormalization, ReLU, MaxPooling2D, Conv2D with relu, Flatten, Dense."""
    k = KerasFile(seed)
    x = k.norm(k.conv("keras_tensor", 1, 8, 3, pad=1), 8)
    x = k.pooled(k.do("Relu", x))
    x = k.do("Relu", k.conv(x, 8, 12, 3))
    return k.file(k.dense(k.flat(x, 48), 48, 10), (8, 8, 1), (10,))


def separable(seed: int) -> onnx.ModelProto:
    """MobileNet's kind: a depthwise convolution, a skip, the mean over all places."""
    k = KerasFile(seed)
    x = k.do("Relu", k.norm(k.conv("keras_tensor", 1, 6, 3, pad=1, strides=[2, 2]), 6))
    y = k.do("Relu", k.norm(k.conv(x, 6, 6, 3, pad=1, group=6), 6))
    x = k.do("Add", x, k.norm(k.conv(y, 6, 6, 1), 6))
    mean = k.do("ReduceMean", k.cast(x), k.held([1, 2], np.int64), keepdims=0)
    return k.file(k.dense(mean, 6, 10), (8, 8, 1), (10,))


def line(seed: int) -> onnx.ModelProto:
    """Conv1D by TensorFlow: a map of one row, squeezed, then the bias; a norm of its own behind."""
    k = KerasFile(seed)
    x = k.do("Unsqueeze", "keras_tensor", k.held([1], np.int64))
    x = k.turned(x, FIRST)
    x = k.do("Conv", x, k.drawn(12, 4, 1, 3), kernel_shape=[1, 3])
    x = k.do("Squeeze", x, k.held([2], np.int64))
    x = k.do("Add", x, k.drawn(1, 12, 1))
    x = k.do("Relu", k.do("Mul", x, k.drawn(1, 12, 1, middle=1.0)))
    x = k.do("Squeeze", k.do("GlobalMaxPool", x), k.held([2], np.int64))
    return k.file(k.dense(x, 12, 10), (16, 4), (10,))


def upsampled(seed: int) -> onnx.ModelProto:
    """UpSampling2D by Unsqueeze, Expand and Reshape, joined with what was before, turned back."""
    k = KerasFile(seed)
    x = k.do("Relu", k.conv("keras_tensor", 1, 6, 3, pad=1))
    y = k.do("Relu", k.conv(k.pooled(x), 6, 8, 3, pad=1))
    for axis, sizes in ((2, (-1, 4, 2, 4, 8)), (3, (-1, 8, 4, 2, 8))):
        wide = [1, *sizes[1:]]
        y = k.do("Unsqueeze", y, k.held([axis], np.int64))
        y = k.do("Expand", y, k.held(wide, np.int64))
        y = k.do("Reshape", y, k.held([-1, 8, 4 if axis == 2 else 8, 8], np.int64))
    x = k.turned(k.do("Concat", x, y, axis=3), FIRST)
    x = k.do("ConvTranspose", x, k.drawn(14, 3, 2, 2), kernel_shape=[2, 2], strides=[2, 2])
    x = k.do("Add", k.turned(x, LAST), k.drawn(1, 1, 1, 3))
    return k.file(x, (8, 8, 1), (16, 16, 3))


FILES = {"cnn": small_cnn, "separable": separable, "line": line, "upsampled": upsampled}
