"""ExecuTorch with the XNNPACK delegate: programs lowered, and run one sample at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime

torch.set_num_threads(1)
Array = np.ndarray[Any, Any]


def lowered(program: Any) -> bytes:
    """The bytes of a `.pte`."""
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    return bytes(edge.to_executorch().buffer)


def ran(model: bytes, feeds: list[Array]) -> list[Array]:
    """The outputs of all samples."""
    method = Runtime.get().load_program(model).load_method("forward")
    rows = [
        [
            np.array(out)
            for out in method.execute(
                [torch.from_numpy(np.ascontiguousarray(x[k : k + 1])) for x in feeds]
            )
        ]
        for k in range(len(feeds[0]))
    ]
    return [np.concatenate(outs) for outs in zip(*rows, strict=True)]
