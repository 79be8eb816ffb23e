"""BATCH_MATMUL."""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import F32, NARROW, KernelSet
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.rounding import requantized
from hwsim.ops import MatMul, Quant, Scheme, Transpose


def batch_matmul(run: LiteImporter, node: LiteNode) -> None:
    """The product of two tensors of matrices, either of which may be turned first."""
    meanings = [run.meaning(run.tensor(node, place)) for place in (0, 1)]
    made = run.made(node)
    name, out = run.label(made), run.meaning(made)
    edges = []
    ranks = {len(run.tensor(node, place).shape) for place in (0, 1)}
    lead = run.lead(node, 0, 1, axes=[0] if min(ranks) < 3 else [])
    for place, flag in enumerate(("adj_x", "adj_y")):
        rank = len(run.tensor(node, place).shape) - lead
        if rank < 2:
            raise HwsimError(f"{node}: its inputs must be matrices, not of rank {rank + lead}")
        edge = run.seen(node, place, lead)
        if node.options[flag]:
            axes = (*range(rank - 2), rank - 1, rank - 2)
            edge = run.emit(f"{name}.{flag}", Transpose(axes=axes), [edge], f"{name}.{flag}")
        edges.append(edge)
    first, second = (float(meant.scale) for meant in meanings)
    zeros = meanings[0].zero_point, meanings[1].zero_point
    both = MatMul(zero_points=zeros, quant=Quant((first * second,)))
    product = run.emit(f"{name}.product", both, edges, f"{name}.product")
    scheme, factor = Scheme.GEMMLOWP_DOUBLE, first * second / float(out.scale)
    single = F32(F32(first) * F32(second))
    wide = run.format(made).width > NARROW  # sums of 64 bits
    if wide:
        scheme = Scheme.REDUCED
    if run.like is KernelSet.XNNPACK and not zeros[1] and not wide:
        scheme, factor = Scheme.F32_RNE_OUT, float(single / F32(out.scale))
    elif run.like is not KernelSet.TFLM:
        factor = float(single) / float(out.scale)
    run.give(node, [requantized(run, made, scheme, np.array([factor]))], product)
