"""Sums of two tensors of int16 codes, by a few exact operators.

Sources: TensorFlow Lite `add.cc`, `sub.cc` and `optimized/integer_ops/add.h`.
"""

from __future__ import annotations

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.frontends.tflite import gemmlowp
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.interpolated import halved
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.rounding import activation
from hwsim.frontends.tflite.wide import power_of_two, rescale
from hwsim.ops import Add, Op, Quant, Requantize, Sub

LONG = Format.int(32)


def scaled(factor: float, shift: int, *, once: bool) -> list[Op]:
    """Codes shifted to the left and multiplied; `once` shifts to the right ahead of the product."""
    if not once:
        return [_shift(shift), rescale(factor, LONG)]
    m, left = gemmlowp.multiplier(factor)
    return [_shift(shift + left), rescale(m * 2.0**-31, LONG)]


def _shift(left: int) -> Requantize:
    return halved(-left, LONG, Rounding.TRN)


def aligned(run: LiteImporter, node: LiteNode) -> bool:
    """Whether all scales are powers of two, and the operator was not told to overlook it."""
    tensors = [run.tensor(node, 0), run.tensor(node, 1), run.made(node)]
    logs = [power_of_two(run.meaning(tensor).scale) for tensor in tensors]
    return bool(node.options["powers_of_two"]) and None not in logs


def add_powers(run: LiteImporter, node: LiteNode, edges: list[str]) -> None:
    """ADD and SUB with scales that are powers of two: one tensor is shifted to the other's."""
    made = run.made(node)
    tensors = [run.tensor(node, 0), run.tensor(node, 1), made]
    first, second, out = (power_of_two(run.meaning(t).scale) or 0 for t in tensors)
    rights = out - first, out - second
    if 0 not in rights or min(rights) < 0 or run.types[edges[0]].shape != run.types[edges[1]].shape:
        raise HwsimError(
            f"{node}: with scales that are powers of two, one of its inputs must have its output's "
            "and the other a smaller one, both of one shape; only tflm has a kernel for others"
        )
    name = run.label(made)
    parts = []
    for place, (edge, right) in enumerate(zip(edges, rights, strict=True)):
        op = halved(right, run.types[edge].format, Rounding.RND_INF)
        parts.append(run.emit(f"{name}.{place}", op, [edge], f"{name}.{place}"))
    both = Add() if node.op == "ADD" else Sub()
    total = run.emit(f"{name}.sum", both, parts, f"{name}.sum")
    meaning = Quant((float(run.meaning(made).scale),))
    saturated: Op = halved(0, run.format(made), quant=meaning)
    run.give(node, [saturated, *activation(run, node, made)], total)
