"""What one operator's hardware takes of a device, before anything is built."""

from __future__ import annotations

from functools import lru_cache

from hwsim.forms import Form
from hwsim.ops import BatchNorm, Op, Requantize, TensorType, Weighted
from hwsim.thresholds import choose
from rtl.multiply import LIMB
from rtl.products import Fold


def node_multipliers(op: Op, x: TensorType, lanes: int, fold: Fold | None) -> int:
    """Multiplier blocks of 18 x 18 bits of one operator on `lanes` codes a beat, or on a fold."""
    match op:
        case Weighted() if fold is not None and fold.cycles > 1:  # constants take adders
            return fold.multipliers * _blocks(x.format.width, op.weight_format.width)
        case Requantize():
            bits = requantizer_form(op, x.lo, x.hi).bits
            return lanes * _blocks(x.format.width, bits + 1) if bits else 0
        case BatchNorm():
            return lanes * _blocks(x.format.width, op.scale_format.width)
    return 0


@lru_cache(maxsize=4096)
def requantizer_form(op: Requantize, lo: int, hi: int) -> Form:
    """The cheapest integer form with the thresholds of `op` on lo..hi; found once for each."""
    return choose(op, lo, hi)


def _blocks(a: int, b: int) -> int:
    """Hard multipliers under a product of signed operands of `a` and `b` bits."""
    return max(-(-(a - 1) // LIMB), 1) * max(-(-(b - 1) // LIMB), 1)
