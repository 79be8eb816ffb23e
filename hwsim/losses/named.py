"""Traps of hls4ml that are known by name, found in what was counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph
from hwsim.losses.report import Hazard, precision_text

DEFAULT = Format(True, 6, 10)
"""hls4ml's fixed<16,6>, which its inference of precisions leaves to activations."""


def named(graph: Graph, rows: Sequence[Hazard]) -> Iterator[str]:
    """A sentence for each trap among the rows."""
    makers = graph.makers()
    for row in rows:
        maker = makers.get(row.edge)
        source = None if maker is None or not maker.inputs else makers.get(maker.inputs[0])
        before = None if source is None else source.op.kind
        if row.what == "index" and before == "sub" and row.count.wrapped:
            yield _softmax(row)
        if row.what == "cast" and before == "relu" and _is_default(row):
            yield _relu(row)


def _is_default(row: Hazard) -> bool:
    into = row.into
    return (into.format, into.rounding, into.overflow) == (DEFAULT, Rounding.TRN, Overflow.WRAP)


def _softmax(row: Hazard) -> str:
    reach = 0.0 if row.count.extent is None else float(row.count.extent.high)
    layer, limit = row.name.partition("/")[0], 2.0**row.into.format.int_bits
    whole = 1 if row.count.extent is None else row.count.extent.format(0).int_bits + 1
    return (
        f"softmax {layer!r} wraps: {row.count.wrapped:,} of {row.count.codes:,} differences from "
        f"the largest code reach {limit:g}, the end of their type, and come back as small ones "
        f"(the largest is {reach:g}); its input needs {whole} integer bits"
    )


def _relu(row: Hazard) -> str:
    lost = row.count
    return (
        f"ReLU {row.name!r} is left at {precision_text(DEFAULT)}, hls4ml's default, which wraps: "
        f"{lost.wrapped:,} of {lost.codes:,} codes wrap and {lost.rounded:,} lose bits"
    )
