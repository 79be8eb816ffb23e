"""Products in float64, rounded with ties away from zero, as exact products rounded once.

A float64 product is rounded to 53 bits before it is rounded to a whole number. That matters only
where it goes up to a tie: an exact product less than half of its last place below one. Whether any
sum of a range has such a product is a question of where its multiples fall modulo a power of two,
which Euclid's algorithm answers without going through them.
"""

from __future__ import annotations

from hwsim.ops.requantize import Requantize

BITS = 53  # of a float64's significand


def exact_parts(op: Requantize, most: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Multipliers as `m * 2**-shift`, whose exact products give the codes of `op`.

    `most` is the largest magnitude of a sum less its zero point. None where some sum's product is
    rounded to a tie.
    """
    ratios = [value.as_integer_ratio() for value in op.multiplier]
    parts = [(m, denominator.bit_length() - 1) for m, denominator in ratios]
    reach = op.out.width + 1  # products from 2**reach on saturate
    if any(_meets_tie(m, shift, most, reach) for m, shift in parts):
        return None
    return tuple(m for m, _ in parts), tuple(shift for _, shift in parts)


def _meets_tie(m: int, shift: int, most: int, reach: int) -> bool:
    """Whether a multiple of `m` up to `most` times lies so little below a half of `2**shift`."""
    near = shift + reach - BITS - 1
    if shift < 1 or near < 0:
        return False
    half = 1 << shift - 1
    least = max(half - (1 << near), 0)
    turn = first_within(m % (1 << shift), 1 << shift, least, half - 1)
    return turn is not None and turn <= most


def first_within(step: int, modulus: int, low: int, high: int) -> int | None:
    """The least n of 0 or more with `low <= n * step % modulus <= high`; None where there is none.

    The bounds must be residues in order. In as many turns as Euclid's algorithm of both takes.
    """
    if low == 0:
        return 0
    if step == 0:
        return None
    n = -(-low // step)
    if n * step <= high:
        return n
    # No multiple of the step lies between the bounds: count in turns of the modulus instead.
    turns = first_within(modulus % step, step, -high % step, -low % step)
    return None if turns is None else -(-(low + turns * modulus) // step)
