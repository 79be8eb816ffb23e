"""Pools over windows, and means."""

from __future__ import annotations

from hwsim.errors import HwsimError
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.torch_modules.eager.importer import TorchImporter
from hwsim.frontends.torch_modules.trace import Call
from hwsim.ops import MaxPool, Window


def max_pool(run: TorchImporter, call: Call) -> None:
    """The largest code; positions outside of the map never win."""
    given = run.quantized(call, "self")
    codes = run.arranged(given.codes, Arrangement.map(given.layout.shape), call)
    rank = len(given.layout.shape) - 1
    if set(call.whole("dilation", rank)) != {1}:
        raise HwsimError(f"{call}: its dilation must be 1")
    window = window_of(call, rank, codes.layout.physical[:-1])
    run.give(call, [MaxPool(window=window)], codes, layout=Arrangement.map(_shape(call)))


def _shape(call: Call) -> tuple[int, ...]:
    return tuple(call.output.shape[1:])


def window_of(call: Call, rank: int, sizes: tuple[int, ...]) -> Window:
    """Kernel, strides and padding, with more of it at the end where the sizes are rounded up."""
    kernel = call.whole("kernel_size", rank)
    stride, pad = call.whole("stride", rank) or kernel, call.whole("padding", rank)
    made = _shape(call)[1:]
    after = [
        max((count - 1) * step + width - size - before, 0)
        for count, step, width, size, before in zip(made, stride, kernel, sizes, pad, strict=True)
    ]
    return Window(kernel, stride, (*pad, *after))
