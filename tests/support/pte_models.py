"""ExecuTorch programs written by hand: a delegate's nodes in, the bytes of a `.pte` out."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
KINDS = {"float32": 1, "int8": 3, "int32": 7}
CHANNEL_INT8 = 6
CONVERT, FULLY_CONNECTED, CLAMP, ADD = 18, 2, 6, 1
"""Numbers of nodes in the schema's union."""
NOTHING = (1 << 32) - 1  # the number of a bias that is not there


def offsets(b: Any, places: list[int]) -> int:
    """A vector of tables."""
    b.StartVector(4, len(places), 4)
    for place in reversed(places):
        b.PrependUOffsetTRelative(place)
    return int(b.EndVector())


@dataclass
class Blob:
    """A delegate's graph; values go by their number."""

    values: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[tuple[int, dict[int, int], tuple[float, float] | None]] = field(
        default_factory=list
    )
    constants: list[bytes] = field(default_factory=lambda: [b""])

    def tensor(self, *shape: int, scale: float | None = None, zero: int = 0) -> int:
        """A computed tensor: float32, or int8 with a scale."""
        kind = KINDS["float32" if scale is None else "int8"]
        self.values.append({"kind": kind, "shape": shape, "scale": scale, "zero": zero})
        return len(self.values) - 1

    def constant(self, data: Array, scales: Array | None = None) -> int:
        """Weights with one scale a row, or a bias."""
        kind = CHANNEL_INT8 if data.dtype == np.int8 else KINDS["int32"]
        held = {"kind": kind, "shape": data.shape, "data": len(self.constants), "scales": scales}
        self.constants.append(data.tobytes())
        self.values.append(held)
        return len(self.values) - 1

    def node(self, kind: int, *numbers: int, bounds: tuple[float, float] | None = None) -> None:
        """A node whose first fields are these values."""
        self.nodes.append((kind, dict(enumerate(numbers)), bounds))

    def build(self, inputs: list[int], outputs: list[int]) -> bytes:
        """Header, FlatBuffer and constants."""
        b = flatbuffers.Builder(1 << 10)
        values = offsets(b, [self._value(b, n, held) for n, held in enumerate(self.values)])
        nodes = offsets(b, [self._node(b, *node) for node in self.nodes])
        places, start = [], 0
        for data in self.constants:
            offset = start if data else (1 << 64) - 1
            places.append(numbers(b, {0: ("Uint64", offset), 1: ("Uint64", len(data))}))
            start += -(-len(data) // 16) * 16
        stored = offsets(b, places)
        ends = [b.CreateNumpyVector(np.array(ids, np.uint32)) for ids in (inputs, outputs)]
        fields = {1: nodes, 2: values, 4: ends[0], 5: ends[1], 8: stored}
        b.Finish(numbers(b, {slot: ("At", at) for slot, at in fields.items()}), b"XN01")
        graph = bytes(b.Output())
        padded = -(-len(graph) // 16) * 16
        header = b"\0\0\0\0XH00" + struct.pack("<HIIIQ", 30, 32, len(graph), 32 + padded, start)
        data = b"".join(each.ljust(-(-len(each) // 16) * 16, b"\0") for each in self.constants)
        return header.ljust(32, b"\0") + graph.ljust(padded, b"\0") + data

    @staticmethod
    def _value(b: Any, number: int, held: dict[str, Any]) -> int:
        shape = b.CreateNumpyVector(np.array(held["shape"], np.uint32))
        fields: dict[int, tuple[str, Any]] = {
            0: ("Int16", held["kind"]),
            1: ("Uint32", len(held["shape"])),
            2: ("At", shape),
            3: ("Uint32", held.get("data", 0)),
            4: ("Uint32", held.get("external", NOTHING)),
            6: ("Uint32", number),
        }
        tensor = numbers(b, fields)
        if held.get("scales") is not None:
            scales = b.CreateNumpyVector(np.asarray(held["scales"], np.float32))
            params, form = numbers(b, {0: ("At", scales), 1: ("Int32", 0)}), 1
        elif held.get("scale") is not None:
            given: dict[int, tuple[str, Any]] = {
                0: ("Float32", held["scale"]),
                1: ("Int32", held["zero"]),
            }
            params, form = numbers(b, given), 2
        else:
            return numbers(b, {0: ("Uint8", 1), 1: ("At", tensor)})
        whole = numbers(b, {0: ("At", tensor), 1: ("Uint8", form), 2: ("At", params)})
        return numbers(b, {0: ("Uint8", 2), 1: ("At", whole)})

    @staticmethod
    def _node(b: Any, kind: int, fields: dict[int, int], bounds: tuple[float, float] | None) -> int:
        inner = numbers(b, {slot: ("Uint32", value) for slot, value in fields.items()})
        node: dict[int, tuple[str, Any]] = {0: ("Uint8", kind), 1: ("At", inner)}
        if bounds is not None:
            low, high = bounds
            node[3] = ("At", numbers(b, {0: ("Float32", low), 1: ("Float32", high)}))
        return numbers(b, node)


def numbers(b: Any, fields: dict[int, tuple[str, Any]]) -> int:
    """A table of numbers and offsets (`At`), by slot."""
    b.StartObject(max(fields, default=-1) + 1)
    for slot, (kind, value) in fields.items():
        if kind == "At":
            b.PrependUOffsetTRelative(value)
        else:
            getattr(b, f"Prepend{kind}")(value)
        b.Slot(slot)
    return int(b.EndObject())


def program(
    blob: bytes,
    inputs: list[tuple[int, ...]],
    outputs: list[tuple[int, ...]],
    backend: str = "XnnpackBackend",
) -> bytes:
    """A `.pte` of one delegate whose arguments are all inputs and then all outputs."""
    b = flatbuffers.Builder(1 << 10)
    shapes = [*inputs, *outputs]
    values = offsets(b, [_tensor(b, shape) for shape in shapes])
    args = b.CreateNumpyVector(np.arange(len(shapes), dtype=np.int32))
    call = numbers(b, {0: ("Int32", 0), 1: ("At", args)})
    instructions = offsets(b, [numbers(b, {0: ("Uint8", 2), 1: ("At", call)})])
    chains = offsets(b, [numbers(b, {2: ("At", instructions)})])
    reference = numbers(b, {0: ("Int8", 0), 1: ("Uint32", 0)})
    name = b.CreateString(backend)
    delegates = offsets(b, [numbers(b, {0: ("At", name), 1: ("At", reference)})])
    ends = [
        b.CreateNumpyVector(np.array(ids, np.int32))
        for ids in (range(len(inputs)), range(len(inputs), len(shapes)))
    ]
    title = b.CreateString("forward")
    plan = numbers(
        b,
        {
            0: ("At", title),
            2: ("At", values),
            3: ("At", ends[0]),
            4: ("At", ends[1]),
            5: ("At", chains),
            7: ("At", delegates),
        },
    )
    plans = offsets(b, [plan])
    data = b.CreateByteVector(blob)
    held = offsets(b, [numbers(b, {0: ("At", data)})])
    b.Finish(numbers(b, {1: ("At", plans), 3: ("At", held)}), b"ET12")
    return bytes(b.Output())


def _tensor(b: Any, shape: tuple[int, ...]) -> int:
    sizes = b.CreateNumpyVector(np.array(shape, np.int32))
    order = b.CreateByteVector(bytes(range(len(shape))))
    tensor = numbers(b, {0: ("Int8", 6), 2: ("At", sizes), 3: ("At", order)})
    return numbers(b, {0: ("Uint8", 5), 1: ("At", tensor)})
