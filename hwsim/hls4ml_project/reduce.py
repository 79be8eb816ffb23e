"""What a softmax is made of: the largest code of a vector, its sum, one code for every place."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.fixed import Format
from hwsim.graph import Node
from hwsim.hls4ml_project.draft import Draft, require
from hwsim.hls4ml_project.precision import Assigned
from hwsim.hls4ml_project.strategy import KernelFamily
from hwsim.ops import EXACT, Reduce, Reduction

ONE = Assigned(Format(True, 2, 0))
"""The type of weights that are all 1."""


def write_reduce(draft: Draft, node: Node) -> None:
    """A max pool over the whole vector, or a dense layer whose weights are 1."""
    op, kind = node.op, draft.kind(node.inputs[0])
    assert isinstance(op, Reduce)
    known = (Reduction.MAX, Reduction.SUM)
    require(
        len(kind.shape) == 1 and op.reduction in known and op.accumulator == EXACT,
        "only the largest and the exact sum of a vector have layers, not "
        f"{op.reduction.value} of {kind.shape}",
    )
    require(not draft.stream, "the largest or the sum of a vector must not be streamed")
    if op.reduction is Reduction.MAX:
        _largest(draft, node)
        return
    edge, result = draft.result(node)
    _ones(draft, edge, result, draft.source(node), (kind.channels, 1), draft.reals(node.output))


def _largest(draft: Draft, node: Node) -> None:
    (source,), count = draft.source(node), draft.kind(node.inputs[0]).channels
    held = draft.types[node.inputs[0]]
    line, pooled = f"{node.output}/line", f"{node.output}/pooled"
    draft.add("Reshape", line, held, [source], target_shape=[count, 1], data_format="channels_last")
    draft.add(
        "MaxPooling1D",
        pooled,
        Assigned(held.format),
        [draft.names[line]],
        precision={"accum": Assigned(held.format)},
        data_format="channels_last",
        n_in=count,
        n_out=1,
        n_filt=1,
        pool_width=count,
        stride_width=count,
        padding="valid",
        pad_left=0,
        pad_right=0,
        count_pad=False,
    )
    draft.add(
        "Reshape",
        node.output,
        Assigned(held.format),
        [draft.names[pooled]],
        target_shape=[1],
        data_format="channels_last",
    )


def spread(draft: Draft, edge: str, source: str, shape: tuple[int, ...]) -> str:
    """One code at every place of a vector: a dense layer of one input. Gives its name."""
    held = draft.types[source].format
    _ones(draft, edge, Assigned(held), [draft.names[source]], (1, shape[0]), held)
    return draft.names[edge]


def _ones(
    draft: Draft,
    edge: str,
    result: Assigned,
    inputs: list[str],
    shape: tuple[int, int],
    held: Format,
) -> None:
    wide = Assigned(Format(True, held.int_bits + (not held.signed), held.frac_bits))
    zeros: Any = np.zeros(shape[1])
    draft.add(
        "Dense",
        edge,
        result,
        inputs,
        precision={"weight": ONE, "bias": ONE, "accum": wide},
        options=draft.options(f"edge {edge!r}", KernelFamily.DENSE, *shape),
        n_in=shape[0],
        n_out=shape[1],
        use_bias=True,
        weight_data=np.ones(shape),
        bias_data=zeros,
        weight_quantizer=None,
        bias_quantizer=None,
    )
