"""Norms, factors and offsets a channel that go into the layer before them, or behind."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.compress.prepared.graph import Array, ChangedGraph, attribute, out_axis

EPSILON = 1e-5


def into_before(graph: ChangedGraph, norm: Any) -> bool:
    """Fold a norm into the layer that gives what it takes."""
    layer = graph.maker(norm.input[0])
    line = _line(graph, norm)
    if layer is None or line is None or not graph.own(layer, norm.input[0]):
        return False
    factor, offset = line
    weights = graph.constants[layer.input[1]]
    axis = out_axis(layer)
    if layer.op_type == "ConvTranspose" and attribute(layer, "group", 1) != 1:
        return False
    if weights.shape[axis] != len(factor):
        return False
    shape = [1] * weights.ndim
    shape[axis] = -1
    graph.set(layer, 1, weights * factor.reshape(shape))
    bias = graph.bias(layer)
    if layer.op_type == "MatMul":
        if weights.ndim != 2 or graph.ranks.get(layer.input[0]) != 2:
            graph.set(layer, 1, weights)
            return False
        layer.op_type = "Gemm"
    graph.set(layer, 2, offset if bias is None else bias * factor + offset)
    layer.output[0] = norm.output[0]
    graph.nodes.remove(norm)
    return True


def into_behind(graph: ChangedGraph, norm: Any) -> bool:
    """Fold a norm into the one dense layer that reads it."""
    readers = [node for node in graph.nodes if norm.output[0] in node.input]
    line = _line(graph, norm)
    shown = norm.output[0] in {port.name for port in graph.proto.graph.output}
    if len(readers) != 1 or line is None or shown:
        return False
    layer = readers[0]
    if layer.op_type != "Gemm" or layer.input[0] != norm.output[0] or not graph.plain(layer):
        return False
    factor, offset = line
    weights = graph.constants[layer.input[1]]
    turned = attribute(layer, "transB", 0)
    dense = weights.T if turned else weights
    if dense.shape[0] != len(factor):
        return False
    bias = graph.bias(layer)
    moved = offset.astype(np.float64) @ dense.astype(np.float64)
    scaled = dense * factor[:, None]
    graph.set(layer, 1, np.ascontiguousarray(scaled.T) if turned else scaled)
    graph.set(layer, 2, moved if bias is None else bias + moved)
    layer.input[0] = norm.input[0]
    graph.nodes.remove(norm)
    return True


def line_into_before(graph: ChangedGraph, node: Any) -> bool:
    """Fold a factor or an offset a channel into the layer before it, if it is one."""
    held = [name for name in node.input if name in graph.constants]
    taken = next((name for name in node.input if name not in graph.constants), "")
    if len(held) != 1 or (node.op_type in ("Div", "Sub") and node.input[0] != taken):
        return False
    found = _layer_behind(graph, taken)
    if found is None:
        return False
    layer, last, axis = found
    values = graph.constants[held[0]].astype(np.float64)
    channels = graph.channels(layer)
    shape = (1,) * (graph.ranks.get(taken, 0) - values.ndim) + values.shape
    wanted = tuple(channels if place == axis else 1 for place in range(len(shape)))
    if shape != wanted or channels < 2 or graph.ranks.get(taken) != len(shape):
        return False
    one, none, bias = np.ones(channels), np.zeros(channels), graph.bias(layer)
    factor = {"Mul": values.ravel(), "Div": 1 / values.ravel()}.get(node.op_type, one)
    offset = {"Add": values.ravel(), "Sub": -values.ravel()}.get(node.op_type, none)
    if not np.isfinite(factor).all():
        return False
    graph.scale(layer, factor)
    graph.set(layer, 2, (none if bias is None else bias) * factor + offset)
    last.output[0] = node.output[0]
    graph.nodes.remove(node)
    return True


def _layer_behind(graph: ChangedGraph, tensor: str) -> tuple[Any, Any, int] | None:
    """The layer that gives a tensor, the node that does, and the axis of the channels there."""
    moved = []
    while (maker := graph.maker(tensor)) is not None and maker.op_type in (
        "Transpose",
        "Squeeze",
    ):
        moved.append(maker)
        tensor = maker.input[0]
    whole = [node.output[0] for node in (*moved, *filter(None, [maker]))]
    rank, grouped = graph.ranks.get(tensor, 0), attribute(maker, "group", 1) if maker else 1
    if maker is None or not rank or not all(graph.read_once(name) for name in whole):
        return None
    if maker.op_type not in ("Conv", "ConvTranspose", "Gemm") or not graph.plain(maker):
        return None
    if maker.op_type == "ConvTranspose" and grouped != 1:
        return None
    axes = list(range(rank))
    for node in reversed(moved):
        if node.op_type == "Transpose":
            axes = [axes[place] for place in attribute(node, "perm", axes[::-1])]
            continue
        gone = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
        if gone is None:
            return None
        axes = [a for place, a in enumerate(axes) if place not in {g % len(axes) for g in gone}]
    return (maker, moved[0] if moved else maker, axes.index(1)) if 1 in axes else None


def _line(graph: ChangedGraph, norm: Any) -> tuple[Array, Array] | None:
    """A norm as a factor and an offset a channel."""
    if any(name not in graph.constants for name in norm.input[1:5]):
        return None
    scale, bias, mean, variance = (
        graph.constants[name].astype(np.float64) for name in norm.input[1:5]
    )
    factor = scale / np.sqrt(variance + attribute(norm, "epsilon", EPSILON))
    return factor, bias - mean * factor
