"""Layers with weights: CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import (
    CONVOLUTIONS,
    FULLY_CONNECTED,
    LANES,
    NARROW,
    Float64Array,
    KernelSet,
    multipliers,
    only,
)
from hwsim.frontends.tflite.lanes import Build, VectorLanes
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.rounding import activation, requantized, wrapped
from hwsim.frontends.tflite.wide_sums import LONG_SUMS, wide_sums
from hwsim.frontends.tflite.windows import stretched, window
from hwsim.ops import Conv2D, Dense, Flatten, Op, Pad, Reshape, Scheme, Window

UNBIASED = ("FULLY_CONNECTED", "TRANSPOSE_CONV")
WEIGHTS = {"int8": 8, "int4": 4, "uint8": 9}
"""Types of weights, and the bits that they take without their zero point."""

FLUSHED = (Scheme.GEMMLOWP_DOUBLE, Scheme.RUY, Scheme.HALF_AWAY)
"""Schemes whose kernels take a multiplier below 2**-32 for 0, as of a channel of zeros.

A sum below `FLUSHED_SUM` gives 0 with 2**-32 as well, so that this stands for it.
"""
FLUSHED_SUM = (1 << 31) - 2


def conv(run: LiteImporter, node: LiteNode) -> None:
    """CONV_2D; weights (out, height, width, in / groups)."""
    weights = np.moveaxis(_weights(run, node, 4), 0, -1)
    channels = run.shape(run.tensor(node, 0))[-1]
    if not weights.shape[2] or channels % weights.shape[2]:
        raise HwsimError(
            f"{node}: its weights' input channels ({weights.shape[2]}) must divide those of its "
            f"input ({channels})"
        )
    _convolved(run, node, weights, channels // weights.shape[2], lanes=False)


def depthwise(run: LiteImporter, node: LiteNode) -> None:
    """DEPTHWISE_CONV_2D; weights (1, height, width, in * multiplier)."""
    weights = _weights(run, node, 4)
    channels = run.shape(run.tensor(node, 0))[-1]
    if weights.shape[0] != 1 or weights.shape[3] % channels:
        raise HwsimError(
            f"{node}: its weights must be of shape (1, height, width, a multiple of {channels}), "
            f"not {weights.shape}"
        )
    _convolved(run, node, weights[0][:, :, None, :], channels, lanes=True)


def transpose_conv(run: LiteImporter, node: LiteNode) -> None:
    """TRANSPOSE_CONV: a convolution over a stretched map, its kernel turned round."""
    weights = np.asarray(_weights(run, node, 4)).astype(np.int64)
    kind, made, edge = run.kind(run.tensor(node, 2)), run.made(node), run.edge(node, 2)
    if len(kind.shape) != 3 or weights.shape[3] != kind.channels:
        raise HwsimError(
            f"{node}: its weights' input channels ({weights.shape[3]}) must be those of its input "
            f"({kind.shape})"
        )
    held = np.flip(weights, (1, 2)).transpose(1, 2, 3, 0)
    wanted = run.shape(made)
    strides = int(node.options["stride_h"]), int(node.options["stride_w"])
    if len(wanted) != 3 or min(strides) < 1:
        raise HwsimError(f"{node}: it must make a map with strides of 1 or more, not {wanted}")
    before, after = [0, 0, 0], [0, 0, 0]
    for axis in (0, 1):
        size, step, reach = kind.shape[axis], strides[axis], held.shape[axis]
        whole = (size - 1) * step + reach
        cut = 0 if node.options["padding"] else max(whole - wanted[axis], 0) // 2
        before[axis] = reach - 1 - cut
        after[axis] = wanted[axis] + reach - 1 - ((size - 1) * step + 1) - before[axis]
    if min(*before, *after) < 0:
        raise HwsimError(f"{node}: its strides {strides} must not pass its kernel by more")
    between = (strides[0] - 1, strides[1] - 1, 0)
    name = run.label(made)
    pad = Pad(before=tuple(before), after=tuple(after), between=between, code=kind.zero_point)
    wide = run.emit(f"{name}.stretched", pad, [edge], f"{name}.stretched")
    op = Conv2D(
        weights=held,
        bias=_bias(run, node, held.shape[-1], place=3),
        weight_format=_weight_format(run, node),
        bias_frac=0,
        zero_point=kind.zero_point,
        window=Window((held.shape[0], held.shape[1])),
    )
    factor = _factor(run, node, held.shape[-1], dense=False, place=2)
    scheme, lanes = _scheme(run, node, 3, CONVOLUTIONS[_like(run, node)])
    _rounded(run, node, op, scheme, factor, lanes=lanes, edge=wide)


def _convolved(
    run: LiteImporter, node: LiteNode, weights: npt.NDArray[Any], groups: int, *, lanes: bool
) -> None:
    """A convolution, rounded; with `lanes` by the depthwise kernels."""
    kind = run.kind(run.tensor(node, 0))
    held = stretched(node, weights.astype(np.int64))
    op = Conv2D(
        weights=held,
        bias=_bias(run, node, held.shape[-1]),
        weight_format=_weight_format(run, node),
        bias_frac=0,
        zero_point=kind.zero_point,
        window=window(node, held.shape[:2], kind.shape),
        groups=groups,
    )
    factor = _factor(run, node, held.shape[-1], dense=False)
    scheme, split = _scheme(run, node, 2, CONVOLUTIONS[_like(run, node)])
    _rounded(run, node, op, scheme, factor, lanes=lanes and split)


def fully_connected(run: LiteImporter, node: LiteNode) -> None:
    """FULLY_CONNECTED; weights (out, in), over the last axis or over all of them."""
    if node.options["weights_format"]:
        raise HwsimError(f"{node}: its weights must be in the usual order, not shuffled")
    weights = _weights(run, node, 2).T.astype(np.int64)
    kind, edge = run.kind(run.tensor(node, 0)), run.edge(node)
    op = Dense(
        weights=weights,
        bias=_bias(run, node, weights.shape[1]),
        weight_format=_weight_format(run, node),
        bias_frac=0,
        zero_point=kind.zero_point,
    )
    if kind.shape[-1] != weights.shape[0]:  # rows of as many codes as there are weights
        if kind.size % max(weights.shape[0], 1):
            raise HwsimError(
                f"{node}: its weights must take {kind.shape[-1]} codes, not {weights.shape[0]}"
            )
        rows = (kind.size // weights.shape[0], weights.shape[0])
        ops: list[Op] = [Flatten() if rows[0] == 1 else Reshape(shape=rows)]
        edge = run.chain(f"{edge}.flat", edge, ops, f"{edge}.flat")
    scheme, _ = _scheme(run, node, 2, FULLY_CONNECTED[_like(run, node)])
    single = scheme is not Scheme.F64_AWAY
    factor = _factor(run, node, weights.shape[1], dense=single)
    _rounded(run, node, op, scheme, factor, lanes=False, edge=edge)


def _like(run: LiteImporter, node: LiteNode) -> KernelSet:
    """Whose kernel computes a layer: XNNPACK leaves int16, and maps with weights of int4."""
    wide = run.format(run.made(node)).width > NARROW
    left = wide or (run.tensor(node, 1).dtype == "int4" and node.op != "FULLY_CONNECTED")
    return KernelSet.BUILTIN if left and run.like is KernelSet.XNNPACK else run.like


def _scheme(run: LiteImporter, node: LiteNode, place: int, narrow: Scheme) -> tuple[Scheme, bool]:
    """How sums are rounded: `narrow` those of int8, else by the bias; and whether lanes differ."""
    made = run.made(node)
    if run.format(made).width <= NARROW:
        unsigned = made.dtype == "uint8" and run.like is KernelSet.BUILTIN
        if unsigned:  # none of whose kernels has lanes
            return (Scheme.GEMMLOWP_DOUBLE if node.op == "DEPTHWISE_CONV_2D" else narrow), False
        return narrow, True
    bias = run.tensor(node, place).dtype if run.has(node, place) else None
    return wide_sums(run.like, node, bias)


def _weights(run: LiteImporter, node: LiteNode, rank: int) -> npt.NDArray[Any]:
    """A layer's weights without their zero point, which only those of uint8 may have."""
    tensor, values = run.tensor(node, 1), run.constant(node, 1)
    place = 2 if node.op == "TRANSPOSE_CONV" else 0
    data = run.tensor(node, place)
    run.edge(node, place)
    if values.ndim != rank or tensor.dtype not in WEIGHTS:
        raise HwsimError(
            f"{node}: its weights must be {' or '.join(WEIGHTS)} of {rank} axes, not "
            f"{tensor.dtype} of shape {values.shape}"
        )
    if (tensor.dtype == "uint8") != (data.dtype == "uint8"):
        raise HwsimError(
            f"{node}: its weights must be of uint8 where its input is, and only there, not "
            f"{tensor.dtype} with {data.dtype}"
        )
    if tensor.dtype == "uint8":
        if run.like is KernelSet.XNNPACK and run.meaning(tensor).axis:
            raise HwsimError(f"{node}: XNNPACK takes weights of uint8 with dimension 0 only")
        return values.astype(np.int64) - run.meaning(tensor).zero_point
    if any(run.quant(tensor).zero_points):
        raise HwsimError(f"{node}: its weights must have zero point 0")
    if tensor.dtype == "int4":
        _check_short(run, node, run.quant(tensor).scales.size)
    return values


def _check_short(run: LiteImporter, node: LiteNode, scales: int) -> None:
    """Raise HwsimError where a kernel set has no kernel for weights of int4."""
    if node.op == "TRANSPOSE_CONV":
        raise only(f"{node} with weights of int4", [])
    if node.op == "FULLY_CONNECTED" and scales > 1 and run.like is KernelSet.TFLM:
        sets = [known for known in KernelSet if known is not KernelSet.TFLM]
        raise only(f"{node} with weights of int4 and a scale a channel", sets)


def _weight_format(run: LiteImporter, node: LiteNode) -> Format:
    return Format.int(WEIGHTS[run.tensor(node, 1).dtype])


def _bias(run: LiteImporter, node: LiteNode, count: int, place: int = 2) -> npt.NDArray[np.int64]:
    """A layer's bias in steps of its sums; zeros where it has none."""
    if not run.has(node, place):
        if run.tensor(node, 1).dtype == "uint8" and node.op not in UNBIASED:
            raise HwsimError(f"{node}: of uint8 it must have a bias, without which kernels crash")
        return np.zeros(count, np.int64)
    tensor, values = run.tensor(node, place), run.constant(node, place)
    if tensor.dtype not in ("int32", "int64") or values.shape != (count,):
        raise HwsimError(
            f"{node}: its bias must be {count} values of int32 or int64, not {tensor.dtype} of "
            f"shape {values.shape}"
        )
    return values.astype(np.int64)


def _factor(
    run: LiteImporter, node: LiteNode, count: int, *, dense: bool, place: int = 0
) -> Float64Array:
    """Multipliers of the sums, one or one a channel."""
    scales = run.quant(run.tensor(node, 1)).scales
    if scales.size not in (1, count):
        raise HwsimError(f"{node}: its weights must have 1 scale or {count}, not {scales.size}")
    given, out = run.meaning(run.tensor(node, place)), run.meaning(run.made(node))
    like = _like(run, node)
    single = scales.size == 1 and dense and like is KernelSet.BUILTIN
    single = single or (run.made(node).dtype == "uint8" and node.op != "FULLY_CONNECTED")
    return multipliers(like, given.scale, scales, out.scale, single=single)


def _rounded(
    run: LiteImporter,
    node: LiteNode,
    op: Op,
    scheme: Scheme,
    factor: Float64Array,
    *,
    lanes: bool,
    edge: str | None = None,
) -> None:
    """A layer's sums as codes of its output."""
    made = run.made(node)
    name = run.label(made)
    sums = run.emit(f"{name}.sum", op, [edge or run.edge(node)], f"{name}.sum")
    kind = run.types[sums]
    if scheme not in LONG_SUMS:
        sums = wrapped(run, name, sums)
    if scheme in FLUSHED and kind.magnitude < FLUSHED_SUM:
        factor = np.maximum(factor, 2.0**-32)
    after = activation(run, node, made, delegated=_like(run, node) is run.like)
    builtin = (KernelSet.BUILTIN, KernelSet.XNNPACK)
    if not (lanes and run.like in (builtin if scheme is Scheme.RUY else builtin[:1])):
        run.give(node, [requantized(run, made, scheme, factor), *after], sums)
        return
    each = np.broadcast_to(factor, (kind.channels,))

    def rounded(how: Scheme, share: Callable[[int], Float64Array]) -> Build:
        """Of so many channels that lie together; `share` gives their multipliers."""
        return lambda title, edges: run.emit(
            title, requantized(run, made, how, share(run.types[edges[0]].channels)), edges, title
        )

    split = VectorLanes(
        LANES,
        rounded(scheme, lambda count: each[:count]),
        rounded(Scheme.GEMMLOWP_DOUBLE, lambda count: each[kind.channels - count :]),
    )
    run.give(node, after, split.along(run, name, [sums], len(kind.shape) - 1))
