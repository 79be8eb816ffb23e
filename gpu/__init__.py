"""The GPU half of hwsim: a Graph run with CuPy, to the same integers as NumPy."""

from gpu.device import available, missing, namespace
from gpu.kernels import KERNELS, REWRITES
from gpu.run import emulate, step, trace

__all__ = ["KERNELS", "REWRITES", "available", "emulate", "missing", "namespace", "step", "trace"]
