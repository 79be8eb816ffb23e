"""What only hls4ml's ModelGraph knows: weights as reals, and the names of its layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def layer_names(model: Any) -> dict[str, str]:
    """The name by which a configuration knows the layer that gives each edge of a model's Graph.

    A pass may have put a class before a layer's name: `Conv2D_Conv_0` is to users still `Conv_0`.
    """
    given = model.config.config.get("HLSConfig", {}).get("LayerName") or {}
    found: dict[str, str] = {}
    for layer in model.get_layers():
        known = _known(layer, list(given))
        for output in layer.outputs:
            found |= {output: known, layer.variables[output].name: known}
    return found


def _known(layer: Any, given: Sequence[str]) -> str:
    """The one of the names in a configuration that a layer had before its class came in front."""
    kind = str(layer.class_name).lower()
    before = (one for one in given if layer.name.lower() == f"{kind}_{one.lower()}")
    return next(before, str(layer.name))
