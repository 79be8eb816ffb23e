"""Where a Graph meets its user: names, element types, and the axes in the order that they see."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow, Rounding
from hwsim.float_steps import PortStep, check_steps
from hwsim.ops import TensorType
from hwsim.ops.base import LATER, since

ELEMENTS = {  # integer types of a port, and the array type that holds them
    **{name: name for name in ("uint8", "int8", "uint16", "int16", "int32", "int64")},
    "uint4": "uint8",
    "int4": "int8",
}
LETTERS = ("", "C", "WC", "HWC", "DHWC")
"""What the axes of an edge are called by their number, where no port names them."""

Axes = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPort:
    """A graph input: the user's name and view, the edge it feeds, its type, and its quantizer.

    The user's axis `i` is the edge's axis `axes[i]` (both count without the batch, which stays
    first); None stands for the edge's own order. Where `shape` is given the user sees those axes
    flattened to it row-major. `names` are what the user calls the axes that they see.
    Reals become codes as `round(x / scale) + zero_point`, or, with `zero_point_first`,
    `round(x / scale + zero_point)`, then overflow; with `reciprocal`, x times float32(1 / scale)
    takes the place of the quotient, and with both the sum is that of a fused multiply-add, rounded
    to float32 once; with `line` they are `round(x * line[0] + line[1])`, fused as well.
    `element` names the integer type of a port whose
    tensor holds codes itself (`uint8`); None stands for reals.
    `steps` are what the model computes of reals in float32 before it quantizes them, on the axes
    that the user sees. With `lanes` that is how vector code quantizes whole groups of so many
    numbers of a sample, row-major; what is left at the end is divided in float64 and rounded with
    ties away from zero, ahead of the zero point.
    """

    name: str
    tensor: str
    type: TensorType
    axes: Axes | None = field(default=None, metadata=since(2))
    rounding: Rounding = Rounding.RND_CONV
    overflow: Overflow = Overflow.SAT
    zero_point_first: bool = False
    element: str | None = field(default=None, metadata=LATER)
    shape: tuple[int, ...] | None = field(default=None, metadata=LATER)
    names: tuple[str, ...] | None = field(default=None, metadata=since(2))
    steps: tuple[PortStep, ...] = field(default=(), metadata=since(3))
    reciprocal: bool = field(default=False, metadata=since(3))
    line: tuple[float, float] | None = field(default=None, metadata=since(3))
    lanes: int = field(default=0, metadata=since(3))

    def __post_init__(self) -> None:
        check_view(self, self.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPort:
    """A graph output: the user's name and view, and the edge that it shows.

    `element` names the type of an output whose codes are the answer (`uint8`, or `int64` of a
    class); None stands for reals. `axes`, `shape` and `names` are as an InputPort's. `reals` are
    the float32 values of all codes of the format, the lowest first, where they are not codes times
    a scale (a Tanh that nothing quantizes); with `lanes` only of whole groups of so many codes of a
    sample, row-major, and what is left at the end is codes times a scale. `steps` are what the
    model then computes of the reals in float32, on the axes that the user sees.
    """

    name: str
    tensor: str
    axes: Axes | None = field(default=None, metadata=since(2))
    element: str | None = field(default=None, metadata=LATER)
    shape: tuple[int, ...] | None = field(default=None, metadata=LATER)
    reals: tuple[float, ...] | None = field(default=None, metadata=LATER)
    names: tuple[str, ...] | None = field(default=None, metadata=since(2))
    steps: tuple[PortStep, ...] = field(default=(), metadata=since(3))
    lanes: int = field(default=0, metadata=since(3))

    def __post_init__(self) -> None:
        _check_element(self)


Port = InputPort | OutputPort


def channels_first(rank: int) -> Axes | None:
    """The axes of a port whose user has the innermost axis of the edge in front of all others."""
    return (rank - 1, *range(rank - 1)) if rank > 1 else None


def seen_axes(kind: TensorType, port: Port) -> Axes:
    """For each axis that the user sees (before any flattening) the edge's."""
    return tuple(range(len(kind.shape))) if port.axes is None else port.axes


def seen_shape(kind: TensorType, port: Port) -> tuple[int, ...]:
    """The edge's shape in the user's order, before any flattening and without the batch."""
    return kind.shape if port.axes is None else tuple(kind.shape[axis] for axis in port.axes)


def channel_place(kind: TensorType, port: Port) -> int:
    """Which of the user's axes (before any flattening) is the edge's innermost."""
    return seen_axes(kind, port).index(len(kind.shape) - 1)


def user_shape(kind: TensorType, port: Port) -> tuple[int, ...]:
    """The shape, without the batch, that the user of a port sees."""
    return seen_shape(kind, port) if port.shape is None else port.shape


def axes_text(kind: TensorType, port: Port) -> str:
    """The order of the user's axes in a word, as `NCHW`, or by the names that the port gives."""
    if port.names is not None:
        return " ".join(("batch", *port.names))
    return order_text(seen_axes(kind, port))


def order_text(axes: Axes) -> str:
    """`NCHW` for the axes (2, 0, 1) of an edge; by number from five axes on."""
    letters = LETTERS[len(axes)] if len(axes) < len(LETTERS) else "0123456789"[: len(axes) - 1]
    named = [letters[axis] if axis < len(letters) else "C" for axis in axes]
    return "".join(("N", *named))


def check_view(port: Port, kind: TensorType) -> None:
    """Raise HwsimError unless the user's axes are the edge's, and the shape holds its codes."""
    _check_element(port)
    axes = seen_axes(kind, port)
    whole = all(isinstance(axis, Integral) for axis in axes)
    if not whole or sorted(axes) != list(range(len(kind.shape))):
        raise HwsimError(
            f"port {port.name!r} must show each of the {len(kind.shape)} axes of {kind.shape} "
            f"once, not {port.axes}"
        )
    if port.shape is not None and math.prod(port.shape) != kind.size:
        raise HwsimError(
            f"port {port.name!r} must show all {kind.size} codes of {kind.shape}, not as "
            f"{port.shape}"
        )
    seen = user_shape(kind, port)
    if port.names is not None and len(port.names) != len(seen):
        raise HwsimError(
            f"port {port.name!r} must have a name for each of its {len(seen)} axes, not "
            f"{port.names}"
        )
    check_steps(f"port {port.name!r}", port.steps, seen)


def _check_element(port: Port) -> None:
    if port.element is not None and port.element not in ELEMENTS:
        raise HwsimError(
            f"port {port.name!r} must be of one of the types {', '.join(ELEMENTS)}, not "
            f"{port.element!r}"
        )
