"""What a GPU brings to the emulator: kernels for hot operators, and the rewrites that pay there.

Every operator runs through `Op.run` on CuPy; an entry of KERNELS stands in for one of them. It has
constants of its own (`prepare`), gives the codes that `Op.run` gives (`run`), and may name the
carriers that it computes in (`forms`). No rewrite touches it unless it `allows` that, so a kernel
that is right alone is right in a network. `tests/emulator/test_kernels_in_chains.py` shows it for
kernels of every operator; `tests/gpu/test_gpu.py` compares those of this table on a GPU.
"""

from __future__ import annotations

from hwsim.emulator.fuse import PoolsFirst, Rewrite, ScaledSums
from hwsim.emulator.kernels import Kernels

KERNELS: Kernels = {}
REWRITES: tuple[Rewrite, ...] = (PoolsFirst(looks=False), ScaledSums())
"""A look at the codes would stall the GPU's queue until it is done."""
