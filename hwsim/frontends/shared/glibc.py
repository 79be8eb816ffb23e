"""Float32 functions of the C library that are not correctly rounded, bit by bit."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]


def expf(x: Float32s) -> Float32s:
    """The exponential of float32 numbers as glibc since 2.28 gives it, bit by bit.

    Its method: `x = (32 k + i) ln2 / 32 + r`, and 2**k times one of 32 roots of 2 times a cubic in
    r, all in double. Source: glibc, `sysdeps/ieee754/flt-32/e_expf.c`.
    """
    scaled = 32 * float.fromhex("0x1.71547652b82fep0") * x.astype(np.float64)
    steps = np.rint(scaled)
    rest = scaled - steps
    whole = steps.astype(np.int64)
    scale = np.ldexp(_ROOTS[whole & 31], whole >> 5)
    cubic, square, line = (_CUBIC[power] / 32.0**power for power in (3, 2, 1))
    near = (cubic * rest + square) * (rest * rest) + (line * rest + 1)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(near * scale, np.float32)


_CUBIC = {
    3: float.fromhex("0x1.c6af84b912394p-5"),
    2: float.fromhex("0x1.ebfce50fac4f3p-3"),
    1: float.fromhex("0x1.62e42ff0c52d6p-1"),
}


def _roots() -> Float64s:
    """2**(i / 32), each the double nearest to it."""
    with localcontext() as context:
        context.prec = 40
        return np.array([float(Decimal(2) ** (Decimal(i) / 32)) for i in range(32)])


_ROOTS = _roots()
