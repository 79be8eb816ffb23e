"""L2_NORMALIZATION: each row over the root of its squares' sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.tflite.fixed_point import LONG
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import NARROW, KernelSet, only
from hwsim.frontends.tflite.model import LiteNode
from hwsim.ops import Add, ChosenThresholds, Reduce, Reduction, Requantize, Scheme, Table
from hwsim.ops.base import IntArray
from hwsim.ops.fixed_point import divide_by_power, high_product

TURNS = (
    "the kernel's reciprocal root turns back near {turns} of {count} thresholds of large sums, "
    "where a code may be 1 off; here it does not"
)
WIDE = Format.int(10)
NEAR = 3  # sums from a threshold that are tried
STEP, FRACTION = 2.0**-7, 7  # of the result
ROOT_OF_HALF = 1518500250  # 31 fraction bits
ITERATIONS = 5
MOST_SUM = (1 << 31) - 1


def l2_normalization(run: LiteImporter, node: LiteNode) -> None:
    """Codes without their zero point, times the kernel's reciprocal root of their squares' sum."""
    given, made, edge = run.tensor(node, 0), run.made(node), run.edge(node)
    meant, result, out = run.meaning(given), run.meaning(made), run.format(made)
    kind, name = run.types[edge], run.label(made)
    if made.dtype != given.dtype or out.width != NARROW:
        raise HwsimError(f"{node}: it must be of int8 or uint8, not {given.dtype} {made.dtype}")
    if made.dtype == "uint8" and run.like is KernelSet.TFLM:
        raise only(f"{node} of uint8", [k for k in KernelSet if k is not KernelSet.TFLM])
    if int(node.options["activation"]):
        raise HwsimError(f"{node}: it must have no fused activation")
    middle = (out.min + out.max + 1) // 2
    if (float(result.scale), result.zero_point) != (STEP, middle):
        raise HwsimError(
            f"{node}: its output must have scale 1/128 and zero point {middle}, not "
            f"{result.scale} and {result.zero_point}"
        )
    x = np.arange(kind.format.min, kind.format.max + 1) - meant.zero_point
    squares = Table(values=x * x, out=Format.holding(0, int((x * x).max())))
    square = run.emit(f"{name}.square", squares, [edge], f"{name}.square")
    last = (len(kind.shape) - 1,)
    total = Reduce(reduction=Reduction.SUM, axes=last)
    sums = run.emit(f"{name}.sum", total, [square], f"{name}.sum")
    if run.types[sums].hi > MOST_SUM:
        raise HwsimError(f"{node}: the sum of its squares must fit 31 bits")
    found, top = RootSteps(x, fine=made.dtype == "uint8"), run.types[sums].hi
    values, sign = found.thresholds(top), np.sign(found.first)
    turns = found.turns(values, top)
    if turns:
        run.warn(name, TURNS.format(turns=turns, count=values.size))
    falling = ChosenThresholds(values=values, base=found.first, step=-sign, out=WIDE)
    edges = [run.emit(f"{name}.falling", falling, [edge, sums], f"{name}.falling")]
    jumps = found.jumps(top)
    if jumps.any():
        places = np.where(np.arange(jumps.max()) < jumps[:, None], found.turn, top + 1)
        back = ChosenThresholds(values=places, base=np.zeros_like(sign), step=sign, out=WIDE)
        edges.append(run.emit(f"{name}.back", back, [edge, sums], f"{name}.back"))
    rounding = Requantize(
        scheme=Scheme.SHIFT, multiplier=(1.0,), out=out, zero_point=middle, quant=run.meant(made)
    )
    run.give(node, [Add(), rounding] if edges[1:] else [rounding], *edges)


@dataclass(frozen=True, slots=True)
class RootSteps:
    """The results for codes `x` without their zero point.

    With `fine` they have 7 bits more ahead of rounding. They near the middle as the sum of squares
    grows, but for one sum: from there on the kernel rounds twice, and results may be 1 farther.
    """

    x: IntArray
    fine: bool

    @property
    def first(self) -> IntArray:
        """The results where the sum is 1."""
        return self.of(self.x, np.full_like(self.x, 1))

    def of(self, x: IntArray, sums: IntArray) -> IntArray:
        """What the kernel makes of codes, within -128 to 127."""
        multiplier, right = inverse_root(sums)
        if self.fine:
            x = x << FRACTION
        else:
            right = right - FRACTION
        high = high_product(np, x << np.maximum(-right, 0), multiplier)
        steps = divide_by_power(np, high, np.maximum(right, 0))
        return np.asarray(np.clip(steps, -128, 127), np.int64)

    @property
    def turn(self) -> int:
        """The first sum whose results are shifted right, and so rounded twice."""
        low, high = 1, 1 << 31
        while high - low > 1:
            middle = (low + high) // 2
            right = inverse_root(np.array([middle]))[1][0] - (0 if self.fine else FRACTION)
            low, high = (low, middle) if right > 0 else (middle, high)
        return high

    def _nearer(self, sums: IntArray) -> IntArray:
        """How much nearer the middle the results are than those of a sum of 1."""
        return np.abs(self.first)[:, None] - np.abs(self.of(self.x[:, None], sums))

    def jumps(self, top: int) -> IntArray:
        """How much farther from the middle results are again at the turn."""
        ends = self._nearer(np.array([[self.turn - 1, self.turn]]))
        return np.asarray(np.maximum(ends[:, 0] - ends[:, 1], 0) * (self.turn <= top), np.int64)

    def nearer(self, sums: IntArray, jumps: IntArray) -> IntArray:
        """How much nearer they would be without that."""
        return self._nearer(sums) + (sums >= self.turn) * jumps[:, None]

    def _wanted(self) -> IntArray:
        return np.arange(1, int(np.abs(self.first).max()) + 3)[None, :]

    def thresholds(self, top: int) -> IntArray:
        """For each code the sums, of at most `top`, at which its result nears the middle by one."""
        wanted, jumps = self._wanted(), self.jumps(top)
        shape = self.x.size, wanted.size
        low, high = np.ones(shape, np.int64), np.full(shape, top + 1, np.int64)
        while (high - low > 1).any():
            half = (low + high) // 2
            over = self.nearer(half, jumps) >= wanted
            high, low = np.where(over, half, high), np.where(over, low, half)
        return high

    def turns(self, values: IntArray, top: int) -> int:
        """At how many thresholds the reciprocal root's last bits let results turn back."""
        turned, jumps = np.zeros(values.shape, bool), self.jumps(top)
        for away in range(-NEAR, NEAR + 1):
            near = np.clip(values + away, 1, top)
            met = self.nearer(near, jumps) >= self._wanted()
            turned |= (values <= top) & (met != (near >= values))
        return int(turned.sum())


def inverse_root(sums: IntArray) -> tuple[IntArray, IntArray]:
    """1 / sqrt(n) as a multiplier of 31 bits and a right shift, by five Newton steps.

    Source: TensorFlow Lite `GetInvSqrtQuantizedMultiplierExp`.
    """
    held, right = np.asarray(sums, np.int64), np.full(np.shape(sums), 11)
    while (held >= 1 << 29).any():
        large = held >= 1 << 29
        held, right = np.where(large, held // 4, held), right + large
    bits = np.frexp(np.maximum(held, 1).astype(np.float64))[1]  # of the number
    pairs = (31 - bits) // 2 - 1
    right, held = right - pairs, held << 2 * np.maximum(pairs, 0)
    whole = held >> 1
    half = np.asarray(divide_by_power(np, whole, np.array(1)), np.int64)
    x = np.full(whole.shape, 1 << 28)
    for _ in range(ITERATIONS):
        cube = LONG.left(LONG.times(LONG.times(x, x), x), 6)
        x = LONG.left(LONG.times(np.full_like(x, 3 << 27), x) - LONG.times(half, cube), 3)
    root = LONG.times(x, ROOT_OF_HALF)
    root, right = root << np.maximum(-right, 0), np.maximum(right, 0)
    return np.where(sums <= 1, MOST_SUM, root), np.where(sums <= 1, 0, right)
