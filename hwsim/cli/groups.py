"""Options that belong together as one dataclass, which a command takes as one parameter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from hwsim.cli.options import Mean, Resize, Scale, Std
from hwsim.data import Preparation


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each field of its parameters that are dataclasses.

    A field is annotated as an option is; its default is the option's. Typer reads signatures, so
    what it gets is one with the fields in the place of the parameter.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    options: list[inspect.Parameter] = []
    for name, one in inspect.signature(command).parameters.items():
        if name in groups:
            options += _options_of(groups[name])
        else:
            options.append(one.replace(kind=one.KEYWORD_ONLY, annotation=hints[name]))

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{item.name: given.pop(item.name) for item in fields(kind)})
        command(**given)

    called.__dict__["__signature__"] = inspect.Signature(options)
    called.__annotations__ = {one.name: one.annotation for one in options}
    return called


def _options_of(kind: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if item.default is MISSING else item.default,
            annotation=hints[item.name],
        )
        for item in fields(kind)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparationOptions:
    """How numbers of files become the model's."""

    scale: Scale = None
    mean: Mean = None
    std: Std = None
    resize: Resize = False

    def parse(self) -> Preparation:
        """The preparation; HwsimError for what is no number."""
        return Preparation.parse(self.scale, self.mean, self.std, resize=self.resize)
