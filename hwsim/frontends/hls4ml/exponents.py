"""Products with exponents that lose bits in C++: each input cut once for each such exponent."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.hls4ml.factors import Factors
from hwsim.frontends.hls4ml.importer import LayerBuilder
from hwsim.frontends.hls4ml.types import Precision
from hwsim.ops import BatchNorm, Concat, Stepwise, Weighted

Layer = TypeVar("Layer", bound=Weighted)


def with_cut_inputs(
    build: LayerBuilder, name: str, op: Layer, source: str, factors: Factors
) -> tuple[Layer, str]:
    """The layer on more channels, where its products would lose bits; else as it is.

    C++ shifts an input to the right and cuts what is behind `factors.kept` fraction bits
    (`weight_exponential`). Here the inputs, so shifted and cut, are channels beside the inputs
    themselves, and their weights are signs.
    """
    if factors.kept is None:
        return op, source
    kind, frac = build.types[source].format, factors.format.frac_bits
    exponents = np.rint(np.log2(np.abs(op.weights))).astype(np.int64) - frac
    lost = kind.frac_bits - exponents > factors.kept
    wide = Format(True, kind.int_bits + (not kind.signed), max(kind.frac_bits, factors.kept))
    common = Precision(wide, Rounding.TRN, Overflow.WRAP)
    parts = [build.cast(f"{name}/wide", source, common)]
    blocks = [np.where(lost, 0, op.weights)]
    for exponent in sorted({int(e) for e in exponents[lost]}):
        edge = f"{name}/shift{-exponent}"
        cut = _shifted(build, edge, source, exponent, replace(wide, frac_bits=factors.kept))
        parts.append(build.cast(f"{edge}/wide", cut, common))
        blocks.append(np.where(lost & (exponents == exponent), np.sign(op.weights) << frac, 0))
    source = build.add(f"{name}/inputs", Concat(), *parts)
    weights = np.concatenate(blocks, axis=-2)
    return replace(op, weights=weights, accumulator=_order(op, len(blocks))), source


def _shifted(build: LayerBuilder, edge: str, source: str, exponent: int, out: Format) -> str:
    """An input times a power of two, cut to a format."""
    channels = build.types[source].channels
    shift = BatchNorm(
        scale=np.ones(channels, np.int64),
        bias=np.zeros(channels, np.int64),
        scale_format=Format(True, 2 + exponent, -exponent),
    )
    cut = Precision(out, Rounding.TRN, Overflow.WRAP)
    return build.cast(f"{edge}/cut", build.add(f"{edge}/full", shift, source), cut)


def _order(op: Weighted, blocks: int) -> Stepwise:
    """The accumulator, in which the terms of one input follow each other: one of them counts."""
    acc, channels = op.accumulator, op.weights.shape[-2]
    assert isinstance(acc, Stepwise)
    terms = acc.order or range(op.weights[..., 0].size)
    order = [
        (term // channels * blocks + block) * channels + term % channels
        for term in terms
        for block in range(blocks)
    ]
    return replace(acc, order=tuple(order))
