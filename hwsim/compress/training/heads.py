"""Which numbers of a classifier a loss is taken of: its scores, ahead of an ArgMax or a softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwsim.compress.training.loss import Labels
from hwsim.errors import HwsimError
from hwsim.float_steps import RowStep, UnaryStep
from hwsim.graph import Graph, Node, OutputPort
from hwsim.ops import (
    ArgMax,
    Cast,
    ChannelTable,
    Flatten,
    Mul,
    Quotient,
    Requantize,
    Reshape,
    Share,
    Sub,
    Table,
    TensorType,
)

SHARES = (Share, Quotient, Mul)
"""What ends a softmax of codes: terms by their sum, or times its reciprocal."""

ON_THE_WAY = (Table, ChannelTable, Cast, Requantize)


def scores_port(graph: Graph, port: OutputPort) -> OutputPort:
    """The port itself, or one that shows the scores which an ArgMax or a softmax reads.

    The largest score stands where the port's own answer is. A softmax may be one of float32 behind
    the port, or one of codes: exponentials by a table, divided by their sum.
    """
    rows = [k for k, step in enumerate(port.steps) if isinstance(step, RowStep)]
    if rows:
        port = replace(port, steps=port.steps[: rows[0]])
    edge = port.tensor
    while (node := graph.makers().get(edge)) is not None:
        before = _read_by_the_end(graph, node)
        if before is None:
            break
        edge = before
    return port if edge == port.tensor else OutputPort(name=port.name, tensor=edge)


def scores_graph(graph: Graph, port: OutputPort) -> Graph:
    """The Graph whose only output is that of `scores_port`."""
    return replace(graph, outputs=(scores_port(graph, port),))


def expect_classes(labels: Labels | None, classes: int, output: str) -> None:
    """Raise HwsimError for labels that are none of so many classes, and for a single class."""
    if classes < 2:
        raise HwsimError(
            f"output {output!r} must give a score for each class to be trained by labels, not "
            "one number; a teacher's numbers can be learned without labels (hwsim distil)"
        )
    if labels is None:
        return
    if not len(labels):
        raise HwsimError("there must be at least one sample, not none")
    least, most = int(np.min(labels)), int(np.max(labels))
    if least < 0 or most >= classes:
        worst = least if least < 0 else most
        raise HwsimError(
            f"labels must be class numbers from 0 to {classes - 1}, as output {output!r} has, not "
            f"{worst}"
        )


def gives_values(port: OutputPort, kind: TensorType) -> bool:
    """Whether an output is numbers for themselves, and not a score for each of some classes.

    A single number (a regression), a map (an autoencoder), and what a function follows (the sigmoid
    of each of several labels).
    """
    several = [size for size in kind.shape if size > 1]
    return len(several) != 1 or any(isinstance(step, UnaryStep) for step in port.steps)


def _read_by_the_end(graph: Graph, node: Node) -> str | None:
    if isinstance(node.op, ArgMax):
        return node.inputs[0]
    if isinstance(node.op, Flatten | Reshape):
        return _only_before_an_end(graph, node)
    if isinstance(node.op, SHARES):
        return _softmax_input(graph, node.inputs)
    return None


def _only_before_an_end(graph: Graph, node: Node) -> str | None:
    """What a change of shape reads, where an end stands before it."""
    maker = graph.makers().get(node.inputs[0])
    ends = (ArgMax, Flatten, Reshape, *SHARES)
    found = maker is not None and isinstance(maker.op, ends) and _read_by_the_end(graph, maker)
    return node.inputs[0] if found else None


def _softmax_input(graph: Graph, inputs: Sequence[str]) -> str | None:
    """What the table of exponentials reads, before the largest is taken from each."""
    for terms, other in (inputs, inputs[::-1]) if len(inputs) == 2 else ():
        table = graph.makers().get(terms)
        if terms == other or table is None or not _all_from(graph, other, terms):
            continue
        while table is not None and isinstance(table.op, ON_THE_WAY):
            edge = table.inputs[0]
            table = graph.makers().get(edge)
            if table is not None and isinstance(table.op, Sub):
                one, two = table.inputs
                return next(
                    (a for a, b in ((one, two), (two, one)) if _all_from(graph, b, a)), edge
                )
            if table is None or not isinstance(table.op, ON_THE_WAY):
                return edge
    return None


def _all_from(graph: Graph, edge: str, source: str) -> bool:
    """Whether an edge, another one, is computed from `source` and from nothing else."""
    if edge == source:
        return False
    todo, seen = [edge], set()
    while todo:
        one = todo.pop()
        if one == source or one in seen:
            continue
        seen.add(one)
        maker = graph.makers().get(one)
        if maker is None or not maker.inputs:
            return False
        todo.extend(maker.inputs)
    return True
