"""State from one time step to the next: where it begins, what is given back, steps in a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hwsim.errors import HwsimError
from hwsim.fixed import Array, Namespace
from hwsim.state import State

Batch = Mapping[str, Array]


def first(xp: Namespace, states: Sequence[State], batch: int) -> dict[str, Array]:
    """The initial values by state, `(batch, *shape)`: each row of a batch begins afresh."""
    return {
        s.name: xp.broadcast_to(xp.asarray(s.first().copy()), (batch, *s.type.shape))
        for s in states
    }


def given(xp: Namespace, states: Sequence[State], value: Any, batch: int) -> dict[str, Array]:
    """What a user holds as the state of a batch, checked; None stands for the initial values."""
    if value is None:
        return first(xp, states, batch)
    if not isinstance(value, Mapping):
        raise HwsimError(
            f"state must be None or what an earlier step gave, a dict of arrays by name, not a "
            f"{type(value).__name__}"
        )
    names = [s.name for s in states]
    if set(value) != set(names):
        raise HwsimError(f"state must be of this graph, whose names are {names}, not {list(value)}")
    return {s.name: _checked(xp, s, value[s.name], batch) for s in states}


def _checked(xp: Namespace, state: State, value: Any, batch: int) -> Array:
    try:
        array = xp.asarray(value)
    except (TypeError, ValueError):
        raise HwsimError(
            f"state {state.name!r} must be an array of codes, not a {type(value).__name__}"
        ) from None
    wanted = (batch, *state.type.shape)
    if tuple(array.shape) != wanted:
        raise HwsimError(f"state {state.name!r} must have shape {wanted}, not {tuple(array.shape)}")
    if not xp.isdtype(array.dtype, "integral"):
        raise HwsimError(f"state {state.name!r} must be an array of integers, not {array.dtype}")
    lo, hi = (int(xp.min(array)), int(xp.max(array))) if batch else (state.type.lo, state.type.hi)
    if lo < state.type.lo or hi > state.type.hi:
        raise HwsimError(
            f"state {state.name!r} must hold codes from {state.type.lo} to {state.type.hi}, not "
            f"{lo} to {hi}"
        )
    return xp.astype(array, xp.int64, copy=False)


def in_turn(
    xp: Namespace,
    states: Sequence[State],
    codes: Batch,
    carried: Batch,
    run: Callable[[Batch], Batch],
    shown: Sequence[str] | None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Codes by edge, `(batch, time, *shape)`, through `run` one time step after another.

    Gives the edges `shown` (None: all that `run` gives) and the state after the last step.
    """
    held = {s.tensor for s in states}  # in int64 at first, then as the operators made them
    found: dict[str, list[Array]] = {}
    for at in range(next(iter(codes.values())).shape[1]):
        now = {edge: x[:, at, ...] for edge, x in codes.items()}
        edges = run(now | {s.tensor: carried[s.name] for s in states})
        carried = {s.name: edges[s.next] for s in states}
        for edge in edges if shown is None else shown:
            whole = xp.astype(edges[edge], xp.int64) if edge in held else edges[edge]
            found.setdefault(edge, []).append(whole)
    stacked = {edge: xp.stack(steps, axis=1) for edge, steps in found.items()}
    return stacked, dict(carried)
