"""Max and average pools."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.hls4ml.pool import adds_alike
from hwsim.frontends.hls4ml.types import Precision
from hwsim.graph import Node
from hwsim.hls4ml_project.draft import Draft, require
from hwsim.hls4ml_project.precision import Assigned, room
from hwsim.hls4ml_project.weighted import window_fields
from hwsim.ops import AvgPool, Divide, MaxPool, Stepwise, Window


def _check_streamed(draft: Draft, window: Window) -> None:
    """HwsimError for a stream of windows at which hls4ml's C++ stops."""
    if not draft.stream:
        return
    require(not any(window.padding), "a padded pool must not be streamed: hls4ml aborts")
    apart = len(window.kernel) == 1 or window.stride == window.kernel
    require(apart, "a map's pool must have a stride of its size to be streamed: hls4ml aborts")


def write_max(draft: Draft, node: Node) -> None:
    """The largest code; padded, in a type with a sign, where hls4ml pads with the least code."""
    op, source = node.op, node.inputs[0]
    assert isinstance(op, MaxPool)
    padded = any(op.window.padding)
    _check_streamed(draft, op.window)
    held, name = draft.types[source].format, draft.names[source]
    if padded:
        wide = f"{node.output}/signed"
        name = draft.with_sign(wide, source)
        held = draft.types[wide].format
    edge, result = draft.result(node)
    _add(draft, node, "Max", op.window, name, edge, result, Assigned(held))


def write_average(draft: Draft, node: Node) -> None:
    """A sum and the division that follows it, or a mean that is exact."""
    op = node.op
    assert isinstance(op, AvgPool)
    _check_streamed(draft, op.window)
    if isinstance(op.accumulator, Stepwise):
        _stepwise(draft, node, op, op.accumulator)
        return
    size = op.window.size
    require(size & (size - 1) == 0, f"a mean must be of a power of two of codes, not of {size}")
    require(
        op.zero_point == draft.kind(node.inputs[0]).zero_point,
        "a mean must be of what its codes stand for",
    )
    mean = draft.reals(node.output)
    edge, result = draft.result(node)
    # The division cuts at the binary point of the sum, so that has the mean's fraction bits.
    whole = mean.int_bits + size.bit_length() - 1 + (not mean.signed)
    acc = Assigned(Format(True, whole, mean.frac_bits))
    name = draft.names[node.inputs[0]]
    _add(draft, node, "Average", op.window, name, edge, result, acc, counts=True)


def _stepwise(draft: Draft, node: Node, op: AvgPool, acc: Stepwise) -> None:
    """As hls4ml has it: an accumulator with a format, and a division at its binary point."""
    after = draft.graph.consumers(node.output)
    if len(after) != 1 or not isinstance(after[0].op, Divide):
        raise HwsimError("a pool that adds step by step must be divided by its size after it")
    (mean,) = after
    held = Precision(acc.format, acc.rounding, acc.overflow)
    require(
        adds_alike(draft.kind(node.inputs[0]), op.window, held),
        "a pool's accumulator must hold its sums, or wrap and round to minus infinity or to "
        "nearest by a mode that looks at no sign",
    )
    divisors = after[0].op.divisors
    counts = bool((divisors == op.window.size).all())
    if not counts:
        inside = _overlaps(op.window, draft.kind(node.inputs[0]).shape)
        require(np.array_equal(divisors, inside), "a mean must be over a window or its part inside")
    draft.done.add(mean.name)
    edge, result = draft.result(mean)
    into = Assigned(acc.format, acc.rounding, acc.overflow)
    given = draft.types[node.inputs[0]].format
    require(
        room(given, into) == given,
        "a pool's accumulator must not round more bits away than its codes have: ap_types abort",
    )
    name = draft.names[node.inputs[0]]
    _add(draft, node, "Average", op.window, name, edge, result, into, counts=counts)


def _overlaps(window: Window, shape: tuple[int, ...]) -> Any:
    """How many positions of each window lie on the map."""
    ones = window.pad(np, np.ones((1, *shape[:-1], 1), np.int64), 0)
    return np.sum(list(window.views(ones)), axis=0)[0, ..., 0]


def _add(
    draft: Draft,
    node: Node,
    what: str,
    window: Window,
    name: str,
    edge: str,
    result: Assigned,
    accumulator: Assigned,
    *,
    counts: bool = False,
) -> None:
    given, made = draft.kind(node.inputs[0]).shape, draft.kind(node.output).shape
    rank = len(window.kernel)
    fields = window_fields(window, given, made, "pool")
    if rank == 1:
        fields |= {"n_in": given[0], "n_out": made[0]}
    draft.add(
        f"{what}Pooling{rank}D",
        edge,
        result,
        [name],
        precision={"accum": accumulator},
        n_filt=given[-1],
        count_pad=counts,
        **fields,
    )
