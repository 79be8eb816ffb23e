"""Operators on maps where the first axis is not 1 long: one map after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.importer import Handler, LiteImporter
from hwsim.frontends.tflite.kernels import KernelSet, only
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.rounding import same_meaning
from hwsim.ops import Concat, Op, Pad, Reshape, Select, Split, Transpose

MOST_MAPS = 256


def each_map(handler: Handler, place: int = 0) -> Handler:
    """A handler that takes one map, of as many as there are in the input at a place."""

    def handle(run: LiteImporter, node: LiteNode) -> None:
        given, made = run.tensor(node, place), run.made(node)
        if run.drops(given) or len(given.shape) != 4 or len(made.shape) != 4:
            handler(run, node)
            return
        count, name = given.shape[0], run.label(made)
        if not 1 < count <= MOST_MAPS or made.shape[0] != count:
            raise HwsimError(
                f"{node}: its output must have as many maps as its input, up to {MOST_MAPS}, not "
                f"{made.shape[0]} of {count}"
            )
        edge = run.edge(node, place)
        names = [f"{name}.map{number}" for number in range(count)]
        maps = run.emit_all(name, Split(axis=0, sizes=(1,) * count), [edge], names)
        results = []
        for number, one in enumerate(maps):
            shape = given.shape[1:]
            held = run.chain(f"{one}.in", one, [Reshape(shape=shape)], f"{one}.in")
            source = run.made_up(replace(given, name=one, shape=(1, *shape)), held)
            title = f"{name}.{number}"
            target = run.made_up(replace(made, name=title, shape=(1, *made.shape[1:])))
            inputs = (*node.inputs[:place], source, *node.inputs[place + 1 :])
            handler(run, replace(node, name=title, inputs=inputs, outputs=(target,)))
            result, wide = run.edges[target], Reshape(shape=(1, *made.shape[1:]))
            results.append(run.emit(f"{title}.out", wide, [result], f"{title}.out"))
        run.give(node, [Concat(axis=0)], *results)

    return handle


def space_to_batch(run: LiteImporter, node: LiteNode) -> None:
    """SPACE_TO_BATCH_ND: every so many places of some axes become maps of their own."""
    shape, blocks, rows = _blocks(run, node)
    same_meaning(run, node, run.tensor(node, 0))
    before = (0, *(row[0] for row in rows), *(0,) * (len(shape) - 1 - len(rows)))
    after = (0, *(row[1] for row in rows), *(0,) * (len(shape) - 1 - len(rows)))
    wide = [sum(sizes) for sizes in zip(shape, before, after, strict=True)]
    if any(wide[k + 1] % block for k, block in enumerate(blocks)):
        raise HwsimError(f"{node}: its blocks {blocks} must divide {wide[1 : 1 + len(blocks)]}")
    ops: list[Op] = []
    if any((*before, *after)):
        if run.like is KernelSet.TFLM:  # it fills them with what its memory happens to hold
            raise only(f"{node} with padding", [k for k in KernelSet if k is not KernelSet.TFLM])
        code = run.meaning(run.made(node)).zero_point
        ops.append(Pad(before=before, after=after, code=code))
    parts = [wide[0], *(n for k, b in enumerate(blocks) for n in (wide[k + 1] // b, b))]
    parts += wide[1 + len(blocks) :]
    count = len(blocks)
    inner = [2 * k + 2 for k in range(count)]
    order = (*inner, 0, *(2 * k + 1 for k in range(count)), *range(1 + 2 * count, len(parts)))
    ops += [Reshape(shape=tuple(parts)), Transpose(axes=order)]
    run.give(node, ops, run.seen(node, 0, 0))


def batch_to_space(run: LiteImporter, node: LiteNode) -> None:
    """BATCH_TO_SPACE_ND: the way back, and what is cut off then."""
    shape, blocks, rows = _blocks(run, node)
    product = int(np.prod(blocks))
    if shape[0] % product:
        raise HwsimError(f"{node}: its blocks {blocks} must divide its {shape[0]} maps")
    count, rest = len(blocks), shape[1 + len(blocks) :]
    parts = (*blocks, shape[0] // product, *shape[1:])
    pairs = [axis for k in range(count) for axis in (count + 1 + k, k)]
    order = (count, *pairs, *range(2 * count + 1, len(parts)))
    wide = [shape[0] // product, *(n * b for n, b in zip(shape[1:], blocks, strict=False)), *rest]
    ops: list[Op] = [Reshape(shape=parts), Transpose(axes=order), Reshape(shape=tuple(wide))]
    for axis, (first, last) in enumerate(rows, 1):
        if first + last >= wide[axis]:
            raise HwsimError(f"{node}: it must leave something of an axis of {wide[axis]}")
        if first or last:
            ops.append(Select(axis=axis, indices=tuple(range(first, wide[axis] - last))))
    run.give(node, ops, run.seen(node, 0, 0))


def _blocks(
    run: LiteImporter, node: LiteNode
) -> tuple[tuple[int, ...], list[int], list[tuple[int, int]]]:
    """The input's axes, the blocks of those behind the first, and what each gains or loses."""
    shape, blocks = run.axes(run.tensor(node, 0)), run.whole(node, 1)
    ends = run.whole(node, 2)
    fits = len(ends) == 2 * len(blocks) and 0 < len(blocks) < len(shape)
    if not fits or min(blocks) < 1 or min(ends) < 0:
        raise HwsimError(
            f"{node}: it must have blocks of 1 or more and two ends of 0 or more for some of its "
            f"axes, not {blocks} and {ends}"
        )
    return shape, blocks, list(zip(ends[::2], ends[1::2], strict=True))
