"""Layers that move codes."""

from __future__ import annotations

from hwsim.graph import Node
from hwsim.hls4ml_project.draft import Draft, require
from hwsim.hls4ml_project.padding import add_padding
from hwsim.hls4ml_project.precision import Assigned
from hwsim.ops import Concat, Pad, Transpose


def write_reshape(draft: Draft, node: Node) -> None:
    """The same codes in another shape; nothing where only outputs look at them."""
    source = node.inputs[0]
    shape = draft.kind(node.output).shape
    if shape == draft.kind(source).shape or not _read(draft, node.output):
        draft.stands_for(node.output, source)
        return
    flat = draft.stream and len(shape) == 1
    after = draft.graph.consumers(node.output)
    require(
        not flat or all(reader.op.kind == "dense" for reader in after),
        "what is flattened in a stream must be read by dense layers: hls4ml passes beats on as "
        "they were, and other layers lose their places",
    )
    draft.add(
        "Reshape",
        node.output,
        draft.types[source],
        draft.source(node),
        target_shape=list(shape),
        data_format="channels_last",
    )


def _read(draft: Draft, edge: str) -> bool:
    """Whether a node looks at an edge that an output does not see through."""
    moves = ("flatten", "reshape")
    after = draft.graph.consumers(edge)
    return any(n.op.kind not in moves or _read(draft, n.output) for n in after)


def write_transpose(draft: Draft, node: Node) -> None:
    """Axes in another order."""
    op = node.op
    assert isinstance(op, Transpose)
    rank = len(op.axes)
    require(rank in (2, 3), f"a transpose must be of 2 or 3 axes, not of {rank}")
    draft.add(
        "Transpose",
        node.output,
        draft.types[node.inputs[0]],
        draft.source(node),
        perm=list(op.axes),
        data_format="channels_last",
    )


def write_concat(draft: Draft, node: Node) -> None:
    """Two tensors after each other along the channels, and the next after both."""
    op, kind = node.op, draft.kind(node.output)
    assert isinstance(op, Concat)
    rank = len(kind.shape)
    axis = getattr(op, "axis", -1)
    require(axis in (-1, rank - 1), f"a concatenation must be along the channels, not axis {axis}")
    require(rank <= 3, f"a concatenation must be of at most 3 axes, not of {rank}")
    into = Assigned(draft.reals(node.output))
    names = [draft.names[edge] for edge in node.inputs]
    if len(names) == 1:
        draft.stands_for(node.output, node.inputs[0])
        return
    for place in range(1, len(names)):
        last = place == len(names) - 1
        edge = node.output if last else f"{node.output}/{place}"
        pair = [names[0] if place == 1 else draft.names[f"{node.output}/{place - 1}"], names[place]]
        draft.add("Concatenate", edge, into, pair, op=f"concatenate{rank}d", axis=-1)


def write_pad(draft: Draft, node: Node) -> None:
    """Zeros around a map."""
    op, kind = node.op, draft.kind(node.inputs[0])
    assert isinstance(op, Pad)
    *maps, channels = op.amounts(kind)
    require(
        len(maps) in (1, 2) and op.code == kind.zero_point and not any(channels),
        "a pad must put zeros around one or two axes that are no channels",
    )
    require(not any(between for _, _, between in maps), "a pad must put nothing between codes")
    add_padding(draft, node.output, node.inputs[0], [(a, b) for a, b, _ in maps])
