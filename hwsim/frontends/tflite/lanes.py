"""The vector code of the optimized kernels: whole groups of codes by one rule, the rest by another.

A run of codes is cut into groups of so many lanes; what is left at its end is computed one by one,
where ties may round otherwise.
"""

from __future__ import annotations

import numpy as np

from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.ops import Concat, Flatten, Op, Reshape, Split, Table


def tabled(run: LiteImporter, name: str, edge: str, vector: Table, tail: Table, lanes: int) -> str:
    """A function of each code of a tensor, which is one run; gives the edge."""
    kind = run.types[edge]
    whole = kind.size // lanes * lanes
    if whole == kind.size or np.array_equal(vector.values, tail.values):
        return run.emit(name, vector, [edge], name)
    if not whole:
        return run.emit(name, tail, [edge], name)
    flattened = len(kind.shape) > 1
    flat = run.emit(f"{name}.flat", Flatten(), [edge], f"{name}.flat") if flattened else edge
    split = Split(axis=0, sizes=(whole, kind.size - whole))
    parts = run.emit_all(f"{name}.parts", split, [flat], [f"{name}.lanes", f"{name}.tail"])
    made = [
        run.emit(f"{part}.codes", table, [part], f"{part}.codes")
        for part, table in zip(parts, (vector, tail), strict=True)
    ]
    back: list[Op] = [Reshape(shape=kind.shape)] if flattened else []
    joined = run.emit(name, Concat(axis=0), made, f"{name}.joined" if back else name)
    return run.chain(name, joined, back, name)
