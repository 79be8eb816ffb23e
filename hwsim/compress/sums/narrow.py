"""A Graph whose layers have narrow sums: units in which they fit best, then the accumulators.

A layer's sums are read in any unit by a requantizer behind it, so their unit is chosen, channel by
channel: of all powers of two the one whose sums, with weights rounded to it and what is out of
range lost, err least on samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.sums.limit import SumLimit
from hwsim.compress.sums.width import SumWidth
from hwsim.compress.training.layers import Reals, is_learned_multiplier, real_unit
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.fixed import Format, overflow
from hwsim.graph import Graph, Node
from hwsim.ops import EXACT, Exact, Requantize, Stepwise, TensorType, Weighted
from hwsim.ops.accumulate import Accumulator
from hwsim.ops.base import Carrier

Codes = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Narrowed:
    """A Graph with narrow sums, and what a training of it needs.

    `reals` are weights and biases to begin with, by node; `limits` the widths of the layers whose
    sums must always fit.
    """

    graph: Graph
    reals: Mapping[str, Mapping[str, Reals]]
    limits: Mapping[str, SumWidth]


def narrow(
    graph: Graph,
    widths: Mapping[str, SumWidth],
    x: Any,
    reals: Mapping[str, Mapping[str, Reals]] | None = None,
) -> Narrowed:
    """Give layers sums of so many bits, with units chosen on a few samples `x`.

    `x` is as `emulate` takes it; `reals` are float weights as `finetune` takes them, to be rounded
    in the place of the graph's codes. Raises HwsimError for a node that is no layer with weights or
    has no exact sums, and for bits that do not hold its inputs.
    """
    expect_widths(graph, widths)
    emulator, found = planned(graph), dict(reals or {})
    seen = emulator.run(emulator.encode(x), keep=True)
    made, limits = graph, {}
    for name, width in widths.items():
        op, kind = _layer(graph, name)
        given = {"weights": op.weights * real_unit(op, kind), **found.get(name, {})}
        layer = NarrowLayer(graph, graph.node(name), width, given)
        shifts = layer.best(np.asarray(seen[graph.node(name).inputs[0]]))
        made, found[name] = layer.put(made, shifts)
        if width.overflow is None:
            limits[name] = width
    return Narrowed(made, found, limits)


def expect_widths(graph: Graph, widths: Mapping[str, SumWidth]) -> None:
    """Raise HwsimError where `narrow` will for this graph, which is before any data are read."""
    for name, width in widths.items():
        op, kind = _layer(graph, name)
        NarrowLayer(graph, graph.node(name), width, {"weights": op.weights * real_unit(op, kind)})


def _layer(graph: Graph, name: str) -> tuple[Weighted, TensorType]:
    if graph.state:
        raise HwsimError("a graph that gets narrow sums must be one without state, not one with it")
    node = graph.node(name)
    op, x = node.op, graph.input_types(node)[0]
    if not isinstance(op, Weighted):
        raise HwsimError(f"node {name!r} must be a layer with weights, not a {op.kind}")
    if not isinstance(op.accumulator, Exact):
        raise HwsimError(f"node {name!r} must have exact sums to be given others, not a format")
    return op, x


class NarrowLayer:
    """A layer's weights and biases in coarser units, with the sums that they give.

    `reals` are as `finetune` takes them; what they lack is the codes'.
    """

    def __init__(
        self, graph: Graph, node: Node, width: SumWidth, reals: Mapping[str, Reals]
    ) -> None:
        op, x = node.op, graph.input_types(node)[0]
        assert isinstance(op, Weighted)
        self.op, self.x, self.node, self.width = op, x, node, width
        self.frac = op.aligned(x)[2]
        self.limit = SumLimit.of(node.name, op, x, width)
        self.reader = None if op.encoding else _requantizer(graph, node)
        self.unit = real_unit(op, x)
        finer = 2.0 ** (x.format.frac_bits + op.weight_format.frac_bits - op.bias_frac)
        self.bias_unit = self.unit * float(x.scales()[0]) * finer
        self.steps = np.asarray(reals["weights"], np.float64) / self.unit
        self.biases = np.asarray(reals.get("bias", op.bias * self.bias_unit)) / self.bias_unit
        self._check()

    def _check(self) -> None:
        """What cannot be had, by the node."""
        op, name = self.op, self.node.name
        if self.width.overflow is None:
            if op.encoding is not None:
                raise HwsimError(
                    f"sums of node {name!r} that always fit must be of weights without an encoding"
                )
            return
        if op.zero_point or self.x.zero_point:
            raise HwsimError(
                f"an accumulator of node {name!r} that wraps or saturates must have inputs of zero "
                f"point 0, not {op.zero_point or self.x.zero_point}; exact{self.width.bits} will do"
            )
        heaviest = int(np.abs(op.weights).max()) if self.reader is None else 1
        reach = max(self.limit.above, self.limit.below) * heaviest
        if reach > self.width.ends[1]:
            raise HwsimError(
                f"the accumulator of node {name!r} must have at least {reach.bit_length() + 1} "
                f"bits, which one product of up to {reach:,} steps needs, not {self.width.bits}"
            )

    def best(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """By channel, how many bits coarser the unit is with which the sums err least."""
        count = 1 if self.reader is None else self.op.weight_format.width
        wanted = self._sums(self.op.weights, self.op.bias, codes)
        errors = []
        for shift in range(count):
            found = self._sums(*self.coded(np.full(self.op.outputs, shift)), codes)
            if self.width.overflow is not None:
                fmt = Format(True, self.width.bits - self.frac, self.frac)
                found = overflow(np, found, fmt, self.width.overflow)
            off = (found * 2.0**shift - wanted).reshape(-1, self.op.outputs)
            errors.append(np.square(off).mean(0))
        return np.asarray(np.argmin(errors, axis=0))

    def _sums(self, weights: Any, bias: Any, codes: npt.NDArray[Any]) -> Codes:
        op = replace(self.op, weights=weights, bias=bias)
        carrier = Carrier.FLOAT64
        made = op.prepare([self.x], carrier)
        return np.asarray(op.run(np, [codes.astype(carrier.value)], made), np.float64)

    def coded(self, shifts: npt.NDArray[np.int64]) -> tuple[Any, Any]:
        """Weights and biases in units that are so many bits coarser, by channel."""
        fmt, least = self.op.weight_format, self.limit.least
        factor = 2.0 ** -shifts.astype(float)
        left = 2.0 ** (self.frac - self.op.bias_frac)
        biases = np.clip(np.rint(self.biases * factor), least / left, self.limit.most // left)
        low, high = self.op.weight_ends
        steps = np.clip(self.steps * factor, -high if fmt.signed else low, high)
        if self.width.overflow is not None or self.op.encoding is not None:
            whole = self.op.weights if self.op.encoding else np.rint(steps)
        else:
            rows = steps.reshape(-1, self.op.outputs)
            whole = self.limit.rounded(np, rows, biases * left).reshape(steps.shape)
        return whole.astype(np.int64), biases.astype(np.int64)

    def put(self, graph: Graph, shifts: npt.NDArray[np.int64]) -> tuple[Graph, dict[str, Reals]]:
        """The graph with the layer in these units, and its reals in them."""
        op, factor = self.op, 2.0 ** shifts.astype(float)
        weights, bias = self.coded(shifts)
        scale = op.weight_scale
        if shifts.any():
            step = scale or (2.0**-op.weight_format.frac_bits,)
            scale = tuple((np.broadcast_to(step, (op.outputs,)) * factor).tolist())
            assert self.reader is not None
            graph = graph.with_op(self.reader.name, _coarser(self.reader.op, factor))
        accumulator: Accumulator = EXACT
        if self.width.overflow is not None:
            fmt = Format(True, self.width.bits - self.frac, self.frac)
            accumulator = Stepwise(format=fmt, overflow=self.width.overflow)
        made = replace(op, weights=weights, bias=bias, weight_scale=scale, accumulator=accumulator)
        unit = real_unit(made, self.x)
        reals = {
            "weights": self.steps / factor * unit,
            "bias": self.biases / factor * (self.bias_unit / self.unit * unit),
        }
        return graph.with_op(self.node.name, made), reals


def _requantizer(graph: Graph, node: Node) -> Node | None:
    """What alone reads a layer's sums and multiplies them, so that they may have any unit."""
    readers = graph.consumers(node.output)
    shown = any(port.tensor == node.output for port in graph.outputs)
    if shown or len(readers) != 1:
        return None
    op = readers[0].op
    plain = isinstance(op, Requantize) and op.input_zero_point == 0
    return readers[0] if plain and is_learned_multiplier(op) else None


def _coarser(op: Any, factor: npt.NDArray[np.float64]) -> Requantize:
    multiplier = np.broadcast_to(op.multiplier, factor.shape) * factor
    made: Requantize = replace(op, multiplier=tuple(multiplier.tolist()))
    return made
