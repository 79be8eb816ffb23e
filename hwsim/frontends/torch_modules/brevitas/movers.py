"""PyTorch's operators that move elements, as those of ONNX."""

from __future__ import annotations

import numpy as np
import torch

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import Attribute
from hwsim.frontends.torch_modules.brevitas.exported import Export, Exporter
from hwsim.frontends.torch_modules.trace import Call


def view(run: Exporter, call: Call) -> None:
    """Another shape."""
    shape = run.constant(f"{call.title}.shape", run.shape(call), np.int64)
    run.give(call, "Reshape", [run.operand(call, call["self"]), shape])


def permute(run: Exporter, call: Call) -> None:
    """All axes in another order."""
    rank = call.output.ndim
    order = [int(axis) % rank for axis in call["dims"]]
    run.give(call, "Transpose", [run.operand(call, call["self"])], perm=order)


def transpose(run: Exporter, call: Call) -> None:
    """Two axes in each other's place."""
    order = list(range(call.output.ndim))
    first, second = (int(call[name]) for name in ("dim0", "dim1"))
    order[first], order[second] = order[second], order[first]
    run.give(call, "Transpose", [run.operand(call, call["self"])], perm=order)


def cat(run: Exporter, call: Call) -> None:
    """Tensors one behind the other."""
    axis = int(call["dim"]) % call.output.ndim
    run.give(call, "Concat", [run.operand(call, t) for t in call["tensors"]], axis=axis)


def slice_(run: Exporter, call: Call) -> None:
    """A range of an axis."""
    axis, size = int(call["dim"]) % call["self"].ndim, int(call["self"].shape[int(call["dim"])])
    first, last, step = slice(call["start"], call["end"], call["step"]).indices(size)
    if axis == 0 and (first, last, step) == (0, size, 1):
        run.same(call)
        return
    named = (("start", first), ("end", last), ("axis", axis), ("step", step))
    ends = [run.constant(f"{call.title}.{n}", [v], np.int64) for n, v in named]
    run.give(call, "Slice", [run.operand(call, call["self"]), *ends])


def parts(run: Exporter, call: Call) -> None:
    """An axis in parts."""
    axis = int(call["dim"]) % call["self"].ndim
    sizes = [int(made.shape[axis]) for made in call.outputs]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    given = run.operand(call, call["self"])
    for made, first, size in zip(call.outputs, starts, sizes, strict=True):
        title = f"{call.title}.{first}"
        ends = [run.constant(title, [v], np.int64) for v in (first, first + size, axis, 1)]
        run.names[id(made)] = run.node(title, "Slice", [given, *ends])


def _amounts(call: Call, name: str) -> list[int]:
    """Padding before all axes and then behind them, of which PyTorch names the last first."""
    numbers, rank = [int(n) for n in call[name]], call["self"].ndim
    pairs = [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2)][::-1]
    each = [(0, 0)] * (rank - len(pairs)) + pairs
    return [*(a for a, _ in each), *(b for _, b in each)]


def pad(run: Exporter, call: Call) -> None:
    """A constant around."""
    inputs = [
        run.operand(call, call["self"]),
        run.constant(f"{call.title}.amounts", _amounts(call, "pad"), np.int64),
        run.constant(f"{call.title}.value", float(call["value"])),
    ]
    run.give(call, "Pad", inputs, mode="constant")


def select(run: Exporter, call: Call) -> None:
    """One index of an axis, which goes."""
    axis = int(call["dim"]) % call["self"].ndim
    index = range(int(call["self"].shape[axis]))[int(call["index"])]
    run.names[id(call.output)] = _index(run, call, axis, index, call.output)


def unbind(run: Exporter, call: Call) -> None:
    """All indices of an axis, each an output of its own."""
    axis = int(call["dim"]) % call["self"].ndim
    for index, made in enumerate(call.outputs):
        run.names[id(made)] = _index(run, call, axis, index, made)


def _index(run: Exporter, call: Call, axis: int, index: int, made: torch.Tensor) -> str:
    if axis == 0:
        raise HwsimError(f"{call}: it must be of another axis than the batch")
    title = f"{call.title}.{index}"
    ends = [run.constant(title, [v], np.int64) for v in (index, index + 1, axis, 1)]
    part = run.node(f"{title}.part", "Slice", [run.operand(call, call["self"]), *ends])
    shape = run.constant(f"{title}.shape", [-1, *made.shape[1:]], np.int64)
    return run.node(title, "Reshape", [part, shape])


def pad_by(mode: str) -> Export:
    """What lies at the edges of the last axes around them once more."""

    def handle(run: Exporter, call: Call) -> None:
        named = run.constant(f"{call.title}.amounts", _amounts(call, "padding"), np.int64)
        run.give(call, "Pad", [run.operand(call, call["self"]), named], mode=mode)

    return handle


def pixel_shuffle(run: Exporter, call: Call) -> None:
    """Channels as blocks of places."""
    inputs = [run.operand(call, call["self"])]
    run.give(call, "DepthToSpace", inputs, blocksize=int(call["upscale_factor"]), mode="CRD")


def _resized(run: Exporter, call: Call, **how: Attribute) -> None:
    scales = [made / size for made, size in zip(call.output.shape, call["self"].shape, strict=True)]
    inputs = [run.operand(call, call["self"]), "", run.constant(f"{call.title}.scales", scales)]
    run.give(call, "Resize", inputs, **how)


def upsample_nearest(run: Exporter, call: Call) -> None:
    """Whole copies of each place."""
    sizes = zip(call.output.shape, call["self"].shape, strict=True)
    if any(made % size for made, size in sizes):
        raise HwsimError(
            f"{call}: its output {tuple(call.output.shape)} must be a whole number of times as "
            f"large as its input {tuple(call['self'].shape)}"
        )
    _resized(
        run,
        call,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def upsample_linear(run: Exporter, call: Call) -> None:
    """Between the nearest places."""
    corners = "align_corners" if call["align_corners"] else "pytorch_half_pixel"
    _resized(run, call, mode="linear", coordinate_transformation_mode=corners)
