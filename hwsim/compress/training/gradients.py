"""Where gradients stop: operators that have no smooth stand-in and compute in integers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np

from hwsim.compress.training.namespace import torch
from hwsim.compress.training.network import TrainableGraph, TrainingStep
from hwsim.errors import HwsimError
from hwsim.graph import Node
from hwsim.ops import Weighted

SAMPLES = 4
TOLD = 8


class GradientsStop(UserWarning):
    """Some layers of a graph in training keep their weights, because no gradient reaches them."""


def expect_gradients(network: TrainableGraph, ends: Iterable[str]) -> None:
    """Raise HwsimError where no gradient of the edges `ends` reaches any layer with weights.

    Where some are reached and others are not, warns (GradientsStop) of those others. Both sentences
    name the nodes that stop the gradients. What one operator passes is tried on random codes.
    """
    with network.there():
        _expect_gradients(network, ends)


def _expect_gradients(network: TrainableGraph, ends: Iterable[str]) -> None:
    made = {edge: step for step in network.steps for edge in step.node.outputs}
    moved = _moved_by_training(network)
    live, wanted = set(ends), set(ends)
    stops: list[Node] = []
    for step in reversed(network.steps):
        if not wanted.intersection(step.node.outputs):
            continue
        wanted.update(step.node.inputs)
        if not live.intersection(step.node.outputs):
            continue
        open_edges = [edge for edge in step.node.inputs if edge in moved]
        passed = [e for e in _passed(network, step) if e in open_edges] if open_edges else []
        live.update(passed)
        if open_edges and not passed:
            stops.append(step.node)
    layers = [
        node
        for step in made.values()
        if isinstance((node := step.node).op, Weighted) and wanted.intersection(node.outputs)
    ]
    cut = [node for node in layers if not live.intersection(node.outputs)]
    told = _listed([f"{node.name!r} ({node.op.kind})" for node in reversed(stops)])
    if layers and len(cut) == len(layers):
        raise HwsimError(
            f"a graph to train must pass gradients to its layers, but nodes {told} stop them: they "
            "round, and have no smooth function beside them"
        )
    if cut:
        names = _listed([repr(node.name) for node in cut])
        warnings.warn(
            f"layers {names} keep their weights, because nodes {told} stop the gradients",
            GradientsStop,
            stacklevel=4,
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(names[:TOLD]) + more


def _moved_by_training(network: TrainableGraph) -> set[str]:
    """Edges whose codes change with the weights."""
    moved: set[str] = set()
    for step in network.steps:
        if isinstance(step.node.op, Weighted) or moved.intersection(step.node.inputs):
            moved.update(step.node.outputs)
    return moved


def _passed(network: TrainableGraph, step: TrainingStep) -> list[str]:
    """Those of a node's inputs that a gradient of its outputs reaches."""
    if network.is_smooth(step):
        return list(step.node.inputs)
    rng = np.random.default_rng(0)
    kinds = step.types[: len(step.node.inputs)]
    xs = []
    for kind in kinds:
        codes = rng.integers(kind.lo, kind.hi, (SAMPLES, *kind.shape), endpoint=True)
        xs.append(torch().tensor(codes, dtype=torch().float64, requires_grad=True))
    made = network.outputs_of(step, xs)
    rising = [torch().linspace(1, 2, one.numel()).reshape(one.shape) for one in made]
    total = sum((one * weight).sum() for one, weight in zip(made, rising, strict=True))
    if not getattr(total, "requires_grad", False):
        return []
    total.backward()
    reached = [x.grad is not None and bool(x.grad.any()) for x in xs]
    return [edge for edge, yes in zip(step.node.inputs, reached, strict=True) if yes]
