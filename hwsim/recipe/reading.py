"""A recipe's TOML: read and checked as a whole before anything is done."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim import defaults
from hwsim.data import Preparation
from hwsim.errors import HwsimError
from hwsim.recipe.keys import (
    NEEDED,
    Key,
    Values,
    at_place,
    check_names,
    one_of,
    plain,
    read_values,
    shown,
)
from hwsim.recipe.kinds import KINDS, StepKind
from hwsim.recipe.setting import Setting
from hwsim.recipe.steps.making import TARGETS

LARGEST = 1 << 20
"""Bytes of a recipe: a file of another kind is not read whole."""

TOP = (
    Key("model", "Path", NEEDED),
    Key("out", "Path", NEEDED),
    Key("seed", "int", 0),
    Key("like", "str"),
    Key("target", "str", defaults.TARGET),
    Key("clock", "str", defaults.CLOCK),
)
DATA = (
    Key("calibration", "Sequence[str]"),
    Key("train", "Sequence[str]"),
    Key("train_labels", "Path"),
    Key("test", "Sequence[str]"),
    Key("test_labels", "Path"),
    Key("classes", "Path"),
    Key("output", "str"),
    Key("scale", "figures"),
    Key("mean", "figures"),
    Key("std", "figures"),
    Key("resize", "bool", False),
)


@dataclass(frozen=True, slots=True, eq=False)
class RecipeStep:
    """One step: its number from 1 on, what it does, its options, and what messages call it."""

    number: int
    do: str
    kind: StepKind
    values: Values
    where: str


@dataclass(frozen=True, slots=True, eq=False)
class CompressionRecipe:
    """What a recipe says: the setting, and the steps in their order."""

    setting: Setting
    steps: tuple[RecipeStep, ...]


def read_recipe(
    file: Path,
    *,
    target_accuracy: float | str | None = None,
    target_bits: int | None = None,
    target_cycles: int | None = None,
) -> CompressionRecipe:
    """The recipe of a TOML file; a target stands in the place of those of its quantize step.

    Raises HwsimError for a file that is none, for an unknown step or key (with the nearest name),
    a value of another type, an option that its step refuses, and a step in an impossible place:
    one sentence with the file and the number of the step.
    """
    given = zip(TARGETS, (target_accuracy, target_bits, target_cycles), strict=True)
    targets = {name: value for name, value in given if value is not None}
    content = _aimed(_parsed(file), file, targets)
    head = {name: value for name, value in content.items() if name not in ("data", "step")}
    folder = file.parent
    names = (*(key.name for key in TOP), "data", "step")
    check_names(map(plain, content), names, "a key", str(file))
    top = read_values(head, {key.name: key for key in TOP}, str(file))
    data = _data(content.get("data", {}), file)
    steps = _steps(content.get("step"), file, top)
    setting = Setting(
        file=file,
        model=Path(at_place(folder, top["model"])),
        out=Path(at_place(folder, top["out"])),
        seed=top["seed"],
        like=top["like"],
        target=top["target"],
        clock=top["clock"],
        data=data,
        prepare=_prepared(data, file),
        floats=any(step.kind.gives == "integers" for step in steps),
    )
    _check_order(setting, steps)
    return CompressionRecipe(setting, steps)


def _parsed(file: Path) -> dict[str, Any]:
    if file.suffix.lower() != ".toml":
        raise HwsimError(
            f"a recipe must be a .toml file, not {str(file)!r} (`hwsim compress --new recipe.toml` "
            "writes one to begin with)"
        )
    try:
        if file.is_file() and file.stat().st_size > LARGEST:
            raise HwsimError(f"{file} must be a recipe of at most {LARGEST:,} bytes")
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise HwsimError(f"{file} must be a recipe that can be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise HwsimError(f"{file} must be a recipe in UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise HwsimError(f"{file} must be TOML: {error}") from None


def _aimed(content: dict[str, Any], file: Path, targets: Values) -> dict[str, Any]:
    """What was parsed, with these targets in the step that quantizes."""
    steps = content.get("step")
    if not targets or not isinstance(steps, list):
        return content
    found = [one for one in steps if isinstance(one, dict) and one.get("do") == "quantize"]
    if len(found) != 1:
        raise HwsimError(
            f"{file} must have one step that quantizes, for {', '.join(targets)}, not {len(found)}"
        )
    kept = {name: value for name, value in found[0].items() if plain(name) not in TARGETS}
    return {**content, "step": [{**kept, **targets} if one is found[0] else one for one in steps]}


def _data(table: Any, file: Path) -> dict[str, Any]:
    where = f"{file}, [data]"
    if not isinstance(table, dict):
        raise HwsimError(f"{file}: data must be a table, [data], not {shown(table)}")
    found = read_values(table, {key.name: key for key in DATA}, where)
    for part in ("train", "test"):
        if found[f"{part}_labels"] is not None and found[part] is None:
            raise HwsimError(f"{where}: {part}_labels must come with {part}, whose labels they are")
    for key in DATA:
        value = found[key.name]
        if value is not None and key.kind == "Sequence[str]":
            found[key.name] = tuple(at_place(file.parent, text) for text in value)
        elif value is not None and key.kind == "Path":
            found[key.name] = Path(at_place(file.parent, value))
    return found


def _prepared(data: Values, file: Path) -> Preparation:
    try:
        return Preparation.parse(data["scale"], data["mean"], data["std"], resize=data["resize"])
    except HwsimError as error:
        raise HwsimError(f"{file}, [data]: {error}") from None


def _steps(tables: Any, file: Path, top: Values) -> tuple[RecipeStep, ...]:
    if not isinstance(tables, list) or not tables:
        told = "none" if tables is None else shown(tables)
        raise HwsimError(f"{file} must have steps, each a table [[step]], not {told}")
    return tuple(_step(table, number, file, top) for number, table in enumerate(tables, start=1))


def _step(table: Any, number: int, file: Path, top: Values) -> RecipeStep:
    where = f"{file}, step {number}"
    if not isinstance(table, dict):
        raise HwsimError(f"{where} must be a table, not {shown(table)}")
    do = table.get("do")
    if not isinstance(do, str):
        told = "nothing" if do is None else shown(do)
        raise HwsimError(f"{where}: do must say what the step does, {', '.join(KINDS)}, not {told}")
    if do not in KINDS:
        raise HwsimError(f"{where}: do must be {one_of(do, KINDS)}, not {do!r}")
    kind, where = KINDS[do], f"{where} ({do})"
    options = {name: value for name, value in table.items() if name != "do"}
    values = read_values(options, kind.keys, where)
    given = set(map(plain, options))
    for name in ("seed", "target", "clock"):
        if name in kind.keys and name not in given:
            values[name] = top[name]
    for name, key in kind.keys.items():
        if key.kind == "Path" and values[name] not in (None, *kind.words):
            values[name] = Path(at_place(file.parent, values[name]))
    try:
        kind.check(values)
    except HwsimError as error:
        raise HwsimError(f"{where}: {error}") from None
    return RecipeStep(number, do, kind, values, where)


def _check_order(setting: Setting, steps: Sequence[RecipeStep]) -> None:
    """Raise HwsimError for a step that cannot stand where it stands, or lacks data."""
    state = "floats" if setting.floats else "integers"
    made: Mapping[str, str] = {}
    for step in steps:
        kind, before = step.kind, made.get("integers")
        if state == "floats" and "floats" not in kind.takes:
            raise HwsimError(
                f"{step.where} must come after the step that quantizes, since it takes a network "
                "of integers"
            )
        if state == "integers" and "integers" not in kind.takes:
            raise HwsimError(
                f"{step.where} must come while the network is a float one, not after {before}"
            )
        for need in kind.after:
            if need not in made:
                raise HwsimError(f"{step.where} must come after a step that does {need!r}")
        if kind.of_floats and not setting.floats:
            raise HwsimError(
                f"{step.where} must have the float model that the network came from, so the "
                "recipe's model must be the float one, and a step must quantize it"
            )
        if state == "floats" and kind.check_floats is not None:
            try:
                kind.check_floats(step.values)
            except HwsimError as error:
                raise HwsimError(f"{step.where}: {error}") from None
        for part in kind.data(step.values):
            if setting.data[part] is None and not (part == "calibration" and setting.data["train"]):
                raise HwsimError(
                    f"{step.where} must have data: {setting.file}, [data] has no {part}"
                )
        state = kind.gives or state
        name = f"step {step.number} ({step.do})"
        made = {**made, step.do: name, **({kind.gives: name} if kind.gives else {})}
