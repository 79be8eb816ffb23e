"""Which weights go: of a layer or of all, N of each M, or blocks, by the score of each weight."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hwsim.compress.prune.rebuild import rebuilt
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.ops import Weighted

Mask = npt.NDArray[np.bool_]
Score = npt.NDArray[np.float64]
SCOPES = ("layer", "global")


@dataclass(frozen=True, slots=True)
class Unstructured:
    """Any weight by itself."""

    def __str__(self) -> str:
        return "unstructured"


@dataclass(frozen=True, slots=True)
class NOfM:
    """At most `kept` of each `size` weights along the input channels differ from 0."""

    kept: int
    size: int

    def __str__(self) -> str:
        return f"{self.kept}:{self.size}"


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of `pe` outputs times `simd` terms of their sums, as a fold multiplies in a cycle."""

    pe: int
    simd: int

    def __str__(self) -> str:
        return f"{self.pe}x{self.simd}"


@dataclass(frozen=True, slots=True)
class WholeChannels:
    """Output channels, with all that makes and reads them."""

    def __str__(self) -> str:
        return "channels"


Pattern = Unstructured | NOfM | Blocks | WholeChannels
PLAIN: Mapping[str, Pattern] = {"unstructured": Unstructured(), "channels": WholeChannels()}


def parse_pattern(text: str) -> Pattern:
    """The pattern of `unstructured`, `channels`, `2:4` (N:M) or `4x8` (PE x SIMD)."""
    if text in PLAIN:
        return PLAIN[text]
    if found := re.fullmatch(r"([1-9]\d{0,5}):([1-9]\d{0,5})", text):
        kept, size = map(int, found.groups())
        if kept < size:
            return NOfM(kept, size)
    if found := re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text):
        return Blocks(*map(int, found.groups()))
    raise HwsimError(
        "a pattern must be unstructured, channels, N:M with N below M such as 2:4, or PExSIMD "
        f"such as 4x8, not {text!r}"
    )


def check_amount(amount: float) -> float:
    """The share of weights or channels that go; HwsimError unless it is from 0 to below 1."""
    if not (math.isfinite(amount) and 0 <= amount < 1):
        raise HwsimError(f"an amount must be from 0 to below 1, not {amount:g}")
    return amount


def count_of(amount: float, total: int) -> int:
    """How many of `total` an amount is: the nearest whole number, a half up."""
    return math.floor(check_amount(amount) * total + 0.5)


def weighted_layers(graph: Graph, names: Iterable[str] | None = None) -> dict[str, Weighted]:
    """Dense layers and convolutions by their nodes' names, in the graph's order; or those named."""
    found = {node.name: node.op for node in graph.nodes if isinstance(node.op, Weighted)}
    if not found:
        raise HwsimError("a graph to prune must have a dense layer or convolution, not none")
    if names is None:
        return found
    wanted = set(names)
    for name in sorted(wanted - found.keys()):
        raise HwsimError(f"a layer to prune must be one of {list(found)}, not {name!r}")
    return {name: op for name, op in found.items() if name in wanted}


def weights_in_reals(op: Weighted) -> Score:
    """Codes times what a step of them is worth, so that layers can be compared."""
    step = op.weight_scale or (2.0**-op.weight_format.frac_bits,)
    reals: Score = op.weights.astype(np.float64) * np.asarray(step, np.float64)
    return reals


def magnitudes(layers: Mapping[str, Weighted]) -> dict[str, Score]:
    """The magnitude of each weight in reals, by layer."""
    return {name: np.abs(weights_in_reals(op)) for name, op in layers.items()}


def masks_of(
    scores: Mapping[str, Score],
    pattern: Pattern,
    *,
    amount: float | Mapping[str, float] = 0.0,
    scope: str = "layer",
) -> dict[str, Mask]:
    """By layer, where weights stay: those of the largest scores; of equals the earliest goes.

    The earliest is that of the first layer, then row-major. An `amount` of all weights (or blocks)
    goes, of each layer or of all layers together (`scope`); N:M says itself how many. Amounts by
    layer are for each layer alone (nothing goes of one that has none), and of N:M they say how many
    of M go. A layer whose shape a pattern does not divide stays whole, and is not in what is given;
    HwsimError where none is left.
    """
    if scope not in SCOPES:
        raise HwsimError(f"a scope must be one of {', '.join(SCOPES)}, not {scope!r}")
    by_layer = isinstance(amount, Mapping)
    for one in amount.values() if isinstance(amount, Mapping) else (amount,):
        check_amount(one)
    if isinstance(pattern, WholeChannels):
        raise HwsimError("masks must be of weights; channels go by `shrink`")
    fitting = {name: s for name, s in scores.items() if _fits(s, pattern)}
    if not fitting:
        raise HwsimError(
            f"a pattern must divide the weights of one of the layers, not {pattern}: "
            + ", ".join(f"{name!r} has {_sizes(s, pattern)}" for name, s in scores.items())
        )
    shares = {name: _share(amount, name) for name in fitting}
    if isinstance(pattern, NOfM):
        kept = {
            name: pattern.kept if not by_layer else pattern.size - count_of(share, pattern.size)
            for name, share in shares.items()
        }
        return {name: _n_of_m(s, kept[name], pattern.size) for name, s in fitting.items()}
    pe, simd = (pattern.pe, pattern.simd) if isinstance(pattern, Blocks) else (1, 1)
    cells = {name: _cells(score, pe, simd) for name, score in fitting.items()}
    if scope == "layer" or by_layer:
        left = {n: _together({n: cell}, shares[n])[n] for n, cell in cells.items()}
    else:
        left = _together(cells, next(iter(shares.values())))
    return {name: _spread(left[name], fitting[name].shape, pe, simd) for name in fitting}


def _share(amount: float | Mapping[str, float], name: str) -> float:
    """Of one layer."""
    return amount.get(name, 0.0) if isinstance(amount, Mapping) else amount


def _fits(score: Score, pattern: Pattern) -> bool:
    terms, outputs = score.reshape(-1, score.shape[-1]).shape
    if isinstance(pattern, NOfM):
        return bool(score.shape[-2] % pattern.size == 0)
    return not isinstance(pattern, Blocks) or not (outputs % pattern.pe or terms % pattern.simd)


def _sizes(score: Score, pattern: Pattern) -> str:
    if isinstance(pattern, NOfM):
        return f"{score.shape[-2]} input channels"
    return f"{score.shape[-1]} outputs of {score.size // score.shape[-1]} terms"


def _n_of_m(score: Score, kept: int, size: int) -> Mask:
    groups = np.moveaxis(score, -2, -1)
    shape = groups.shape
    groups = groups.reshape(*shape[:-1], -1, size)
    order = np.argsort(groups, axis=-1, kind="stable")
    mask = np.ones(groups.shape, bool)
    np.put_along_axis(mask, order[..., : size - kept], False, axis=-1)
    return np.ascontiguousarray(np.moveaxis(mask.reshape(shape), -1, -2))


def _cells(score: Score, pe: int, simd: int) -> Score:
    """The mean score of each block: (terms / simd, outputs / pe)."""
    terms, outputs = score.reshape(-1, score.shape[-1]).shape
    found: Score = score.reshape(terms // simd, simd, outputs // pe, pe).mean(axis=(1, 3))
    return found


def _together(cells: Mapping[str, Score], amount: float) -> dict[str, Mask]:
    flat = np.concatenate([cell.reshape(-1) for cell in cells.values()])
    mask = np.ones(flat.size, bool)
    mask[np.argsort(flat, kind="stable")[: count_of(amount, flat.size)]] = False
    ends = np.cumsum([cell.size for cell in cells.values()])[:-1]
    parts = np.split(mask, ends)
    return {
        n: part.reshape(cell.shape) for (n, cell), part in zip(cells.items(), parts, strict=True)
    }


def _spread(kept: Mask, shape: tuple[int, ...], pe: int, simd: int) -> Mask:
    return kept.repeat(simd, axis=0).repeat(pe, axis=1).reshape(shape)


def masked(graph: Graph, masks: Mapping[str, Mask]) -> Graph:
    """The graph with the code 0 wherever a layer's mask is false."""
    layers = weighted_layers(graph, masks)
    for name, op in layers.items():
        if masks[name].shape != op.weights.shape:
            raise HwsimError(
                f"a mask of node {name!r} must have shape {op.weights.shape}, not "
                f"{masks[name].shape}"
            )
    return rebuilt(graph, {name: _zeroed(name, op, masks[name]) for name, op in layers.items()})


def _zeroed(name: str, op: Weighted, mask: Mask) -> Weighted:
    try:
        return replace(op, weights=op.weights * mask)
    except HwsimError as error:  # of an encoding that has no 0
        raise HwsimError(
            f"node {name!r} must have 0 among its weights to be pruned: {error}"
        ) from None
