"""Quantizers with a format for each element, as HGQ and HGQ2 train them."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.hls4ml.importer import LayerBuilder
from hwsim.frontends.hls4ml.types import as_assigned
from hwsim.ops import Cast, Flatten, Reshape


def read_quantizer(build: LayerBuilder, layer: Any) -> None:
    """Each element in its own `ap_fixed`; one of no bits is 0 (`hgq_proxy_model.py`).

    The formats are those of the layer as the bit-exact pass leaves it, not those that it was made
    from: under SAT a narrower one saturates sooner.
    """
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    shape = build.types[source].shape
    keeps, widths, wholes = (np.broadcast_to(np.asarray(mask)[0], shape) for mask in layer.mask_kbi)
    try:
        modes = Rounding(str(layer.RND)), Overflow(str(layer.SAT))
    except ValueError as error:
        raise HwsimError(f"a quantizer's modes must be those of ap_fixed: {error}") from None
    masks = [mask.reshape(-1, shape[-1]) for mask in (keeps, widths, wholes)]
    alike = all((mask == mask[0]).all() for mask in masks)
    rows = [mask[0] if alike else mask.reshape(-1) for mask in masks]
    formats = [
        Format(bool(k), int(i), int(b) - int(i)) if b > 0 else None
        for k, b, i in zip(*rows, strict=True)
    ]
    modes = modes[0], _overflow([fmt for fmt in formats if fmt is not None], modes[1])
    if None not in formats and len(set(formats)) == 1 and formats[0] is not None:
        op = Cast(out=formats[0], rounding=modes[0], overflow=modes[1])
    else:
        op = Cast.by_channel(formats, rounding=modes[0], overflow=modes[1])
    flat = not alike and len(shape) > 1
    edge = build.add(f"{name}/flat", Flatten(), source) if flat else source
    edge = build.add(f"{name}/each", op, edge)
    if flat:
        edge = build.add(f"{name}/shape", Reshape(shape=shape), edge)
    build.finish(layer, edge)


def _overflow(formats: list[Format], mode: Overflow) -> Overflow:
    """The mode of all elements, as ap_fixed has it."""
    found = {as_assigned(fmt, mode) for fmt in formats} or {mode}
    if len(found) > 1:
        raise HwsimError(
            "a quantizer's elements of one signed bit must not be among wider ones under SAT_SYM: "
            "csim leaves -1 there, which is not symmetric"
        )
    return found.pop()
