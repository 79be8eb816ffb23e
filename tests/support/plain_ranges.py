"""Scales and zero points of ranges in plain Python."""

from __future__ import annotations

import numpy as np

from hwsim.compress.calibration import Form

FORMS = list(Form)


def plain_steps(grid, low, high):
    """Scale and zero point in plain Python; the scale rounded to float32."""
    lo, hi = grid.ends
    low, high = min(low, 0.0), max(high, 0.0)
    if grid.form is Form.AFFINE:
        scale = (high - low) / (hi - lo)
    else:
        scale = max(low / lo if lo else 0.0, high / hi if hi else 0.0)
    if scale <= 0:
        return 1.0, lo if grid.form is Form.AFFINE else 0
    if grid.form is Form.POWER_OF_TWO:
        power = -200
        while 2.0**power < scale:
            power += 1
        scale = 2.0**power
    scale = float(np.float32(scale))
    zero = round(lo - low / scale) if grid.form is Form.AFFINE else 0
    return scale, min(max(zero, lo), hi)
