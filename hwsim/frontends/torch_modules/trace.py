"""What a module computes: one run of it, as a list of the operators that PyTorch calls.

A run is recorded where PyTorch chooses kernels, so that it holds whatever the module's Python did:
eager modules, graphs of FX, functions. What does not depend on an input is a constant by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hwsim.errors import HwsimError

WATCHED = "watched"
META = ("aten::q_scale", "aten::q_zero_point", "aten::qscheme", "aten::size", "aten::is_contiguous")
"""Operators that ask a tensor for what does not depend on its values."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One operator: its name (`aten::relu`), its arguments by name, and what it returned.

    `place` is the module that called it, as `layer1.0.conv1`. Tensors are those of the run.
    """

    name: str
    op: Any
    place: str
    arguments: Mapping[str, Any]
    outputs: tuple[torch.Tensor, ...]

    def __str__(self) -> str:
        short = self.name.removeprefix("aten::")
        return f"{short} of {self.place!r}" if self.place else short

    @property
    def title(self) -> str:
        """A name for the nodes that it becomes."""
        short = self.name.rpartition("::")[2].strip("_")
        return f"{self.place}.{short}" if self.place else short

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def output(self) -> torch.Tensor:
        """The first thing that it returned."""
        return self.outputs[0]

    def whole(self, name: str, count: int) -> tuple[int, ...]:
        """An argument of so many whole numbers; one stands for all of them, none for no value."""
        value = self.arguments.get(name)
        given = [] if value is None else list(value) if isinstance(value, Sequence) else [value]
        return tuple(int(v) for v in (given * count if len(given) == 1 else given))


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The calls of a run, in order, and the tensors at its ends."""

    inputs: tuple[torch.Tensor, ...]
    calls: tuple[Call, ...]
    outputs: tuple[torch.Tensor, ...]
    constants: Mapping[int, Call | Laid]  # by id, those that a watched module gave


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """A constant that is another one with its axes laid out anew by some operators."""

    source: torch.Tensor
    steps: tuple[Callable[[torch.Tensor], torch.Tensor], ...]


LAYING = tuple(
    f"aten::{name}"
    for name in (
        "alias", "clone", "detach", "expand", "permute", "reshape", "slice", "squeeze", "t",
        "transpose", "unsqueeze", "view",
    )
)  # fmt: skip
"""Operators that lay out the axes of a tensor anew."""


class _Recorder(TorchDispatchMode):  # type: ignore[misc, unused-ignore]
    """Notes all calls that depend on an input; keeps their tensors, so that each has one id."""

    def __init__(self, inputs: Sequence[torch.Tensor], place: list[str]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.held: list[torch.Tensor] = list(inputs)
        self.known = {id(t) for t in inputs}
        self.place = place
        self.paused = 0
        self.constants: dict[int, Call | Laid] = {}

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Tensors that depend on an input."""
        self.held += tensors
        self.known.update(id(t) for t in tensors)

    def depends(self, values: Any) -> bool:
        """Whether one of the tensors in some arguments depends on an input."""
        return any(id(v) in self.known for v in tree_leaves(values) if isinstance(v, torch.Tensor))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        schema = func._schema
        if self.paused or not self.depends((args, kwargs)):
            if not self.paused and schema.name in LAYING and id(args[0]) in self.constants:
                self._lay(func, made, args, kwargs or {})
            return made
        call = Call(
            schema.name,
            func,
            self.place[-1] if self.place else "",
            _bound(schema, args, kwargs or {}),
            tuple(t for t in tree_leaves(made) if isinstance(t, torch.Tensor)),
        )
        if schema.name in META:
            return made
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise HwsimError(f"{call}: a module must compute the same every time, without chance")
        if not call.outputs:
            raise HwsimError(
                f"{call}: what a module does must not depend on the values of its input; a step "
                "that decides by a value has no graph"
            )
        self._expect_own(call, schema)
        self.calls.append(call)
        self.add(call.outputs)
        return made

    def _lay(self, func: Any, made: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Note a constant that lies otherwise than a watched module gave it."""
        if made is args[0]:
            return

        def step(tensor: torch.Tensor) -> torch.Tensor:
            laid: torch.Tensor = func(tensor, *args[1:], **kwargs)
            return laid

        self.held.append(made)
        self.constants[id(made)] = Laid(args[0], (step,))

    def watched(self, watch: Any, args: Sequence[Any], made: Any) -> None:
        """Note what a watched module gave as one call, its steps left out."""
        given = [t for t in tree_leaves(args) if isinstance(t, torch.Tensor)]
        results = tuple(t for t in tree_leaves(made) if isinstance(t, torch.Tensor))
        place = self.place[-1] if self.place else ""
        arguments = {"x": given[0], "others": tuple(given[1:]), "made": made}
        call = Call(WATCHED, watch, place, arguments, results[:1])
        if results[0] is given[0]:
            return
        if id(given[0]) in self.known:
            self.calls.append(call)
            self.add(results[:1])
        else:
            self.constants[id(results[0])] = call
        self.held += (*given, *results)

    def _expect_own(self, call: Call, schema: Any) -> None:
        """Refuse a step in place on a tensor that another one shows too."""
        if not schema.is_mutable:
            return
        for argument in schema.arguments:
            info, value = argument.alias_info, call.arguments.get(argument.name)
            if info is None or not info.is_write or not isinstance(value, torch.Tensor):
                continue
            space = value.untyped_storage().data_ptr()
            if any(t is not value and t.untyped_storage().data_ptr() == space for t in self.held):
                raise HwsimError(
                    f"{call}: a step in place must be on a tensor that no other one is a part of"
                )


def _bound(schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the names in its schema, with their defaults."""
    names = [argument.name for argument in schema.arguments]
    given = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    return {**given, **dict(zip(names, args, strict=False)), **kwargs}


def record(
    model: Any, inputs: Sequence[torch.Tensor], watched: Mapping[int, Any] | None = None
) -> Trace:
    """One run of a module in evaluation mode on `inputs`.

    What the modules of `watched` (by id) do is one call each, `WATCHED`, whose `op` is what the
    mapping has for it, and whose arguments are `x`, `others` and all that was `made`.

    Raises HwsimError where the module says that it cannot take them, or where what it does depends
    on their values.
    """
    place: list[str] = []
    recorder = _Recorder(inputs, place)
    with torch.no_grad(), _places(model, place, recorder, watched or {}), recorder:
        try:
            made = model(*inputs)
        except HwsimError:
            raise
        except Exception as error:
            shapes = ", ".join(str(tuple(t.shape)) for t in inputs)
            text = str(error).strip().partition("\n")[0]
            raise HwsimError(
                f"the module must run on its example of shape {shapes}, but it raised "
                f"{type(error).__name__} ({text})"
            ) from error
    outputs = tuple(t for t in tree_leaves(made) if isinstance(t, torch.Tensor))
    if not outputs:
        raise HwsimError(f"the module must give tensors, not {type(made).__name__}")
    return Trace(tuple(inputs), tuple(recorder.calls), outputs, recorder.constants)


@contextmanager
def _places(
    model: Any, place: list[str], recorder: _Recorder, watched: Mapping[int, Any]
) -> Iterator[None]:
    """Keep in `place` the names of the modules that are running, the innermost last."""
    names = {id(module): name for name, module in model.named_modules()}

    def enter(module: Any, _: Any) -> None:
        place.append(names.get(id(module), place[-1] if place else ""))
        recorder.paused += id(module) in watched

    def leave(module: Any, args: Any, made: Any) -> None:
        if id(module) in watched:
            recorder.paused -= 1
            if not recorder.paused and made is not None:
                recorder.watched(watched[id(module)], args, made)
        place.pop()

    hooks = torch.nn.modules.module
    handles = (
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave, always_call=True),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
