"""A `.tflite` file as plain values: untrusted bytes in, checked tensors and operators out.

Nothing of the file is executed, and nothing outside of it is read. Memory is bounded by its size:
constants are views of it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.shared.flatbuffer import Bytes, MalformedError, Record, file_bytes
from hwsim.frontends.tflite.model import (
    LiteModel,
    LiteNode,
    LiteQuant,
    LiteTensor,
    Subgraph,
)
from hwsim.frontends.tflite.schema import (
    CODES,
    DTYPES,
    IDENTIFIER,
    ITEM_BYTES,
    OLD_CODES,
    OPTIONS,
    VERSION,
)

MAX_ELEMENTS = 1 << 26


def read_file(path: Path) -> LiteModel:
    """The model in a file; HwsimError names what is wrong with it."""
    data = file_bytes(path, "a TensorFlow Lite model")
    try:
        return _model(path, Bytes(data).root(IDENTIFIER))
    except MalformedError as error:
        raise HwsimError(
            f"{path} must be a whole TensorFlow Lite model, but it is truncated, damaged or of "
            f"another format ({error})"
        ) from None


def _model(path: Path, root: Record) -> LiteModel:
    version = int(root.scalar(0, "u32"))
    if version != VERSION:
        raise MalformedError(f"schema version {version}, not {VERSION}")
    names = [_name(code) for code in root.tables(1)]
    buffers = [_buffer(table) for table in root.tables(4)]
    graphs = tuple(_subgraph(path, table, names, buffers) for table in root.tables(2))
    if not graphs:
        raise MalformedError("no subgraph")
    return LiteModel(path, graphs)


def _name(code: Record) -> str:
    """An operator's name: a builtin one's, or `CUSTOM name`."""
    number = max(int(code.scalar(0, "i8")), int(code.scalar(3, "i32")))
    if not number >= 0 or number == OLD_CODES:
        raise MalformedError(f"the operator code {number}")
    name = CODES[number] if number < len(CODES) else f"BUILTIN {number}"
    return f"CUSTOM {code.text(1)}".rstrip() if name == "CUSTOM" else name


def _buffer(table: Record) -> npt.NDArray[np.uint8]:
    """The bytes of a buffer; an empty one belongs to tensors that are computed."""
    if int(table.scalar(1, "u64")) > 1:
        raise MalformedError("buffers outside of the FlatBuffer, as models above 2 GiB have them")
    found = table.array(0, "u8")
    return np.zeros(0, np.uint8) if found is None else found


def _subgraph(
    path: Path, table: Record, names: list[str], buffers: list[npt.NDArray[np.uint8]]
) -> Subgraph:
    tensors = tuple(_tensor(path, i, one, buffers) for i, one in enumerate(table.tables(0)))

    def known(indices: tuple[int, ...], what: str) -> tuple[int, ...]:
        for index in indices:
            if not -1 <= index < len(tensors):
                raise MalformedError(f"{what} tensor {index} of {len(tensors)}")
        return indices

    nodes = []
    for place, operator in enumerate(table.tables(3)):
        code = int(operator.scalar(0, "u32"))
        if code >= len(names):
            raise MalformedError(f"operator code {code} of {len(names)}")
        options = operator.table(4)
        given = known(operator.ints(1), "input")
        made = known(operator.ints(2), "output")
        title = tensors[made[0]].name if made and made[0] >= 0 else f"operator {place}"
        extra = known(operator.ints(8), "intermediate")
        nodes.append(
            LiteNode(names[code], title, given, made, extra, _options(names[code], options))
        )
    inputs, outputs = known(table.ints(1), "graph input"), known(table.ints(2), "graph output")
    return Subgraph(tensors, inputs, outputs, tuple(nodes))


def _options(name: str, table: Record | None) -> dict[str, Any]:
    """What an operator's options say, defaults where they are left out."""
    found: dict[str, Any] = {}
    for key, (slot, kind, default) in OPTIONS.get(name, {}).items():
        if table is None:
            found[key] = default
        elif kind == "ints":
            found[key] = table.ints(slot)
        elif kind == "text":
            found[key] = table.text(slot)
        else:
            found[key] = table.scalar(slot, kind, default)
    return found


def _tensor(
    path: Path, place: int, table: Record, buffers: list[npt.NDArray[np.uint8]]
) -> LiteTensor:
    name = table.text(3) or f"tensor {place}"
    dtype = DTYPES.get(int(table.scalar(1, "i8")), "unknown")
    shape, buffer = table.ints(0), int(table.scalar(2, "u32"))
    if min(shape, default=1) < 0:
        raise MalformedError(f"tensor {name!r} of shape {shape}")
    if buffer >= len(buffers):
        raise MalformedError(f"buffer {buffer} of {len(buffers)}")
    if table.table(6) is not None:
        raise HwsimError(f"{path}: tensor {name!r} must be dense, not stored in a sparse form")
    data = _data(path, name, dtype, shape, buffers[buffer])
    signature = table.ints(7)
    quant = table.table(4)
    return LiteTensor(
        name=name,
        dtype=dtype,
        shape=shape,
        open_axes=tuple(axis for axis, size in enumerate(signature) if size == -1),
        data=data,
        quant=None if quant is None else _quant(path, name, quant),
        variable=bool(table.scalar(5, "bool", False)),
    )


def _data(
    path: Path, name: str, dtype: str, shape: tuple[int, ...], raw: npt.NDArray[np.uint8]
) -> npt.NDArray[Any] | None:
    """A constant's values; None of a tensor that is computed."""
    if not raw.size or (dtype not in ITEM_BYTES and dtype != "int4"):
        return None
    count = math.prod(shape)
    size = (count + 1) // 2 if dtype == "int4" else count * ITEM_BYTES[dtype]
    if raw.size != size:
        raise HwsimError(
            f"{path}: tensor {name!r} of {dtype} and shape {shape} must have {size} bytes of data, "
            f"not {raw.size}"
        )
    if dtype == "int4":
        halves = np.stack([raw << 4, raw], axis=-1).view(np.int8) >> 4
        return halves.reshape(-1)[:count].reshape(shape)
    return raw.view(np.dtype(dtype).newbyteorder("<")).reshape(shape)


def _quant(path: Path, name: str, table: Record) -> LiteQuant | None:
    """Scales and zero points; None where there are none."""
    scales = table.array(2, "f32")
    if scales is None or not scales.size:
        return None
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise HwsimError(f"{path}: tensor {name!r} must have finite scales above 0")
    zeros = table.ints(3, "i64") or (0,)
    if len(zeros) not in (1, scales.size):
        raise HwsimError(
            f"{path}: tensor {name!r} must have a zero point for each of its {scales.size} scales, "
            f"not {len(zeros)}"
        )
    return LiteQuant(scales.astype(np.float32), zeros, int(table.scalar(6, "i32")))
