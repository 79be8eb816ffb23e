"""Channels of a PyTorch module that go before anything is quantized, by torch-pruning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.prune.masks import SCOPES, check_amount, count_of
from hwsim.errors import HwsimError
from hwsim.extras import library

EXTRA = '"hwsim[train]"'
WHAT = "pruning of PyTorch modules"
TURNS = ("TBackward0", "PermuteBackward0")
"""Steps that turn a layer's weights before they meet its input."""


def prune_module(module: Any, example: Any, amount: float, *, scope: str = "layer") -> Any:
    """A copy of a `torch.nn.Module` without the channels whose weights have the least norms.

    torch-pruning follows the channels of `example`, a batch, through the module (Fang et al. 2023,
    arXiv 2301.12900); of those that go together an `amount` goes, of each set or of all together
    (`scope`). Layers whose sums the module gives keep theirs, and so do convolutions in groups that
    are not depthwise. Raises HwsimError for an amount outside of 0 to 1, another scope, and a
    module without such a layer.
    """
    if scope not in SCOPES:
        raise HwsimError(f"a scope must be one of {', '.join(SCOPES)}, not {scope!r}")
    check_amount(amount)
    pruning = library("torch_pruning", EXTRA, WHAT)
    found = deepcopy(module)
    was_training = found.training
    ends = list(last_layers(found.eval(), example))
    if not ends:
        raise HwsimError(
            f"a module to prune must have linear layers or convolutions, not be a "
            f"{type(module).__name__} without any"
        )
    graph = pruning.DependencyGraph().build_dependency(found, example)
    groups = [
        group
        for group in graph.get_all_groups(ignored_layers=ends, root_module_types=[*_kinds()])
        if not any(_has_groups(dep.target.module) for dep, _ in group)
    ]
    scores = [_scores(graph, group) for group in groups]
    for group, gone in zip(groups, _least(scores, amount, scope), strict=True):
        root = group[0].dep
        if gone:
            graph.get_pruning_group(root.target.module, root.handler, gone).prune()
    return found.train(was_training)


def _kinds() -> tuple[Any, ...]:
    torch = library("torch", EXTRA, WHAT)
    return torch.nn.Linear, torch.nn.modules.conv._ConvNd


def _has_groups(layer: Any) -> bool:
    """Whether it is a convolution in groups of several channels."""
    return 1 < getattr(layer, "groups", 1) < getattr(layer, "out_channels", 0)


def _scores(graph: Any, group: Any) -> npt.NDArray[np.float64]:
    """Of each channel of a group the mean over its layers of their norms, by the layers' means."""
    count = graph.get_out_channels(group[0].dep.target.module)
    found = []
    for dep, places in group:
        layer = dep.target.module
        makes = isinstance(layer, _kinds()) and graph.is_out_channel_pruning_fn(dep.handler)
        if makes and len(places) == count:
            axis = 1 if getattr(layer, "transposed", False) else 0
            rows = layer.weight.detach().transpose(0, axis).flatten(1)
            norms = rows.norm(dim=1).double().numpy()[list(places)]
            found.append(norms / (norms.mean() or 1.0))
    scores: npt.NDArray[np.float64] = np.mean(found, axis=0)
    return scores


def _least(
    scores: Sequence[npt.NDArray[np.float64]], amount: float, scope: str
) -> Iterator[list[int]]:
    """The channels of each group that go: one at least stays."""
    if scope == "layer":
        for score in scores:
            count = min(count_of(amount, len(score)), len(score) - 1)
            yield np.argsort(score, kind="stable")[:count].tolist()
        return
    flat = np.concatenate(scores) if scores else np.zeros(0)
    rank = np.empty(len(flat), np.int64)
    rank[np.argsort(flat, kind="stable")] = np.arange(len(flat))
    wanted, at = rank < count_of(amount, len(flat)), 0
    for score in scores:
        mine = wanted[at : at + len(score)].copy()
        mine[int(np.argmax(score))] = False
        at += len(score)
        yield np.flatnonzero(mine).tolist()


def last_layers(module: Any, example: Any) -> Iterator[Any]:
    """The layers with weights that nothing but the module's output reads, by its gradients."""
    torch = library("torch", EXTRA, WHAT)
    by_weight = {one.weight: one for one in module.modules() if isinstance(one, _kinds())}
    with torch.enable_grad():
        made = module(example)
    outputs = made.values() if isinstance(made, dict) else made
    outputs = [made] if torch.is_tensor(made) else list(outputs)
    left, seen = [one.grad_fn for one in outputs], set()
    while left:
        function = left.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        layers = [by_weight[w] for w in _variables(function) if w in by_weight]
        if layers:
            yield from layers
        else:
            left += [before for before, _ in function.next_functions]


def _variables(function: Any, turned: bool = False) -> Iterator[Any]:
    """Parameters that a step of a backward pass has its gradients for, turned ones as well."""
    for before, _ in function.next_functions:
        if hasattr(before, "variable"):
            yield before.variable
        elif (
            before is not None
            and not turned
            and before.name() in ("TBackward0", "PermuteBackward0")
        ):
            yield from _variables(before, turned=True)
