"""ONNX models with damage done to their meaning: names, types, shapes, attributes, codes.

Damaged bytes are mostly no model at all; these are models, so that more of a reader sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto

INTEGERS = (-(1 << 63), -(1 << 31), -7, -2, -1, 0, 1, 2, 3, 5, 64, 1 << 20, 1 << 31, (1 << 63) - 1)
FLOATS = (0.0, -0.0, 1e-45, 1e-30, 0.5, 1.0, -1.0, 3e38, float("inf"), float("-inf"), float("nan"))
PLACES = (
    "../secret.bin", "/etc/hostname", "c:\\secret", "model.onnx", "", ".", "a/../../b", "x" * 300,
)  # fmt: skip
VERSIONS = (0, 1, 6, 7, 10, 11, 12, 13, 18, 25, 1 << 40)
Damage = Callable[[onnx.ModelProto, np.random.Generator], None]


def _one(items: Sequence[object], rng: np.random.Generator) -> int:
    return int(rng.integers(0, len(items)))


def _rename(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A node reads or makes another tensor, or none."""
    nodes = model.graph.node
    node, other = nodes[_one(nodes, rng)], nodes[_one(nodes, rng)]
    names = node.input if rng.random() < 0.8 else node.output
    if names:
        found = [*other.input, *other.output, "", "nothing"]
        names[_one(names, rng)] = found[_one(found, rng)]


def _operator(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A node has the operator of another, or another's number of inputs."""
    nodes = model.graph.node
    node, other = nodes[_one(nodes, rng)], nodes[_one(nodes, rng)]
    kind = rng.integers(0, 3)
    if kind == 0:
        node.op_type = other.op_type
    elif kind == 1:
        node.input.extend(other.input)
    elif node.input:
        del node.input[_one(node.input, rng) :]


def _attribute(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """An attribute has another number, more of them or none."""
    held = [attribute for node in model.graph.node for attribute in node.attribute]
    if not held:
        return _rename(model, rng)
    attribute = held[_one(held, rng)]
    number = INTEGERS[_one(INTEGERS, rng)]
    kind = rng.integers(0, 6)
    if kind == 0:
        attribute.i = number
    elif kind == 1:
        attribute.f = FLOATS[_one(FLOATS, rng)]
    elif kind == 2 and attribute.ints:
        attribute.ints[_one(attribute.ints, rng)] = number
    elif kind == 3:
        attribute.ints.append(number)
    elif kind == 4 and attribute.ints:
        del attribute.ints[_one(attribute.ints, rng) :]
    else:
        attribute.type = int(rng.integers(0, 15))
    return None


def _shape(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A constant or a port has another shape."""
    number = INTEGERS[_one(INTEGERS, rng)]
    if rng.random() < 0.3:
        ports = [*model.graph.input, *model.graph.output]
        dims = ports[_one(ports, rng)].type.tensor_type.shape.dim
        if dims:
            dims[_one(dims, rng)].dim_value = number
        return
    constant = model.graph.initializer[_one(model.graph.initializer, rng)]
    if constant.dims and rng.random() < 0.7:
        constant.dims[_one(constant.dims, rng)] = number
    else:
        constant.dims.append(number)


def _type(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A constant or a port has another type."""
    kind = int(rng.integers(0, 27))
    if rng.random() < 0.3:
        ports = [*model.graph.input, *model.graph.output]
        ports[_one(ports, rng)].type.tensor_type.elem_type = kind
    else:
        model.graph.initializer[_one(model.graph.initializer, rng)].data_type = kind


def _data(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A constant has other bytes: a scale of 0, a zero point beyond, an index out of range."""
    constant = model.graph.initializer[_one(model.graph.initializer, rng)]
    raw = bytearray(constant.raw_data)
    if not raw:
        return
    if rng.random() < 0.2:
        constant.raw_data = bytes(raw[: _one(raw, rng)])
        return
    size = int(rng.choice([1, 4, 8]))
    place = _one(raw, rng) // size * size
    value = (
        np.float32(FLOATS[_one(FLOATS, rng)]).tobytes()
        if size == 4 and rng.random() < 0.6
        else (INTEGERS[_one(INTEGERS, rng)] % (1 << 8 * size)).to_bytes(size, "little")
    )
    raw[place : place + size] = value
    constant.raw_data = bytes(raw[: len(constant.raw_data)])


def _outside(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A constant's bytes are said to lie in another file."""
    constant = model.graph.initializer[_one(model.graph.initializer, rng)]
    constant.data_location = TensorProto.EXTERNAL
    numbers = [str(INTEGERS[_one(INTEGERS, rng)]) for _ in range(2)]
    for key, value in zip(
        ("location", "offset", "length"), (PLACES[_one(PLACES, rng)], *numbers), strict=True
    ):
        entry = constant.external_data.add()
        entry.key, entry.value = key, value


def _version(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Another opset, or a node that is not there any more."""
    if rng.random() < 0.5 and model.opset_import:
        model.opset_import[0].version = VERSIONS[_one(VERSIONS, rng)]
    else:
        del model.graph.node[_one(model.graph.node, rng)]


DAMAGES: Sequence[Damage] = (
    _rename, _rename, _operator, _attribute, _attribute, _shape, _type, _data, _data, _outside,
    _version,
)  # fmt: skip


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """The model with one kind of damage, now and then with several."""
    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if model.graph.node:
            DAMAGES[_one(DAMAGES, rng)](model, rng)
    return model.SerializeToString()
