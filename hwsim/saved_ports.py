"""Ports in files of schema 1, which had one of two layouts where they have axes now.

A port whose user has the edge's own order, or the channels in front, is still written so: the file
and its hash are those of before, and an older version reads it. Any other order is schema 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from hwsim.errors import HwsimError
from hwsim.ops import TensorType
from hwsim.ports import InputPort, OutputPort, Port, channels_first

P = TypeVar("P", InputPort, OutputPort)
LAYOUTS = ("NHWC", "NCHW")


def without_axes(port: Port) -> tuple[Port, bool]:
    """A port as its other fields say it, and whether its user has the channels in front."""
    if port.steps:  # schema 3, which has axes; the steps are on those
        return port, False
    first = port.axes is not None and port.axes == channels_first(len(port.axes))
    return (replace(port, axes=None) if first else port), first


def with_layout(saved: Mapping[str, Any], *, first: bool) -> dict[str, Any]:
    """A saved port with its layout, where the fields of schema 1 have it."""
    fields = list(saved.items())
    place = 1 + max(k for k, (name, _) in enumerate(fields) if name in ("tensor", "type"))
    fields.insert(place, ("layout", {"$enum": "Layout", "value": LAYOUTS[first]}))
    return dict(fields)


def without_layout(saved: Any) -> Any:
    """A saved port as its other fields say it."""
    if not isinstance(saved, dict):
        return saved
    return {name: value for name, value in saved.items() if name != "layout"}


def has_channels_first(saved: Any) -> bool:
    """Whether the user of a saved port has the channels in front; HwsimError if it is unknown."""
    value = saved.get("layout", {"value": LAYOUTS[0]})["value"]
    if value not in LAYOUTS:
        raise HwsimError(f"a saved Layout must be a known value, not {value!r}")
    return bool(LAYOUTS.index(value))


def with_axes(
    ports: Sequence[P], first: Sequence[bool], types: Mapping[str, TensorType]
) -> tuple[P, ...]:
    """The ports, those of them with the channels in front whose layout says so."""
    return tuple(
        replace(p, axes=channels_first(len(types[p.tensor].shape))) if moved else p
        for p, moved in zip(ports, first, strict=True)
    )
