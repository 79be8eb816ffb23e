"""Rewrites of the emulator's steps: faster ones that give the same integers.

A rewrite is an object that a backend hands to the emulator. It touches a node only as far as the
node's kernel allows (`Allows`): the operators' own texts allow everything, other kernels nothing
unless they say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hwsim.emulator.steps import Step
from hwsim.fixed import Array, Namespace, within
from hwsim.ops import MaxPool, TensorType
from hwsim.ops.base import AddBias


class Rewrite(Protocol):
    """Other steps for the same output edges."""

    def apply(
        self, xp: Namespace, steps: Sequence[Step], types: Mapping[str, TensorType], kept: set[str]
    ) -> list[Step]:
        """Steps that give the same codes on the edges of `kept`; others need not be made.

        `types` has the type of every edge.
        """
        ...


@dataclass(frozen=True, slots=True)
class PoolsFirst:
    """Each max pool goes ahead of the rising functions that feed it.

    The largest of rounded codes is the largest code, rounded: the functions then have a quarter of
    the work, or less. So has the bias of sums before them. Edges in between are not made. Past a
    function that rises only up to some code it goes where a look at the codes, batch by batch,
    finds none above; without `looks` it does not.
    """

    looks: bool = True

    def apply(
        self, xp: Namespace, steps: Sequence[Step], types: Mapping[str, TensorType], kept: set[str]
    ) -> list[Step]:
        """The steps, each pool as early as it may be."""
        pools = list(filter(_pools_earlier, steps))
        if not pools:
            return list(steps)
        readers = Counter(edge for step in steps for edge in step.inputs) + Counter(kept)
        makers = {e: step for step in steps for e in step.outputs if readers[e] == 1}
        found = {step.node: step for step in steps}
        for pool in pools:
            chain, tops = self._passed(pool, makers, types)
            for step in chain:
                del found[step.node]
            first = chain[0] if chain else pool
            edge = first.inputs[0]
            maker = makers.get(edge) if not any(first.convert) else None
            sums = None if maker is None else found.get(maker.node)
            parts = None if sums is None else sums.kernel.allows.unbiased(sums.op, sums.constants)
            if sums is not None and parts is not None:
                constants, add = parts
                found[sums.node] = sums.with_constants(xp, constants)
                chain, tops = [sums.with_run(_adding(xp, add)), *chain], [None, *tops]
            if chain:
                early = replace(pool, inputs=(edge,), convert=first.convert)
                found[pool.node] = early.with_run(_pooled(xp, chain, tops, pool))
        return list(found.values())

    def _passed(
        self, pool: Step, makers: Mapping[str, Step], types: Mapping[str, TensorType]
    ) -> tuple[list[Step], list[int | None]]:
        """The functions that a pool goes ahead of, and up to which code (None: up to any)."""
        chain: list[Step] = []
        tops: list[int | None] = []
        first = pool
        while (step := makers.get(first.inputs[0])) is not None and not any(first.convert):
            top = _rises_to(step, types)
            proved = top is not None and top >= types[step.inputs[0]].hi
            if top is None or not (proved or self.looks):
                break
            chain.insert(0, step)
            tops.insert(0, None if proved else top)
            first = step
        return chain, tops


def _pools_earlier(step: Step) -> bool:
    """Whether a step is a max pool that may go ahead of rising functions."""
    return (
        isinstance(step.op, MaxPool)
        and not any(step.op.window.padding)
        and step.kernel.allows.moves
    )


def _rises_to(step: Step, types: Mapping[str, TensorType]) -> int | None:
    """The code up to which a pool may go ahead of a step, or None."""
    if len(step.inputs) > 1 or not step.kernel.allows.moves:
        return None
    same = step.form.reads is step.form.gives
    return step.op.rises_to([types[step.inputs[0]]]) if same else None


def _adding(xp: Namespace, add: AddBias) -> Callable[[Sequence[Array]], Array]:
    return lambda xs: add(xp, xs[0])


def _pooled(
    xp: Namespace, chain: Sequence[Step], tops: Sequence[int | None], pool: Step
) -> Callable[[Sequence[Array]], Array]:
    """Pool, then the functions; in the first order where a code lies above where one rises."""

    def run(xs: Sequence[Array]) -> Array:
        x = pool.run(xs)
        for step, top in zip(chain, tops, strict=True):
            if not within(xp, x, None, top):
                break
            x = step.run([x])
        else:
            return x
        (x,) = xs
        for step in (*chain, pool):
            x = step.run([x])
        return x

    return run


@dataclass(frozen=True, slots=True)
class ScaledSums:
    """The factor of a cast goes into the weights of the sums that it casts.

    A float carrier holds sums scaled by a power of two as exactly as the sums themselves.
    """

    def apply(
        self, xp: Namespace, steps: Sequence[Step], types: Mapping[str, TensorType], kept: set[str]
    ) -> list[Step]:
        """The steps, with fewer factors."""
        readers = Counter(edge for step in steps for edge in step.inputs) + Counter(kept)
        makers = {e: step for step in steps for e in step.outputs if readers[e] == 1}
        found = {step.node: step for step in steps}
        for cast in steps:
            split = cast.kernel.allows.unscaled(cast.op, cast.constants)
            sums = None if split is None else _scaled_from(cast, makers)
            if split is None or sums is None:
                continue
            factor, rest = split
            scaled = sums.kernel.allows.scaled(sums.op, sums.constants, factor)
            if scaled is not None:
                found[sums.node] = sums.with_constants(xp, scaled)
                found[cast.node] = cast.with_constants(xp, rest)
        return list(found.values())


def _scaled_from(cast: Step, makers: Mapping[str, Step]) -> Step | None:
    """The step whose scale goes unchanged, in one float carrier, into a cast."""
    reader = cast
    while len(reader.inputs) == 1 and reader.form.reads.is_float and not any(reader.convert):
        step = makers.get(reader.inputs[0])
        if step is None or not step.kernel.allows.keeps_scale(step.op):
            return step
        reader = step
    return None


REWRITES: tuple[Rewrite, ...] = (PoolsFirst(), ScaledSums())
"""What pays on a CPU, in this order."""
