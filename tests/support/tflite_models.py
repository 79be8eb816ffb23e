"""TensorFlow Lite models written by hand: tensors and operators in, the bytes of a file out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt

from hwsim.frontends.tflite.schema import ACTIVATIONS, CODES, DTYPES, OPTIONS

Array = npt.NDArray[Any]
UNIONS = {
    "ADD": 11, "ARG_MAX": 40, "ARG_MIN": 57, "AVERAGE_POOL_2D": 5, "BATCH_MATMUL": 101,
    "CALL_ONCE": 103, "CONCATENATION": 10,
    "CONV_2D": 1, "DEPTHWISE_CONV_2D": 2, "DEPTH_TO_SPACE": 94, "DIV": 29,
    "FULLY_CONNECTED": 8, "GATHER": 23, "GELU": 116,
    "L2_NORMALIZATION": 12, "LEAKY_RELU": 75, "MAX_POOL_2D": 5, "MEAN": 27,
    "MIRROR_PAD": 77, "MUL": 21, "PACK": 59,
    "REDUCE_MAX": 27, "REDUCE_MIN": 27, "RESHAPE": 17, "RESIZE_BILINEAR": 15,
    "RESIZE_NEAREST_NEIGHBOR": 74, "SHAPE": 55, "SOFTMAX": 9, "SPACE_TO_DEPTH": 19,
    "SPLIT": 35, "SPLIT_V": 79, "SQUEEZE": 30, "STRIDED_SLICE": 32, "SUB": 28, "SUM": 27, "SVDF": 6,
    "TRANSPOSE_CONV": 49,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 71, "UNPACK": 64, "VAR_HANDLE": 111,
}  # fmt: skip
"""The number of each operator's options in the schema's union."""

VERSIONS = {"BROADCAST_TO": 3}  # of operators that no runtime has in the first one
SLOTS = {"bool": "PrependBoolSlot", "i8": "PrependInt8Slot", "i32": "PrependInt32Slot",
         "f32": "PrependFloat32Slot"}  # fmt: skip


@dataclass(slots=True)
class Written:
    """A tensor: its axes with the batch, type, scales and zero points, and data of a constant."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    data: Array | None = None
    variable: bool = False

    @property
    def stored(self) -> Array | None:
        """A constant's data as a buffer has them: two of int4 in a byte, the lower half first."""
        if self.data is None or self.dtype != "int4":
            return self.data
        halves = np.zeros(self.data.size + self.data.size % 2, np.uint8)
        halves[: self.data.size] = self.data.ravel().view(np.uint8) & 15
        return halves[0::2] | halves[1::2] << 4


@dataclass(slots=True)
class Lite:
    """A model that grows; tensors go by their number."""

    tensors: list[Written] = field(default_factory=list)
    nodes: list[tuple[str, list[int], list[int], dict[str, Any]]] = field(default_factory=list)
    first: list[tuple[str, Array]] = field(default_factory=list)  # variables' initial codes
    repeated: int = 1  # how often the subgraph is listed
    signature: str | None = None  # a name by which inputs and outputs are found

    def add(self, tensor: Written) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def codes(
        self, name: str, shape: tuple[int, ...], scale: float, zero: int, dtype: str = "int8"
    ) -> int:
        """A computed tensor, or an input."""
        return self.add(Written(name, shape, dtype, (scale,), (zero,)))

    def held(self, name: str, size: int, scale: float, zero: int, dtype: str) -> int:
        """A variable that an operator keeps."""
        return self.add(Written(name, (1, size), dtype, (scale,), (zero,), variable=True))

    def constant(self, name: str, data: Array, *scales: float, axis: int = 0, zero: int = 0) -> int:
        """A constant; with scales it is quantized."""
        zeros = (zero,) * len(scales)
        kind = Written(name, data.shape, str(data.dtype), scales, zeros, axis, data)
        return self.add(kind)

    def node(self, op: str, inputs: list[int], outputs: list[int], **options: Any) -> None:
        """An operator; `activation` goes by its name."""
        extra = options.pop("intermediates", [])
        if isinstance(options.get("activation"), str):
            options["activation"] = ACTIVATIONS.index(options["activation"])
        self.nodes.append((op, inputs, outputs, options | {"intermediates": extra}))

    def build(self, inputs: list[int], outputs: list[int]) -> bytes:
        """The bytes of the file."""
        if self.first:
            self._begun()
        b = flatbuffers.Builder(1 << 12)
        buffers = [self._buffer(b, None)]
        placed = []
        for tensor in self.tensors:
            placed.append(len(buffers) if tensor.data is not None else 0)
            if tensor.data is not None:
                buffers.append(self._buffer(b, tensor.stored))
        begin = self._beginning() if self.first else None
        if begin is not None:
            for tensor in begin.tensors:
                if tensor.data is not None:
                    buffers.append(self._buffer(b, tensor.data))
        names = sorted({op for op, *_ in [*self.nodes, *(begin.nodes if begin else [])]})
        codes = []
        for op in names:
            b.StartObject(4)
            b.PrependInt8Slot(0, min(CODES.index(op), 127), 0)
            b.PrependInt32Slot(2, VERSIONS.get(op, 1), 1)
            b.PrependInt32Slot(3, CODES.index(op), 0)
            codes.append(b.EndObject())
        whole = self._graph(b, names, placed, inputs, outputs)
        graphs = [whole] * self.repeated
        if begin is not None:
            ahead = len(buffers) - sum(t.data is not None for t in begin.tensors)
            there = [0 if t.data is None else (ahead := ahead + 1) - 1 for t in begin.tensors]
            graphs.append(begin._graph(b, names, there, [], []))
        listed = _offsets(b, graphs)
        operators, stored = _offsets(b, codes), _offsets(b, buffers)
        known = _offsets(b, [self._signature(b, inputs, outputs)] if self.signature else [])
        b.StartObject(8)
        b.PrependUint32Slot(0, 3, 0)
        for slot, vector in ((1, operators), (2, listed), (4, stored), (7, known)):
            b.PrependUOffsetTRelativeSlot(slot, vector, 0)
        b.Finish(b.EndObject(), b"TFL3")
        return bytes(b.Output())

    def _signature(self, b: Any, inputs: list[int], outputs: list[int]) -> int:
        """What the interpreter calls inputs and outputs: their tensors' names."""
        sides = []
        for tensors in (inputs, outputs):
            maps = []
            for number in tensors:
                name = b.CreateString(self.tensors[number].name)
                b.StartObject(2)
                b.PrependUOffsetTRelativeSlot(0, name, 0)
                b.PrependUint32Slot(1, number, 0)
                maps.append(b.EndObject())
            sides.append(_offsets(b, maps))
        key = b.CreateString(self.signature)
        b.StartObject(5)
        for slot, offset in enumerate((*sides, key)):
            b.PrependUOffsetTRelativeSlot(slot, offset, 0)
        return int(b.EndObject())

    def _begun(self) -> None:
        """The operator that runs the second subgraph once, ahead of all others."""
        if self.nodes[0][0] != "CALL_ONCE":
            self.nodes.insert(0, ("CALL_ONCE", [], [], {"subgraph": 1}))

    def _beginning(self) -> Lite:
        """The subgraph that assigns the variables' initial codes."""
        made = Lite()
        for name, codes in self.first:
            handle = made.add(Written(f"{name} handle", (), "resource"))
            made.node("VAR_HANDLE", [], [handle], name=name)
            made.node("ASSIGN_VARIABLE", [handle, made.constant(name, codes, 1.0)], [])
        return made

    def _graph(
        self, b: Any, names: list[str], placed: list[int], inputs: list[int], outputs: list[int]
    ) -> int:
        tensors = [self._tensor(b, t, at) for t, at in zip(self.tensors, placed, strict=True)]
        nodes = [self._node(b, names.index(op), op, *rest) for op, *rest in self.nodes]
        held = _offsets(b, tensors), _ints(b, inputs), _ints(b, outputs), _offsets(b, nodes)
        b.StartObject(5)
        for slot, vector in enumerate(held):
            b.PrependUOffsetTRelativeSlot(slot, vector, 0)
        return int(b.EndObject())

    def _buffer(self, b: Any, data: Array | None) -> int:
        vector = None
        if data is not None:
            raw = np.ascontiguousarray(data).tobytes()
            b.StartVector(1, len(raw), 16)
            b.head = b.head - len(raw)
            b.Bytes[b.head : b.head + len(raw)] = raw
            vector = b.EndVector()
        b.StartObject(3)
        if vector is not None:
            b.PrependUOffsetTRelativeSlot(0, vector, 0)
        return int(b.EndObject())

    def _tensor(self, b: Any, tensor: Written, buffer: int) -> int:
        name, shape = b.CreateString(tensor.name), _ints(b, tensor.shape)
        quant = None
        if tensor.scales:
            scales = b.CreateNumpyVector(np.array(tensor.scales, np.float32))
            zeros = b.CreateNumpyVector(np.array(tensor.zero_points, np.int64))
            b.StartObject(7)
            b.PrependUOffsetTRelativeSlot(2, scales, 0)
            b.PrependUOffsetTRelativeSlot(3, zeros, 0)
            b.PrependInt32Slot(6, tensor.axis, 0)
            quant = b.EndObject()
        numbers = {known: number for number, known in DTYPES.items()}
        b.StartObject(9)
        b.PrependUOffsetTRelativeSlot(0, shape, 0)
        b.PrependInt8Slot(1, numbers[tensor.dtype], 0)
        b.PrependUint32Slot(2, buffer, 0)
        b.PrependUOffsetTRelativeSlot(3, name, 0)
        if quant is not None:
            b.PrependUOffsetTRelativeSlot(4, quant, 0)
        b.PrependBoolSlot(5, tensor.variable, False)
        return int(b.EndObject())

    def _node(
        self,
        b: Any,
        code: int,
        op: str,
        inputs: list[int],
        outputs: list[int],
        options: dict[str, Any],
    ) -> int:
        options = dict(options)
        extra = _ints(b, options.pop("intermediates", []))
        given, made, held = _ints(b, inputs), _ints(b, outputs), None
        if op in UNIONS:
            known = OPTIONS[op]
            vectors = {
                k: _ints(b, v) if known[k][1] == "ints" else b.CreateString(v)
                for k, v in options.items()
                if known[k][1] in ("ints", "text")
            }
            b.StartObject(8)
            for key, value in options.items():
                slot, kind, _ = known[key]
                if key in vectors:
                    b.PrependUOffsetTRelativeSlot(slot, vectors[key], 0)
                else:
                    getattr(b, SLOTS[kind])(slot, value, None)
            held = b.EndObject()
        b.StartObject(9)
        b.PrependUint32Slot(0, code, 0)
        b.PrependUOffsetTRelativeSlot(1, given, 0)
        b.PrependUOffsetTRelativeSlot(2, made, 0)
        if held is not None:
            b.PrependUint8Slot(3, UNIONS[op], 0)
            b.PrependUOffsetTRelativeSlot(4, held, 0)
        b.PrependUOffsetTRelativeSlot(8, extra, 0)
        return int(b.EndObject())


def _ints(b: Any, values: Any) -> int:
    return int(b.CreateNumpyVector(np.array(list(values), np.int32)))


def _offsets(b: Any, offsets: list[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())
