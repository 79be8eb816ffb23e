"""What layers read while those before them are rounded, and how sums are made of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.linear import Formats, along, ends_of, rounded
from hwsim.compress.quantize.places import FloatLayer
from hwsim.compress.quantize.qonnx_file import QuantNode
from hwsim.errors import HwsimError

Reals = npt.NDArray[np.float32]
SAMPLES = 1024
TO_EVEN = np.float32(1.5 * 2**23)
"""A sum with it in float32 has no bits behind the point: it is rounded half to even."""


def first_samples(batches: Iterable[Batch], most: int) -> Iterator[Batch]:
    """Batches of the first samples, so many at most."""
    left = most
    for batch in batches:
        yield {name: array[:left] for name, array in batch.items()}
        left -= len(next(iter(batch.values())))
        if left <= 0:
            return


def in_codes(model: FloatModel, tensors: Mapping[str, QuantNode]) -> FloatModel:
    """The float model with each of these tensors as its quantizer gives it back, in plain ONNX."""
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph, made = proto.graph, list[Any]()
    instead: dict[str, str] = {}

    def steps(name: str, by: QuantNode) -> None:
        scale = np.asarray(by.scale, np.float32).reshape(())
        low, high = (end - by.zero_point for end in ends_of(by))
        chain: list[tuple[str, Any]] = [("Div", scale)]
        if by.bits == 1 and by.signed:  # a sign, that of 0 is +
            chain += [("Floor", None), ("Max", -1), ("Min", 0), ("Mul", 2), ("Add", 1)]
        else:
            chain += [("Max", low), ("Min", high), ("Add", TO_EVEN), ("Sub", TO_EVEN)]
        now = name
        for place, (op, number) in enumerate((*chain, ("Mul", scale))):
            inputs, given = [now], f"{name}.codes.{place}"
            if number is not None:
                inputs.append(f"{given}.by")
                constant = numpy_helper.from_array(np.asarray(number, np.float32), inputs[1])
                graph.initializer.append(constant)
            made.append(helper.make_node(op, inputs, [given]))
            now = given
        instead[name] = now

    held = {tensor.name for tensor in graph.initializer}
    for name in tensors:
        if name in model.inputs or name in held:
            steps(name, tensors[name])
    for node in list(graph.node):
        read = [instead.get(name, name) for name in node.input]
        node.ClearField("input")
        node.input.extend(read)
        made.append(node)
        for name in node.output:
            if name in tensors:
                steps(name, tensors[name])
    graph.ClearField("node")
    graph.node.extend(made)
    return FloatModel(model.path, proto)


@dataclass(slots=True)
class LayerNode:
    """A dense layer or convolution of a float model: its attributes, and what they mean."""

    model: FloatModel
    layer: FloatLayer
    input: str = field(init=False)
    attributes: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        from onnx import helper

        node = self._node
        self.input = str(node.input[0])
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}

    @property
    def _node(self) -> Any:
        return next(n for n in self.model.nodes if self.layer.output in n.output)

    @property
    def known(self) -> bool:
        """Whether sums are rows of its weights times what it reads; others keep nearest codes."""
        if self.layer.op == "Conv":
            return True
        matrix = self.model.constants[self.layer.weights].ndim == 2
        return self.layer.op != "ConvTranspose" and matrix and not self.attributes.get("transA")

    @property
    def bias(self) -> Reals | float:
        """What the node itself adds, as it is added."""
        node = self._node
        if len(node.input) < 3 or not node.input[2]:
            return 0.0
        bias = np.asarray(self.model.constants[node.input[2]], np.float32)
        if self.layer.op != "Conv":
            return bias
        rank = self.model.constants[self.layer.weights].ndim - 2
        return bias.reshape(-1, *(1,) * rank)

    def along(self, name: str, rank: int) -> list[int]:
        """Strides or dilations."""
        return list(self.attributes.get(name, [1] * rank))

    def padding(self, shape: tuple[int, ...], kernel: tuple[int, ...]) -> list[tuple[int, int]]:
        """Zeros ahead of and behind each axis of places, of a convolution."""
        rank = len(kernel)
        mode = self.attributes.get("auto_pad", b"NOTSET")
        if mode == b"NOTSET":
            pads = self.attributes.get("pads", [0] * (2 * rank))
            return list(zip(pads[:rank], pads[rank:], strict=True))
        found = []
        for size, taps, stride, gap in zip(
            shape, kernel, self.along("strides", rank), self.along("dilations", rank), strict=True
        ):
            reach = (taps - 1) * gap + 1
            whole = max(0, (-(-size // stride) - 1) * stride + reach - size)
            less, more = whole // 2, whole - whole // 2
            ends = {b"SAME_UPPER": (less, more), b"SAME_LOWER": (more, less)}
            found.append(ends.get(mode, (0, 0)))
        return found

    def read_and_given(
        self, now: FloatModel, model: FloatModel, batches: Iterable[Batch], most: int | None = None
    ) -> Iterator[tuple[Reals, Reals]]:
        """Batch by batch what the layer reads in `now`, and what the float model's then gives.

        `now` is `in_codes` with the weights before the layer rounded; the sums are without the
        node's bias. At most `most` numbers are read, and 1,024 samples.
        """
        given, count, inside = self.layer.output, 0, LayerNode(now, self.layer).input
        read, give = now.runner([inside]), model.runner([given])
        for batch in batches:
            x = np.asarray(read(batch)[inside], np.float32)
            yield x, np.asarray(give(batch)[given], np.float32) - self.bias
            count += len(x)
            if count >= min(SAMPLES, (most or SAMPLES * x[0].size) // max(1, x[0].size)):
                break
        if not count:
            raise HwsimError("calibration data must have at least one sample, not none")


def with_largest(model: FloatModel, shown: FloatModel, made: Formats) -> FloatModel:
    """`shown` with the nearest code for weights where that is the highest or the lowest one.

    A QDQ file's writer takes the scales from the largest weights, which are to stay therefore.
    """
    new = {}
    for layer in made.found.layers:
        by, before = made.weights[layer.name], model.constants[layer.weights].astype(np.float64)
        scale, ends = along(by, before.ndim)
        nearest = rounded(before, scale, ends)
        largest = np.isin(np.round(nearest / scale), ends)
        new[layer.weights] = np.where(largest, nearest, shown.constants[layer.weights])
    return shown.with_constants(new)
