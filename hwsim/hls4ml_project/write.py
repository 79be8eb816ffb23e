"""A Graph as a list of hls4ml's layers, or all that has no like among them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node, OutputPort
from hwsim.hls4ml_project import elementwise, lookup, pool, reduce, shape, steps, weighted
from hwsim.hls4ml_project.draft import Draft
from hwsim.hls4ml_project.precision import entering, in_reals
from hwsim.hls4ml_project.strategy import Strategy

RULES: Mapping[str, Callable[[Draft, Node], None]] = {
    "add": elementwise.write_pair,
    "avgpool": pool.write_average,
    "batchnorm": elementwise.write_batchnorm,
    "cast": elementwise.write_cast,
    "concat": shape.write_concat,
    "conv1d": weighted.write_conv,
    "conv2d": weighted.write_conv,
    "dense": weighted.write_dense,
    "flatten": shape.write_reshape,
    "maximum": elementwise.write_pair,
    "maxpool": pool.write_max,
    "minimum": elementwise.write_pair,
    "mul": elementwise.write_pair,
    "pad": shape.write_pad,
    "reduce": reduce.write_reduce,
    "relu": elementwise.write_relu,
    "requantize": elementwise.write_cast,
    "reshape": shape.write_reshape,
    "scaled_add": steps.write_scaled_add,
    "sub": elementwise.write_pair,
    "table": lookup.write_table,
    "thresholds": steps.write_thresholds,
    "transpose": shape.write_transpose,
}
"""How a node is written, by its operator's kind."""


INTEGERS = (
    "; integers=True (--integers on the command line) writes the integers alone, "
    "without scales and float32 at both ends"
)


def drafted(graph: Graph, *, stream: bool, strategy: Strategy, integers: bool = False) -> Draft:
    """The layers of a graph; HwsimError lists all that cannot be written."""
    if graph.state:
        raise HwsimError("a graph must have no state to be written for hls4ml")
    draft = Draft(graph, stream, strategy)
    for port in graph.inputs:
        with _told(draft, f"input {port.name!r}", [port.tensor]):
            draft.add_input(port.name, port.tensor, entering(port, integers=integers))
    for node in graph.nodes:
        if node.name not in draft.done:
            with _told(draft, f"node {node.name!r} ({node.op.kind})", node.outputs):
                _node(draft, node)
    for shown in graph.outputs:
        with _told(draft, f"output {shown.name!r}", []):
            _check_output(draft, shown, integers=integers)
    if stream:
        _check_copies(draft)
    floats = not integers and any(t.startswith(("input", "output")) for t in draft.troubles)
    if draft.troubles:
        raise HwsimError(
            "every node must have its like in hls4ml, and these have none: "
            + "; ".join(draft.troubles)
            + (INTEGERS if floats else "")
        )
    return draft


MOST_COPIES = 7
"""Readers of a stream, which hls4ml copies for each of them."""


def _check_copies(draft: Draft) -> None:
    """Have streams with more readers than hls4ml copies them for among the troubles."""
    readers = Counter(name for layer in draft.layers for name in layer.get("inputs", ()))
    readers.update({draft.names[edge] for edge in draft.shown.values()})
    for edge, name in draft.names.items():
        if readers.pop(name, 0) > MOST_COPIES:
            draft.troubles.append(
                f"edge {edge!r}: what is streamed must have at most {MOST_COPIES} readers, for "
                "which hls4ml copies it"
            )


@contextlib.contextmanager
def _told(draft: Draft, what: str, edges: Sequence[str]) -> Iterator[None]:
    """Have a refusal stand among the troubles, and go on."""
    try:
        yield
    except HwsimError as error:
        draft.troubles.append(f"{what}: {error}")
        draft.unwritten(edges)


def _node(draft: Draft, node: Node) -> None:
    rule = RULES.get(node.op.kind)
    if rule is None:
        raise HwsimError("hls4ml has no layer that computes it")
    rule(draft, node)


def _check_output(draft: Draft, port: OutputPort, *, integers: bool) -> None:
    edge = draft.shown[port.name]
    if (port.reals is not None or port.steps) and not integers:
        raise HwsimError("it must show codes times a power of two, not what float32 makes of them")
    if not (in_reals(draft.kind(edge)) or integers):
        raise HwsimError(f"its scales must be powers of two, not {draft.kind(edge).scales()[0]!r}")
    first = next(p.name for p in draft.graph.outputs if draft.shown[p.name] == edge)
    if first != port.name:
        raise HwsimError(f"it must show another tensor than output {first!r}")
    if edge in {p.tensor for p in draft.graph.inputs}:
        raise HwsimError("it must show what a layer gives, not an input")
