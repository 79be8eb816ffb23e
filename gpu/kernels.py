"""Fused CUDA kernels that stand in for an operator's own `run` on the GPU.

Every operator runs through `Op.run` on CuPy; an entry here is an override for a hot one. A kernel
takes (op, xp, inputs, constants of `prepare`) and must give the codes that `Op.run` gives, on every
case of the operator: `tests/test_gpu.py` compares them.
"""

from __future__ import annotations

from hwsim.emulator.run import Kernels

KERNELS: Kernels = {}
