"""Weights of a layer as powers of two, sums of them, or entries of a table: chosen, and written.

A layer's set is one for all its channels, in steps of each channel's own unit, which stays: so the
rest of the graph does too. Finer units leave more to choose from: start from 8 bits or more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from hwsim.compress.prune.rebuild import rebuilt
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph
from hwsim.ops import Codebook, Encoding, Op, PowersOfTwo, Weighted

Reals = npt.NDArray[np.float64]
Steps = npt.NDArray[np.float64]
SETS = {"pot": 1, "apot": 2, "codebook": 0}
"""Kinds of sets, with the terms of a sum of powers of two."""
HIGHEST = range(-2, 2)
"""Highest exponents that are tried, from that of the largest weight's power of two on."""
ROUNDS = 300  # of Lloyd's algorithm, which ends earlier


@dataclass(frozen=True, slots=True)
class WeightSet:
    """A kind of set and the bits of a stored weight.

    `pot` is a sign and a power of two, `apot` a sign and a sum of two of them (additive powers of
    two, Li et al. 2020, arXiv 1909.13144), `codebook` a table found by k-means.
    """

    kind: str
    bits: int

    @classmethod
    def parse(cls, text: str) -> WeightSet:
        """Read `ternary`, `pot4`, `apot5` or `codebook3`."""
        if text == "ternary":
            return cls("pot", 2)
        match = re.fullmatch(r"([a-z]+)(\d{1,2})", text)
        kind, bits = (match[1], int(match[2])) if match else ("", 0)
        least = 1 if kind == "codebook" else 1 + SETS.get(kind, 0)
        if kind not in SETS or not least <= bits <= 8:
            raise HwsimError(
                "a set of weights must be ternary, pot2 to pot8, apot3 to apot8 or codebook1 to "
                f"codebook8, not {text!r}"
            )
        return cls(kind, bits)

    def encoding(self, steps: Steps) -> Encoding:
        """The set of this kind with the least squared error for weights in steps of their unit."""
        if self.kind == "codebook":
            return _clustered(steps.ravel(), 1 << self.bits)
        return min(self._powers(steps), key=lambda one: float(_error(one, steps)))

    def _powers(self, steps: Steps) -> Iterator[PowersOfTwo]:
        """Sets that differ in their highest exponent."""
        top = math.frexp(float(np.abs(steps).max()))[1] - 1
        found = {_exponents(top + more, self.bits - 1, SETS[self.kind]) for more in HIGHEST}
        yield from (PowersOfTwo(exponents=one) for one in sorted(found))


def encoded(
    graph: Graph,
    chosen: WeightSet | Mapping[str, WeightSet],
    reals: Mapping[str, Mapping[str, Reals]] | None = None,
) -> Graph:
    """The Graph with weights of the sets' values, each the nearest one; of two as near the lower.

    `chosen` is one for all dense layers and convolutions, or one by node; others stay. `reals`
    gives by node the weights as they were before the graph rounded them, as `finetune` takes them.
    Raises HwsimError for a node without weights, and for reals of another shape or not finite.
    """
    if isinstance(chosen, WeightSet):
        chosen = {node.name: chosen for node in graph.nodes if isinstance(node.op, Weighted)}
    made: dict[str, Op] = {}
    for name, one in chosen.items():
        op = graph.node(name).op
        if not isinstance(op, Weighted):
            raise HwsimError(f"node {name!r} must be a layer with weights, not {op.kind}")
        steps = _steps(name, op, (reals or {}).get(name, {}).get("weights"))
        made[name] = _with_set(op, one.encoding(steps), steps)
    return rebuilt(graph, made)


def chosen_sets(graph: Graph, all_of: str, layers: Mapping[str, str]) -> dict[str, WeightSet]:
    """A set for each layer that gets one, from texts: that of the last pattern that fits it.

    `plain` leaves a layer as it is. Raises HwsimError for a text that is no set, and for a pattern
    that fits no layer.
    """
    names = [node.name for node in graph.nodes if isinstance(node.op, Weighted)]
    found: dict[str, WeightSet] = {}
    for pattern, text in (("*", all_of), *layers.items()):
        fit = [name for name in names if fnmatchcase(name, pattern)]
        if not fit:
            raise HwsimError(
                f"a layer must be one of {', '.join(names) or 'none'}, not {pattern!r}, which fits "
                "none"
            )
        if text == "plain":
            found = {name: one for name, one in found.items() if name not in fit}
        else:
            found |= dict.fromkeys(fit, WeightSet.parse(text))
    return found


def _steps(name: str, op: Weighted, given: Reals | None) -> Steps:
    """Weights in steps of their unit: those of the graph, or reals beside them."""
    if given is None:
        return op.weights.astype(np.float64)
    if np.shape(given) != op.weights.shape:
        raise HwsimError(
            f"weights of node {name!r} must have shape {op.weights.shape}, not {np.shape(given)}"
        )
    if not np.isfinite(given).all():
        raise HwsimError(f"weights of node {name!r} must be finite numbers")
    return np.asarray(given / _unit(op))


def _unit(op: Weighted) -> Reals:
    """Reals a step of the weights: one, or one a channel."""
    return np.asarray(op.weight_scale or (2.0**-op.weight_format.frac_bits,), np.float64)


def reals_of(graph: Graph) -> dict[str, dict[str, Reals]]:
    """The weights of each layer as `encoded` and `finetune` take them."""
    ops = ((node.name, node.op) for node in graph.nodes)
    return {
        name: {"weights": op.weights * _unit(op)} for name, op in ops if isinstance(op, Weighted)
    }


def _with_set(op: Weighted, encoding: Encoding, steps: Steps) -> Weighted:
    weights = encoding.nearest(steps)
    low, high, fmt = int(weights.min()), int(weights.max()), op.weight_format
    if low < fmt.min or high > fmt.max:
        fmt = Format.holding(min(low, fmt.min), max(high, fmt.max), fmt.frac_bits)
    return replace(op, weights=weights, weight_format=fmt, encoding=encoding, channel_bits=None)


def _error(encoding: Encoding, steps: Steps) -> np.float64:
    return np.sum((encoding.nearest(steps) - steps) ** 2)


def _exponents(highest: int, bits: int, terms: int) -> tuple[tuple[int, ...], ...]:
    """Exponents from `highest` down, dealt to the terms in turn, as far as there are steps.

    Bits that do not part evenly go to the first terms.
    """
    highest, found = max(highest, terms - 1), []
    for term in range(terms):
        count = (1 << bits // terms + (term < bits % terms)) - 1
        each = (highest - term - k * terms for k in range(count))
        found.append(tuple(sorted(e for e in each if e >= 0)))
    return tuple(found)


def _clustered(steps: Steps, count: int) -> Codebook:
    """Lloyd's algorithm from evenly spread quantiles, and whole centres at the end.

    A number as near to two centres belongs to the lower one; a centre without numbers stays.
    """
    centres = np.unique(np.quantile(steps, (np.arange(count) + 0.5) / count))
    for _ in range(ROUNDS):
        own = np.searchsorted((centres[1:] + centres[:-1]) / 2, steps)
        sums = np.bincount(own, steps, len(centres))
        held = np.bincount(own, minlength=len(centres))
        moved = np.where(held > 0, sums / np.maximum(held, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    entries = sorted({int(centre) for centre in np.round(centres)})
    return Codebook(entries=tuple(entries if len(entries) > 1 else (entries[0], entries[0] + 1)))
