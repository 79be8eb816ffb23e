"""Warnings of sums that the runtime wraps or rounds, whatever reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.ort.kernels import WHOLE_SUMS, RuntimeKernel
from hwsim.frontends.onnx.ort.shares import share_of_ties
from hwsim.frontends.onnx.ort.ties import EXACT_FLOAT
from hwsim.frontends.onnx.ort.wording import (
    BLOCKS,
    LAST_BITS,
    OFTEN,
    ROUNDED,
    SHARES,
    SUM_TIES,
    USUAL,
    WRAPS,
)
from hwsim.frontends.shared.exact_sums import multiplied
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.values import Level, Product, Unary, Weighing
from hwsim.ops import Requantize

INT32 = (-(1 << 31), (1 << 31) - 1)


def note_layers(run: Importer) -> None:
    """Warn of all layers, whatever reads their sums, that the runtime wraps or rounds before."""
    for source in run.sums:
        if isinstance(source, Weighing):
            note_first(run, source)


def note_first(run: Importer, source: Weighing) -> None:
    """Warn of a layer whose sums wrap, or whose input is rounded in blocks."""
    if _wraps(run, source):
        run.note(source.name, WRAPS)
    if run.choice(source.tensor).kernel is RuntimeKernel.BLOCKS:
        run.note(source.name, BLOCKS)


def _wraps(run: Importer, source: Weighing) -> bool:
    kind = run.types[run.sums[source]]
    return source.exact and (kind.lo < INT32[0] or kind.hi > INT32[1])


def exact_in_floats(run: Importer, source: Weighing, by: Quantizer | None) -> bool:
    """Whether float32 holds all that the runtime computes: powers of two, and sums that fit."""
    scales = [source.input.scale, *(float(s) for s in source.scale)]
    scales += [by.scale] if by is not None else []
    if source.rough_bias or any(math.frexp(scale)[0] != 0.5 for scale in scales):
        return False
    return source.op.bound([run.types[source.input.codes.edge]]) < EXACT_FLOAT


def note_rounded(run: Importer, name: str, by: Quantizer, edge: str) -> None:
    """Warn that sums are rounded in float32, and how often; `edge` has their codes."""
    makers = {made: node for node in run.nodes for made in node.outputs}
    node = makers.get(edge)
    while node is not None and not (isinstance(node.op, Requantize) and node.op.quant == by.quant):
        node = makers.get(node.inputs[0]) if len(node.inputs) == 1 else None
    share = 0.0
    if node is not None and isinstance(node.op, Requantize):
        share = share_of_ties(run, node.op, node.inputs[0])
    if share > OFTEN:
        run.note(name, SUM_TIES, share=100 * share)
        return
    bits = 8 if by.format.width <= 8 else 16
    often = f"{round(1 / share):,}" if share > USUAL[bits] else SHARES[bits]
    run.note(name, ROUNDED, share=often)


def note_product(run: Importer, source: Product, by: Quantizer | None, edge: str = "") -> None:
    """Of two tensors: followed where the runtime adds whole numbers."""
    whole = run.choice(source.tensor).kernel in WHOLE_SUMS
    kind = run.types[multiplied(run, source)]
    if whole and (kind.lo < INT32[0] or kind.hi > INT32[1]):
        run.note(source.name, WRAPS)
    scales = [float(source.scale), *([by.scale] if by is not None else [])]
    if whole or (kind.magnitude < EXACT_FLOAT and all(math.frexp(s)[0] == 0.5 for s in scales)):
        return
    if by is None:
        run.note(source.name, LAST_BITS)
    else:
        note_rounded(run, source.name, by, edge)


def node_of(functions: Sequence[Unary]) -> str:
    """The name of the node with the rough function, without its operator."""
    name = next(step.name for step in functions if step.rough)
    return name.partition("'")[2].removesuffix("'") or name


def maker_of(run: Importer, level: Level) -> str:
    """The name of the node that makes codes."""
    return next((n.name for n in run.nodes if level.codes.edge in n.outputs), level.codes.edge)
