"""Max and average pools, sums and means along axes."""

from __future__ import annotations

from dataclasses import replace

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import Level, Mean, Pool, Real, Total
from hwsim.frontends.torch.importer import Executor, ProgramImporter
from hwsim.frontends.torch.moving import inner_axis
from hwsim.frontends.torch.program import ProgramNode
from hwsim.frontends.torch.windows import as_map, map_level, per_axis, pool_window
from hwsim.ops import Reduce, Reduction, TensorType, Window
from hwsim.ops.base import Shape


def _rank(node: ProgramNode) -> int:
    return 1 if "1d" in node.op else 2


def max_pool(run: ProgramImporter, node: ProgramNode) -> None:
    """max_pool1d and max_pool2d."""
    rank = _rank(node)
    if set(per_axis(node, "dilation", rank, 1)) != {1}:
        raise HwsimError(f"{node}: its windows must have no dilation")
    real = as_map(run, node, run.real(node, "self"), rank)
    window = pool_window(node, real.layout.shape, rank)
    run.values[node.output] = _pooled(node, real, window)


def adaptive_max_pool(run: ProgramImporter, node: ProgramNode) -> None:
    """adaptive_max_pool1d and 2d whose windows are all alike."""
    rank = _rank(node)
    real = as_map(run, node, run.real(node, "self"), rank)
    run.values[node.output] = _pooled(node, real, _adaptive(node, real.layout.shape, rank))


def _pooled(node: ProgramNode, real: Real, window: Window) -> Real:
    shape = real.layout.shape
    places = window.output(TensorType((*shape[1:], shape[0]), Format.int(8)))
    layout = Arrangement.map((shape[0], *places))
    return replace(real.then(Pool(str(node), window)), layout=layout)


def _adaptive(node: ProgramNode, shape: Shape, rank: int) -> Window:
    """The window of a pool to a size that divides the map's."""
    wanted = per_axis(node, "output_size", rank, 1)
    if any(size % new for size, new in zip(shape[1:], wanted, strict=True)):
        raise HwsimError(
            f"{node}: its 'output_size' must divide the map's {shape[1:]}, not be {wanted}: its "
            "windows would differ in size"
        )
    kernel = tuple(size // new for size, new in zip(shape[1:], wanted, strict=True))
    return Window(kernel, kernel)


def avg_pool(run: ProgramImporter, node: ProgramNode) -> None:
    """avg_pool1d and avg_pool2d."""
    rank = _rank(node)
    level, shape = map_level(run, node, run.real(node, "self"), rank)
    window = pool_window(node, shape, rank)
    padded = any(window.padding)
    if node.args.get("divisor_override") is not None:
        raise HwsimError(f"{node}: it must have no 'divisor_override'")
    beyond = window.padding[rank:] != window.padding[:rank]
    if padded and (not node.flag("count_include_pad", default=True) or beyond):
        raise HwsimError(
            f"{node}: its windows must all have the same size; count_include_pad=True without "
            "ceil_mode makes them alike"
        )
    run.values[node.output] = _averaged(run, node, level, shape, window, in_reals=True)


def adaptive_avg_pool(run: ProgramImporter, node: ProgramNode) -> None:
    """adaptive_avg_pool1d and 2d whose windows are all alike."""
    rank = _rank(node)
    level, shape = map_level(run, node, run.real(node, "self"), rank)
    window = _adaptive(node, shape, rank)
    whole = window.kernel == shape[1:] and rank == 2 and node.name in run.whole
    run.values[node.output] = _averaged(run, node, level, shape, window, in_reals=not whole)


def _averaged(
    run: ProgramImporter,
    node: ProgramNode,
    level: Level,
    shape: Shape,
    window: Window,
    *,
    in_reals: bool,
) -> Real:
    places = window.output(run.types[level.codes.edge])
    source = Mean(node.name, node.output, level, window, not in_reals, in_reals)
    return Real(source, Arrangement.map((shape[0], *places)))


def mean(run: ProgramImporter, node: ProgramNode) -> None:
    """mean and sum along axes."""
    real = run.real(node, "self")
    shape = real.layout.shape
    rank = len(shape) + 1
    given = node.integers("dim")
    if not given:
        raise HwsimError(f"{node}: it must be along axes that are not the batch")
    axes = tuple(sorted({inner_axis(node, axis, rank) for axis in given}))
    keep, mean_of = node.flag("keepdim"), node.op == "aten.mean"
    kept = tuple(1 if a in axes else n for a, n in enumerate(shape))
    last = kept if keep else tuple(n for a, n in enumerate(shape) if a not in axes)
    # ExecuTorch has an operator of its own, outside of the delegate, for all but such a mean.
    pooled = keep or run.executor is not Executor.EXECUTORCH
    if mean_of and rank == 4 and axes == (1, 2) and pooled:
        level, _ = map_level(run, node, real, 2)
        whole = node.name in run.whole
        made = _averaged(run, node, level, shape, Window(shape[1:]), in_reals=not whole)
    else:
        level = level_of(run, node, real)
        codes = run.arranged(
            replace(level.codes, layout=real.layout), Arrangement.plain(shape), node
        )
        level = replace(level, codes=codes)
        source = Total(node.name, node.output, level, axes, mean_of)
        made = Real(source, Arrangement.plain(kept))
    run.values[node.output] = replace(made, layout=made.layout.reshaped(last))


def largest(run: ProgramImporter, node: ProgramNode) -> None:
    """amax and amin along axes."""
    real = run.real(node, "self")
    shape = real.layout.shape
    axes = tuple(sorted({inner_axis(node, axis, len(shape) + 1) for axis in node.integers("dim")}))
    if not axes:
        raise HwsimError(f"{node}: it must be along axes that are not the batch")
    level = level_of(run, node, real)
    codes = run.arranged(replace(level.codes, layout=real.layout), Arrangement.plain(shape), node)
    kind = Reduction.MAX if node.op == "aten.amax" else Reduction.MIN
    edge = run.emit(node.name, Reduce(reduction=kind, axes=axes), [codes.edge], node.output)
    kept = tuple(1 if a in axes else n for a, n in enumerate(shape))
    layout = Arrangement.plain(kept)
    if not node.flag("keepdim"):
        layout = layout.reshaped(tuple(n for a, n in enumerate(shape) if a not in axes))
    held = replace(codes, edge=edge, layout=layout)
    run.values[node.output] = Real(replace(level, codes=held), layout)
