"""Dense layers and convolutions, whose constants are written as decimal text."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Node
from hwsim.hls4ml_project.draft import Draft, require
from hwsim.hls4ml_project.padding import AXES, SIDES, add_padding
from hwsim.hls4ml_project.precision import Assigned, Decimals, decimals, room, units
from hwsim.hls4ml_project.strategy import LATENCY, RESOURCE, KernelFamily
from hwsim.ops import Conv, Dense, Stepwise, TensorType, Weighted, Window


def write_dense(draft: Draft, node: Node) -> None:
    """A Dense; over several positions the convolution of one code that hls4ml makes of it too."""
    op, shape = node.op, draft.kind(node.inputs[0]).shape
    assert isinstance(op, Dense)
    require(len(shape) <= 3, f"a dense layer must read at most 3 axes, not {len(shape)}")
    if len(shape) > 1:
        kernel = (1,) * (len(shape) - 1)
        _conv(draft, node, Window(kernel, kernel, (0, 0) * len(kernel)))
        return
    terms, outputs = op.weights.shape
    weights, constants = _weighted(draft, node, KernelFamily.DENSE)
    edge, result = draft.result(node)
    draft.add(
        "Dense",
        edge,
        result,
        draft.source(node),
        n_in=terms,
        n_out=outputs,
        weight_data=weights.reshape(terms, outputs),
        **constants,
    )


def write_conv(draft: Draft, node: Node) -> None:
    """A convolution, depthwise ones as such; other groups as one with weights of 0 between them."""
    op = node.op
    assert isinstance(op, Conv)
    _conv(draft, node, op.window)


def _conv(draft: Draft, node: Node, window: Window) -> None:
    op, kind = node.op, draft.kind(node.inputs[0])
    assert isinstance(op, Weighted)
    outputs, groups = op.outputs, _groups(op)
    deep = groups == kind.channels and groups == outputs and groups > 1
    weights, constants = _weighted(
        draft, node, KernelFamily.DEPTHWISE if deep else KernelFamily.CONV
    )
    shaped = weights.reshape(*window.kernel, -1, outputs)
    rank = len(window.kernel)
    source, shape = _padded(draft, node, window)
    window = window if shape == kind.shape else Window(window.kernel, window.stride)
    if deep:
        name, key = f"DepthwiseConv{rank}D", "depthwise_data"
        shaped = np.moveaxis(shaped, -1, -2)
        constants |= {"depth_multiplier": 1, "depthwise_quantizer": None}
    else:
        name, key = f"Conv{rank}D", "weight_data"
        shaped = _ungrouped(shaped, groups)
    edge, result = draft.result(node)
    draft.add(
        name,
        edge,
        result,
        [source],
        n_chan=kind.channels,
        n_filt=outputs,
        dilation=1,
        **window_fields(window, shape, draft.kind(node.output).shape, "filt"),
        **{key: shaped},
        **constants,
    )


def _groups(op: Weighted) -> int:
    return op.groups if isinstance(op, Conv) else 1


def _padded(draft: Draft, node: Node, window: Window) -> tuple[str, tuple[int, ...]]:
    """The layer that a window moves on, and its shape.

    In a stream hls4ml pads by a layer of its own, which it puts in front of all readers of the same
    tensor: that layer is written here, for this reader alone.
    """
    source, shape = node.inputs[0], draft.kind(node.inputs[0]).shape
    if not (draft.stream and any(window.padding)):
        return draft.names[source], shape
    rank = len(window.kernel)
    ends = list(zip(window.padding[:rank], window.padding[rank:], strict=True))
    edge = f"{node.output}/padded"
    made = add_padding(draft, edge, source, ends)
    return draft.names[edge], made


def _ungrouped(weights: Any, groups: int) -> Any:
    """Weights (kernel, in / groups, out) as those of one group (kernel, in, out)."""
    if groups == 1:
        return weights
    *kernel, inside, outputs = weights.shape
    whole = np.zeros((*kernel, inside * groups, outputs), weights.dtype)
    size = outputs // groups
    for group in range(groups):
        rows, columns = (slice(group * n, (group + 1) * n) for n in (inside, size))
        whole[..., rows, columns] = weights[..., columns]
    return whole


def window_fields(
    window: Window, given: tuple[int, ...], made: tuple[int, ...], what: str
) -> dict[str, Any]:
    """What hls4ml calls a window's sizes; `what` is `filt` or `pool`."""
    rank = len(window.kernel)
    dilation = getattr(window, "dilation", None)
    if dilation and any(step != 1 for step in dilation):
        raise HwsimError(f"a window must not be dilated, and is by {dilation}")
    fields: dict[str, Any] = {"data_format": "channels_last"}
    fields["padding"] = "same" if any(window.padding) else "valid"
    for axis, name in enumerate(AXES[-rank:]):
        fields[f"in_{name}"], fields[f"out_{name}"] = given[axis], made[axis]
        fields[f"{what}_{name}"] = window.kernel[axis]
        fields[f"stride_{name}"] = window.stride[axis]
    sides = SIDES if rank == 2 else SIDES[1::2]
    return fields | {f"pad_{side}": n for side, n in zip(sides, window.padding, strict=True)}


def _weighted(draft: Draft, node: Node, family: KernelFamily) -> tuple[Any, dict[str, Any]]:
    """Weights as (terms, outputs) of reals; and bias, types, strategy of the layer."""
    op, x = node.op, draft.kind(node.inputs[0])
    assert isinstance(op, Weighted)
    weights, bias = _constants(draft, node, op, x)
    accumulator = _accumulator(draft, node, op)
    options = _options(draft, node, op, family)
    # A product has the bits of both its factors.
    given = draft.types[node.inputs[0]].format
    product = Format(
        True,
        given.int_bits + weights.type.format.int_bits,
        given.frac_bits + weights.type.format.frac_bits,
    )
    weights = weights.wider(room(product, accumulator).width - product.width)
    bias = bias.wider(room(bias.type.format, accumulator).width - bias.type.format.width)
    fields = {
        "use_bias": True,
        "bias_data": bias.values,
        "weight_quantizer": None,
        "bias_quantizer": None,
        "precision": {"weight": weights.type, "bias": bias.type, "accum": accumulator},
        "options": options,
    }
    return weights.values, fields


def _constants(draft: Draft, node: Node, op: Weighted, x: TensorType) -> tuple[Decimals, Decimals]:
    """Weights and biases, in reals: what the sums' codes stand for says what a weight does."""
    what = f"node {node.name!r}"
    if isinstance(op.accumulator, Stepwise):
        weights = decimals(
            op.matrix(), op.weight_format.frac_bits, f"{what}'s weights", format=op.weight_format
        )
        return weights, decimals(op.bias, op.bias_frac, f"{what}'s biases")
    aligned, bias, _ = op.aligned(x)
    sums = draft.kind(node.output)
    (given,), ends = units(x), units(sums)
    fine = max(ends)
    left = np.array([fine - end for end in ends])
    plain = bias + op.zero_point * aligned.sum(axis=0)
    codes = [[int(w) << s for w, s in zip(row, _each(left, op), strict=True)] for row in aligned]
    biases = [int(b) << s for b, s in zip(plain, _each(left, op), strict=True)]
    return _lean(codes, fine - given, f"{what}'s weights"), _lean(biases, fine, f"{what}'s biases")


def _each(left: Any, op: Weighted) -> list[int]:
    return [int(n) for n in np.broadcast_to(left, op.outputs)]


def _lean(codes: Any, frac_bits: int, what: str) -> Decimals:
    """Constants without the zeros that all of them end with."""
    array = np.asarray(codes, object)
    bits = 0
    for value in array.ravel():
        bits |= abs(int(value))
    zeros = (bits & -bits).bit_length() - 1 if bits else 0
    return decimals(array // (1 << zeros), frac_bits - zeros, what)


def _accumulator(draft: Draft, node: Node, op: Weighted) -> Assigned:
    """The type of the sums."""
    acc = op.accumulator
    if isinstance(acc, Stepwise):
        return Assigned(acc.format, acc.rounding, acc.overflow)
    reals = draft.reals(node.output)
    # Any order is exact in it: what leaves the range on the way comes back.
    return Assigned(Format(True, reals.int_bits + (not reals.signed), reals.frac_bits))


def _options(draft: Draft, node: Node, op: Weighted, family: KernelFamily) -> dict[str, Any]:
    """The strategy that adds sums in their order; where any order will do, the one asked for."""
    x, acc, groups = draft.kind(node.inputs[0]), op.accumulator, _groups(op)
    terms = len(op.matrix()) * groups
    if isinstance(acc, Stepwise):
        free = bool(op.steps(x).any_order.all())
        if draft.strategy.exactly if free else acc.order is None:
            return {"Strategy": LATENCY, "ReuseFactor": 1}
        if not free and acc.order is not None:
            parallel = family is KernelFamily.DEPTHWISE and not draft.stream
            require(not parallel, "a depthwise layer adds in the order of its window in parallel")
            return {"Strategy": RESOURCE, "ReuseFactor": _reuse(acc.order, x.channels, groups)}
    return draft.options(f"node {node.name!r}", family, terms, op.outputs)


def _reuse(order: tuple[int, ...], channels: int, groups: int) -> int:
    """The reuse factor by which hls4ml adds in an order; HwsimError where none does.

    Groups are written as one, with weights of 0 between them: a step within the channels of a group
    stays what it is, one over whole positions is as many channels longer.
    """
    count, own = len(order), channels // groups
    step = order[1] - order[0] if count > 1 else 1
    divides = 0 < step <= count and count % step == 0
    if divides and order == tuple(k for at in range(step) for k in range(at, count, step)):
        if groups == 1 or own % step == 0:
            return step
        if step % own == 0:
            return step * groups
    raise HwsimError("an accumulator that depends on the order must add in one of hls4ml's")
