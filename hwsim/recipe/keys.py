"""Keys of a recipe's tables: names, types and defaults, taken from the signatures of functions.

A step's options are the keywords of the function that does the step, so that they cannot drift.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError

Values = Mapping[str, Any]
NEEDED = object()
"""The default of a key that must be there."""

LEAST_ALIKE = 0.6


@dataclass(frozen=True, slots=True)
class Key:
    """A key: `kind` is among `KINDS`, `default` what counts where it is not given."""

    name: str
    kind: str
    default: Any = None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _number_or_text(value: Any) -> float | str:
    return value if isinstance(value, str) else _number(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, [value] if isinstance(value, str) else _listed(value)))


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise TypeError
    return value


def _pairs(value: Any) -> dict[str, str]:
    """A table of texts, or a list of `NAME=VALUE` as the commands take them."""
    if isinstance(value, dict):
        return {name: _text(one) for name, one in value.items()}
    found = {}
    for text in _texts(value):
        name, equals, one = text.rpartition("=")
        if not (name and equals):
            raise TypeError
        found[name] = one
    return found


def _bits(value: Any) -> dict[str, Any]:
    """The same, where a table may have lists of whole numbers."""
    if not isinstance(value, dict):
        return dict(_pairs(value))
    return {
        name: [_whole(n) for n in _listed(one)] if isinstance(one, list) else _text(one)
        for name, one in value.items()
    }


def _figures(value: Any) -> str:
    """A number, some, or a text, as the text that the command takes."""
    if isinstance(value, str):
        return value
    numbers = value if isinstance(value, list) else [value]
    return ",".join(f"{_number(one):.17g}" for one in numbers)


KINDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "str": ("a text in quotes", _text),
    "bool": ("true or false", _flag),
    "int": ("a whole number", _whole),
    "float": ("a number", _number),
    "float | str": ('a number, or a text such as "91.5%"', _number_or_text),
    "Sequence[str]": ("a text or a list of texts", _texts),
    "Mapping[str, str]": ('a table such as { NAME = "VALUE" } or a list of "NAME=VALUE"', _pairs),
    "Mapping[str, Any]": (
        'a table such as { NAME = "w4a8", OTHER = [4, 3, 2] } or a list of "NAME=w4a8"',
        _bits,
    ),
    "Path": ("the name of a file in quotes", _text),
    "figures": ('a number, a list of numbers or a text such as "1/255"', _figures),
}
"""What a value of an annotation must be, in words, and what reads it."""


def keys_of(
    function: Callable[..., Any],
    leave: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
    defaults: Values | None = None,
) -> dict[str, Key]:
    """The keys that a function's parameters are, but for those that are left to the recipe.

    `rename` gives a parameter the name that its command's option has, `defaults` the option's
    default where it differs. A parameter whose type a recipe cannot say is none.
    """
    found = {}
    for name, one in inspect.signature(function).parameters.items():
        kind = kind_of(str(one.annotation))
        if name in leave or kind is None:
            continue
        known = (rename or {}).get(name, name)
        default = NEEDED if one.default is inspect.Parameter.empty else one.default
        found[known] = Key(known, kind, (defaults or {}).get(known, default))
    return found


def kind_of(annotation: str) -> str | None:
    """The kind of an annotation without `None`; a path where a text stands for one."""
    parts = [part for part in map(str.strip, annotation.split("|")) if part != "None"]
    if "Path" in parts:
        return "Path"
    whole = " | ".join(parts)
    return whole if whole in KINDS else None


def check_names(given: Iterable[str], known: Iterable[str], what: str, where: str) -> None:
    """Raise HwsimError for a name that is not known, with the nearest that is."""
    names = list(known)
    for name in given:
        if name not in names:
            raise HwsimError(f"{where}: {what} must be {one_of(name, names)}, not {name!r}")


def one_of(name: str, known: Iterable[str]) -> str:
    """The known names in words, and which of them is like the given one."""
    names = list(known)
    near = get_close_matches(name, names, 1, LEAST_ALIKE)
    listed = ", ".join(names)
    return f"one of {listed}" + (f" (perhaps {near[0]})" if near else "")


def plain(name: str) -> str:
    """A key as it is looked up: the commands' dashes are underscores."""
    return name.replace("-", "_")


def read_values(table: Mapping[str, Any], keys: Mapping[str, Key], where: str) -> dict[str, Any]:
    """The value of each key, read or its default; HwsimError for what is none of them."""
    given: dict[str, Any] = {}
    for name, value in table.items():
        if plain(name) in given:
            raise HwsimError(f"{where}: {name} must be given once, not also with another spelling")
        given[plain(name)] = value
    check_names(given, keys, "a key", where)
    found = {}
    for name, key in keys.items():
        if name not in given:
            if key.default is NEEDED:
                raise HwsimError(f"{where}: {name} must be given: {KINDS[key.kind][0]}")
            found[name] = key.default
            continue
        words, read = KINDS[key.kind]
        try:
            found[name] = read(given[name])
        except TypeError:
            raise HwsimError(f"{where}: {name} must be {words}, not {shown(given[name])}") from None
    return found


def shown(value: Any) -> str:
    """A value of a recipe in a message, not longer than a line."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def at_place(folder: Path, text: str) -> str:
    """A path of a recipe, which is relative to the recipe's folder, as one of the process.

    Also in `NAME=PATH` for an input, `FILE.npz:KEY`, and the folder of `set:mnist/test:FOLDER`.
    """
    if text.startswith("set:"):
        part, colon, inner = text[4:].partition(":")
        return f"set:{part}{colon}{folder / inner if inner else ''}"
    name, equals, path = text.partition("=")
    if equals and "/" not in name and not (folder / text).exists():
        return f"{name}={at_place(folder, path)}"
    return str(folder / text)


def arguments_of(function: Callable[..., Any], values: Values) -> dict[str, Any]:
    """Those of the values that a function has parameters for."""
    return {name: values[name] for name in inspect.signature(function).parameters if name in values}
