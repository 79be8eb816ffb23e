"""A Graph whose weights are learned, with the forward pass of the emulator, code by code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.sums.width import SumWidth
from hwsim.compress.training.convolution import convolved
from hwsim.compress.training.grids import WeightGrid
from hwsim.compress.training.layers import (
    LearnedLayer,
    LearnedMultiplier,
    Reals,
    has_unit,
    is_learned_multiplier,
)
from hwsim.compress.training.namespace import CPU, expect_device, namespace, on, to_numpy, torch
from hwsim.compress.training.through import smooth_of, through, weighted
from hwsim.compress.training.wider import widened
from hwsim.emulator import ports
from hwsim.emulator.run import planned
from hwsim.emulator.steps import CARRIERS, choose_carrier
from hwsim.errors import HwsimError
from hwsim.fixed import Array, Overflow, overflow
from hwsim.graph import Graph, Node, OutputPort
from hwsim.ops import EXACT, Carrier, Conv, Op, Stepwise, TensorType, Weighted
from hwsim.ops.base import Constants

Learned = LearnedLayer | LearnedMultiplier
FLOATS = (Carrier.FLOAT32, Carrier.FLOAT64)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingStep:
    """One node as training runs it."""

    node: Node
    types: tuple[TensorType, ...]  # of its inputs, then of its first output
    carrier: Carrier  # of its own text
    holder: Carrier  # the float type of the codes that it gives
    constants: Constants
    learned: Learned | None


class TrainableGraph:
    """A Graph with learned weights, biases and multipliers; calling it gives an output's reals.

    Its forward pass runs `Op.run` of every node on PyTorch's tensors, so `frozen()` is a Graph
    whose emulator gives the very codes of training. `reals` are the float weights to begin with, by
    node, as `weights` (of the operator's shape, channels last) and `bias`; without them it begins
    with those of the codes. `learn_steps` learns multipliers of requantizers as well,
    `learn_entries` the entries of codebooks, `narrow` keeps the lowest code of signed weights out,
    `quick` convolves by PyTorch's own kernels. Tensors are on `device`; on another than the CPU
    convolutions are the operator's own text, since kernels there may transform the numbers first.
    Raises HwsimError for a graph with state, for one without a layer (or with `learn_entries` a
    codebook) that can be trained, and for a device that there is not.
    """

    def __init__(
        self,
        graph: Graph,
        reals: Mapping[str, Mapping[str, Reals]] | None = None,
        *,
        learn_steps: bool = False,
        learn_entries: bool = False,
        narrow: bool = True,
        quick: bool = True,
        device: str = CPU,
    ) -> None:
        if graph.state:
            raise HwsimError("a graph to train must be one without state, not one with it")
        self.graph, self.xp = graph, namespace()
        self._reals, self._learn_steps, self._narrow = reals or {}, learn_steps, narrow
        self._learn_entries = learn_entries
        expect_device(device)
        self.quick, self.device = quick and device == CPU, device
        self.types: dict[str, TensorType] = {}
        self._wider: dict[str, Op] = {}
        with self.there():
            self.steps = tuple(self._planned())
        self.learned = {s.node.name: s.learned for s in self.steps if s.learned is not None}
        if not any(isinstance(found, LearnedLayer) for found in self.learned.values()):
            raise HwsimError("a graph to train must have a dense layer or convolution, not none")
        held = [one.entries for one in self.learned.values() if isinstance(one, LearnedLayer)]
        if learn_entries and not any(one is not None for one in held):
            raise HwsimError(
                "a graph whose codebooks are learned must have one (hwsim encode --weights "
                "codebook3), not none"
            )

    def there(self) -> AbstractContextManager[None]:
        """New tensors are on the network's device."""
        return on(self.device)

    def _planned(self) -> Iterator[TrainingStep]:
        types = self.types
        types.update((port.tensor, port.type) for port in self.graph.inputs)
        for given in self.graph.nodes:
            inputs = [types[edge] for edge in given.inputs]
            node = self._widened(given, inputs)
            learned = self._learn(node, inputs)
            if isinstance(learned, LearnedLayer):
                outputs: tuple[TensorType, ...] = (learned.out,)
                bound = learned.most
            else:
                outputs = self._inferred(node, inputs)
                bound = max(node.op.bound(inputs), *(made.magnitude for made in outputs))
            types.update(zip(node.outputs, outputs, strict=True))
            widest = max(made.magnitude for made in outputs)
            _expect_exact(node, max(widest, bound) if isinstance(node.op, Weighted) else widest)
            allowed = [c for c in CARRIERS if c in node.op.carriers(inputs)]
            carrier = choose_carrier(node.name, bound, allowed, [*inputs, *outputs], only=False)
            yield TrainingStep(
                node=node,
                types=(*inputs, outputs[0]),
                carrier=carrier,
                holder=carrier if carrier.is_float else holder_of(widest),
                constants=_moved(self.xp, node.op.prepare(inputs, carrier)),
                learned=learned,
            )

    def _widened(self, node: Node, inputs: Sequence[TensorType]) -> Node:
        op = widened(node.op, self.graph.input_types(node), inputs)
        if op is node.op:
            return node
        self._wider[node.name] = node.op
        return replace(node, op=op)

    def _learn(self, node: Node, inputs: Sequence[TensorType]) -> Learned | None:
        op = node.op
        if isinstance(op, Weighted):
            return LearnedLayer(
                op,
                inputs[0],
                self._reals.get(node.name, {}),
                narrow=self._narrow,
                learn_entries=self._learn_entries,
            )
        if self._learn_steps and is_learned_multiplier(op):
            return LearnedMultiplier(op)  # type: ignore[arg-type]
        return None

    def _inferred(self, node: Node, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        try:
            return node.op.output_types(inputs)
        except HwsimError as error:
            raise HwsimError(
                f"node {node.name!r} ({node.op.kind}) must take whatever sums training leads to, "
                f"but {error}"
            ) from None

    def keep(self, name: str, mask: npt.NDArray[np.bool_]) -> None:
        """Let the weights of a node differ from 0 only where `mask`, of their shape, is true."""
        layer = self.learned.get(name)
        if not isinstance(layer, LearnedLayer) or mask.shape != layer.op.weights.shape:
            shape = layer.op.weights.shape if isinstance(layer, LearnedLayer) else "no layer"
            raise HwsimError(f"a mask of node {name!r} must have shape {shape}, not {mask.shape}")
        with self.there():
            layer.kept = torch().tensor(mask, dtype=layer.weights.dtype)

    def bound(self, name: str, width: SumWidth) -> None:
        """Let the weights of a node only be such that sums of so many bits hold any input's."""
        layer = self.learned.get(name)
        if not isinstance(layer, LearnedLayer):
            raise HwsimError(f"bounds of sums must be those of a layer, not of node {name!r}")
        with self.there():
            layer.bound(name, width)

    def keep_grid(self, name: str, grid: WeightGrid) -> None:
        """Let each weight of a node have codes of its own grid only."""
        layer = self.learned.get(name)
        if not isinstance(layer, LearnedLayer):
            raise HwsimError(f"a grid must be that of a layer's weights, not of node {name!r}")
        with self.there():
            layer.keep_grid(name, grid)

    def pull(self) -> None:
        """Bring weights back into the bounds of their sums, after an optimizer moved them."""
        with self.there():
            for layer in self.learned.values():
                if isinstance(layer, LearnedLayer):
                    layer.pull()

    def parameters(self) -> dict[str, Array]:
        """What an optimizer moves, by `node.name`."""
        return {
            f"{node}.{name}": value
            for node, learned in self.learned.items()
            for name, value in learned.parameters.items()
        }

    def __call__(self, codes: Mapping[str, Array]) -> Any:
        """The outputs' reals, with gradients, for codes of the input edges (`encode`)."""
        edges = self.run(codes)
        found = {port.name: self.decoded(port, edges) for port in self.graph.outputs}
        return found if len(found) > 1 else next(iter(found.values()))

    def run(
        self, codes: Mapping[str, Array], sums: dict[str, Array] | None = None
    ) -> dict[str, Array]:
        """Codes of every edge, as floats with gradients.

        `sums` gets by node what step-wise accumulators would hold if they were wide.
        """
        edges = dict(codes)
        with self.there():
            for step in self.steps:
                xs = [edges[edge] for edge in step.node.inputs]
                edges.update(zip(step.node.outputs, self.outputs_of(step, xs, sums), strict=True))
        return edges

    def outputs_of(
        self, step: TrainingStep, xs: list[Array], sums: dict[str, Array] | None = None
    ) -> tuple[Array, ...]:
        """What a node makes of codes, which are floats with gradients; `sums` as for `run`."""
        made = self._made(step, xs, sums)
        return made if isinstance(made, tuple) else (made,)

    def is_smooth(self, step: TrainingStep) -> bool:
        """Whether a smooth function stands beside a node's codes, or sums in floats are its own."""
        return isinstance(step.node.op, Weighted) or smooth_of(step.node.op) is not None

    def _made(self, step: TrainingStep, xs: list[Array], sums: dict[str, Array] | None) -> Any:
        op, learned = step.node.op, step.learned
        if isinstance(op, Weighted):
            assert isinstance(learned, LearnedLayer)
            return self._summed(step, op, learned, xs, sums)
        smooth = smooth_of(op)
        if smooth is None:
            return self._plain(step, op, xs, step.constants)
        live, constants = {}, step.constants
        if isinstance(learned, LearnedMultiplier):
            live, op = {"multiplier": learned.now()}, learned.frozen()
            constants = _moved(self.xp, op.prepare(step.types[:-1], step.carrier))
        wide = [x.to(_kind(step.holder)) for x in xs]
        with torch().no_grad():
            codes = self._plain(step, op, xs, constants)
        found = smooth(op, step.types, wide, {**live, "codes": codes})
        return through(found, codes.to(_kind(step.holder)))

    def _summed(
        self,
        step: TrainingStep,
        op: Weighted,
        learned: LearnedLayer,
        xs: list[Array],
        sums: dict[str, Array] | None,
    ) -> Array:
        carrier, constants = learned.constants(step.carrier)
        summed = replace(step, carrier=carrier)
        if not isinstance(op.accumulator, Stepwise):
            return self._plain(summed, op, xs, constants)
        exact, acc = replace(op, accumulator=EXACT), op.accumulator
        drop = learned.frac - acc.format.frac_bits
        total = self._plain(summed, exact, xs, constants) * 2.0**-drop
        if sums is not None:
            sums[step.node.name] = total
        with torch().no_grad():
            if drop == 0 and acc.overflow is Overflow.WRAP:  # one wrap repeats those of all steps
                codes = overflow(self.xp, total, acc.format, acc.overflow)
            else:
                frozen = learned.frozen()
                made = _moved(self.xp, frozen.prepare(step.types[:-1], step.carrier))
                codes = self._plain(step, frozen, xs, made)
        return through(weighted(op, step.types, xs, {"sum": total}), codes)

    def _plain(
        self, step: TrainingStep, op: Op, xs: Sequence[Array], constants: Constants
    ) -> Array:
        kind = _kind(step.carrier)
        codes = [x.to(kind) for x in xs]
        if isinstance(op, Conv) and "steps" not in constants and self.quick:
            return convolved(op, self.xp, codes, constants)
        return op.run(self.xp, codes, constants)

    def encode(self, x: Any) -> dict[str, Array]:
        """Codes of the input edges for a batch as `emulate` takes it, as float tensors."""
        found = planned(self.graph).encode(x)
        with self.there():
            return {
                edge: torch().tensor(
                    np.asarray(codes), dtype=_kind(holder_of(self.types[edge].magnitude))
                )
                for edge, codes in found.items()
            }

    def decoded(self, port: OutputPort, edges: Mapping[str, Array]) -> Array:
        """The reals that a port shows of an edge, with gradients; of a port of codes theirs."""
        kind, codes = self.types[port.tensor], edges[port.tensor]
        with self.there():
            reals: Array = ports.to_user(self.xp, port, kind, self.reals(port.tensor, codes))
            if port.element is not None:
                return reals
            with torch().no_grad():
                exact = ports.decode(self.xp, port, kind, codes, False)
            return through(reals.reshape(exact.shape), exact)

    def reals(self, edge: str, codes: Array) -> Array:
        """Codes of an edge less their zero point, times their scale."""
        kind = self.types[edge]
        with self.there():
            scale = torch().tensor(np.asarray(kind.scales(), np.float32))
            return (codes - kind.zero_point).to(torch().float32) * scale

    def reals_behind(self) -> dict[str, dict[str, Reals]]:
        """What the codes of now are rounded from, by node, for a graph to begin with.

        A layer is left out whose weights have no unit but one that is told from its codes.
        """
        return {
            name: {part: to_numpy(value.detach()) for part, value in learned.parameters.items()}
            for name, learned in self.learned.items()
            if isinstance(learned, LearnedLayer) and has_unit(learned.op, learned.x)
        }

    def frozen(self) -> Graph:
        """The Graph with the weights, biases and multipliers of now."""
        with self.there():
            nodes = tuple(
                s.node if s.learned is None else replace(s.node, op=s.learned.frozen())
                for s in self.steps
            )
        graph = replace(self.graph, nodes=nodes)
        if not self._wider:
            return graph
        return replace(graph, nodes=tuple(self._fitting(graph, node) for node in nodes))

    def _fitting(self, graph: Graph, node: Node) -> Node:
        """A node of the frozen graph, no wider than its codes ask for."""
        if node.name not in self._wider:
            return node
        before, now = (one.input_types(node) for one in (self.graph, graph))
        return replace(node, op=widened(self._wider[node.name], before, now))


def holder_of(widest: int) -> Carrier:
    """The float type that holds whole numbers of such a magnitude exactly."""
    return Carrier.FLOAT32 if widest < Carrier.FLOAT32.limit else Carrier.FLOAT64


def _expect_exact(node: Node, widest: int) -> None:
    if widest >= Carrier.FLOAT64.limit:
        raise HwsimError(
            f"node {node.name!r} ({node.op.kind}) must have codes and sums below 2**53 to be "
            f"trained, as float64 has, not ones up to {widest:,}"
        )


def _kind(carrier: Carrier) -> Any:
    return getattr(torch(), carrier.value)


def _moved(xp: Any, value: Any) -> Any:
    """Constants as tensors."""
    if isinstance(value, np.ndarray):
        return torch().tensor(value)
    if isinstance(value, Mapping):
        return {key: _moved(xp, item) for key, item in value.items()}
    return value
