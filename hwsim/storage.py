"""Values to JSON and arrays, and back: no pickle, no code, only the classes that a codec knows."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import IO, Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hwsim.errors import HwsimError, NotWritten
from hwsim.fixed import Format
from hwsim.ops.base import SINCE, require

Arrays = dict[str, npt.NDArray[np.int64]]


@dataclass(slots=True)
class Body:
    """What values are encoded into: arrays by name, and the oldest schema that can say them."""

    arrays: Arrays = field(default_factory=dict)
    schema: int = 1


@dataclass(frozen=True, slots=True)
class Codec:
    """Dataclasses and enums of the kinds that it is told, as JSON and arrays, and back.

    A field whose metadata is `since(schema)` is written only where it differs from its default,
    and then asks for that schema: what an older version can read is written as it wrote it. A kind
    whose values not every version knows says by a property `schema` which one does.
    """

    kinds: Mapping[str, type[Any]]

    @classmethod
    def of(cls, *kinds: type[Any]) -> Codec:
        """A codec for these classes, each found by its name."""
        named = {kind.__name__: kind for kind in kinds}
        require(len(named) == len(kinds), "kinds of saved values must have names of their own")
        return cls(named)

    def encode(self, value: Any, name: str, body: Body) -> Any:
        """JSON for one value; arrays go to `body` under names that begin with `name`."""
        match value:
            case None | bool() | int() | float() | str():
                return value
            case np.integer() | np.bool_():
                return value.item()
            case Format():
                return {"$format": str(value)}
            case Enum():
                return {"$enum": type(value).__name__, "value": value.value}
            case np.ndarray():
                body.arrays[name] = value
                return {"$array": name}
            case tuple() | list():
                return [self.encode(item, f"{name}.{i}", body) for i, item in enumerate(value)]
        fields = {}
        body.schema = max(body.schema, getattr(value, "schema", 1))
        for item in dataclasses.fields(value):
            held, since = getattr(value, item.name), item.metadata.get(SINCE)
            if since is None or not _is_default(held, item.default):
                body.schema = max(body.schema, since or 1)
                fields[item.name] = self.encode(held, f"{name}.{item.name}", body)
        return {"$": type(value).__name__, **fields}

    def decode(self, value: Any, array: Callable[[str], Any]) -> Any:
        """The inverse of `encode`; `array` finds an array by its name."""
        match value:
            case list():
                return tuple(self.decode(item, array) for item in value)
            case {"$format": text}:
                return Format.parse(str(text))
            case {"$array": name}:
                return array(str(name))
            case {"$enum": kind, "value": text}:
                return self._member(kind, text)
            case {"$": kind, **fields}:
                return self._build(kind, {str(k): self.decode(v, array) for k, v in fields.items()})
        return value

    def _member(self, kind: Any, text: Any) -> Enum:
        known = self.kinds.get(kind) if isinstance(kind, str) else None
        if known is None or not issubclass(known, Enum):
            raise HwsimError(f"a saved value must be of a known kind, not {kind!r}")
        try:
            return known(text)
        except ValueError:
            raise HwsimError(f"a saved {kind} must be a known value, not {text!r}") from None

    def _build(self, kind: Any, fields: dict[str, Any]) -> Any:
        """A dataclass of a saved kind, with every field of the type that it declares."""
        made = self.kinds.get(kind) if isinstance(kind, str) else None
        if made is None or not dataclasses.is_dataclass(made):
            raise HwsimError(f"a saved value must be of a known kind, not {kind!r}")
        declared = _declared(made)
        for name, value in fields.items():
            if name not in declared:
                raise HwsimError(
                    f"a saved {kind} must have the fields {sorted(declared)}, not {name}"
                )
            if not _fits(value, declared[name]):
                raise HwsimError(
                    f"a saved {kind} must have a valid {name}, not {str(value)[:60]!r}"
                )
        try:
            return made(**fields)
        except (TypeError, ValueError, AttributeError) as error:
            raise HwsimError(f"a saved {kind} must have valid fields ({error})") from None


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (not isinstance(value, np.ndarray) and bool(value == default))


@cache
def _declared(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind) if f.init}


def _fits(value: Any, kind: Any) -> bool:
    """Whether a decoded value is of a declared type: JSON tells neither int from float nor bool."""
    origin, args = _origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, option) for option in args)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, origin or kind)


def _origin(kind: Any) -> Any:
    """What a generic type is of; behind the name of a `type` statement, as NumPy 2.5's NDArray."""
    origin = get_origin(kind)
    named = getattr(kind if origin is None else origin, "__value__", None)
    return origin if named is None else _origin(named) or named


def digest(document: Mapping[str, Any], arrays: Arrays) -> str:
    """SHA-256 of a document and its arrays, independent of how they are written to disk."""
    sha = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(arrays):
        sha.update(f"{name}{arrays[name].shape}".encode())
        sha.update(np.ascontiguousarray(arrays[name], dtype="<i8").tobytes())
    return sha.hexdigest()


def write(path: Path, document: Mapping[str, Any], arrays: Arrays) -> None:
    """Write one safetensors file, whole or not at all."""
    narrow = {name: _narrow(array) for name, array in arrays.items()}
    # one key: safetensors writes several in no fixed order, and equal graphs are equal files
    header = {"sha256": digest(document, arrays), **document}
    write_atomically(path, save(narrow, metadata={"hwsim": json.dumps(header)}))


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a disk says that takes no more; the call was none the worse for it."""


@contextmanager
def replacing(path: Path, what: str | None = None) -> Iterator[IO[bytes]]:
    """A file under a temporary name beside `path`, which takes its place in the end, on disk.

    Where anything goes wrong there is no file more and none less. `what` is the file in messages.
    Raises HwsimError where it cannot be written, with exit status 1 where the disk is full.
    """
    what = what or str(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _unwritten(f"the folder of {what} must exist and be writable", error) from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise _unwritten(f"{what} must be a writable file", error) from None
    finally:
        temporary.unlink(missing_ok=True)


def _unwritten(sentence: str, error: OSError) -> NotWritten:
    why = error.strerror or type(error).__name__
    return NotWritten(f"{sentence} ({why})", exit_status=1 if error.errno in FULL else 2)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file on disk whole, or not at all; HwsimError as `replacing`."""
    with replacing(path) as file:
        file.write(data)


def read(path: Path) -> tuple[dict[str, Any], Callable[[str], Any]]:
    """The document of a file that `write` wrote, and a function that finds its arrays."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        kind = "folder" if path.is_dir() else "special file"
        raise HwsimError(f"{path} must be a saved graph, not a {kind}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise HwsimError(f"{path} must be a saved graph, but cannot be read ({error})") from None
    try:
        document = json.loads(metadata["hwsim"])
    except (KeyError, ValueError, RecursionError):
        raise HwsimError(f"{path} must be a graph saved by hwsim, but has no such header") from None
    if not isinstance(document, dict):
        raise HwsimError(f"{path} must hold a graph, not {type(document).__name__}")
    if document.pop("sha256", None) != digest(document, arrays):
        raise HwsimError(
            f"{path} must be as hwsim wrote it, but its content does not match its hash"
        )

    def find(name: str) -> Any:
        if name not in arrays:
            raise HwsimError(f"{path} must hold the array {name!r}, but does not")
        return arrays[name]

    return document, find


def _narrow(array: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """The same values in the narrowest integer type."""
    lo, hi = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= lo and hi <= np.iinfo(dtype).max:
            return np.ascontiguousarray(array, dtype)
    return np.ascontiguousarray(array)
