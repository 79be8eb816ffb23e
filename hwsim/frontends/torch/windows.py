"""Windows of PyTorch's operators: kernel, stride, padding, dilation, ceil_mode."""

from __future__ import annotations

from dataclasses import replace

from hwsim.errors import HwsimError
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.maps import MAPS, lying_as_map, with_gaps
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import Codes, Level, Real
from hwsim.frontends.torch.importer import ProgramImporter
from hwsim.frontends.torch.program import ProgramNode
from hwsim.ops import Window
from hwsim.ops.base import IntArray, Shape


def per_axis(
    node: ProgramNode, name: str, rank: int, default: int | tuple[int, ...], least: int = 1
) -> tuple[int, ...]:
    """An argument of one number, or one an axis."""
    whole = default if isinstance(default, tuple) else (default,)
    given = node.integers(name, whole) or whole
    values = given * rank if len(given) == 1 else given
    if len(values) != rank or min(values) < least:
        raise HwsimError(f"{node}: {name!r} must be {rank} numbers from {least}, not {given}")
    return values


def map_level(
    run: ProgramImporter, node: ProgramNode, real: Real, rank: int
) -> tuple[Level, Shape]:
    """The codes behind a map (channels, ...) with so many axes of places."""
    shape = real.layout.shape
    if len(shape) != rank + 1:
        raise HwsimError(f"{node}: its input must have {rank + 2} axes, not {len(shape) + 1}")
    level = level_of(run, node, real)
    held = replace(level.codes, layout=real.layout)
    return replace(level, codes=run.arranged(held, Arrangement.map(shape), node)), shape


def as_map(run: ProgramImporter, node: ProgramNode, real: Real, rank: int) -> Real:
    """A map that lies as operators on maps expect it."""
    if len(real.layout.shape) != rank + 1:
        raise HwsimError(f"{node}: its input must be a map {MAPS}")
    return lying_as_map(run, node, real)


def dilated(node: ProgramNode, taps: IntArray, rank: int) -> IntArray:
    """A kernel (its axes, in, out) with zeros between its taps."""
    apart = per_axis(node, "dilation", rank, 1)
    return with_gaps(node, taps, apart)


Ends = tuple[tuple[int, int], ...]


def paddings(node: ProgramNode, kernel: Shape) -> Ends:
    """What comes before and after on each axis; `kernel` with its dilation."""
    given = node.args.get("padding")
    if isinstance(given, str):
        if given not in ("valid", "same"):
            raise HwsimError(f"{node}: 'padding' must be numbers, valid or same, not {given!r}")
        total = [size - 1 if given == "same" else 0 for size in kernel]
        return tuple((each // 2, each - each // 2) for each in total)
    return tuple((each, each) for each in per_axis(node, "padding", len(kernel), 0, 0))


def framed(
    run: ProgramImporter, node: ProgramNode, level: Level, kernel: Shape, ends: Ends
) -> tuple[Level, Window]:
    """A map with what no window pads around it, and the window that pads the rest."""
    strides = per_axis(node, "stride", len(kernel), 1)
    inside = [(min(b, k - 1), min(a, k - 1)) for (b, a), k in zip(ends, kernel, strict=True)]
    frame = [(b - p, a - q, 0) for (b, a), (p, q) in zip(ends, inside, strict=True)]
    name = f"{node.name}.frame"
    codes = moves.padded(run, level.codes, [(0, 0, 0), *frame], level.zero_point, name, name)
    assert isinstance(codes, Codes)
    padding = (*(b for b, _ in inside), *(a for _, a in inside))
    return replace(level, codes=codes), Window(kernel, strides, padding)


def pool_window(node: ProgramNode, shape: Shape, rank: int) -> Window:
    """The window of a pool over (channels, ...); the stride is the kernel where it is left out."""
    kernel = per_axis(node, "kernel_size", rank, 1)
    strides = per_axis(node, "stride", rank, kernel)
    given = node.integers("ends")  # of a delegate's node: (top, left, bottom, right)
    if given:
        return Window(kernel, strides, given)
    pads = per_axis(node, "padding", rank, 0, 0)
    if any(2 * p > k for p, k in zip(pads, kernel, strict=True)):
        raise HwsimError(f"{node}: its padding must be at most half of its kernel {kernel}")
    ends = [[p, p] for p in pads]
    if node.flag("ceil_mode"):
        for axis, (size, k, s, p) in enumerate(zip(shape[1:], kernel, strides, pads, strict=True)):
            count = -(-(size + 2 * p - k) // s) + 1
            count -= (count - 1) * s >= size + p
            ends[axis][1] = max((count - 1) * s + k - size - p, p)
    return Window(kernel, strides, (*(b for b, _ in ends), *(a for _, a in ends)))
