"""Which edge of a Graph stands for which tensor of the float model, by name, shape and makers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.attribution.float_graph import FloatGraph
from hwsim.float_steps import FloatStep
from hwsim.graph import Graph, Node
from hwsim.ops import TensorType, Weighted
from hwsim.ports import seen_axes, user_shape

Reals = npt.NDArray[np.float64]
ENDS = ("_QuantizeLinear_Output", ".quantized", "_quantized", "_quant", ".codes")
"""Ends of the names that quantizers give to what they make of a float tensor."""

NARROWER = ("requantize", "cast", "thresholds", "chosen_thresholds", "table", "channel_table")
"""Operators behind which codes may still stand for the tensor that they stood for before."""


@dataclass(frozen=True, slots=True)
class TensorView:
    """How codes of an edge lie in a float tensor: reshaped, their axes permuted, reshaped."""

    before: tuple[int, ...]
    axes: tuple[int, ...]
    after: tuple[int, ...]

    def __call__(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A batch (n, *shape of the edge) as (n, *shape of the tensor)."""
        count = len(array)
        moved = array.reshape(count, *self.before).transpose(0, *(a + 1 for a in self.axes))
        return np.ascontiguousarray(moved.reshape(count, *self.after))


@dataclass(frozen=True, slots=True, eq=False)
class Counterpart:
    """An edge, the float tensor that it stands for, and how its codes lie there.

    `added` is a bias that an output's port adds in float32, one a channel of the edge.
    """

    edge: str
    tensor: str
    kind: TensorType
    view: TensorView
    added: Reals

    def reals(self, codes: Mapping[str, npt.NDArray[Any]]) -> Reals:
        """The edge's codes as reals in the order of the tensor."""
        return self.view(reals(self.kind, codes[self.edge]) + self.added)


def reals(kind: TensorType, codes: npt.NDArray[Any]) -> Reals:
    """Codes as reals, in float64, which holds what every runtime's float32 stands for."""
    return np.asarray((codes.astype(np.float64) - kind.zero_point) * np.array(kind.scales()))


def counterparts(
    graph: Graph,
    floats: FloatGraph,
    codes: Mapping[str, npt.NDArray[Any]],
    tensors: Mapping[str, npt.NDArray[Any]],
) -> dict[str, Counterpart]:
    """The tensor of each edge that has one, in the Graph's order.

    `codes` and `tensors` are both models' on some samples. A tensor belongs to an edge by its name
    (less what quantizers put behind it), by its shape, and where both are computed from tensors
    that belong together; what is not sure is left out.
    """
    found: dict[str, Counterpart] = {}
    for edge, name, views in _named(graph, floats, tensors):
        if not _belongs(graph, floats, found, edge, name):
            continue
        theirs = np.asarray(tensors[name], np.float64)
        kind, added = graph.types()[edge], _added(graph, floats, edge, name)
        ours = reals(kind, codes[edge]) + added
        apart = [float(((view(ours) - theirs) ** 2).sum()) for view in views]
        found[edge] = Counterpart(edge, name, kind, views[int(np.argmin(apart))], added)
    return found


def _added(graph: Graph, floats: FloatGraph, edge: str, tensor: str) -> Reals:
    """The bias of sums that is added behind them, by channel: in float32 by a port, or thresholds.

    What holds it there is not seen, so the float one stands for it, and what is lost is theirs.
    """
    kind, node = graph.types()[edge], graph.makers().get(edge)
    none = np.zeros(kind.channels)
    if node is None or not isinstance(node.op, Weighted) or node.op.bias.any():
        return none
    ports = [port for port in graph.outputs if port.tensor == edge]
    weights = floats.weights_of(tensor)
    if not ports and weights is not None and weights.bias is not None:
        unseen = bool((np.abs(weights.bias) > max(kind.scales())).any())
        return np.asarray(none + weights.bias) if unseen else none
    steps = [port.steps[0] for port in ports if port.steps and port.axes is None]
    if steps and isinstance(steps[0], FloatStep) and steps[0].op == "add" and len(kind.shape) == 1:
        return np.asarray(none + steps[0].array())
    return none


def _named(
    graph: Graph, floats: FloatGraph, tensors: Mapping[str, npt.NDArray[Any]]
) -> Iterator[tuple[str, str, list[TensorView]]]:
    """Edges with a tensor of their name and as many elements, and the views that fit."""
    types, shapes = graph.types(), {name: array.shape[1:] for name, array in tensors.items()}
    alone = len(graph.inputs) == len(floats.model.inputs) == 1
    for port in graph.inputs:
        kind = types[port.tensor]
        name = floats.model.inputs[0] if alone else port.name
        if not port.steps and shapes.get(name) == user_shape(kind, port):
            axes = seen_axes(kind, port)
            yield port.tensor, name, [TensorView(kind.shape, axes, user_shape(kind, port))]
    ports = {p.tensor: p for p in graph.outputs if not p.steps and p.reals is None}
    claimed = {name_of(edge, floats) for edge in types}
    for node in graph.nodes:
        for edge in node.outputs:
            kind, seen = types[edge], ports.get(edge)
            if seen is not None and shapes.get(seen.name) == user_shape(kind, seen):
                view = TensorView(kind.shape, seen_axes(kind, seen), user_shape(kind, seen))
                yield edge, seen.name, [view]
                continue
            tensor = _name(graph, floats, node, edge, claimed)
            views = _views(graph, edge, shapes[tensor]) if tensor in shapes else []
            if tensor is not None and views:
                yield edge, tensor, views


def _name(
    graph: Graph, floats: FloatGraph, node: Node, edge: str, claimed: Collection[str | None]
) -> str | None:
    """The tensor of an edge's name; of sums without one that of their codes, of a float layer.

    Codes that begin at real 0 are those of the ReLU that alone reads the tensor of their name,
    where no edge has the ReLU's. Sums with a bias are those behind the float one.
    """
    found, kind = name_of(edge, floats), graph.types()[edge]
    if isinstance(node.op, Weighted):
        readers = graph.consumers(edge)
        if found is None and len(readers) == 1 and readers[0].op.kind in NARROWER:
            found = name_of(readers[0].outputs[0], floats)
        behind = None if found is None else floats.biased(found)
        if found is None or behind is None or floats.weights_of(behind) is None:
            return None
        if node.op.bias.any() or _added(graph, floats, edge, behind).any():
            return behind
        ends = any(port.steps for port in graph.outputs if port.tensor == edge)
        return None if ends else found  # what a port computes may be a bias
    if found is not None and kind.zero_point == kind.format.min:
        behind = floats.rectified(found)
        if behind is not None and behind not in claimed:
            return behind
    return found


def name_of(edge: str, floats: FloatGraph) -> str | None:
    """The tensor of an edge's name, or of the node's, less what quantizers put behind it."""
    while edge not in floats.names:
        end = next((end for end in ENDS if edge.endswith(end)), None)
        if end is None:
            return None
        edge = edge.removesuffix(end)
    return str(floats.names[edge])


def _views(graph: Graph, edge: str, wanted: Sequence[int]) -> list[TensorView]:
    """As it is, with the channels in front, flattened from that; axes of one number come and go."""
    kind, maker = graph.types()[edge], graph.makers().get(edge)
    rank, target = len(kind.shape), tuple(wanted)
    tried = [TensorView(kind.shape, tuple(range(rank)), kind.shape)]
    if rank > 1:
        tried.append(_channels_first(kind.shape))
    if maker is not None and maker.op.kind in ("flatten", "reshape"):
        before = graph.input_types(maker)[0].shape
        if len(before) > 1:
            first = _channels_first(before)
            tried.append(TensorView(before, first.axes, kind.shape))
    long = _longer(target)
    return [replace(view, after=target) for view in tried if _longer(view.after) == long]


def _longer(shape: Sequence[int]) -> tuple[int, ...]:
    """The axes that hold more than one number."""
    return tuple(length for length in shape if length > 1)


def _channels_first(shape: tuple[int, ...]) -> TensorView:
    rank = len(shape)
    return TensorView(shape, (rank - 1, *range(rank - 1)), (shape[-1], *shape[:-1]))


def _belongs(
    graph: Graph, floats: FloatGraph, found: Mapping[str, Counterpart], edge: str, name: str
) -> bool:
    """Whether an edge and a tensor are computed from edges and tensors that belong together."""
    maker = graph.makers().get(edge)
    if maker is None:
        return True
    if any(one.tensor == name for one in found.values()):
        sources, nodes = between(graph, edge, found)
        same = [one in found and found[one].tensor == name for one in sources]
        return same == [True] and all(node.op.kind in (*NARROWER, "relu") for node in nodes)
    before = nearest(graph, edge, found)
    if maker.op.kind == "argmax" or not all(one in found for one in before):
        return False
    given = {found[one].tensor for one in before}
    return set(floats.leaves([name], given - {name})) == given


def nearest(graph: Graph, edge: str, stops: Mapping[str, Any]) -> list[str]:
    """The nearest of some edges that an edge is computed from, and inputs, in the Graph's order."""
    return between(graph, edge, stops)[0]


def between(graph: Graph, edge: str, stops: Mapping[str, Any]) -> tuple[list[str], list[Node]]:
    """The nearest of some edges that an edge is computed from, or inputs, and the nodes between."""
    makers = graph.makers()
    found, nodes, todo = set(), set(), [edge]
    while todo:
        one = todo.pop()
        maker = makers.get(one)
        if maker is None or (one != edge and one in stops):
            found.add(one)
        elif maker.name not in nodes:
            nodes.add(maker.name)
            todo.extend(maker.inputs)
    found.discard(edge)
    edges = [name for name in graph.types() if name in found]
    return edges, [node for node in graph.nodes if node.name in nodes]
