"""Kernels that round whole vectors in one way and what is left in another.

A function of one code, or of two, is asked of PyTorch itself: once for all codes side by side, and
once for each alone. Where the two differ, PyTorch is asked again, on a tensor of the very shape and
strides of the run, which elements its vectors take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.values import Codes
from hwsim.frontends.shared.walks import LoopOrder
from hwsim.frontends.torch_modules.eager.importer import TorchImporter
from hwsim.frontends.torch_modules.trace import Call
from hwsim.ops import Concat, Split
from hwsim.ops.base import IntArray

BoolArray = npt.NDArray[np.bool_]
Build = Callable[[str, list[str]], str]
"""Makes the edge of a result: from a name for its nodes, and the edges of the operands."""
BATCHES = (
    "PyTorch rounds {count} of {all} cases otherwise in the elements that its vectors leave over; "
    "which those are depends on the batch, and here they are those of a batch of one (on one "
    "thread)"
)
THREADS = (
    "PyTorch rounds {count} of {all} cases otherwise in the elements that its vectors leave over; "
    "on several threads there may be some, and here there are none, as on one"
)


def filled(like: torch.Tensor, code: int, scale: float, zero_point: int) -> torch.Tensor:
    """A quantized tensor with the shape and strides of another one, and one code throughout."""
    reach = 1 + sum((size - 1) * step for size, step in zip(like.shape, like.stride(), strict=True))
    whole = torch.full((reach,), code, dtype=torch.int8 if code < 0 else _plain(like))
    held = torch._make_per_tensor_quantized_tensor(whole, scale, zero_point)
    return held.as_strided(like.shape, like.stride())


def _plain(like: torch.Tensor) -> torch.dtype:
    return torch.int8 if like.dtype == torch.qint8 else torch.uint8


@dataclass(frozen=True, slots=True, eq=False)
class VectorsAndRest:
    """Codes of a result for each case, from vectors and from what they leave over.

    `rest_at` tells for the number of a case which elements of one sample are of the rest.
    """

    vector: IntArray
    rest: IntArray
    rest_at: Callable[[int], BoolArray]

    def mask(self, run: TorchImporter, call: Call) -> BoolArray | None:
        """Which elements of a sample are of the rest; None where the two are one and the same.

        The warning that it depends on the batch, or on threads, is given here.
        """
        differ = np.flatnonzero(self.vector != self.rest)
        if not differ.size:
            return None
        found = self.rest_at(int(differ[0]))
        text = BATCHES if found.any() else THREADS
        run.warn(call.title, text.format(count=differ.size, all=self.vector.size))
        return found


def placed(
    run: TorchImporter,
    call: Call,
    operands: Sequence[Codes],
    mask: BoolArray,
    vector: Build,
    rest: Build,
) -> tuple[str, Arrangement]:
    """The result where the elements of `mask` (of the output's shape) are made by `rest`."""
    name = call.title
    if not mask.any() or mask.all():
        build = rest if mask.any() else vector
        return build(name, [codes.edge for codes in operands]), operands[0].layout
    shape = mask.shape
    strides = call.output.stride()[1:]
    offsets = sum(
        np.arange(size).reshape([-1 if a == b else 1 for b in range(len(shape))]) * step
        for a, (size, step) in enumerate(zip(shape, strides, strict=True))
    )
    memory = np.argsort(np.asarray(offsets).ravel(), kind="stable")
    lying = mask.ravel()[memory]
    first = int(np.argmax(lying))
    if not lying[first:].all():
        memory, lying = np.argsort(mask.ravel(), kind="stable"), np.sort(mask.ravel())
        first = int(np.argmax(lying))
    layout = Arrangement(shape, (memory.size,), LoopOrder.of(memory))
    flat = [
        run.arranged(codes, replace(layout, shape=codes.layout.shape), call) for codes in operands
    ]
    split = Split(axis=0, sizes=(first, lying.size - first))
    parts = [
        run.emit_all(f"{name}.parts", split, [codes.edge], [f"{name}.vectors", f"{name}.rest"])
        for codes in flat
    ]
    heads, tails = (list(edges) for edges in zip(*parts, strict=True))
    made = [vector(f"{name}.vectors", heads), rest(f"{name}.rest", tails)]
    return run.emit(name, Concat(axis=0), made, name), layout
