"""Other forms of nodes, which say the same: whole windows, plain products, averages by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.compress.prepared.graph import LAYERS, ChangedGraph, attribute, out_axis
from hwsim.compress.prepared.windows import whole_windows


def untied(graph: ChangedGraph) -> None:
    """Give a layer its own constant where others read it with the channels on another axis."""
    axes: dict[str, int] = {}
    for node in graph.nodes:
        name = node.input[1] if node.op_type in LAYERS else ""
        if name in graph.constants and axes.setdefault(name, out_axis(node)) != out_axis(node):
            node.input[1] = f"{name}.{node.output[0]}"
            graph.constants[node.input[1]] = graph.constants[name]


def without_factors(graph: ChangedGraph, gemm: Any) -> None:
    """Put Gemm's own factors into its constants, under names of their own."""
    for name, places in (("alpha", 1), ("beta", 2)):
        factor = attribute(gemm, name, 1.0)
        held = gemm.input[places] if places < len(gemm.input) else ""
        if factor == 1.0 or (held and held not in graph.constants):
            continue
        if held:
            gemm.input[places] = f"{gemm.output[0]}.{name}"
            graph.constants[gemm.input[places]] = graph.constants[held] * np.float32(factor)
        kept = [a for a in gemm.attribute if a.name != name]
        gemm.ClearField("attribute")
        gemm.attribute.extend(kept)


def with_own_sum(graph: ChangedGraph, gemm: Any) -> None:
    """Put what is computed and added into an Add behind it, as it was before it was fused."""
    from onnx import helper

    added = gemm.input[2] if len(gemm.input) > 2 else ""
    if not added or added in graph.constants or attribute(gemm, "beta", 1.0) != 1.0:
        return
    out, name = gemm.output[0], str(gemm.name or gemm.output[0])
    gemm.output[0] = f"{out}.product"
    graph.ranks[gemm.output[0]] = 2
    del gemm.input[2]
    place = graph.nodes.index(gemm) + 1
    graph.nodes.insert(
        place, helper.make_node("Add", [gemm.output[0], added], [out], f"{name}.sum")
    )


def of_whole_windows(graph: ChangedGraph, pool: Any) -> None:
    """Average over whole windows, with padding, and multiply by what that is off."""
    from onnx import helper

    channels, *sizes = graph.shapes.get(pool.input[0], [0, 0])[1:]
    if not channels or not sizes or not all(sizes):
        return
    attributes = {a.name: helper.get_attribute_value(a) for a in pool.attribute}
    found = whole_windows(attributes, sizes)
    if found is None:
        return
    pads, factors = found
    pool.ClearField("attribute")
    kept = {name: attributes[name] for name in ("kernel_shape", "strides") if name in attributes}
    for name, value in {**kept, "pads": pads, "count_include_pad": 1}.items():
        pool.attribute.append(helper.make_attribute(name, value))
    out, name = pool.output[0], str(pool.name or pool.output[0])
    pool.output[0], held = f"{out}.whole", f"{out}.factors"
    every = np.broadcast_to(factors, (1, channels if len(sizes) == 1 else 1, *factors.shape))
    graph.constants[held] = every.astype(np.float32)
    product = helper.make_node("Mul", [pool.output[0], held], [out], f"{name}.factors")
    graph.nodes.insert(graph.nodes.index(pool) + 1, product)


def averaged(graph: ChangedGraph, node: Any) -> None:
    """Turn a mean over all places of each channel into GlobalAveragePool."""
    from onnx import helper

    axes, rank = _axes(graph, node), graph.ranks.get(node.input[0], 0)
    if rank < 3 or axes is None or sorted(a % rank for a in axes) != list(range(2, rank)):
        return
    kept = attribute(node, "keepdims", 1)
    place = graph.nodes.index(node)
    name = str(node.name or node.output[0])
    pooled = str(node.output[0]) if kept else f"{node.output[0]}.pooled"
    made = [helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name)]
    if not kept:
        flat = helper.make_node("Flatten", [pooled], [node.output[0]], f"{name}.flatten")
        made.append(flat)
    graph.nodes[place : place + 1] = made


def along_the_last(graph: ChangedGraph, node: Any) -> None:
    """Name the last axis -1, if it is reduced."""
    from onnx import helper

    axes, rank = _axes(graph, node), graph.ranks.get(node.input[0], 0)
    if axes is None or axes != [rank - 1]:
        return
    if len(node.input) > 1:
        node.input[1] = f"{node.output[0]}.axes"
        graph.constants[node.input[1]] = np.array([-1])
    else:
        kept = [a for a in node.attribute if a.name != "axes"]
        node.ClearField("attribute")
        node.attribute.extend([*kept, helper.make_attribute("axes", [-1])])


def _axes(graph: ChangedGraph, node: Any) -> list[int] | None:
    """The axes that a node reduces."""
    if len(node.input) > 1 and node.input[1] in graph.constants:
        return [int(a) for a in graph.constants[node.input[1]]]
    found: list[int] | None = attribute(node, "axes", None)
    return found
