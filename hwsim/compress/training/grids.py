"""Weights that have a format each, as HGQ trains them: what codes each of them may have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.ops import Weighted
from hwsim.ops.base import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class WeightGrid:
    """Multiples of `step` from `least` to `most`, in codes, for each weight of a layer.

    A weight without bits has 0 alone. Raises HwsimError for arrays of different shapes, and for a
    step below 1.
    """

    step: IntArray
    least: IntArray
    most: IntArray

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.step, self.least, self.most)}
        if len(shapes) > 1:
            raise HwsimError(f"a grid of weights must have one shape, not {sorted(shapes)}")
        if self.step.size and self.step.min() < 1:
            raise HwsimError(f"a grid's steps must be at least 1, not {self.step.min()}")

    @classmethod
    def of_formats(
        cls, op: Weighted, *, signed: Any, integer: Any, fraction: Any, symmetric: bool = False
    ) -> WeightGrid:
        """The grid of fixed-point formats, by weight: a sign or none, integer and fraction bits.

        A weight reaches from -2**integer (where it has a sign) to 2**integer less a step; with
        `symmetric` the lowest is left out. What the layer's own format does not hold is cut.
        """
        shape, fmt = op.weights.shape, op.weight_format
        signs, whole, part = (
            np.broadcast_to(np.asarray(a, np.int64), shape)
            if np.size(a) == 1
            else _shaped(a, shape)
            for a in (signed, integer, fraction)
        )
        held = signs + whole + part > 0
        step = np.exp2(np.maximum(fmt.frac_bits - part, 0)).astype(np.int64)
        top = np.exp2((whole + fmt.frac_bits).astype(np.float64))
        most = np.floor(np.minimum(top - step, fmt.max) / step) * step
        low = np.where(signs > 0, -top + (step if symmetric else 0), 0)
        least = np.ceil(np.maximum(low, fmt.min) / step) * step
        kept = [np.where(held, array, 0).astype(np.int64) for array in (least, most)]
        return cls(np.where(held, step, 1), *kept)

    def off(self, codes: npt.NDArray[Any]) -> int:
        """How many of these weights are none of their grids' codes."""
        on = (codes % self.step == 0) & (codes >= self.least) & (codes <= self.most)
        return int((~on).sum())


def hgq_grids(model: Any, graph: Graph) -> dict[str, WeightGrid]:
    """Grids of a Keras model of HGQ2, by the nodes of the Graph that hls4ml's conversion became.

    Each layer's kernel quantizer says what formats its weights have; nodes have the layers' names,
    or begin with them (`dense/sum`).
    Raises HwsimError for a model without such layers, and for one whose weights are not the
    Graph's.
    """
    nodes = [(node.name, node.op) for node in graph.nodes if isinstance(node.op, Weighted)]
    found: dict[str, WeightGrid] = {}
    for layer in _layers(model):
        quantizer = getattr(getattr(layer, "kq", None), "quantizer", None)
        if quantizer is None or not hasattr(quantizer, "kif"):
            continue
        own = [(name, op) for name, op in nodes if name.partition("/")[0] == str(layer.name)]
        if len(own) != 1:
            raise HwsimError(f"the graph must have the layer {str(layer.name)!r} of the HGQ model")
        name, op = own[0]
        shape = tuple(int(size) for size in layer.kernel.shape)
        parts = [quantizer.bw_mapper.bw_to_x(part, shape) for part in quantizer.kif]
        signed, integer, fraction = (np.broadcast_to(_numpy(part), shape) for part in parts)
        symmetric = str(quantizer.overflow_mode).endswith("SYM")
        grid = WeightGrid.of_formats(
            op, signed=signed, integer=integer, fraction=fraction, symmetric=symmetric
        )
        if off := grid.off(op.weights):
            raise HwsimError(
                f"the weights of node {name!r} must be those of the HGQ model, but "
                f"{off} of them are none of their own formats"
            )
        found[name] = grid
    if not found:
        raise HwsimError("a model of HGQ must have layers with a kernel quantizer, not none")
    return found


def grids_of(given: Any, graph: Graph) -> Mapping[str, WeightGrid] | None:
    """Grids by node: those that are given, or the formats of a Keras model of HGQ2; None for None.

    Raises HwsimError as `hgq_grids`, and for a node or a shape that the graph has not.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        return hgq_grids(given, graph)
    layers = {node.name: node.op for node in graph.nodes if isinstance(node.op, Weighted)}
    for name, grid in given.items():
        if name not in layers:
            raise HwsimError(f"a grid of weights must be of one of {list(layers)}, not {name!r}")
        if not isinstance(grid, WeightGrid) or grid.step.shape != layers[name].weights.shape:
            held = grid.step.shape if isinstance(grid, WeightGrid) else type(grid).__name__
            raise HwsimError(
                f"the grid of node {name!r} must be a WeightGrid of the weights' shape "
                f"{layers[name].weights.shape}, not {held}"
            )
    return given


def _layers(model: Any) -> Iterator[Any]:
    """Layers of a Keras model and of those in it."""
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)


def _numpy(tensor: Any) -> npt.NDArray[np.int64]:
    held = tensor.detach().cpu() if hasattr(tensor, "detach") else tensor
    return np.asarray(held).astype(np.int64)


def _shaped(array: Any, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """One number a weight, in the layer's shape."""
    held = np.asarray(array, np.int64)
    if held.size == 1:
        return np.broadcast_to(held.reshape(()), shape)
    if held.size != int(np.prod(shape)):
        raise HwsimError(f"formats must be one, or one for each of {shape}, not {held.shape}")
    return held.reshape(shape)
