"""A `.pte` file as plain values: untrusted bytes in, values and instructions out.

Slots are those of ExecuTorch's `program.fbs`. Nothing of the file is executed; constants are views
of it, and the segments behind the FlatBuffer lie where its extended header says.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.shared.flatbuffer import Bytes, MalformedError, Record, file_bytes
from hwsim.frontends.torch.program import printed

IDENTIFIER, HEADER = b"ET12", b"eh00"
DTYPES = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 6: "float32", 7: "float64",
          11: "bool", 27: "uint16"}  # fmt: skip
"""Element types by their number."""


@dataclass(frozen=True, slots=True, eq=False)
class PteTensor:
    """A tensor; `data` of a constant. `dims` say in which order its axes lie in memory."""

    dtype: str
    shape: tuple[int, ...]
    dims: tuple[int, ...]
    data: npt.NDArray[Any] | None


@dataclass(frozen=True, slots=True)
class PteInts:
    """A list of whole numbers, each a value of its own."""

    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PteCall:
    """An operator (`aten::mean.out`) or, with `blob`, a delegate, and the values that it takes."""

    op: str
    args: tuple[int, ...]
    blob: memoryview | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PteFile:
    """The method of a program: values are tensors, numbers, texts, lists, or None."""

    path: Path
    values: tuple[Any, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[PteCall, ...]
    named: dict[str, memoryview]


@dataclass(frozen=True, slots=True)
class _Segments:
    """The bytes behind the FlatBuffer."""

    data: memoryview
    base: int
    places: tuple[tuple[int, int], ...]

    def at(self, index: int) -> memoryview:
        if index >= len(self.places):
            raise MalformedError(f"segment {index} of {len(self.places)}")
        offset, size = self.places[index]
        begin = self.base + offset
        if begin + size > len(self.data):
            raise MalformedError(f"{size} bytes at {begin} of {len(self.data)}")
        return self.data[begin : begin + size]


def read_pte(path: Path) -> PteFile:
    """The program in a file; HwsimError names what is wrong with it."""
    data = file_bytes(path, "an ExecuTorch program")
    try:
        return _program(path, data)
    except (MalformedError, struct.error, OverflowError) as error:
        raise damaged(path, error) from None


def damaged(path: Path, why: object) -> HwsimError:
    """The sentence about a file that is no program."""
    return HwsimError(
        f"{path} must be a whole ExecuTorch program, but it is truncated, damaged or of another "
        f"format ({why})"
    )


def _program(path: Path, data: bytes) -> PteFile:
    root = Bytes(data).root(IDENTIFIER)
    base = struct.unpack_from("<Q", data, 24)[0] if data[8:12] == HEADER else len(data)
    places = tuple(
        (int(each.scalar(0, "u64")), int(each.scalar(1, "u64"))) for each in root.tables(4)
    )
    segments = _Segments(memoryview(data), int(base), places)
    plans = root.tables(1)
    names = [plan.text(0) for plan in plans]
    if "forward" not in names and len(plans) != 1:
        raise HwsimError(f"{path} must have one method, or one named forward, not {names}")
    plan = plans[names.index("forward") if "forward" in names else 0]
    buffers = _constants(root, segments)
    values = tuple(_value(path, each, buffers) for each in plan.tables(2))
    known = _Known(len(values))
    operators = [
        printed(f"{each.text(0)}.{each.text(1)}" if each.text(1) else each.text(0))
        for each in plan.tables(6)
    ]
    delegates = [_delegate(each, root, segments) for each in plan.tables(7)]
    calls = [
        _call(path, each, operators, delegates, known)
        for chain in plan.tables(5)
        for each in chain.tables(2)
    ]
    named = {each.text(0): segments.at(int(each.scalar(1, "u32"))) for each in root.tables(7)}
    inputs, outputs = known.of(plan.ints(3)), known.of(plan.ints(4))
    held = tuple(call for call in calls if call is not None)
    return PteFile(path, values, inputs, outputs, held, named)


@dataclass(frozen=True, slots=True)
class _Known:
    """How many values there are."""

    count: int

    def of(self, indices: tuple[int, ...]) -> tuple[int, ...]:
        for index in indices:
            if not 0 <= index < self.count:
                raise MalformedError(f"value {index} of {self.count}")
        return indices


def _constants(root: Record, segments: _Segments) -> list[memoryview]:
    """Data of constants by their number; 0 is that of tensors that are computed."""
    held = root.table(5)
    offsets = () if held is None else held.ints(1, "u64")
    if held is None or not offsets:
        found = []
        for each in root.tables(2):
            array = each.array(0, "u8")
            found.append(memoryview(b"") if array is None else array.data)
        return found
    whole = segments.at(int(held.scalar(0, "u32")))
    return [whole[offset:] for offset in offsets if offset <= len(whole)]


def _delegate(each: Record, root: Record, segments: _Segments) -> tuple[str, memoryview]:
    reference = each.table(1)
    if reference is None:
        raise MalformedError("a delegate without data")
    index = int(reference.scalar(1, "u32"))
    if int(reference.scalar(0, "i8")):
        return printed(each.text(0)), segments.at(index)
    inline = root.tables(3)
    if index >= len(inline):
        raise MalformedError(f"delegate data {index} of {len(inline)}")
    data = inline[index].array(0, "u8")
    return printed(each.text(0)), memoryview(b"") if data is None else data.data


CALL, DELEGATE, FREE = 1, 2, 5


def _call(
    path: Path,
    each: Record,
    operators: list[str],
    delegates: list[tuple[str, memoryview]],
    known: _Known,
) -> PteCall | None:
    kind, table = int(each.scalar(0, "u8")), each.table(1)
    if kind == FREE:
        return None
    if table is None or kind not in (CALL, DELEGATE):
        raise HwsimError(f"{path} must have no control flow")
    index, args = int(table.scalar(0, "i32")), known.of(table.ints(1))
    names = operators if kind == CALL else [name for name, _ in delegates]
    if not 0 <= index < len(names):
        raise MalformedError(f"operator or delegate {index} of {len(names)}")
    return PteCall(names[index], args, delegates[index][1] if kind == DELEGATE else None)


def _list(kind: str) -> Callable[[Record], Any]:
    def read(table: Record) -> Any:
        found = table.array(0, kind)
        return () if found is None else tuple(found.tolist())

    return read


VALUES: dict[int, Callable[[Record], Any]] = {
    1: lambda table: None,
    2: lambda table: int(table.scalar(0, "i64")),
    3: lambda table: bool(table.scalar(0, "bool", False)),
    4: lambda table: float(table.scalar(0, "f64", 0.0)),
    6: lambda table: table.text(0),
    7: lambda table: PteInts(table.ints(0, "i64")),
    8: _list("f64"),
    9: _list("u8"),
    10: _list("i32"),
    11: _list("i32"),
}
"""What is read of a value by its kind; 5 is a tensor."""
TENSOR = 5


def _value(path: Path, each: Record, buffers: list[memoryview]) -> Any:
    kind, table = int(each.scalar(0, "u8")), each.table(1)
    if table is None or not kind:
        return None
    if kind != TENSOR:
        return VALUES[kind](table) if kind in VALUES else None
    dtype = DTYPES.get(int(table.scalar(0, "i8")), "unknown")
    shape = table.ints(2)
    order = table.array(3, "u8")
    dims = tuple(range(len(shape))) if order is None else tuple(order.tolist())
    if min(shape, default=1) < 0 or sorted(dims) != list(range(len(shape))):
        raise MalformedError(f"a tensor of shape {shape} in the order {dims}")
    index = int(table.scalar(5, "u32"))
    extra = table.table(9)
    if extra is not None and int(extra.scalar(2, "i8")):
        raise HwsimError(f"{path} must hold its constants itself, not in a file beside it")
    computed = index == 0 or table.table(6) is not None
    data = None if computed else _data(index, buffers, dtype, shape, dims)
    return PteTensor(dtype, shape, dims, data)


def _data(
    index: int, buffers: list[memoryview], dtype: str, shape: tuple[int, ...], dims: tuple[int, ...]
) -> npt.NDArray[Any]:
    if index >= len(buffers) or dtype == "unknown":
        raise MalformedError(f"constant {index} of {len(buffers)}, of {dtype}")
    kind = np.dtype(dtype).newbyteorder("<")
    count = math.prod(shape)
    if count * kind.itemsize > len(buffers[index]):
        raise MalformedError(f"a constant of {shape} in {len(buffers[index])} bytes")
    lying = np.frombuffer(buffers[index], kind, count).reshape([shape[axis] for axis in dims])
    return np.ascontiguousarray(lying.transpose([dims.index(axis) for axis in range(len(dims))]))
