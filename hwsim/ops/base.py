"""What an operator is: rules of shape, format and range, arithmetic and a count of work."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from enum import Enum
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Array, Format, Namespace

IntArray = npt.NDArray[np.int64]
Range = tuple[int, int]
Shape = tuple[int, ...]
Constants = Mapping[str, Any]
AddBias = Callable[[Namespace, Array], Array]
MOST_BITS = 62  # of constants and sums of products, so that int64 cannot wrap unseen


SINCE = "since"


def since(schema: int) -> Mapping[str, Any]:
    """Metadata of a field that saved graphs have from `schema` on; its default is not written."""
    return {SINCE: schema}


LATER = since(1)
"""Of a field that came after the first saved files, before schemas were told apart."""


@dataclass(frozen=True, slots=True)
class Quant:
    """How codes map to reals: `real = (code - zero_point) * scale`, one scale or one a channel."""

    scale: tuple[float, ...] = (1.0,)
    zero_point: int = 0

    def __post_init__(self) -> None:
        for scale in self.scale:
            if not (math.isfinite(scale) and scale > 0):
                raise HwsimError(f"a scale must be a finite number above 0, not {scale!r}")


@dataclass(frozen=True, slots=True)
class TensorType:
    """The shape (without the batch), format and meaning of the codes on one edge.

    `quant` of None means the format's own power of two: `real = code * 2**-frac_bits`. `range`
    holds proven bounds of the codes; None stands for all codes of the format.
    """

    shape: Shape
    format: Format
    quant: Quant | None = None
    range: Range | None = None

    def __post_init__(self) -> None:
        if min(self.shape, default=1) < 1:
            raise HwsimError(f"a tensor's axes must be 1 or more long, not {self.shape}")
        if self.quant is not None and len(self.quant.scale) not in (1, self.channels):
            raise HwsimError(
                f"a tensor must have 1 or {self.channels} scales, not {len(self.quant.scale)}"
            )
        if not self.format.min <= self.lo <= self.hi <= self.format.max:
            raise HwsimError(
                f"a tensor's range must be codes of {self.format} in order, not {self.lo} to "
                f"{self.hi}"
            )

    @property
    def lo(self) -> int:
        """The smallest code that can occur."""
        return self.format.min if self.range is None else self.range[0]

    @property
    def hi(self) -> int:
        """The largest code that can occur."""
        return self.format.max if self.range is None else self.range[1]

    @property
    def magnitude(self) -> int:
        """The largest absolute value of a code."""
        return max(abs(self.lo), abs(self.hi))

    @property
    def size(self) -> int:
        """Codes in one tensor."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        """Length of the innermost axis."""
        return self.shape[-1] if self.shape else 1

    @property
    def zero_point(self) -> int:
        """The code of real zero."""
        return 0 if self.quant is None else self.quant.zero_point

    def scales(self) -> tuple[float, ...]:
        """Reals per code step: one, or one a channel."""
        return (2.0**-self.format.frac_bits,) if self.quant is None else self.quant.scale

    def with_shape(self, shape: Shape) -> TensorType:
        """The same codes in another shape."""
        return replace(self, shape=shape)

    def with_range(self, lo: int, hi: int) -> TensorType:
        """The same type with tighter proven bounds."""
        return replace(self, range=(lo, hi))


class Carrier(Enum):
    """The array type that holds whole numbers exactly while they are computed."""

    INT8 = "int8", 1 << 7
    INT32 = "int32", 1 << 31
    FLOAT32 = "float32", 1 << 24
    FLOAT64 = "float64", 1 << 53
    INT64 = "int64", (1 << 63) - 1

    limit: int  # whole numbers below this magnitude are exact
    is_float: bool  # fractions can be held too

    def __new__(cls, kind: str, limit: int) -> Carrier:
        """A member with the name of its array type as its value."""
        member = object.__new__(cls)
        member._value_, member.limit, member.is_float = kind, limit, kind.startswith("float")
        return member

    def holds(self, lo: int, hi: int) -> bool:
        """Whether all whole numbers from `lo` to `hi` are exact."""
        least = -self.limit if self in (Carrier.INT8, Carrier.INT32) else 1 - self.limit
        return least <= lo and hi < self.limit


FLOATS = (Carrier.FLOAT32, Carrier.FLOAT64)
ALL_CARRIERS = (*FLOATS, Carrier.INT32, Carrier.INT64)
"""What a text takes that does whole arithmetic up to its bound, and no more."""
MOVING_CARRIERS = (*ALL_CARRIERS, Carrier.INT8)
"""What a text takes that only moves or compares codes."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one inference costs in an operator, whatever hardware carries it out."""

    macs: int = 0
    weights: int = 0
    activations: int = 0


class Op(ABC):
    """An operator on integer codes; its subclasses are frozen dataclasses.

    Arrays are `(batch, *shape)`, channels last. `run` is one text for every array namespace: it
    gets its constants from `prepare`, moved to that namespace, and its inputs in one of the
    carriers that `carriers` names: the first that the backend has and that holds `bound` exactly.
    An operator has one output, or several where its `infer` and `run` give tuples.
    """

    kind: ClassVar[str]
    arity: ClassVar[int] = 1

    def __repr__(self) -> str:
        """One line: what differs from the defaults, and shapes in place of arrays."""
        told = []
        for item in fields(cast("Any", self)):
            value = getattr(self, item.name)
            same = not isinstance(value, np.ndarray) and value == item.default
            if item.default is MISSING or not same:
                told.append(f"{item.name}={short(value)}")
        return f"{type(self).__name__}({', '.join(told)})"

    @abstractmethod
    def infer(self, inputs: Sequence[TensorType]) -> TensorType | tuple[TensorType, ...]:
        """The output's type, or those of several; raises HwsimError where the inputs do not fit."""

    @abstractmethod
    def bound(self, inputs: Sequence[TensorType]) -> int:
        """The largest magnitude of any whole number met while computing, in any order."""

    @abstractmethod
    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """The output's codes, or a tuple of those of several."""

    def output_types(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        """What `infer` gives, as a tuple for one output too."""
        found = self.infer(inputs)
        return found if isinstance(found, tuple) else (found,)

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """The carriers that `run` accepts; which of them are used, a backend says."""
        return ALL_CARRIERS

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """NumPy constants and plain values for `run`."""
        return {}

    def rises_to(self, inputs: Sequence[TensorType]) -> int | None:
        """The code up to which a larger one never gives a smaller one, channel by channel.

        None where the operator is no rising function of a single code from the lowest on.
        """
        return None

    def keeps_scale(self) -> bool:
        """Whether a power of two times the input gives as much times the output, in floats."""
        return False

    def scaled(self, k: Constants, factor: float) -> Constants | None:
        """Constants, of a float carrier, for `factor` times the output; None where there are none.

        `factor` is a power of two.
        """
        return None

    def unscaled(self, k: Constants) -> tuple[float, Constants] | None:
        """A power of two that `run` multiplies its input by first, and constants without it."""
        return None

    def unbiased(self, k: Constants) -> tuple[Constants, AddBias] | None:
        """Constants for the output without its bias, and what adds that to any (..., channels)."""
        return None

    def work(self, inputs: Sequence[TensorType]) -> Work:
        """Multiply-accumulates, weights and produced codes of one inference."""
        return Work(activations=sum(made.size for made in self.output_types(inputs)))


MOST_TOLD = 4
"""Entries of a tuple that `short` shows."""


def short(value: Any) -> str:
    """A field's value in a few words: `[3×3×8×16]` for an array, the first entries of a tuple."""
    if isinstance(value, np.ndarray):
        return f"[{'×'.join(map(str, value.shape))}]"
    if isinstance(value, Format):
        return str(value)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, tuple) and len(value) > MOST_TOLD:
        return f"({', '.join(map(short, value[:2]))}, … {len(value)} in all)"
    if isinstance(value, tuple):
        return f"({', '.join(map(short, value))}{',' if len(value) == 1 else ''})"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def int_array(values: Any, what: str) -> IntArray:
    """A read-only int64 copy of whole numbers; HwsimError names `what` for anything else."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise HwsimError(
            f"{what} must be an array of integers, not rows of unlike length"
        ) from None
    if array.dtype.kind not in "iub":
        raise HwsimError(f"{what} must be an array of integers, not of {array.dtype}")
    top = max(abs(int(array.min())), abs(int(array.max()))) if array.size else 0
    require(top < 1 << MOST_BITS, f"{what} must fit {MOST_BITS} bits, not reach {top}")
    out = np.array(array, dtype=np.int64)
    out.setflags(write=False)
    return out


def shift_left(array: IntArray, bits: int, what: str) -> IntArray:
    """`array << bits`; HwsimError names `what` where a result would need more than 62 bits."""
    top = int(np.abs(array).max(initial=0))
    require(
        top << bits < 1 << MOST_BITS,
        f"{what} must fit {MOST_BITS} bits at their sum's binary point, not reach {top} * "
        f"2**{bits}",
    )
    return array << bits if top else array


def require(condition: bool, message: str) -> None:
    """Raise HwsimError with `message` unless `condition` holds."""
    if not condition:
        raise HwsimError(message)
