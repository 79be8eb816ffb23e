"""Average pools and means: exact sums, and one rounding, which PyTorch itself confirms.

Its kernels add codes and multiply once; where the zero point is added depends on the engine, on how
the tensor lies and on which channels a vector takes. So each way that is known is compared with
PyTorch where it matters, at all thresholds, on a tensor that lies as that of the run does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from hwsim.errors import HwsimError
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.values import Codes
from hwsim.frontends.torch_modules.eager.functions import again
from hwsim.frontends.torch_modules.eager.importer import QuantizedCodes, TorchImporter
from hwsim.frontends.torch_modules.eager.pool import window_of
from hwsim.frontends.torch_modules.eager.sums import (
    ChannelSteps,
    CodeTarget,
    Rounded,
    saturated,
    step_function,
)
from hwsim.frontends.torch_modules.trace import Call
from hwsim.ops import (
    AvgPool,
    Op,
    Reduce,
    Reduction,
    Requantize,
    Scheme,
    TensorType,
    Window,
)
from hwsim.ops.base import Carrier, Constants, IntArray

F32 = np.float32
MOST_ASKED = 1 << 24  # codes of a tensor that PyTorch is asked about
Asked = Callable[[IntArray], IntArray]
"""PyTorch's codes (sums, channels) for sums without the zero point, on a tensor like the run's."""
FLOATS = (
    "PyTorch averages reals in float32 here, in an order of its own; where a mean lies half way "
    "between two codes, about one in {count}, it may give the other one"
)


def average_pool(run: TorchImporter, call: Call) -> None:
    """The mean of windows; their padding, if it counts, holds zeros."""
    given = run.quantized(call, "self")
    rank = len(given.layout.shape) - 1
    codes = run.arranged(given.codes, Arrangement.map(given.layout.shape), call)
    window = window_of(call, rank, codes.layout.physical[:-1])
    padded = any(window.padding)
    uneven = call["ceil_mode"] and window.padding[:rank] != window.padding[rank:]
    if uneven or (padded and not call["count_include_pad"]) or call["divisor_override"] is not None:
        raise HwsimError(
            f"{call}: each window must be divided by its size (no ceil_mode that adds to the map, "
            "count_include_pad where there is padding, no divisor)"
        )
    _averaged(run, call, given, codes, window)


def adaptive_pool(run: TorchImporter, call: Call) -> None:
    """The mean of equal windows, without gaps."""
    given = run.quantized(call, "self")
    shape, made = given.layout.shape, tuple(call.output.shape[2:])
    if any(size % count for size, count in zip(shape[1:], made, strict=True)):
        raise HwsimError(
            f"{call}: its output {made} must divide its input {shape[1:]} into equal windows"
        )
    codes = run.arranged(given.codes, Arrangement.map(shape), call)
    kernel = tuple(size // count for size, count in zip(shape[1:], made, strict=True))
    _averaged(run, call, given, codes, Window(kernel, kernel))


def _averaged(
    run: TorchImporter, call: Call, given: QuantizedCodes, codes: Codes, window: Window
) -> None:
    """Sums over windows of a map, and the rounding of its engine."""
    pool = AvgPool(window=window, zero_point=given.zero_point)
    (kind,) = pool.output_types([run.types[codes.edge]])
    rank = len(window.kernel)

    def changed(tensor: torch.Tensor) -> dict[str, object]:
        if "kernel_size" not in call.arguments:
            return {"self": tensor, "output_size": [1] * rank}
        kernel = list(window.kernel)
        return {"self": tensor, "kernel_size": kernel, "stride": kernel, "padding": [0] * rank}

    def asked(sums: IntArray) -> IntArray:
        spread = _spread(sums, window.size, given.zero_point)
        wide = spread.reshape(len(sums), 1, *window.kernel)
        wide = np.broadcast_to(wide, (len(sums), kind.channels, *window.kernel))
        made = again(call, changed(_tensor(call, given, wide)))
        return np.asarray(made.int_repr().numpy().reshape(len(sums), -1), np.int64)

    op = _rounding(run, call, given, kind, window.size, asked)
    sums = run.emit(f"{call.title}.sum", pool, [codes.edge], f"{call.title}.sum")
    *places, channels = kind.shape
    edge = run.emit(call.title, op, [sums], call.title)
    run.hold(call, edge, Arrangement.map((channels, *places)))


def _ways(given: QuantizedCodes, count: int) -> list[Rounded]:
    """How sums become means: the zero point in the sum, before the rounding, or behind it."""
    zero, scale = F32(given.zero_point), F32(given.scale)
    ways: list[Rounded] = []
    for share in (F32(1) / F32(count), scale / F32(scale * F32(count))):
        ways += [
            partial(_raw, share, given.zero_point * count),
            partial(_inside, share, zero),
            partial(_fused, share, zero),
            partial(_behind, share, given.zero_point),
        ]
    return ways


def _whole(reals: npt.NDArray[np.floating]) -> IntArray:
    return np.asarray(np.rint(reals), np.int64)


def _raw(share: np.float32, added: int, sums: IntArray) -> IntArray:
    return _whole((sums + added).astype(F32) * share)


def _inside(share: np.float32, zero: np.float32, sums: IntArray) -> IntArray:
    return _whole(sums.astype(F32) * share + zero)


def _fused(share: np.float32, zero: np.float32, sums: IntArray) -> IntArray:
    """A product and a sum that are rounded once; in float64 they are exact."""
    return _whole((sums.astype(np.float64) * float(share) + float(zero)).astype(F32))


def _behind(share: np.float32, zero: int, sums: IntArray) -> IntArray:
    return _whole(sums.astype(F32) * share) + zero


def _rounding(
    run: TorchImporter,
    call: Call,
    given: QuantizedCodes,
    kind: TensorType,
    count: int,
    asked: Asked,
) -> Op:
    """What makes codes of sums, channel by channel as PyTorch rounds them."""
    target = CodeTarget(given.codes.format, given.codes.format.min, given.quant)
    found = [step_function(kind.lo, kind.hi, saturated(way, target)) for way in _ways(given, count)]
    ends = [np.concatenate([f.at[0], f.at[0] - 1]) for f in found]
    at = np.unique(np.concatenate([*ends, [kind.lo, kind.hi]]))
    at = at[(at >= kind.lo) & (at <= kind.hi)]
    known = np.stack([saturated(way, target)(at) for way in _ways(given, count)])
    size = max(MOST_ASKED // (count * kind.channels), 1)
    told = np.concatenate([asked(at[i : i + size]) for i in range(0, len(at), size)])
    differ = (known[:, :, None] != told).sum(axis=1)
    best = differ.argmin(axis=0)
    if differ.min(axis=0).any():
        run.warn(call.title, FLOATS.format(count=count))
    rows = [found[i] for i in best.tolist()]
    if len(set(best.tolist())) == 1:
        return _simplest(rows[0], given, kind, count, target)
    return ChannelSteps(
        kind.lo,
        kind.hi,
        np.concatenate([row.first for row in rows]),
        np.concatenate([row.last for row in rows]),
        _stacked([row.at for row in rows], kind.hi),
    ).thresholds(target)


def _stacked(rows: Sequence[IntArray], last: int) -> IntArray:
    """Thresholds of channels, filled up with some that no sum reaches."""
    most = max(row.shape[1] for row in rows)
    fills = [((0, 0), (0, most - row.shape[1])) for row in rows]
    filled = [np.pad(r, f, constant_values=last + 1) for r, f in zip(rows, fills, strict=True)]
    return np.concatenate(filled)


def _simplest(
    found: ChannelSteps, given: QuantizedCodes, kind: TensorType, count: int, target: CodeTarget
) -> Op:
    """A requantizer where one has the very same thresholds, else they themselves."""
    single = TensorType((1,), kind.format, kind.quant, kind.range)
    for scheme in (Scheme.F32_RNE_IN, Scheme.F32_RNE_OUT):
        op = Requantize(
            scheme=scheme,
            multiplier=(float(F32(1) / F32(count)),),
            out=target.format,
            zero_point=given.zero_point,
            quant=given.quant,
        )
        constants = op.prepare([single], Carrier.FLOAT64)
        if found.same(partial(_run, op, constants)):
            return op
    return found.thresholds(target)


def _run(op: Requantize, constants: Constants, sums: IntArray) -> IntArray:
    return np.asarray(op.run(np, [sums.astype(np.float64)], constants)).astype(np.int64)


def _spread(sums: IntArray, count: int, zero_point: int) -> IntArray:
    """Codes (sums, count) of windows that have these sums."""
    whole = sums + zero_point * count
    base, more = whole // count, whole % count
    return base[:, None] + (np.arange(count) < more[:, None])


def _tensor(call: Call, given: QuantizedCodes, codes: IntArray) -> torch.Tensor:
    """A quantized tensor that lies as the run's does; its batch may be another."""
    like = call["self"]
    kind = np.int8 if given.codes.format.signed else np.uint8
    whole = torch.from_numpy(np.ascontiguousarray(codes.astype(kind)))
    order = sorted(range(1, like.ndim), key=lambda axis: -like.stride()[axis])
    if order != list(range(1, like.ndim)):
        back = [0, *(order.index(axis) + 1 for axis in range(1, like.ndim))]
        whole = whole.permute(0, *order).contiguous().permute(back)
    held: torch.Tensor = torch._make_per_tensor_quantized_tensor(
        whole, given.scale, given.zero_point
    )
    return held


def mean(run: TorchImporter, call: Call) -> None:
    """The mean along axes, which stay, 1 long, or go."""
    given = run.quantized(call, "self")
    shape = given.layout.shape
    rank = len(shape) + 1
    dims = call.arguments.get("dim")
    axes = sorted({int(d) % rank - 1 for d in (dims or range(rank))})
    if axes[0] < 0:
        raise HwsimError(f"{call}: its axes must be some of 1 to {rank - 1}, not {dims}")
    codes = run.arranged(given.codes, Arrangement.map(shape), call)
    places = [len(shape) - 1 if axis == 0 else axis - 1 for axis in axes]
    op = Reduce(reduction=Reduction.SUM, axes=tuple(sorted(places)), zero_point=given.zero_point)
    (kind,) = op.output_types([run.types[codes.edge]])
    count = math.prod(shape[axis] for axis in axes)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))

    def asked(sums: IntArray) -> IntArray:
        spread = _spread(sums, count, given.zero_point)
        inner = [shape[axis] for axis in axes]
        wide = spread.reshape(len(sums), *inner, *[1] * (len(shape) - len(axes)))
        others = [axis for axis in range(len(shape)) if axis not in axes]
        back = [0, *([*axes, *others].index(axis) + 1 for axis in range(len(shape)))]
        whole = np.broadcast_to(np.transpose(wide, back), (len(sums), *shape))
        made = again(call, {"self": _tensor(call, given, whole)}).int_repr().numpy()
        each = made.reshape(len(sums), *kept)
        each = np.moveaxis(each, 1, -1).reshape(len(sums), -1, kept[0])
        return np.asarray(each[:, 0], np.int64)

    rounding = _rounding(run, call, given, kind, count, asked)
    sums = run.emit(f"{call.title}.sum", op, [codes.edge], f"{call.title}.sum")
    edge = run.emit(call.title, rounding, [sums], call.title)
    run.hold(call, edge, Arrangement.map(kept).reshaped(tuple(call.output.shape[1:])))
