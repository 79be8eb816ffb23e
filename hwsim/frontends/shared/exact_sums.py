"""The exact whole numbers behind layers, averages and products, before anything rounds them.

Each is computed once, whoever reads it.
"""

from __future__ import annotations

import numpy as np

from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Codes, FloatArray, Mean, Product, Total, Weighing
from hwsim.ops import AvgPool, MatMul, Quant, Reduce, Reduction


def weighed(run: TensorBuilder, source: Weighing) -> tuple[str, FloatArray]:
    """The exact sums of a layer, and the reals of one of their codes."""
    if source not in run.sums:
        edge = run.emit(source.name, source.op, [source.input.codes.edge], source.name)
        run.sums[source] = edge
    edge = run.sums[source]
    plain = run.types[source.input.codes.edge].format.frac_bits
    plain += source.op.weight_format.frac_bits
    finer = run.types[edge].format.frac_bits - plain
    return edge, source.scale * np.float32(2.0**-finer)


def averaged(run: TensorBuilder, source: Mean) -> str:
    """The exact sums over windows behind an average."""
    if source not in run.sums:
        op = AvgPool(window=source.window, zero_point=source.input.zero_point)
        edge = run.emit(source.name, op, [source.input.codes.edge], source.name)
        run.sums[source] = edge
    return run.sums[source]


def multiplied(run: TensorBuilder, source: Product) -> str:
    """The exact sums of a product of two tensors."""
    if source not in run.made:
        edges = [level.codes.edge for level in (source.a, source.b)]
        plain = all(run.types[edge].quant is None for edge in edges)
        op = MatMul(
            zero_points=(source.a.zero_point, source.b.zero_point),
            quant=None if plain else Quant((float(source.scale),)),
        )
        edge = run.emit(source.name, op, edges, source.name)
        run.made[source] = Codes(edge, run.types[edge].format, source.a.codes.layout)
    return run.made[source].edge


def totalled(run: TensorBuilder, source: Total) -> tuple[str, FloatArray]:
    """The exact sums behind a sum or mean along axes, and the reals of one of their codes."""
    kind = run.types[source.input.codes.edge]
    op = Reduce(
        reduction=Reduction.MEAN if source.mean else Reduction.SUM,
        axes=source.axes,
        zero_point=source.input.zero_point,
    )
    if source not in run.made:
        edge = run.emit(source.name, op, [source.input.codes.edge], source.name)
        run.made[source] = Codes(edge, run.types[edge].format, source.input.codes.layout)
    scale = np.float32(source.input.scale)
    if source.mean:
        scale = scale / np.float32(op.terms(kind))
    return run.made[source].edge, np.array([scale])
