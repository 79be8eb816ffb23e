"""Operators that move codes and compute nothing; they take reals that stand for codes too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from hwsim.errors import HwsimError
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.values import Codes, RawInput
from hwsim.frontends.torch_modules.eager.importer import (
    Floats,
    Handler,
    QuantizedCodes,
    TorchImporter,
    Value,
)
from hwsim.frontends.torch_modules.trace import Call

Relaid = Callable[[Arrangement], Arrangement]


def source(value: Value, call: Call) -> QuantizedCodes:
    """The codes that a tensor holds or stands for."""
    if isinstance(value, RawInput):
        raise HwsimError(f"{call}: the module's input must be quantized first")
    return value.source if isinstance(value, Floats) else value


def put(run: TorchImporter, call: Call, value: Value, codes: Codes, place: int = 0) -> None:
    """Say that an output holds other codes of the same meaning."""
    made = call.outputs[place]
    if tuple(made.shape) != (run.batch, *codes.layout.shape):
        raise HwsimError(
            f"{call}: it must keep the batch of {run.batch} first, and give shape "
            f"{(run.batch, *codes.layout.shape)}, not {tuple(made.shape)}"
        )
    held = source(value, call).moved(codes)
    run.values[id(made)] = replace(value, source=held) if isinstance(value, Floats) else held


def gone(run: TorchImporter, call: Call, value: Value, way: moves.Way, place: int = 0) -> None:
    """An output is a tensor that went a way."""
    codes = source(value, call).codes
    edge = codes.edge
    if way.ops:
        edge = run.chain(call.title, edge, way.ops, call.title)
    put(run, call, value, replace(codes, edge=edge, layout=way.layout), place)


def same(run: TorchImporter, call: Call) -> None:
    """What leaves a tensor as it is."""
    run.values[id(call.output)] = run.held(call, "self")


def relaid(change: Callable[[TorchImporter, Call], Relaid]) -> Handler:
    """A handler of operators that only say how codes lie."""

    def handle(run: TorchImporter, call: Call) -> None:
        value, to = run.value(call, "self"), change(run, call)
        if isinstance(value, RawInput):
            plain, last = to(value.plain), to(value.channels_last)
            run.values[id(call.output)] = replace(value, plain=plain, channels_last=last)
            return
        codes = source(value, call).codes
        put(run, call, value, replace(codes, layout=to(codes.layout)))

    return handle


def view(run: TorchImporter, call: Call) -> Relaid:
    """The same elements row-major in another shape, the batch first."""
    shape = tuple(call.output.shape)
    if not shape or shape[0] != run.batch:
        raise HwsimError(f"{call}: it must keep the batch of {run.batch} first, not give {shape}")
    return lambda layout: layout.reshaped(shape[1:])


def axis(call: Call, name: str, rank: int) -> int:
    """An axis without the batch; HwsimError of the batch itself."""
    value = int(call[name])
    found = value + rank if value < 0 else value
    if not 0 < found < rank:
        raise HwsimError(f"{call}: its axis must be one from 1 to {rank - 1}, not {value}")
    return found - 1


def _order(call: Call, order: Sequence[int]) -> Relaid:
    rank = call.output.ndim
    order = [place + rank if place < 0 else place for place in order]
    if order[0] != 0:
        raise HwsimError(f"{call}: it must leave the batch first, not give the axes {order}")
    axes = tuple(place - 1 for place in order[1:])
    return lambda layout: layout.transposed(axes)


def permute(run: TorchImporter, call: Call) -> Relaid:
    """All axes in another order."""
    return _order(call, call["dims"])


def transpose(run: TorchImporter, call: Call) -> Relaid:
    """Two axes in each other's place."""
    order = list(range(call.output.ndim))
    first, second = (int(call[name]) for name in ("dim0", "dim1"))
    order[first], order[second] = order[second], order[first]
    return _order(call, order)


def _selected(
    run: TorchImporter,
    call: Call,
    indices: Callable[[int], Sequence[int]],
    place: int,
    out: int = 0,
) -> None:
    """Some indices of an axis (the batch apart), in the shape of an output."""
    value = run.value(call, "self")
    codes = source(value, call).codes
    chosen = [int(i) for i in indices(codes.layout.shape[place])]
    if not chosen:
        raise HwsimError(f"{call}: it must take at least one index of axis {place + 1}")
    way = moves.select(codes.layout, place, chosen)
    shape = tuple(call.outputs[out].shape[1:])
    gone(run, call, value, moves.Way(way.ops, way.layout.reshaped(shape)), out)


def _rank(call: Call) -> int:
    return len(call["self"].shape)


def slice_(run: TorchImporter, call: Call) -> None:
    """A range of an axis."""
    if int(call["dim"]) in (0, -_rank(call)) and call.output.shape == call["self"].shape:
        return same(run, call)
    place = axis(call, "dim", _rank(call))
    first, last, step = call["start"], call["end"], call["step"]
    _selected(run, call, lambda size: range(size)[first:last:step], place)
    return None


def select(run: TorchImporter, call: Call) -> None:
    """One index of an axis, which goes."""
    place, index = axis(call, "dim", _rank(call)), int(call["index"])
    _selected(run, call, lambda size: [range(size)[index]], place)


def index_select(run: TorchImporter, call: Call) -> None:
    """Indices of an axis, which are constant."""
    found = call["index"].tolist()
    _selected(run, call, lambda size: found, axis(call, "dim", _rank(call)))


def flip(run: TorchImporter, call: Call) -> None:
    """Axes in the reverse order."""
    value = run.value(call, "self")
    codes = source(value, call).codes
    rank, layout = _rank(call), codes.layout
    turned = [(int(d) + rank) % rank - 1 for d in call["dims"]]
    if min(turned, default=0) < 0:
        raise HwsimError(f"{call}: it must leave the batch in order")
    indices = [range(s)[::-1] if a in turned else None for a, s in enumerate(layout.shape)]
    gone(run, call, value, moves.selected(layout, indices))


def roll(run: TorchImporter, call: Call) -> None:
    """Axes turned round by some places."""
    value = run.value(call, "self")
    layout = source(value, call).codes.layout
    dims, shifts, rank = list(call["dims"]), list(call["shifts"]), _rank(call)
    by = {(int(d) + rank) % rank - 1: int(s) for d, s in zip(dims, shifts, strict=True)}
    if not by or min(by) < 0:
        raise HwsimError(f"{call}: it must name its axes, and not the batch")
    indices = [
        [(i - by[a]) % size for i in range(size)] if a in by else None
        for a, size in enumerate(layout.shape)
    ]
    gone(run, call, value, moves.selected(layout, indices))


def parts(run: TorchImporter, call: Call) -> None:
    """An axis in parts, each an output of its own: split, chunk and unbind."""
    place, first = axis(call, "dim", _rank(call)), 0
    keeps = call.output.ndim == _rank(call)
    for out, made in enumerate(call.outputs):
        size = made.shape[place + 1] if keeps else 1
        _selected(run, call, partial(_from, first, size), place, out)
        first += size


def _from(first: int, count: int, _: int) -> range:
    """So many indices from a first one on, of an axis however long."""
    return range(first, first + count)


def expand(run: TorchImporter, call: Call) -> None:
    """Axes of 1 repeated."""
    value, shape = run.value(call, "self"), tuple(call.output.shape[1:])
    codes = source(value, call).codes
    layout = codes.layout
    if call.output.shape[0] != run.batch or len(shape) < len(layout.shape):
        raise HwsimError(f"{call}: it must keep the batch of {run.batch} first")
    layout = layout.reshaped((1,) * (len(shape) - len(layout.shape)) + layout.shape)
    indices = [
        [0] * wanted if held != wanted else None
        for held, wanted in zip(layout.shape, shape, strict=True)
    ]
    gone(run, call, value, moves.selected(layout, indices))


def repeat(run: TorchImporter, call: Call) -> None:
    """Axes once more, several times over."""
    value, times = run.value(call, "self"), [int(n) for n in call["repeats"]]
    codes = source(value, call).codes
    if times[0] != 1 or len(times) != len(codes.layout.shape) + 1:
        raise HwsimError(f"{call}: it must repeat each axis but the batch, not by {times}")
    indices = [
        list(range(size)) * count if count > 1 else None
        for size, count in zip(codes.layout.shape, times[1:], strict=True)
    ]
    gone(run, call, value, moves.selected(codes.layout, indices))


def _amounts(call: Call) -> list[tuple[int, int]]:
    """Padding before and after each axis but the batch, of which torch names the last first."""
    numbers, count = [int(n) for n in call[_pad_name(call)]], _rank(call) - 1
    pairs = [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2)]
    if len(pairs) > count:
        raise HwsimError(f"{call}: it must pad each axis but the batch, not by {numbers}")
    return [(0, 0)] * (count - len(pairs)) + pairs[::-1]


def _pad_name(call: Call) -> str:
    return "pad" if "pad" in call.arguments else "padding"


def pad(run: TorchImporter, call: Call) -> None:
    """Constants around: a code of the tensor, and of reals zero."""
    value, amounts = run.value(call, "self"), _amounts(call)
    held = source(value, call)
    if any(min(pair) < 0 for pair in amounts):
        raise HwsimError(f"{call}: it must pad by 0 or more, not {amounts}")
    code = _pad_code(call, value, held, float(call["value"]))
    way, op = moves.pad(held.codes.layout, [(before, after, 0) for before, after in amounts])
    ops = way.ops if op is None else (*way.ops, replace(op, code=code))
    gone(run, call, value, moves.Way(ops, way.layout))


def _pad_code(call: Call, value: Value, held: QuantizedCodes, wanted: float) -> int:
    """The code that stands for a constant in a tensor."""
    every = held.all_codes()
    reals = value.function(every) if isinstance(value, Floats) else torch.dequantize(every)
    if isinstance(value, QuantizedCodes):
        one = torch.quantize_per_tensor(
            torch.tensor([wanted]), held.scale, held.zero_point, every.dtype
        )
        return int(one.int_repr())
    found = np.flatnonzero(reals.numpy() == np.float32(wanted))
    if not found.size:
        raise HwsimError(
            f"{call}: it must pad with a real that one of the codes means, not {wanted}"
        )
    return int(found[0]) + held.codes.format.min


def reflection_pad(run: TorchImporter, call: Call) -> None:
    """What lies beside the edges once more, in the reverse order."""

    def indices(size: int, before: int, after: int) -> Sequence[int]:
        behind = range(size - 2, size - 2 - after, -1)
        return (*range(before, 0, -1), *range(size), *behind)

    _bordered(run, call, indices)


def replication_pad(run: TorchImporter, call: Call) -> None:
    """The codes at the edges once more."""

    def indices(size: int, before: int, after: int) -> Sequence[int]:
        return (*[0] * before, *range(size), *[size - 1] * after)

    _bordered(run, call, indices)


def _bordered(
    run: TorchImporter, call: Call, indices: Callable[[int, int, int], Sequence[int]]
) -> None:
    value = run.value(call, "self")
    layout = source(value, call).codes.layout
    taken = [
        indices(size, *pair) if any(pair) else None
        for size, pair in zip(layout.shape, _amounts(call), strict=True)
    ]
    gone(run, call, value, moves.selected(layout, taken))


def upsample_nearest(run: TorchImporter, call: Call) -> None:
    """Each index of an axis several times, as PyTorch's own arithmetic chooses it."""
    value = run.value(call, "self")
    layout = source(value, call).codes.layout
    wanted = tuple(call.output.shape[2:])
    indices: list[Sequence[int] | None] = [None]
    for place, (size, made) in enumerate(zip(layout.shape[1:], wanted, strict=True)):
        indices.append(_asked_indices(call, place, size, made))
    gone(run, call, value, moves.selected(layout, indices))


def _asked_indices(call: Call, place: int, size: int, made: int) -> list[int]:
    """Which index of an axis each of the result is: PyTorch resizes the axis's own numbers."""
    given: torch.Tensor = call["self"]
    shape = [1, 1, *given.shape[2:]]
    line = [1] * len(shape)
    line[place + 2] = size
    numbers = torch.arange(size, dtype=torch.float32).reshape(line).expand(shape).contiguous()
    held = {**call.arguments, "self": numbers}
    resized = call.op(*(held[a.name] for a in call.op._schema.arguments))
    found = torch.movedim(resized, place + 2, 0).reshape(made, -1)[:, 0]
    return [int(i) for i in found]


def pixel_shuffle(run: TorchImporter, call: Call) -> None:
    """Channels as blocks of places."""
    value, factor = run.value(call, "self"), int(call["upscale_factor"])
    channels, height, width = source(value, call).codes.layout.shape
    split = (channels // factor**2, factor, factor, height, width)
    whole = (split[0], height * factor, width * factor)
    codes = source(value, call).codes
    layout = codes.layout.reshaped(split).transposed((0, 3, 1, 4, 2)).reshaped(whole)
    put(run, call, value, replace(codes, layout=layout))


def pixel_unshuffle(run: TorchImporter, call: Call) -> None:
    """Blocks of places as channels."""
    value, factor = run.value(call, "self"), int(call["downscale_factor"])
    channels, height, width = source(value, call).codes.layout.shape
    split = (channels, height // factor, factor, width // factor, factor)
    whole = (channels * factor**2, height // factor, width // factor)
    codes = source(value, call).codes
    layout = codes.layout.reshaped(split).transposed((0, 2, 4, 1, 3)).reshaped(whole)
    put(run, call, value, replace(codes, layout=layout))


def channel_shuffle(run: TorchImporter, call: Call) -> None:
    """Channels taken from each group in turn."""
    value, groups = run.value(call, "self"), int(call["groups"])
    codes = source(value, call).codes
    channels, *places = codes.layout.shape
    split = (groups, channels // groups, *places)
    order = (1, 0, *range(2, len(split)))
    layout = codes.layout.reshaped(split).transposed(order).reshaped((channels, *places))
    put(run, call, value, replace(codes, layout=layout))
