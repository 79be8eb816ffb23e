"""Weights that hls4ml's decimal text changes, seen in its ModelGraph, which holds them as reals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml.types import assigned, read_weights


def changed_weights(model: Any) -> Iterator[str]:
    """A sentence for each weight variable whose text gives other codes than its numbers.

    hls4ml writes a weight with as many decimal digits as its type has fraction bits.
    """
    for layer in model.get_layers():
        for name, variable in layer.weights.items():
            found = _changed(variable)
            if found:
                yield (
                    f"layer {layer.name!r}: {found:,} of {np.size(variable.data):,} numbers of "
                    f"{name} ({variable.type.precision}) are others in csim, because hls4ml writes "
                    "them as decimal text of as many digits as there are fraction bits; round them "
                    "to the type's grid before"
                )


def _changed(variable: Any) -> int:
    """How many codes of a variable are not those of its numbers; 0 for types of another kind."""
    try:
        codes, precision = read_weights("weights", variable)
    except HwsimError:
        return 0
    plain = assigned(np.asarray(variable.data, np.float64), precision)
    return int(np.count_nonzero(plain != codes))
