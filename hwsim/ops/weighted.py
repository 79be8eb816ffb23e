"""What dense and convolution share: weights, bias, accumulator and the type of the sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Array, Format, Namespace, overflow, shift_round
from hwsim.ops.accumulate import (
    EXACT,
    Accumulator,
    Steps,
    Stepwise,
    add_bias,
    repeated,
    sum_bound,
    sum_range,
)
from hwsim.ops.base import (
    MOST_BITS,
    AddBias,
    Carrier,
    Constants,
    IntArray,
    Op,
    Quant,
    TensorType,
    int_array,
    require,
    shift_left,
    since,
)
from hwsim.ops.encodings import Encoding


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Weighted(Op):
    """A layer whose outputs are sums of inputs times constant weights.

    `weights` are codes of `weight_format`, output channels last. `bias` has one code a channel with
    `bias_frac` fraction bits. The input's `zero_point` is subtracted before the product (it is
    folded into the bias, which is exact). `weight_scale` gives the reals of the weights where they
    are not the format's power of two: one, or one a channel. With an `encoding` hardware stores a
    weight in fewer bits than the format's; all weights must be of its values. With `channel_bits`
    the weights of each output channel fit so many bits, which is known of what was quantized so:
    sizes count them, and training keeps them.
    """

    weights: IntArray
    bias: IntArray
    weight_format: Format
    bias_frac: int = 0
    zero_point: int = 0
    weight_scale: tuple[float, ...] | None = None
    accumulator: Accumulator = field(default=EXACT)
    encoding: Encoding | None = field(default=None, metadata=since(3))
    channel_bits: tuple[int, ...] | None = field(default=None, metadata=since(3))

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", int_array(self.weights, "weights"))
        object.__setattr__(self, "bias", int_array(self.bias, "bias"))
        fmt, outputs = self.weight_format, self.weights.shape[-1]
        require(fmt.width <= 32, f"a weight format must have at most 32 bits, not {fmt.width}")
        if self.weights.size == 0:
            raise HwsimError(f"weights must not be empty, but have shape {self.weights.shape}")
        lo, hi = int(self.weights.min()), int(self.weights.max())
        require(
            fmt.min <= lo and hi <= fmt.max,
            f"weights must be codes of {fmt} ({fmt.min} to {fmt.max}), not {lo} to {hi}",
        )
        require(
            self.bias.shape == (outputs,),
            f"bias must have shape ({outputs},), not {self.bias.shape}",
        )
        require(
            self.weight_scale is None or len(self.weight_scale) in (1, outputs),
            f"weight_scale must have 1 or {outputs} entries, not {len(self.weight_scale or ())}",
        )
        if self.weight_scale is not None:
            Quant(self.weight_scale)
        if self.encoding is not None:
            self.encoding.words(self.weights)
        if self.channel_bits is not None:
            self._check_channel_bits(self.channel_bits)

    def _check_channel_bits(self, bits: tuple[int, ...]) -> None:
        require(
            len(bits) == self.outputs and all(1 <= n <= self.weight_format.width for n in bits),
            f"channel_bits must be one for each of {self.outputs} channels, from 1 to "
            f"{self.weight_format.width}, not {bits}",
        )
        require(
            self.encoding is None,
            "channel_bits must be of weights without an encoding, which says their bits itself",
        )
        low, high = self.weight_ends
        beyond = ((self.weights < low) | (self.weights > high)).any(
            axis=tuple(range(self.weights.ndim - 1))
        )
        require(
            not beyond.any(),
            "weights must fit the bits of their channels, but those of channel "
            f"{int(beyond.argmax())} do not fit {bits[int(beyond.argmax())]}",
        )

    @property
    def outputs(self) -> int:
        """Output channels."""
        return int(self.weights.shape[-1])

    @property
    def weight_bits(self) -> int:
        """Bits of one weight as hardware stores it."""
        return self.weight_format.width if self.encoding is None else self.encoding.bits

    @property
    def weight_ends(self) -> tuple[IntArray, IntArray]:
        """The lowest and the highest code: one, or one a channel."""
        fmt = self.weight_format
        if self.channel_bits is None:
            return np.array([fmt.min]), np.array([fmt.max])
        unit = np.int64(1) << (np.array(self.channel_bits) - fmt.signed)
        return (-unit if fmt.signed else 0 * unit), unit - 1

    @property
    def total_bits(self) -> int:
        """Bits of all weights, of each channel those that its own codes need."""
        if self.channel_bits is None:
            return self.weights.size * self.weight_bits
        return self.weights.size // self.outputs * sum(self.channel_bits)

    def finer_bits(self, bits: int) -> tuple[int, ...] | None:
        """The bits by channel of the same weights times `2**bits`."""
        return self.channel_bits and tuple(n + bits for n in self.channel_bits)

    def matrix(self) -> IntArray:
        """Weights as (terms of one sum, output channels)."""
        return self.weights.reshape(-1, self.outputs)

    def aligned(self, x: TensorType) -> tuple[IntArray, IntArray, int]:
        """Matrix, bias (zero point folded in) and fraction bits of the accumulator's codes."""
        require(
            x.format.min <= self.zero_point <= x.format.max,
            f"a layer's zero_point must be a code of {x.format}, not {self.zero_point}",
        )
        product_frac = x.format.frac_bits + self.weight_format.frac_bits
        frac = max(product_frac, self.bias_frac) if self.bias.any() else product_frac
        weights = shift_left(self.matrix(), frac - product_frac, "weights")
        bias = shift_left(self.bias, max(frac - self.bias_frac, 0), "biases")
        top = int(np.abs(weights).max()) * len(weights) * max(1, abs(self.zero_point))
        require(
            top + int(np.abs(bias).max()) < 1 << MOST_BITS,
            f"a layer's weights times its zero point must fit {MOST_BITS} bits, not reach {top}",
        )
        return weights, bias - self.zero_point * weights.sum(axis=0), frac

    def reach(self, x: TensorType) -> TensorType:
        """`x` with the codes that meet the weights: its own, and the padding's if there is any."""
        return x

    def steps(self, x: TensorType) -> Steps:
        """What a step-wise accumulator does for inputs of type `x`."""
        require(
            isinstance(self.accumulator, Stepwise) and self.zero_point == 0 == x.zero_point,
            f"a step-wise accumulator's input must have zero point 0, not "
            f"{self.zero_point or x.zero_point}",
        )
        return _steps(self, self.reach(x).with_shape(()))

    def sum_type(self, x: TensorType, shape: tuple[int, ...]) -> TensorType:
        """The type of the sums for inputs of type `x`."""
        if isinstance(self.accumulator, Stepwise):
            fmt = self.accumulator.format
            return TensorType(shape, fmt, self._quant(x, fmt.frac_bits), self.steps(x).range)
        weights, bias, frac = self.aligned(x)
        reach = self.reach(x)
        lo, hi = sum_range(weights, bias, reach.lo, reach.hi)
        return TensorType(shape, Format.holding(lo, hi, frac), self._quant(x, frac), (lo, hi))

    def _quant(self, x: TensorType, frac: int) -> Quant | None:
        """The reals of sums with so many fraction bits; None where they are the format's own."""
        if x.quant is None and self.weight_scale is None:
            return None
        require(
            len(x.scales()) == 1,
            "a weighted layer's input must have one scale, not one a channel",
        )
        finer = frac - x.format.frac_bits - self.weight_format.frac_bits  # the bias's
        step = 2.0**-self.weight_format.frac_bits
        scales = np.asarray(self.weight_scale or (step,), float) * x.scales()[0] * 2.0**-finer
        return Quant(tuple(float(s) for s in scales))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Proven for every order of summation, since BLAS adds in any."""
        magnitude = self.reach(inputs[0]).magnitude
        if isinstance(self.accumulator, Stepwise):
            return self.steps(inputs[0]).bound(magnitude)
        weights, bias, _ = self.aligned(inputs[0])
        return sum_bound(weights, bias, magnitude)

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """Matrix and bias in the carrier, or those of the steps."""
        if isinstance(self.accumulator, Stepwise):
            steps = self.steps(inputs[0])
            if not (steps.exact & steps.fits).all():
                return {"steps": steps, **steps.prepare(carrier)}
            weights, bias = steps.weights >> steps.drop, steps.bias
        else:
            weights, bias, _ = self.aligned(inputs[0])
        return {"w": weights.astype(carrier.value), "b": repeated(bias.astype(carrier.value))}

    def scaled(self, k: Constants, factor: float) -> Constants | None:
        """As weights and biases; None where steps round the sums."""
        if "steps" in k:
            return None
        bias = None if k["b"] is None else k["b"] * factor
        return {**k, "w": k["w"] * factor, "b": bias}

    def unbiased(self, k: Constants) -> tuple[Constants, AddBias] | None:
        """No biases where steps round the sums, or all are 0."""
        biases = k.get("b")
        if biases is None:
            return None
        return {**k, "b": None}, lambda xp, sums: add_bias(xp, sums, biases)

    def accumulate(self, xp: Namespace, rows: Array, k: Constants) -> Array:
        """Sums (rows, outputs) of gathered inputs (rows, terms)."""
        if "steps" in k:
            return k["steps"].run(xp, rows, k)
        return add_bias(xp, xp.matmul(rows, k["w"]), k["b"])


@lru_cache(maxsize=4)
def _steps(op: Weighted, x: TensorType) -> Steps:
    """The last few are kept: an operator that every time step uses is looked at once."""
    acc = op.accumulator
    assert isinstance(acc, Stepwise)
    right = op.bias_frac - acc.format.frac_bits
    bias = shift_left(op.bias, max(-right, 0), "biases")
    bias = shift_round(np, bias, max(right, 0), acc.rounding)
    bias = overflow(np, bias, acc.format, acc.overflow)
    drop = x.format.frac_bits + op.weight_format.frac_bits - acc.format.frac_bits
    return Steps(acc, op.matrix(), bias, drop, x.lo, x.hi)
