"""Dataclasses as JSON objects: written as they are, read with each entry's kind checked.

An entry that no field is named for is passed over, so that a later version may add some; a field
with a default may be absent. A field of the kind `T | None` may be null.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from hwsim.errors import HwsimError

T = TypeVar("T")

_NAMES = {int: "integer", float: "number", str: "string", bool: "boolean"}


class WrongEntry(ValueError):
    """Entries of a JSON object that are missing or of the wrong kind, each in words."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that a build wrote; HwsimError where its folder has none."""
    folder = path.parent
    if folder.is_file():
        raise HwsimError(
            f"a build must be a folder that `hwsim build` wrote, not the file {str(folder)!r}"
        )
    if not path.is_file():
        raise HwsimError(
            f"the folder {str(folder)!r} must be one that `hwsim build` wrote, not one without"
            f" {path.name}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HwsimError(f"{path} must be a readable JSON file ({error})") from None
    if not isinstance(content, dict):
        raise HwsimError(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object in the one style of the folder."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def decode(kind: type[T], content: Any) -> T:
    """An instance of the dataclass `kind` as JSON says; WrongEntry says all that is wrong."""
    found = _object(kind, content, "")
    if isinstance(found, _Wrong):
        raise WrongEntry("; ".join(found.words))
    assert isinstance(found, kind)
    return found


def plain(value: Any) -> Any:
    """A value of these dataclasses as JSON has it: their fields, but for those that are absent."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [plain(inner) for inner in value]
    if hasattr(value, "__dataclass_fields__"):
        return dict(_entries(value))
    return value.as_posix() if isinstance(value, Path) else value


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(value):
        found = getattr(value, field.name)
        absent = "optional" in field.metadata and not found
        if "not_written" not in field.metadata and not absent:
            yield field.name, plain(found)


OPTIONAL = {"optional": True}
"""Metadata of a field that is not written where it is None or empty."""

NOT_WRITTEN = {"not_written": True}
"""Metadata of a field that is no entry of the JSON object."""


class _Wrong:
    """What is wrong with an entry, in words; several where it has entries of its own."""

    def __init__(self, *words: str) -> None:
        self.words = words


def _object(kind: type[Any], content: Any, place: str) -> Any:
    given = content if isinstance(content, Mapping) else {}
    found: dict[str, Any] = {}
    wrong: list[str] = []
    for name, (annotation, needed) in _fields(kind).items():
        if name in given or needed:
            value = _value(annotation, given.get(name), f"{place}{name}")
            if isinstance(value, _Wrong):
                wrong += value.words
            found[name] = value
    return _Wrong(*wrong) if wrong else kind(**found)


def _fields(kind: type[Any]) -> dict[str, tuple[Any, bool]]:
    """The annotation of each field, and whether it must be there."""
    hints = get_type_hints(kind)
    return {
        f.name: (hints[f.name], f.default is MISSING and f.default_factory is MISSING)
        for f in fields(kind)
        if "not_written" not in f.metadata
    }


def _value(annotation: Any, value: Any, place: str) -> Any:
    """`value` as the annotation has it, or what is wrong with it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if origin is types.UnionType:  # only `T | None`
        return None if value is None else _value(inner[0], value, place)
    if origin is tuple:
        if not isinstance(value, list):
            return _Wrong(f"{place} must be a JSON list, not {value!r}")
        return _several(
            tuple, [_value(inner[0], item, f"{place}[{n}]") for n, item in enumerate(value)]
        )
    if origin is not None:  # a mapping by name
        if not isinstance(value, Mapping):
            return _Wrong(f"{place} must be a JSON object, not {value!r}")
        values = [_value(inner[1], item, f"{place}.{key}") for key, item in value.items()]
        return _several(lambda items: dict(zip(value, items, strict=True)), values)
    if annotation is Path:
        return _path(value, place)
    if annotation in _NAMES:
        return _scalar(annotation, value, place)
    return _object(annotation, value, f"{place}.")


def _several(make: Any, values: list[Any]) -> Any:
    wrong = [word for value in values if isinstance(value, _Wrong) for word in value.words]
    return _Wrong(*wrong) if wrong else make(values)


def _path(value: Any, place: str) -> Any:
    """A file of the folder: a path that does not lead out of it."""
    path = Path(value) if isinstance(value, str) and value else None
    if path is None or path.is_absolute() or ".." in path.parts:
        return _Wrong(f"{place} must name a file of the folder, not {value!r}")
    return path


def _scalar(kind: type[Any], value: Any, place: str) -> Any:
    # bool is an int to Python, but no number of bits.
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (kind is not bool and isinstance(value, bool)):
        return _Wrong(f"{place} must be a JSON {_NAMES[kind]}, not {value!r}")
    return value
