"""From one fixed-point format to another, for all channels or for each its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from hwsim.fixed import (
    Array,
    Format,
    Namespace,
    Overflow,
    Rounding,
    cast,
    cast_range,
    overflow,
    round_float,
    round_int,
    shift_round,
    within,
)
from hwsim.ops.base import Carrier, Constants, Op, TensorType, require, since


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Cast(Op):
    """The same reals in another power-of-two format, rounded and brought into range.

    With `channels` each channel is rounded and brought into range in a format of its own (None: of
    no bits, always 0), and its code then shifted to the binary point of `out`, which holds them
    all. `by_channel` makes such a cast.
    """

    kind: ClassVar[str] = "cast"
    out: Format
    rounding: Rounding = Rounding.TRN
    overflow: Overflow = Overflow.WRAP
    channels: tuple[Format | None, ...] | None = field(default=None, metadata=since(2))

    def __post_init__(self) -> None:
        for fmt in filter(None, self.channels or ()):
            require(
                self._holds(fmt),
                f"a cast's format {self.out} must hold those of all its channels, not {fmt}",
            )

    def _holds(self, fmt: Format) -> bool:
        left = self.out.frac_bits - fmt.frac_bits
        return left >= 0 and self.out.min <= fmt.min << left and fmt.max << left <= self.out.max

    @classmethod
    def by_channel(
        cls, channels: Sequence[Format | None], *, rounding: Rounding, overflow: Overflow
    ) -> Cast:
        """A cast of each channel to its own format, in the narrowest that holds them all."""
        some = [fmt for fmt in channels if fmt is not None] or [Format.uint(1)]
        signed = any(fmt.signed for fmt in some)
        whole = max(fmt.int_bits + (signed and not fmt.signed) for fmt in some)
        out = Format(signed, whole, max(fmt.frac_bits for fmt in some))
        return cls(out=out, rounding=rounding, overflow=overflow, channels=tuple(channels))

    @property
    def formats(self) -> dict[Format, int]:
        """The formats that are cast to, each with the left shift to the binary point of `out`."""
        found = (self.out,) if self.channels is None else self.channels
        return {fmt: self.out.frac_bits - fmt.frac_bits for fmt in found if fmt is not None}

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The shape stays; the format is `out`."""
        (x,) = inputs
        require(x.quant is None, "a cast's input must have a power-of-two format, not a scale")
        require(
            self.channels is None or len(self.channels) == x.channels,
            f"a cast must have a format for each of {x.channels} channels, not "
            f"{len(self.channels or ())}",
        )
        ends = [0] if None in (self.channels or ()) else []
        for fmt, left in self.formats.items():
            bounds = cast_range(x.lo, x.hi, x.format, fmt, self.rounding, self.overflow)
            ends += [end << left for end in bounds]
        return TensorType(x.shape, self.out, None, (min(ends), max(ends)))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Headroom for the half step, for a left shift and for the wrap."""
        (x,) = inputs
        return max((self._headroom(x, *pair) for pair in self.formats.items()), default=x.magnitude)

    def _headroom(self, x: TensorType, fmt: Format, left: int) -> int:
        shift = x.format.frac_bits - fmt.frac_bits
        half = 1 << min(max(shift, 0), 62)  # a longer shift leaves only the sign
        return (max(x.magnitude, 1) << max(-shift, 0)) + half + (1 << fmt.width << left)

    def rises_to(self, inputs: Sequence[TensorType]) -> int | None:
        """All codes where none can wrap, or those below the first that does."""
        (x,) = inputs
        if self.overflow in (Overflow.SAT, Overflow.SAT_SYM):
            return x.hi
        if self.channels is not None:
            return None
        shift = x.format.frac_bits - self.out.frac_bits
        if not self.out.min <= round_int(x.lo, shift, self.rounding) <= self.out.max:
            return None
        fits, past = x.lo, x.hi + 1
        while past - fits > 1:
            middle = (fits + past) // 2
            if round_int(middle, shift, self.rounding) <= self.out.max:
                fits = middle
            else:
                past = middle
        return fits

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """The shift between the two binary points, and the bounds that are not proved to hold.

        By channel: which channels have each format.
        """
        (x,) = inputs
        if self.channels is not None:
            places = {fmt: np.array([f == fmt for f in self.channels]) for fmt in self.channels}
            return {"masks": places, "source": x.format, "factor": None}
        shift = x.format.frac_bits - self.out.frac_bits
        low, high = round_int(x.lo, shift, self.rounding), round_int(x.hi, shift, self.rounding)
        symmetric = self.overflow is Overflow.SAT_SYM and self.out.signed
        least = -self.out.max if symmetric else self.out.min
        return {
            "shift": shift,
            "factor": 2.0**-shift if carrier.is_float and shift > 0 else None,
            "low": None if least <= low else np.array(least, carrier.value),
            "high": None if high <= self.out.max else np.array(self.out.max, carrier.value),
        }

    def unscaled(self, k: Constants) -> tuple[float, Constants] | None:
        """The right shift of floats."""
        return None if k["factor"] is None else (k["factor"], {**k, "factor": 1.0})

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """Codes of `out`."""
        if "masks" in k:
            return self._each(xp, xs[0], k)
        if k["factor"] is None:
            rounded = shift_round(xp, xs[0], k["shift"], self.rounding)
        else:  # 1 where the sums come with the factor in them
            x = xs[0] if k["factor"] == 1 else xs[0] * k["factor"]
            rounded = round_float(xp, x, self.rounding)
        low, high = k["low"], k["high"]
        saturates = self.overflow in (Overflow.SAT, Overflow.SAT_SYM)
        proved = low is None and high is None
        # To look first spares the many passes of a wrap, but not the one of a clip.
        fits = proved if saturates else within(xp, rounded, low, high)
        return rounded if fits else overflow(xp, rounded, self.out, self.overflow)

    def _each(self, xp: Namespace, x: Array, k: Constants) -> Array:
        """The cast of each channel."""
        out = xp.zeros_like(x)
        for fmt, mask in k["masks"].items():
            if fmt is not None:
                codes = cast(xp, x, k["source"], fmt, self.rounding, self.overflow)
                left = self.out.frac_bits - fmt.frac_bits
                out = xp.where(mask, codes * 2**left if left else codes, out)
        return out
