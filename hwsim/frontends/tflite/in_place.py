"""Where LiteRT's memory planner lets an operator overwrite a tensor that is still to be read.

Operators that reshape share their input's memory, and some others write their result over an input
that nothing else reads. The planner looks at who reads that input and the tensor whose memory it
is, not at tensors between them. Source: TensorFlow Lite `arena_planner.cc`, IdentifyInPlaceTensors.
"""

from __future__ import annotations

import math
from collections import Counter

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.kernels import KernelSet
from hwsim.frontends.tflite.model import LiteModel, Subgraph
from hwsim.frontends.tflite.schema import ITEM_BYTES

RESHAPING = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
OVERWRITING = {"ADD": 2, "DIV": 2, "MUL": 2, "SOFTMAX": 1, "SUB": 2}
"""Operators that may write over an input, and how many of their inputs they may take."""

SCALAR_BYTES = 4  # so small a tensor is never written over


def check(model: LiteModel, like: KernelSet) -> None:
    """Raise HwsimError of a tensor that is overwritten before it is read.

    Only where the nodes run as they stand: XNNPACK plans the memory of those that it takes, which
    are not of int16.
    """
    main = model.main
    delegated = any(tensor.dtype in ("int8", "uint8") for tensor in main.tensors)
    if like is KernelSet.TFLM or (like is KernelSet.XNNPACK and delegated):
        return
    reads = Counter(index for node in main.nodes for index in node.inputs)
    reads.update(main.inputs)
    reads.update(main.outputs)
    owner: dict[int, int] = {}  # whose memory a tensor has, where it is not its own
    for place, node in enumerate(main.nodes):
        if not node.outputs or node.outputs[0] in main.outputs:
            continue
        made, changes = node.outputs[0], node.op in OVERWRITING
        few = OVERWRITING.get(node.op, int(node.op in RESHAPING))
        shared = [i for i in node.inputs[:few] if _fits(main, reads, i, made, changes=changes)]
        if not shared:
            continue
        first = owner.get(shared[0], shared[0])
        if changes and reads[first] > 1:
            continue
        lost = [index for index, whose in owner.items() if whose == first] if changes else []
        owner[made] = first
        later = {index for node in main.nodes[place + 1 :] for index in node.inputs}
        for index in lost:
            if index in later.union(main.outputs):
                raise HwsimError(
                    f"{node}: LiteRT writes its result over {main.tensors[index].name!r}, which is "
                    f"read later: {like.value} gives no meaningful codes, tflm does"
                )


def _fits(main: Subgraph, reads: Counter[int], index: int, made: int, *, changes: bool) -> bool:
    """Whether an operator's output may have the memory of an input."""
    if index < 0 or index in main.inputs or main.tensors[index].data is not None:
        return False
    sizes = {_bytes(main, one) for one in (index, made)}
    return not changes or (len(sizes) == 1 and min(sizes) > SCALAR_BYTES and reads[index] <= 1)


def _bytes(main: Subgraph, index: int) -> int:
    tensor = main.tensors[index]
    return math.prod(tensor.shape) * ITEM_BYTES.get(tensor.dtype, 1)
