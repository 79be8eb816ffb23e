"""The XNNPACK delegate's blob as plain values: nodes in order, and values with their meaning.

Slots are those of `schema.fbs` of ExecuTorch's XNNPACK backend.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.frontends.shared.flatbuffer import Bytes, MalformedError, Record

IDENTIFIER, HEADER = b"XN01", b"XH00"
NO_OFFSET = (1 << 64) - 1
FLOAT32, INT8, CHANNEL_INT8 = 1, 3, 6
DTYPES = {1: "float32", 3: "int8", 5: "int32", 6: "int8", 7: "int32", 12: "int32"}
"""Element types by their number; 3 to 7 are quantized."""
DYNAMIC = "int8, whose scale is found anew for each input"
TYPE_NAMES = {2: "float16", 4: "uint8", 8: "int4", 9: DYNAMIC, 10: "int4 in blocks", 11: DYNAMIC,
              14: "bfloat16"}  # fmt: skip

ONE = {"input": (0, "u32"), "output": (1, "u32")}
TWO = {"input1": (0, "u32"), "input2": (1, "u32"), "output": (2, "u32")}
CAT = {
    "axis": (0, "u32"),
    **{f"input{n}": (n, "u32") for n in range(1, 5)},
    "output": (5, "u32"),
    "input5": (7, "u32"),
}
CONV = {
    name: (slot, "u32")
    for slot, name in enumerate(
        ("top", "right", "bottom", "left", "kernel_h", "kernel_w", "stride_h", "stride_w",
         "dilation_h", "dilation_w", "group_in", "group_out", "groups", "adjust_h", "adjust_w",
         "input", "filter", "bias", "output")
    )
}  # fmt: skip
POOL = {
    name: (slot, "u32")
    for slot, name in enumerate(
        ("top", "right", "bottom", "left", "kernel_h", "kernel_w", "stride_h", "stride_w",
         "dilation_h", "dilation_w", "input", "output")
    )
}  # fmt: skip
Fields = Mapping[str, tuple[int, str]]
NODES: list[tuple[str, Fields]] = [
    ("NONE", {}),
    ("Add", TWO),
    ("FullyConnected", {"input": (0, "u32"), "filter": (1, "u32"), "bias": (2, "u32"),
                        "output": (3, "u32")}),
    ("Softmax", ONE),
    ("Sigmoid", ONE),
    ("StaticTranspose", {"perm": (1, "ints"), "input": (2, "u32"), "output": (3, "u32")}),
    ("Clamp", ONE),
    ("Conv2d", CONV),
    ("Div", TWO),
    ("StaticResizeBilinear2D", {"height": (0, "u32"), "width": (1, "u32"), "input": (2, "u32"),
                                "output": (3, "u32"), "flags": (4, "u32")}),
    ("StaticConstantPad", {"before": (0, "ints"), "after": (1, "ints"), "value": (2, "f32"),
                           "input": (3, "u32"), "output": (4, "u32")}),
    ("AvgPooling2d", POOL),
    ("Minimum", TWO),
    ("DepthwiseConv2d", CONV),
    ("MaxPooling2d", POOL),
    ("Multiply", TWO),
    ("Subtract", TWO),
    ("Floor", ONE),
    ("Convert", ONE),
    ("GlobalAvgPooling2d", ONE),
    ("StaticReshape", {"shape": (1, "ints"), "input": (2, "u32"), "output": (3, "u32")}),
    ("ArgMaxPooling2d", {}),
    ("SquareRoot", ONE),
    ("Ceiling", ONE),
    ("Hardswish", ONE),
    ("LeakyReLU", {"slope": (0, "f32"), "input": (1, "u32"), "output": (2, "u32")}),
    ("Maximum", TWO),
    ("Negate", ONE),
    ("Square", ONE),
    ("ELU", {"alpha": (0, "f32"), "input": (1, "u32"), "output": (2, "u32")}),
    ("Abs", ONE),
    ("PReLU", TWO),
    ("Concatenate2", CAT),
    ("Concatenate3", CAT),
    ("Concatenate4", CAT),
    ("StaticSlice", {"offsets": (1, "ints"), "sizes": (2, "ints"), "input": (3, "u32"),
                     "output": (4, "u32")}),
    ("ScaledDotProductAttention", {}),
    ("BatchMatrixMultiply", {**TWO, "flags": (3, "u32")}),
    ("Concatenate5", CAT),
    ("ConvTranspose2d", CONV),
    ("ReciprocalSquareRoot", ONE),
    ("Log", ONE),
    ("Gelu", ONE),
    ("Tanh", ONE),
    ("Exp", ONE),
    ("Sin", ONE),
    ("Copy", ONE),
    ("Cos", ONE),
]  # fmt: skip
"""Names and fields of nodes by their number in the union."""


@dataclass(frozen=True, slots=True, eq=False)
class XnnValue:
    """A tensor; `data` of a constant, `scales` of a quantized one, along `axis` if several.

    `external` is the place among a call's arguments of one that comes in or goes out.
    """

    number: int
    external: int
    kind: int
    shape: tuple[int, ...]
    data: npt.NDArray[Any] | None
    scales: npt.NDArray[np.float32] | None
    zero_point: int
    axis: int


@dataclass(frozen=True, slots=True, eq=False)
class XnnNode:
    """A node: fields by name, values by number, and the bounds of its result."""

    op: str
    name: str
    fields: Mapping[str, Any]
    low: float
    high: float

    def __str__(self) -> str:
        return f"XNN{self.op} {self.name!r}"

    @property
    def inputs(self) -> list[int]:
        """Numbers of the tensors that it reads, constants apart."""
        names = ("input", "input1", "input2", "input3", "input4", "input5")
        count = int(self.op[-1]) if self.op.startswith("Concatenate") else 2
        return [self.fields[name] for name in names[: count + 1] if name in self.fields]


@dataclass(frozen=True, slots=True, eq=False)
class XnnGraph:
    """What a delegate computes; inputs and outputs by the numbers of values, as a call has them."""

    nodes: tuple[XnnNode, ...]
    values: Mapping[int, XnnValue]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_xnn(blob: memoryview, named: Mapping[str, memoryview], title: str) -> XnnGraph:
    """The graph in a blob; MalformedError where it is none."""
    if blob[4:8] != HEADER:
        raise MalformedError(f"XNNPACK's header {bytes(blob[4:8])!r}")
    begin, size, base, _ = struct.unpack_from("<IIIQ", blob, 10)
    if begin + size > len(blob):
        raise MalformedError(f"{size} bytes at {begin} of {len(blob)}")
    root = Bytes(bytes(blob[begin : begin + size])).root(IDENTIFIER)
    stored = [_stored(each, blob, base, named) for each in root.tables(8)]
    values = [_value(each, stored) for each in root.tables(2)]
    nodes = tuple(_node(each, f"{title}.{place}") for place, each in enumerate(root.tables(1)))
    by_number = {value.number: value for value in values}
    inputs, outputs = root.ints(4, "u32"), root.ints(5, "u32")
    for number in (*inputs, *outputs):
        if number not in by_number:
            raise MalformedError(f"value {number}")
    ends = (
        sorted(side, key=lambda number: by_number[number].external) for side in (inputs, outputs)
    )
    return XnnGraph(nodes, by_number, *map(tuple, ends))


def _stored(
    each: Record, blob: memoryview, base: int, named: Mapping[str, memoryview]
) -> memoryview:
    offset, size, key = int(each.scalar(0, "u64")), int(each.scalar(1, "u64")), each.text(2)
    if key:
        if key not in named:
            raise MalformedError(f"data named {key[:80]!r}")
        return named[key]
    if offset == NO_OFFSET:
        return memoryview(b"")
    if base + offset + size > len(blob):
        raise MalformedError(f"{size} bytes at {base + offset} of {len(blob)}")
    return blob[base + offset : base + offset + size]


def _node(each: Record, name: str) -> XnnNode:
    kind, table = int(each.scalar(0, "u8")), each.table(1)
    if table is None or not 0 < kind < len(NODES):
        raise MalformedError(f"a node of kind {kind}")
    op, slots = NODES[kind]
    found: dict[str, Any] = {}
    for key, (slot, of) in slots.items():
        found[key] = table.ints(slot, "u32") if of == "ints" else table.scalar(slot, of)
    limits = each.table(3)
    low = -math.inf if limits is None else float(limits.scalar(0, "f32", 0.0))
    high = math.inf if limits is None else float(limits.scalar(1, "f32", 0.0))
    return XnnNode(op, name, found, low, high)


PLAIN, QUANTIZED = 1, 2
PER_CHANNEL, PER_TENSOR = 1, 2


def _value(each: Record, stored: list[memoryview]) -> XnnValue:
    kind, table = int(each.scalar(0, "u8")), each.table(1)
    if table is None or kind not in (PLAIN, QUANTIZED):
        raise MalformedError(f"a value of kind {kind}")
    scales, zero, axis = None, 0, 0
    if kind == QUANTIZED:
        form, params = int(table.scalar(1, "u8")), table.table(2)
        if params is not None and form == PER_TENSOR:
            scales = np.array([params.scalar(0, "f32")], np.float32)
            zero = int(params.scalar(1, "i32"))
        elif params is not None and form == PER_CHANNEL:
            axis = int(params.scalar(1, "i32"))
            scales = _scales(params, stored)
        table = table.table(0)
        if table is None:
            raise MalformedError("a quantized value without a tensor")
    number, index = int(table.scalar(6, "u32")), int(table.scalar(3, "u32"))
    shape, code = table.ints(2, "u32"), int(table.scalar(0, "i16"))
    if index >= max(len(stored), 1):
        raise MalformedError(f"constant {index} of {len(stored)}")
    data = _data(stored[index], code, shape) if index else None
    external = int(table.scalar(4, "u32"))
    return XnnValue(number, external, code, shape, data, scales, zero, axis)


def _scales(params: Record, stored: list[memoryview]) -> npt.NDArray[np.float32]:
    held = params.array(0, "f32")
    if held is not None and held.size:
        return held.astype(np.float32)
    index, count = int(params.scalar(2, "u32")), int(params.scalar(3, "u32"))
    if index >= len(stored) or 4 * count > len(stored[index]):
        raise MalformedError(f"{count} scales in constant {index} of {len(stored)}")
    return np.frombuffer(stored[index], "<f4", count).astype(np.float32)


def _data(raw: memoryview, code: int, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
    """A constant's values; None of a type that no operator here takes."""
    if code not in DTYPES:
        return None
    kind = np.dtype(DTYPES[code]).newbyteorder("<")
    count = math.prod(shape)
    if count * kind.itemsize > len(raw):
        raise MalformedError(f"a constant of {shape} in {len(raw)} bytes")
    return np.frombuffer(raw, kind, count).reshape(shape)
