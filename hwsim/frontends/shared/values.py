"""What a tensor is while a model is read: constant, codes on an edge, or unrounded reals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.fixed import Format
from hwsim.float_steps import ARITHMETIC, PortStep
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.ops import Add, Conv, Dense, Maximum, Minimum, Mul, Op, Pad, Sub, Window
from hwsim.ops.base import IntArray

FloatArray = npt.NDArray[np.float32]
Padding = tuple[int, ...]  # before on each axis of a map, then after
NO_PADDING: Padding = ()


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A constant; `codes`, `format` and `scale` are there where it came through a quantizer."""

    array: npt.NDArray[Any]
    codes: IntArray | None = None
    format: Format | None = None
    scale: FloatArray | None = None  # broadcasts against `codes`
    shifted: bool = False  # whether a zero point other than 0 was taken off
    zero_point: int = 0  # which one, where there is one for all


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """An integer tensor on an edge; `padding` is a frame of real zeros still to be added."""

    edge: str
    format: Format
    layout: Arrangement
    padding: Padding = NO_PADDING


@dataclass(frozen=True, slots=True, eq=False)
class RawInput:
    """A graph input that nothing has quantized yet, in the two layouts that its port can have."""

    name: str
    dtype: str
    plain: Arrangement
    channels_last: Arrangement
    padding: Padding = NO_PADDING
    steps: tuple[PortStep, ...] = ()  # what was computed of it so far, on the user's axes


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """Codes with their meaning: real = (code - zero_point) * scale, in float32.

    With `scales` there is one for each of the innermost indices of the codes, and `scale` is NaN;
    the edge's type then says nothing of them. `fine` codes stand for reals that nothing has
    rounded, in a unit about as fine as a float32's.
    """

    codes: Codes
    scale: float
    zero_point: int
    scales: FloatArray | None = None
    fine: bool = False

    @property
    def factors(self) -> FloatArray:
        """The scale, or those of the channels."""
        return np.array([self.scale], np.float32) if self.scales is None else self.scales


@dataclass(frozen=True, slots=True, eq=False)
class Weighing:
    """A dense or convolution layer whose sum nothing has rounded yet.

    `tensor` is the model's tensor of the sum. `exact` says that the model's runtime adds whole
    numbers, the bias too, before all else; `integer_bias` that it makes a float bias whole.
    """

    name: str
    tensor: str
    input: Level
    op: Dense | Conv
    scale: FloatArray  # float32(input scale * weight scale), one or one a channel
    exact: bool = True
    integer_bias: bool = True
    bias_scale: FloatArray | None = None  # for a float bias, where that is not `scale`
    rough_bias: bool = False  # whether the bias was rounded, but not as the runtime does


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """An average over windows that nothing has rounded yet; `whole` where it is a global one.

    `counts` are how many elements each position of the map averages, where that is not the
    size of the window; what lies outside holds real zeros. `in_reals` says that the model's runtime
    averages float32 values, and then quantizes; `in_turn` that it adds them row-major, one after
    the other, and divides the sum.
    """

    name: str
    tensor: str
    input: Level
    window: Window
    whole: bool
    in_reals: bool = False
    counts: IntArray | None = None
    in_turn: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A sum, difference or product (`op`) of two tensors that nothing has rounded yet.

    `shift` is what the model's runtime adds to all codes before it computes; `in_reals` says that
    it dequantizes both, computes and quantizes, one after the other.
    """

    name: str
    tensor: str
    a: Level | Weighing
    b: Level | Weighing
    shift: int = 0
    in_reals: bool = False
    op: Add | Sub | Mul = field(default_factory=Add)

    @property
    def wide(self) -> bool:
        """Whether a term is a layer's sum, or codes of more than 8 bits."""
        terms = (self.a, self.b)
        return any(isinstance(t, Weighing) or t.codes.format.width > 8 for t in terms)


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """The product of two computed tensors of matrices, which nothing has rounded yet."""

    name: str
    tensor: str
    a: Level
    b: Level

    @property
    def scale(self) -> np.float32:
        """What one step of the exact sums is worth, as runtimes with integer kernels have it."""
        return np.float32(self.a.scale) * np.float32(self.b.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Total:
    """A sum (`mean`: the mean) along axes of an edge, which nothing has rounded yet.

    `in_turn` says of the model's runtime what it says of a `Mean`'s.
    """

    name: str
    tensor: str
    input: Level
    axes: tuple[int, ...]
    mean: bool
    in_turn: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """`x * factor + offset` for each channel of a tensor, which nothing has rounded yet.

    `unit` is there where the model's runtime multiplies codes: the factors are then codes too, one
    step of them is worth `unit`, and `shift` is what it adds to the codes of the result meanwhile.
    `function` is what it computes of float32 values, channels innermost, where that is known.
    """

    name: str
    term: Level | Weighing
    factor: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    unit: float | None = None
    shift: int = 0
    function: Callable[[FloatArray], FloatArray] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PerChannel:
    """A function of each code and its channel: of float32 values, channels innermost.

    `rough` says that the model's runtime gives other last bits.
    """

    name: str
    term: Level
    function: Callable[[FloatArray], FloatArray]
    rough: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class OfTwoCodes:
    """A function of float32 values of two tensors of narrow codes; `rough` as in a Unary."""

    name: str
    a: Level
    b: Level
    function: Callable[[FloatArray, FloatArray], FloatArray]
    rough: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Extreme:
    """The largest or smallest of several tensors, and of constants, once each has been rounded.

    `layouts` are how each part has to lie so that they broadcast.
    """

    name: str
    parts: tuple[Real, ...]
    layouts: tuple[Arrangement, ...]
    op: Maximum | Minimum
    limit: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """Constant reals, the same for every sample, as their codes will lie (a class token).

    An edge of `like` drives theirs, whatever it holds.
    """

    name: str
    values: FloatArray
    like: Codes


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Tensors to be concatenated along an axis (the batch apart) once each has been rounded.

    `place` is the edge's axis where all lie alike; -1 means that the axis has to be innermost.
    """

    name: str
    parts: tuple[Real, ...]
    axis: int
    place: int = -1


@dataclass(frozen=True, slots=True, eq=False)
class Softmax:
    """A softmax (`log`: its logarithm) of a float tensor, which nothing has rounded yet.

    The elements along `axes` (without the batch, side by side) are one row, and `layout` has it
    innermost. `whole` says that the
    model's runtime computes it of codes, with a kernel of its own.
    """

    name: str
    tensor: str
    input: Real
    axes: tuple[int, ...]
    layout: Arrangement
    log: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Unary:
    """A function of one float32; `low` and `high` are there where it is a clamp.

    `rough` says that the model's runtime gives other last bits; `step` is its name in
    `float_steps.FUNCTIONS`, where it is there; `arithmetic` is one of `float_steps.ARITHMETIC` with
    its constant.
    """

    name: str
    function: Callable[[FloatArray], FloatArray]
    rising: bool
    low: float | None = None
    high: float | None = None
    rough: bool = False
    step: str | None = None
    arithmetic: tuple[str, float] | None = None

    @property
    def clamp(self) -> bool:
        """Whether the function is min and max with constants."""
        return self.low is not None or self.high is not None


@dataclass(frozen=True, slots=True, eq=False)
class Arithmetic:
    """One operation of `float_steps.ARITHMETIC` on float32, rounded by itself.

    `values` are one constant, or one for each of the innermost indices of the codes.
    """

    name: str
    op: str
    values: FloatArray

    def function(self, x: FloatArray) -> FloatArray:
        """What it makes of reals, channels innermost."""
        out: FloatArray = ARITHMETIC[self.op](np, x, self.values)
        return out

    @property
    def rising(self) -> bool:
        """Whether it rises in all channels."""
        if self.op in ("mul", "div"):
            return bool((self.values >= 0).all())
        return self.op != "sub_from"


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """A max pool: it commutes with everything that is rising."""

    name: str
    window: Window


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """Codes that only move: these operators on the edge, one after the other."""

    name: str
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Padded:
    """A real `value` around a tensor and between its elements, by `op`, whose code is still 0."""

    name: str
    op: Pad
    value: float


After = Unary | Arithmetic | Pool | Moved | Padded
Source = (
    Level
    | Weighing
    | Mean
    | Pair
    | Scaled
    | Joined
    | Fixed
    | PerChannel
    | Extreme
    | OfTwoCodes
    | Product
    | Softmax
    | Total
    | RawInput
)


@dataclass(frozen=True, slots=True, eq=False)
class Real:
    """A float tensor: a source, then functions, max pools and moves; a quantizer rounds it.

    `layout` is that behind all of them.
    """

    source: Source
    layout: Arrangement
    steps: tuple[After, ...] = field(default=())

    def then(self, step: After) -> Real:
        """With one more step."""
        return replace(self, steps=(*self.steps, step))


Value = Constant | Codes | RawInput | Real
