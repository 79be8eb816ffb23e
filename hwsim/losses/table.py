"""One record an operator: where numbers can get lost in it, or that nothing can."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hwsim.graph import Graph, Node
from hwsim.losses.accumulators import ReduceSite, SumsSite
from hwsim.losses.casts import ClampSite, cast_site
from hwsim.losses.requantizers import RequantizeSite
from hwsim.losses.sites import Site

RULES: Mapping[str, Callable[[Graph, Node], Site | None]] = {
    "cast": cast_site,
    "dense": SumsSite.of,
    "conv1d": SumsSite.of,
    "conv2d": SumsSite.of,
    "avgpool": SumsSite.of,
    "reduce": ReduceSite.of,
    "relu": ClampSite.of,
    "requantize": RequantizeSite.of,
    "quotient": RequantizeSite.of,
    "scaled_add": RequantizeSite.of,
}
"""The site of a node by its operator's kind."""

SAFE = (
    "add", "argmax", "batchnorm", "channel_table", "chosen_thresholds", "concat", "divide",
    "flatten", "literal", "matmul", "maximum", "maxpool", "minimum", "mul", "pad",
    "pair_table", "reshape", "rsqrt", "select", "share", "split", "sub", "table",
    "thresholds", "transpose",
)  # fmt: skip
"""Kinds of operators that assign nothing to a format: what they give holds all that they compute.

A division, a table and thresholds lose by what they are, not by their formats.
"""


def sites_of(graph: Graph) -> tuple[list[Site], list[str]]:
    """All sites of the nodes, in order, and the kinds of operators that nobody looks into."""
    found, unknown = [], []
    for node in graph.nodes:
        rule = RULES.get(node.op.kind)
        site = None if rule is None else rule(graph, node)
        if site is not None:
            found.append(site)
        elif rule is None and node.op.kind not in SAFE:
            unknown.append(node.op.kind)
    return found, sorted(set(unknown))
