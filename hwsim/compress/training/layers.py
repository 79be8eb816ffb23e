"""Weights, biases and multipliers that are learned: reals beside the codes that the graph holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.sums.limit import SumLimit
from hwsim.compress.sums.width import SumWidth
from hwsim.compress.training.entries import LearnedEntries
from hwsim.compress.training.grids import WeightGrid
from hwsim.compress.training.namespace import namespace, to_numpy, torch
from hwsim.compress.training.through import rounded, through
from hwsim.errors import HwsimError
from hwsim.fixed import Array, Format
from hwsim.ops import Codebook, Conv, Encoding, Requantize, Scheme, Stepwise, TensorType, Weighted
from hwsim.ops.base import Carrier, Constants, IntArray
from hwsim.ops.encodings import midpoints

Reals = npt.NDArray[np.float64]
FLOAT_SCHEMES = (Scheme.F32_RNE_OUT, Scheme.F32_RNE_IN)


@dataclass(frozen=True, slots=True)
class CodesOfReals:
    """What a layer's learned numbers are rounded to, and the unit in which they are learned.

    Both ends are one number, or one a channel. With `values`, in order, these are all that there
    is; of two as near the lower one is taken. With a `grid` each weight has its own.
    """

    least: int | IntArray
    most: int | IntArray
    unit: Reals  # reals a code step, one or one a channel
    values: IntArray | None = None
    grid: WeightGrid | None = None

    def learned(self, reals: Any) -> Array:
        """Reals to be moved, in a float type that tells all codes apart."""
        widest = max(-np.min(self.least), np.max(self.most))
        dtype = torch().float32 if widest < Carrier.FLOAT32.limit else torch().float64
        return torch().tensor(np.asarray(reals), dtype=dtype, requires_grad=True)

    def of(self, reals: Array) -> Array:
        """Whole numbers of the bounds; gradients stop where reals lie outside of them."""
        if self.grid is not None:
            unit, step, least, most = (
                torch().tensor(part, dtype=reals.dtype)
                for part in (self.unit, self.grid.step, self.grid.least, self.grid.most)
            )
            return rounded((reals / unit / step).clip(least / step, most / step)) * step
        steps = self.within(reals / torch().tensor(self.unit, dtype=reals.dtype))
        if self.values is None:
            return rounded(steps)
        values, ends = (
            torch().tensor(part, dtype=reals.dtype)
            for part in (self.values, midpoints(self.values))
        )
        return through(steps, values[torch().bucketize(steps.detach().contiguous(), ends)])

    def within(self, steps: Array) -> Array:
        """Code steps, brought between the ends."""
        if np.size(self.least) == 1:
            return steps.clip(int(np.min(self.least)), int(np.max(self.most)))
        least, most = (torch().tensor(end, dtype=steps.dtype) for end in (self.least, self.most))
        return steps.clip(least, most)


def has_unit(op: Weighted, x: TensorType) -> bool:
    """Whether a model says how many reals a code step of weights is."""
    return op.weight_scale is not None or x.quant is None


def real_unit(op: Weighted, x: TensorType) -> Reals:
    """Reals a code step of weights: one, or one a channel.

    Where a model does not say it (TensorFlow Lite's, which only has the whole multiplier), one with
    which the weights are as large as those of a float network usually are, so that steps of a
    usual rate move them (He et al. 2015, arXiv 1502.01852).
    """
    if has_unit(op, x):
        return np.asarray(op.weight_scale or (2.0**-op.weight_format.frac_bits,), np.float64)
    terms = op.matrix().shape[0]
    mean = max(float(np.sqrt(np.mean(np.square(op.weights, dtype=np.float64)))), 1.0)
    return np.array([np.sqrt(2.0 / terms) / mean])


class LearnedLayer:
    """A dense layer or convolution whose weights and biases are learned as reals.

    `weights` has the shape of the operator's, `bias` is (outputs,). Their codes are the nearest
    ones, of an encoding's where the operator has one; the bias has the unit of the sum, or a finer
    one where the graph's has. What is kept at 0 (`kept`, of the weights' shape, 1 or 0) stays so:
    pruned weights. With `learn_entries` the entries of a codebook are learned too.
    """

    def __init__(
        self,
        op: Weighted,
        x: TensorType,
        reals: Mapping[str, Reals],
        *,
        narrow: bool,
        learn_entries: bool = False,
    ) -> None:
        fmt = op.weight_format
        product_frac = x.format.frac_bits + fmt.frac_bits
        if op.bias_frac > product_frac and not op.bias.any():
            op = replace(op, bias_frac=product_frac)  # no bias has moved the sum's binary point
        self.op, self.x = op, x
        unit = real_unit(op, x)
        of_x = float(x.scales()[0])
        self.weight_codes = _weight_codes(op, unit, narrow=narrow)
        self.product_frac = product_frac
        self.frac = max(self.product_frac, op.bias_frac)
        terms = op.matrix().shape[0]
        worst = terms * max(fmt.max, -fmt.min) * (op.reach(x).magnitude + abs(op.zero_point))
        worst <<= self.frac - self.product_frac
        finer = 2.0 ** (self.product_frac - op.bias_frac)
        left = self.frac - op.bias_frac
        most = max(worst >> left, int(np.abs(op.bias).max()))
        self.most = worst + (most << left)  # of any sum
        self.bias_codes = CodesOfReals(-most, most, unit * of_x * finer)
        given = reals.get("weights", op.weights * unit)
        biases = reals.get("bias", op.bias * self.bias_codes.unit)
        self.weights = self.weight_codes.learned(given)
        self.bias = self.bias_codes.learned(biases)
        self.kept = torch().ones_like(self.weights)
        self.limit: SumLimit | None = None
        self.entries: LearnedEntries | None = None
        if learn_entries and isinstance(op.encoding, Codebook):
            self.entries = LearnedEntries(op.encoding, fmt, unit)

    def keep_grid(self, name: str, grid: WeightGrid) -> None:
        """Let each weight have codes of its own grid only, as those that it begins with are."""
        if grid.step.shape != self.op.weights.shape:
            raise HwsimError(
                f"the grid of node {name!r} must be of shape {self.op.weights.shape}, not "
                f"{grid.step.shape}"
            )
        if self.op.encoding is not None or self.limit is not None:
            raise HwsimError(
                f"node {name!r} must have no encoding and no bound of its sums beside a grid"
            )
        if off := grid.off(self.op.weights):
            raise HwsimError(
                f"the weights of node {name!r} must be on their grids, but {off} are not"
            )
        self.weight_codes = replace(self.weight_codes, grid=grid)

    def bound(self, name: str, width: SumWidth) -> None:
        """Let weights and biases only be such that sums of so many bits hold any input's."""
        if self.op.encoding is not None:
            raise HwsimError(
                f"sums of node {name!r} that always fit must be of weights without an encoding"
            )
        self.limit = SumLimit.of(name, self.op, self.x, width)
        left = self.frac - self.op.bias_frac
        ends = -(-self.limit.least >> left), self.limit.most >> left
        self.bias_codes = replace(self.bias_codes, least=ends[0], most=ends[1])
        self.pull()

    def pull(self) -> None:
        """Bring the reals back to where their sums fit, after an optimizer moved them."""
        if self.limit is not None:
            with torch().no_grad():
                unit = torch().tensor(self.weight_codes.unit, dtype=torch().float64)
                self.weights.copy_(self._within(self.limit.pulled) * unit)

    def _within(self, change: Callable[..., Array]) -> Array:
        """Weights in code steps, changed to keep the bounds of the sums."""
        codes, outputs = self.weight_codes, self.op.outputs
        bias = self.bias_codes.of(self.bias).detach().double()
        unit = torch().tensor(codes.unit, dtype=torch().float64)
        steps = codes.within(self.weights.detach() / unit) * self.kept
        rows = change(
            namespace(), steps.reshape(-1, outputs), bias * 2.0 ** (self.frac - self.op.bias_frac)
        )
        return rows.reshape(steps.shape)

    @property
    def parameters(self) -> dict[str, Array]:
        """What an optimizer moves."""
        found = {"weights": self.weights, "bias": self.bias}
        return found if self.entries is None else {**found, "entries": self.entries.reals}

    @property
    def out(self) -> TensorType:
        """The type of the sum, whatever the weights become."""
        (found,) = self.op.output_types([self.x])
        if isinstance(self.op.accumulator, Stepwise):
            return replace(found, range=None)
        most = self.most
        return replace(found, format=Format.holding(-most, most, self.frac), range=(-most, most))

    def codes(self) -> tuple[Array, Array]:
        """Weights and biases as the hardware will have them, whole numbers in float32."""
        if self.entries is None:
            weights = self.weight_codes.of(self.weights)
        else:
            unit = torch().tensor(self.weight_codes.unit, dtype=self.weights.dtype)
            weights = self.entries.of(self.weights / unit, zero_stays=self._pruned)
        weights, bias = weights * self.kept, self.bias_codes.of(self.bias)
        if self.limit is not None:
            weights = through(weights, self._within(self.limit.rounded))
        return weights, bias

    @property
    def _pruned(self) -> bool:
        """Whether some weights are kept at 0, which a table must be able to say then."""
        return not bool(self.kept.all())

    def _encoding(self) -> Encoding | None:
        if self.entries is None:
            return self.op.encoding
        return self.entries.frozen(zero_stays=self._pruned)

    def constants(self, carrier: Carrier) -> tuple[Carrier, Constants]:
        """What `Op.run` gets, as `Op.prepare` makes it, with gradients; and the carrier to run in.

        `carrier` holds the sums of any weights. float32 will do where it holds those of these.
        """
        kind = getattr(torch(), carrier.value)
        weights, bias = (codes.to(kind) for codes in self.codes())
        matrix = weights.reshape(-1, self.op.outputs) * 2.0 ** (self.frac - self.product_frac)
        bias = bias * 2.0 ** (self.frac - self.op.bias_frac)
        if self.op.zero_point:
            bias = bias - self.op.zero_point * matrix.sum(0)
        if carrier is not Carrier.FLOAT32 and self._reached(matrix, bias) < Carrier.FLOAT32.limit:
            carrier = Carrier.FLOAT32
            matrix, bias = (part.to(torch().float32) for part in (matrix, bias))
        if isinstance(self.op, Conv) and self.op.groups > 1 and not self.op.depthwise:
            size = self.op.outputs // self.op.groups
            matrix = matrix.reshape(-1, self.op.groups, size).permute(1, 0, 2)
        return carrier, {"w": matrix, "b": bias[None, :]}

    def _reached(self, matrix: Array, bias: Array) -> int:
        """The largest magnitude of any partial sum of these weights."""
        with torch().no_grad():
            sums = matrix.abs().sum(0) * self.op.reach(self.x).magnitude + bias.abs()
            return int(sums.max())

    def frozen(self) -> Weighted:
        """The operator with the codes of now."""
        with torch().no_grad():
            weights, bias = (to_numpy(codes).astype(np.int64) for codes in self.codes())
        encoding = self._encoding()
        finer = self.frac - self.product_frac
        if finer and not bias.any():  # the sum keeps its binary point
            fmt = self.op.weight_format
            fmt = Format(fmt.signed, fmt.int_bits, fmt.frac_bits + finer)
            weights <<= finer
            scale = self.op.weight_scale and tuple(s * 2.0**-finer for s in self.op.weight_scale)
            encoding = None if encoding is None else encoding.shifted(finer)
            return replace(
                self.op,
                weights=weights,
                bias=bias,
                weight_format=fmt,
                weight_scale=scale,
                encoding=encoding,
                channel_bits=self.op.finer_bits(finer),
            )
        return replace(self.op, weights=weights, bias=bias, encoding=encoding)


def _weight_codes(op: Weighted, unit: Reals, *, narrow: bool) -> CodesOfReals:
    fmt, (least, most) = op.weight_format, op.weight_ends
    if op.encoding is None:
        return CodesOfReals(-most if narrow and fmt.signed else least, most, unit)
    values = op.encoding.values
    values = values[(values >= fmt.min) & (values <= fmt.max)]
    return CodesOfReals(int(values[0]), int(values[-1]), unit, values)


class LearnedMultiplier:
    """A requantizer whose multiplier is learned: the step size of its sum, channel by channel.

    A float scheme's is any float32 number above 0, a shift's the nearest power of two. Learned is
    its logarithm to base 2 (Jain et al. 2019, arXiv 1903.08066).
    """

    def __init__(self, op: Requantize) -> None:
        self.op = op
        kind = torch().float32
        logs = np.log2(np.asarray(op.multiplier))
        self.logs = torch().tensor(logs, dtype=kind, requires_grad=True)
        # At the start the very numbers of the graph: 2**log2(m) may miss the last bit.
        self.first = torch().tensor(np.array(op.multiplier, np.float32))
        self.start = self.logs.detach().clone()

    @property
    def parameters(self) -> dict[str, Array]:
        """What an optimizer moves."""
        return {"log2_multiplier": self.logs}

    def now(self) -> Array:
        """The multipliers as float32 numbers."""
        if self.op.scheme is Scheme.SHIFT:
            return torch().exp2(rounded(self.logs))
        return self.first * torch().exp2(self.logs - self.start)

    def frozen(self) -> Requantize:
        """The operator with the multipliers of now."""
        with torch().no_grad():
            return replace(self.op, multiplier=tuple(self.now().cpu().double().tolist()))


def is_learned_multiplier(op: Any) -> bool:
    """Whether a node's multiplier can be learned."""
    return isinstance(op, Requantize) and op.scheme in (*FLOAT_SCHEMES, Scheme.SHIFT)
