"""PyTorch's convolution in the place of the operator's own text: the same sums, sooner.

Every partial sum is proved to be a whole number that the carrier holds exactly, so any order of
additions gives the same codes. (PyTorch's CPU kernels add products; none transforms them first.)
"""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.compress.training.namespace import torch
from hwsim.fixed import Array, Namespace
from hwsim.ops import Conv
from hwsim.ops.base import Constants


def convolved(op: Conv, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
    """Sums (batch, positions, outputs) of codes (batch, axes, channels), as `op.run` gives them."""
    padded = op.window.pad(xp, xs[0], op.zero_point)
    last = padded.ndim - 1
    maps = padded.permute(0, last, *range(1, last))
    terms, kernel = op.weights.shape[-2], op.window.kernel
    matrix = k["w"]
    if matrix.ndim == 3:  # a matrix for each group
        matrix = matrix.permute(1, 0, 2).reshape(-1, op.outputs)
    weights = matrix.reshape(*kernel, terms, op.outputs)
    weights = weights.permute(last, last - 1, *range(last - 1))
    run = torch().nn.functional.conv1d if last == 2 else torch().nn.functional.conv2d
    sums = run(maps, weights, None, op.window.stride, 0, 1, op.groups)
    sums = sums.permute(0, *range(2, last + 1), 1)
    return sums if k["b"] is None else sums + k["b"][0]
