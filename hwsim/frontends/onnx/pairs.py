"""Sums, differences and products of two tensors, whose shapes broadcast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.ort.kernels import RuntimeKernel
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import Level, Pair, Real, Weighing
from hwsim.ops import Add, Mul, Sub
from hwsim.ops.base import Shape

OPERATORS: dict[str, Add | Sub | Mul] = {"Add": Add(), "Sub": Sub(), "Mul": Mul()}


def paired(run: Importer, node: OnnxNode, first: Real, second: Real, op: str) -> Real:
    """The result of an Add, Sub or Mul; what is added may be the sum of a layer."""
    shape = _shape(node, first.layout.shape, second.layout.shape)
    if op == "Add" and _repeated(first.layout.shape, shape):
        first, second = second, first
    term = level_of if op == "Mul" else _term
    a, b = (term(run, node, real) for real in (first, second))
    layouts = first.layout, second.layout
    if layouts[0].shape != layouts[1].shape or not layouts[0].same(layouts[1]):
        plain = all(layout.same(Arrangement.plain(layout.shape)) for layout in layouts)
        lying = Arrangement.plain if plain else Arrangement.map
        wanted = [lying(layout.shape) for layout in layouts]
        a, b = (
            _laid(run, node, held, layout, to)
            for held, layout, to in zip((a, b), layouts, wanted, strict=True)
        )
        layouts = (lying(shape),) * 2
    signed = isinstance(a, Level) and a.codes.format.signed
    choice = run.choice(node.output)
    whole = choice.kernel is RuntimeKernel.INTEGER
    shift = 128 if whole and signed and choice.dtype == "uint8" else 0
    source = Pair(node.name, node.output, a, b, shift, not whole, OPERATORS[op])
    return Real(source, layouts[0])


def _repeated(shape: Shape, wanted: Shape) -> bool:
    """Whether one code meets many in a row: QLinearAdd then takes it for its second operand."""
    rows = [size for size, whole in zip(shape, wanted, strict=True) if whole > 1]
    return bool(rows) and rows[-1] == 1


def _shape(node: OnnxNode, a: Shape, b: Shape) -> Shape:
    """Without the batch, which both have."""
    if len(a) == len(b):
        try:
            return tuple(int(size) for size in np.broadcast_shapes(a, b))
        except ValueError:
            pass
    raise HwsimError(f"{node}: its inputs must have shapes that broadcast, not {a} and {b}")


def _term(run: Importer, node: OnnxNode, real: Real) -> Level | Weighing:
    if isinstance(real.source, Weighing) and not real.steps:
        return real.source
    return level_of(run, node, real)


def _laid(
    run: Importer, node: OnnxNode, term: Level | Weighing, layout: Arrangement, wanted: Arrangement
) -> Level | Weighing:
    """A tensor in the order of `wanted`."""
    if isinstance(term, Level):
        return replace(term, codes=run.arranged(replace(term.codes, layout=layout), wanted, node))
    if layout.same(wanted):
        return term
    raise HwsimError(f"{node}: a Transpose of a layer's sum must have a quantizer before it")
