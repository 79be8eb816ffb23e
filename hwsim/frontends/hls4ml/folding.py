"""Functions of one code as one table, where there are few codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.fixed import Array
from hwsim.frontends.hls4ml.importer import LayerBuilder
from hwsim.graph import InputPort
from hwsim.ops import Carrier, Table, TensorType

FOLDED_BITS = 10
"""Of an input whose function is one table: a block memory holds all its entries."""

Compose = Callable[[LayerBuilder, str], str]
"""Adds the operators of a function of one code to a Builder, after an edge; gives the last edge."""


def folded(build: LayerBuilder, name: str, source: str, compose: Compose) -> str:
    """What `compose` makes of an edge: one table of all its codes, or the operators themselves.

    A table's entries are what those operators give for each code.
    """
    fmt = build.types[source].format
    if fmt.width > FOLDED_BITS:
        return compose(build, source)
    alone = LayerBuilder(stream=build.stream)
    first = alone.input(InputPort(name="x", tensor="x", type=TensorType((1,), fmt)))
    last = compose(alone, first)
    values = _values(alone, first, np.arange(fmt.min, fmt.max + 1)[:, None])[last]
    table = Table(values=values[:, 0], out=alone.types[last].format)
    return build.add(f"{name}/table", table, source)


def _values(build: LayerBuilder, first: str, codes: Array) -> dict[str, Array]:
    """The codes on every edge of a Builder with one input."""
    found = {first: codes}
    for node in build.nodes:
        kinds = [build.types[edge] for edge in node.inputs]
        constants = node.op.prepare(kinds, Carrier.INT64)
        found[node.output] = node.op.run(np, [found[edge] for edge in node.inputs], constants)
    return found
