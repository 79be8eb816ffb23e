"""Read an ONNX file as plain values: untrusted bytes in, checked nodes and arrays out.

Nothing of the file is executed. Memory is bounded by the size of the files read: a tensor's data
must have the size that its shape asks for, and external data must lie in the model's own folder.
"""

from __future__ import annotations

import math
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import CHANNEL_BITS, Attribute, OnnxModel, OnnxNode, OnnxPort

MAX_FILE_BYTES = 1 << 31  # a protobuf message cannot be larger
IN_MEMORY = Path("the ModelProto")  # what messages name where there is no file
DEFAULT_DOMAINS = ("", "ai.onnx")


def read_bytes(path: Path, what: str) -> bytes:
    """The content of a regular file of acceptable size."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "special file"
            raise HwsimError(f"{path} must be {what}, not a {kind}")
        if status.st_size > MAX_FILE_BYTES:
            raise HwsimError(
                f"{path} must have at most {MAX_FILE_BYTES} bytes, not {status.st_size}"
            )
        return path.read_bytes()
    except OSError as error:
        raise HwsimError(f"{path} must be {what} that can be read ({error.strerror})") from None


def read_file(path: Path) -> OnnxModel:
    """The model in the file `path`; HwsimError names what is wrong with it."""
    import onnx
    from google.protobuf.message import DecodeError

    data = read_bytes(path, "an ONNX model")
    if not data:
        raise HwsimError(f"{path} must be an ONNX model, but is empty")
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise HwsimError(
            f"{path} must be a whole ONNX model, but cannot be parsed (truncated, damaged or of "
            "another format)"
        ) from None
    return from_proto(proto, path)


def from_proto(proto: Any, path: Path | None = None) -> OnnxModel:
    """The model in a ModelProto; `path` is the file that it is of, if it is of one."""
    path = path or IN_MEMORY
    try:
        return _model(path, proto)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise HwsimError(f"{path} must be a valid ONNX model ({error})") from None


CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
"""Operators with graphs of their own, which are not read; the operators are refused by name."""
DATATYPE = "finn_datatype"
"""The key of QONNX's annotations of tensors."""


def _model(path: Path, proto: Any) -> OnnxModel:
    graph = proto.graph
    if not graph.node or not graph.output:
        raise HwsimError(f"{path} must be an ONNX model, but holds no graph")
    if graph.sparse_initializer:
        raise HwsimError(f"{path} must not use sparse initializers")
    versions = {text(o.domain): o.version for o in proto.opset_import}
    constants = {text(t.name): tensor(path, t) for t in graph.initializer}
    return OnnxModel(
        path,
        max((versions.get(domain, 0) for domain in DEFAULT_DOMAINS), default=0),
        tuple(_node(path, n, i) for i, n in enumerate(graph.node)),
        constants,
        tuple(_port(path, p) for p in graph.input if p.name not in constants),
        tuple(_port(path, p) for p in graph.output),
        {
            text(note.tensor_name): text(entry.value)
            for note in graph.quantization_annotation
            for entry in note.quant_parameter_tensor_names
            if text(entry.key) == DATATYPE
        },
        text(proto.producer_name),
        next((e.value for e in proto.metadata_props if _is_note(e)), None),
    )


def _is_note(entry: Any) -> bool:
    """Whether an entry of the metadata is hwsim's own note, and text at all."""
    return entry.key == CHANNEL_BITS and isinstance(entry.value, str)


def _node(path: Path, proto: Any, position: int) -> OnnxNode:
    outputs, inputs = (tuple(text(t) for t in names) for names in (proto.output, proto.input))
    op, domain = text(proto.op_type), text(proto.domain)
    name = text(proto.name) or (outputs[0] if outputs else f"{op}_{position}")
    if not outputs or not outputs[0]:
        raise HwsimError(f"{path}: node {name!r} must have an output")
    domain = "" if domain in DEFAULT_DOMAINS else domain
    held = [a for a in proto.attribute if op not in CONTROL_FLOW or a.type != a.GRAPH]
    attributes = {text(a.name): _attribute(path, name, a) for a in held}
    return OnnxNode(name, op, domain, inputs, outputs, attributes)


def text(value: str | bytes) -> str:
    """A name; protobuf hands out bytes where it is not valid UTF-8."""
    if isinstance(value, bytes):
        raise ValueError(f"a name must be valid UTF-8, not {value!r}")
    return value


def _attribute(path: Path, node: str, proto: Any) -> Attribute:
    from onnx import AttributeProto

    match proto.type:
        case AttributeProto.INT:
            return int(proto.i)
        case AttributeProto.FLOAT:
            return float(proto.f)
        case AttributeProto.STRING:
            return str(proto.s.decode())
        case AttributeProto.INTS:
            return [int(v) for v in proto.ints]
        case AttributeProto.FLOATS:
            return [float(v) for v in proto.floats]
        case AttributeProto.TENSOR:
            return tensor(path, proto.t)
        case AttributeProto.STRINGS:
            return ",".join(s.decode() for s in proto.strings)
    raise HwsimError(
        f"{path}: node {node!r}: attribute {proto.name!r} must be a number, a string or a tensor"
    )


def _port(path: Path, proto: Any) -> OnnxPort:
    from onnx.helper import tensor_dtype_to_np_dtype

    if not proto.type.HasField("tensor_type"):
        raise HwsimError(f"{path}: port {proto.name!r} must be a tensor")
    kind = proto.type.tensor_type
    dims = kind.shape.dim if kind.HasField("shape") else ()
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
    return OnnxPort(text(proto.name), str(tensor_dtype_to_np_dtype(kind.elem_type)), shape)


def tensor(path: Path, proto: Any) -> npt.NDArray[Any]:
    """A constant as an array that owns no more memory than the file spends on it."""
    from onnx import TensorProto, numpy_helper
    from onnx.helper import tensor_dtype_to_np_dtype

    what = f"{path}: tensor {text(proto.name)!r}"
    shape = tuple(int(d) for d in proto.dims)
    if any(d < 0 for d in shape):
        raise HwsimError(f"{what} must have a shape without negative entries, not {shape}")
    if proto.HasField("segment"):
        raise HwsimError(f"{what} must be stored in one piece")
    if proto.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        raise HwsimError(f"{what} must hold numbers")
    dtype = np.dtype(tensor_dtype_to_np_dtype(proto.data_type))
    if dtype.kind == "c":
        raise HwsimError(f"{what} must hold real numbers")
    count = math.prod(shape)
    four_bits = proto.data_type in (TensorProto.INT4, TensorProto.UINT4)
    if proto.data_location == TensorProto.EXTERNAL:
        data = external_data(path, proto)
        _expect_bytes(what, shape, len(data), count * dtype.itemsize)
        return np.frombuffer(data, dtype).reshape(shape)
    if proto.HasField("raw_data"):
        wanted = (count + 1) // 2 if four_bits else count * dtype.itemsize
        _expect_bytes(what, shape, len(proto.raw_data), wanted)
    else:
        stored = sum(
            len(getattr(proto, f"{field}_data"))
            for field in ("float", "int32", "int64", "double", "uint64")
        )
        if stored != ((count + 1) // 2 if four_bits else count):
            raise HwsimError(f"{what} must hold {count} values for shape {shape}, not {stored}")
    return np.asarray(numpy_helper.to_array(proto))


def _expect_bytes(what: str, shape: tuple[int, ...], found: int, wanted: int) -> None:
    if found != wanted:
        raise HwsimError(f"{what} must hold {wanted} bytes for shape {shape}, not {found}")


def external_data(path: Path, proto: Any) -> bytes:
    """The bytes of a tensor that is stored beside the model, never outside its folder."""
    what = f"{path}: tensor {proto.name!r}"
    if path is IN_MEMORY:
        raise HwsimError(f"{what} must be in it, not in a file beside it; onnx.load loads both")
    entries = {text(entry.key): text(entry.value) for entry in proto.external_data}
    location = entries.get("location", "")
    if not location or PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive:
        raise HwsimError(f"{what} must name a file in the model's folder, not {location!r}")
    folder = path.resolve().parent
    target = (folder / location).resolve()
    if not target.is_relative_to(folder):
        raise HwsimError(
            f"{what} must have its external data in the model's folder, but {location!r} leaves it"
        )
    try:
        start, length = (int(entries.get(key) or default) for key, default in _SPAN)
    except ValueError:
        raise HwsimError(f"{what} must have whole numbers as offset and length") from None
    return _read_span(target, what, start, length)


_SPAN = (("offset", 0), ("length", -1))


def _read_span(target: Path, what: str, start: int, length: int) -> bytes:
    """`length` bytes (-1: all that are left) of a regular file."""
    try:
        status = target.stat()
        size = status.st_size
        length = size - start if length == -1 else length
        if not stat.S_ISREG(status.st_mode) or size > MAX_FILE_BYTES:
            raise HwsimError(f"{what} must have its external data in a regular file below 2 GiB")
        if start < 0 or length < 0 or start + length > size:
            raise HwsimError(
                f"{what} must lie inside {target.name!r} ({size} bytes), not at {start} to "
                f"{start + length}"
            )
        with target.open("rb") as file:
            file.seek(start)
            return file.read(length)
    except OSError as error:
        raise HwsimError(
            f"{what} must have its external data in {target.name!r}, which cannot be read "
            f"({error.strerror})"
        ) from None
