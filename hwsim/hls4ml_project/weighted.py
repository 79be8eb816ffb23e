"""Dense layers and convolutions, whose constants are written as decimal text."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Node
from hwsim.hls4ml_project.draft import Draft, require
from hwsim.hls4ml_project.precision import Assigned, Decimals, decimals, room, units
from hwsim.ops import Conv, Dense, Stepwise, TensorType, Weighted, Window

AXES = ("height", "width")
SIDES = ("top", "left", "bottom", "right")


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
    weights, constants = _weighted(draft, node)
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
    weights, constants = _weighted(draft, node)
    outputs, groups = op.outputs, getattr(op, "groups", 1)
    shaped = weights.reshape(*window.kernel, -1, outputs)
    rank = len(window.kernel)
    if groups == kind.channels and groups == outputs and groups > 1:
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
        draft.source(node),
        n_chan=kind.channels,
        n_filt=outputs,
        dilation=1,
        **window_fields(window, kind.shape, draft.kind(node.output).shape, "filt"),
        **{key: shaped},
        **constants,
    )


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


def _weighted(draft: Draft, node: Node) -> tuple[Any, dict[str, Any]]:
    """Weights as (terms, outputs) of reals; and bias, types, strategy of the layer."""
    op, x = node.op, draft.kind(node.inputs[0])
    assert isinstance(op, Weighted)
    weights, bias = _constants(draft, node, op, x)
    accumulator, options = _accumulator(draft, node, op, x)
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


def _accumulator(
    draft: Draft, node: Node, op: Weighted, x: TensorType
) -> tuple[Assigned, dict[str, Any]]:
    """The type of the sums, and the strategy that adds them in their order."""
    acc = op.accumulator
    if not isinstance(acc, Stepwise):
        reals = draft.reals(node.output)
        # Any order is exact in it: what leaves the range on the way comes back.
        signed = Format(True, reals.int_bits + (not reals.signed), reals.frac_bits)
        return Assigned(signed), dict(draft.strategy)
    steps = op.steps(x)
    into = Assigned(acc.format, acc.rounding, acc.overflow)
    if bool(steps.any_order.all()):
        return into, dict(draft.strategy)
    if acc.order is None:
        return into, {"Strategy": "Latency", "ReuseFactor": 1}
    return into, {"Strategy": "Resource", "ReuseFactor": _reuse(acc.order)}


def _reuse(order: tuple[int, ...]) -> int:
    """The reuse factor by which hls4ml adds in an order; HwsimError where none does."""
    terms = len(order)
    step = order[1] - order[0] if terms > 1 else 1
    divides = 0 < step <= terms and terms % step == 0
    if divides and order == tuple(k for at in range(step) for k in range(at, terms, step)):
        return step
    raise HwsimError("an accumulator that depends on the order must add in one of hls4ml's")
