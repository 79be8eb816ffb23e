"""The boundary of a Graph: its user's arrays as codes of edges, and the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hwsim.emulator import ports
from hwsim.errors import HwsimError
from hwsim.fixed import Array, Namespace, is_float
from hwsim.float_steps import computed
from hwsim.graph import Graph, InputPort, OutputPort
from hwsim.saturation import Clip, Reach, clip

Batch = Mapping[str, Array]
Axes = tuple[str, ...]
UNTIMED: Axes = ("batch",)
TIMED: Axes = ("batch", "time")
COUNTED = {"batch": "batch size", "time": "number of time steps"}


class Boundary:
    """The ports of a Graph on one array namespace."""

    def __init__(self, xp: Namespace, graph: Graph) -> None:
        self._xp, self._inputs, self._outputs = xp, graph.inputs, graph.outputs
        self._types = {p.tensor: graph.types()[p.tensor] for p in graph.outputs}
        self._reach: dict[str, Reach] = {}  # of inputs that came as reals

    def encode(
        self, x: Any, axes: Axes, *, codes: bool, clips: list[Clip] | None
    ) -> dict[str, Array]:
        """Checked codes by input edge, for what the user gives: reals, or with `codes` codes.

        `axes` are those ahead of each port's own, in `x` and in what is given. How many reals lie
        outside of what a port takes is added to `clips`.
        """
        inputs = self._inputs
        arrays = x if isinstance(x, Mapping) else {inputs[0].name: x}
        if set(arrays) != {p.name for p in inputs}:
            raise HwsimError(
                f"inputs must be named {sorted(p.name for p in inputs)}, not {sorted(arrays)}"
            )
        out = {p.tensor: self._encoded(p, arrays[p.name], axes, codes, clips) for p in inputs}
        for place, axis in enumerate(axes if len(out) > 1 else ()):
            counts = {v.shape[place] for v in out.values()}
            if len(counts) > 1:
                raise HwsimError(f"inputs must have one {COUNTED[axis]}, not {sorted(counts)}")
        return out

    def _encoded(
        self, port: InputPort, x: Any, axes: Axes, codes: bool, clips: list[Clip] | None
    ) -> Array:
        xp, kind = self._xp, port.type
        array = ports.numbers(xp, port, x)
        outer = ports.outer_axes(port, tuple(array.shape), axes)
        if array.dtype == xp.bool:
            array = xp.astype(array, xp.int64)
        ends = ports.ends_of(xp, port, array)
        if len(axes) > 1:  # a time step is encoded as a sample is
            array = xp.reshape(array, (math.prod(outer), *array.shape[len(axes) :]))
        whole = codes or (port.element is not None and not is_float(xp, array))
        if port.steps and not whole:
            array = computed(xp, port.steps, array)
            ends = ports.ends_of(xp, port, array)
        array = ports.from_user(xp, port, kind, array)
        if whole:
            found = ports.checked_codes(xp, port, array, ends)
        else:
            found = ports.quantize(xp, port, array, ends)
            ports.check_proven(xp, port, found)
            if clips is not None and array.size:
                reach = self._reach.get(port.name)
                reach = reach or self._reach.setdefault(port.name, Reach.of(port))
                clips.append(clip(xp, port, reach, array, ends))
        return xp.reshape(found, (*outer, *kind.shape)) if len(axes) > 1 else found

    def decode(self, codes: Batch, as_codes: bool) -> Any:
        """What the user gets for the codes of output edges: an array, or a dict of several."""
        out = {p.name: self._decoded(p, codes[p.tensor], as_codes) for p in self._outputs}
        return out if len(out) > 1 else next(iter(out.values()))

    def _decoded(self, port: OutputPort, array: Array, as_codes: bool) -> Array:
        xp, kind = self._xp, self._types[port.tensor]
        outer = array.shape[: array.ndim - len(kind.shape)]
        if len(outer) == 1:  # no time
            return ports.decode(xp, port, kind, array, as_codes)
        flat = xp.reshape(array, (math.prod(outer), *kind.shape))
        found = ports.decode(xp, port, kind, flat, as_codes)
        return xp.reshape(found, (*outer, *found.shape[1:]))
