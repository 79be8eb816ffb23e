"""Multiply-adds that processors round once."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.frontends.shared.values import FloatArray


def fma(a: Any, b: Any, c: Any) -> FloatArray:
    """float32(a * b + c) with one rounding: the sum is rounded to odd in float64 first.

    The product of two float32 is exact in float64; rounding to odd keeps what the second rounding
    needs (S. Boldo, G. Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
    """
    product = np.asarray(a, np.float64) * np.asarray(b, np.float64)
    product, addend = np.broadcast_arrays(product, np.asarray(c, np.float64))
    total = np.atleast_1d(product + addend)
    back = total - product
    error = np.atleast_1d((product - (total - back)) + (addend - back))
    even = (total.view(np.int64) & 1) == 0
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    out: FloatArray = np.where((error != 0) & even, odd, total).astype(np.float32)
    return out.reshape(product.shape)
