"""The emulator's steps: one for each node, and the faster ones that give the same integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hwsim.errors import HwsimError
from hwsim.fixed import Array, Namespace, within
from hwsim.graph import Node
from hwsim.ops import Carrier, Cast, MaxPool, Op, Relu, TensorType, Weighted
from hwsim.ops.accumulate import add_bias
from hwsim.ops.base import Constants

Kernel = Callable[[Any, Namespace, Sequence[Array], Constants], Array]  # an operator's `run`


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One node as the emulator runs it: what it reads and makes, in which carrier, how it goes."""

    node: str
    inputs: tuple[str, ...]
    output: str
    carrier: Carrier
    convert: tuple[bool, ...]
    op: Op
    constants: Constants
    kernel: Kernel
    run: Callable[[Sequence[Array]], Array]

    @classmethod
    def of(
        cls,
        node: Node,
        kernel: Kernel,
        xp: Namespace,
        constants: Constants,
        carrier: Carrier,
        convert: tuple[bool, ...],
    ) -> Step:
        """The step that runs a node's operator by `kernel` with its constants."""
        run = _bound(kernel, node.op, xp, constants)
        return cls(
            node.name, node.inputs, node.output, carrier, convert, node.op, constants, kernel, run
        )

    def with_constants(self, xp: Namespace, constants: Constants) -> Step:
        """The same with other constants."""
        run = _bound(self.kernel, self.op, xp, constants)
        return replace(self, constants=constants, run=run)


def _bound(
    kernel: Kernel, op: Op, xp: Namespace, constants: Constants
) -> Callable[[Sequence[Array]], Array]:
    return lambda xs: kernel(op, xp, xs, constants)


def choose_carrier(name: str, bound: int, allowed: Sequence[Carrier]) -> Carrier:
    """The cheapest carrier that is exact up to `bound`."""
    for carrier in allowed:
        if bound < carrier.limit:
            return carrier
    raise HwsimError(
        f"node {name!r}: whole numbers up to {bound} must fit {allowed[-1].value}, which is exact "
        f"below {allowed[-1].limit}"
    )


def unconverted(carrier: Carrier, inputs: Sequence[Carrier | None]) -> Carrier:
    """A float carrier that spares a conversion; worth it where no BLAS runs twice as fast."""
    floats = (Carrier.FLOAT32, Carrier.FLOAT64)
    return Carrier.FLOAT64 if carrier in floats and set(inputs) == {Carrier.FLOAT64} else carrier


def last_uses(steps: Sequence[Step], outputs: set[str]) -> list[list[str]]:
    """The edges that nobody reads after each step."""
    seen, found = set(outputs), []
    for step in reversed(steps):
        edges = {*step.inputs, step.output}
        found.append([edge for edge in edges if edge not in seen])
        seen |= edges
    return found[::-1]


def pools_first(
    xp: Namespace, steps: Sequence[Step], types: Mapping[str, TensorType], outputs: set[str]
) -> list[Step]:
    """The same steps, with each max pool ahead of the rising functions that feed it.

    The largest of rounded codes is the largest code, rounded: the functions then have a quarter of
    the work, or less. So has the bias of sums before them. Edges in between are not made.
    """
    readers = Counter(edge for step in steps for edge in step.inputs) + Counter(outputs)
    makers = {step.output: step for step in steps}
    found = {step.output: step for step in steps}
    for pool in steps:
        if not isinstance(pool.op, MaxPool) or any(pool.op.window.padding):
            continue
        chain, edge = [pool], pool.inputs[0]
        tops: list[int | None] = []
        while edge in makers and readers[edge] == 1 and not any(chain[0].convert):
            step = makers[edge]
            top = step.op.rises_to([types[i] for i in step.inputs])
            if top is None or len(step.inputs) > 1:
                break
            chain.insert(0, step)
            tops.insert(0, None if top >= types[step.inputs[0]].hi else top)
            edge = step.inputs[0]
        for step in chain[:-1]:
            del found[step.output]
        first = chain[0]
        sums = found.get(edge) if readers[edge] == 1 and not any(first.convert) else None
        biases = None if sums is None else sums.constants.get("b")
        if sums is not None and biases is not None and isinstance(sums.op, Weighted):
            found[edge] = sums.with_constants(xp, {**sums.constants, "b": None})
            chain.insert(0, replace(sums, run=partial(_add_biases, xp, biases)))
            tops.insert(0, None)
        if len(chain) > 1:
            run = _pooled(xp, chain[:-1], tops, pool)
            found[pool.output] = replace(pool, inputs=(edge,), convert=first.convert, run=run)
    return list(found.values())


def _add_biases(xp: Namespace, biases: Array, xs: Sequence[Array]) -> Array:
    return add_bias(xp, xs[0], biases)


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


def scaled_sums(xp: Namespace, steps: Sequence[Step], outputs: set[str]) -> list[Step]:
    """The same steps, with the factor of a cast in the weights of the sums that it casts.

    A float carrier holds sums scaled by a power of two as exactly as the sums themselves.
    """
    readers = Counter(edge for step in steps for edge in step.inputs) + Counter(outputs)
    makers = {step.output: step for step in steps}
    found = {step.output: step for step in steps}
    for cast in steps:
        if not isinstance(cast.op, Cast) or cast.constants["factor"] is None:
            continue
        edge = cast.inputs[0]
        while edge in makers and readers[edge] == 1 and _keeps_scale(makers[edge]):
            edge = makers[edge].inputs[0]
        sums = makers.get(edge)
        if sums is None or readers[edge] > 1 or sums.carrier is not cast.carrier:
            continue
        if isinstance(sums.op, Weighted):
            scaled = sums.op.scaled(sums.constants, cast.constants["factor"])
            if scaled is not None:
                found[edge] = sums.with_constants(xp, scaled)
                whole = {**cast.constants, "factor": 1.0}
                found[cast.output] = cast.with_constants(xp, whole)
    return list(found.values())


def _keeps_scale(step: Step) -> bool:
    op = step.op
    return isinstance(op, Relu) and op.zero_point == 0 and op.maximum is None
