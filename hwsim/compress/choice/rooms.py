"""What may be pruned how far: layers with parts that stay, and the network of each choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.choice.channels import ChannelRoom, parts_of
from hwsim.compress.choice.networks import TriedFloats, TriedGraph, TriedNetwork
from hwsim.compress.float_model import FloatModel
from hwsim.compress.prune.float_weights import float_scores, masked_floats
from hwsim.compress.prune.masks import (
    Blocks,
    Mask,
    NOfM,
    Score,
    WholeChannels,
    count_of,
    masked,
    masks_of,
    weighted_layers,
)
from hwsim.compress.prune.prune import Pruning, check_scored, undivided, weight_scores
from hwsim.compress.quantize.places import places
from hwsim.graph import Graph

SIXTEENTHS = 16
"""Of a layer's weights or blocks, of which one stays at least; fewer where it has fewer."""
FLOAT_BITS = 32

Cycles = Callable[[Graph], int | None]
"""Cycles of the fastest hardware that a device has room for; None where it has none."""

Kept = dict[str, int]
"""Parts that stay, by layer; of a layer that is not named, all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PruningRoom:
    """Layers, of each the numbers of parts that may stay, and what they are in words.

    `make` gives the network of a choice, `masks` where its weights stay (none of channels),
    `amount` the share that goes of a layer where so many stay. `whole` says of layers that have no
    choice why. `adds` says that the bits which layers save add up.
    """

    values: Mapping[str, tuple[int, ...]]
    of: str
    make: Callable[[Kept], TriedNetwork]
    masks: Callable[[Kept], dict[str, Mask]]
    amount: Callable[[str, int], float]
    whole: Mapping[str, str]
    adds: bool

    @classmethod
    def of_graph(
        cls, graph: Graph, how: Pruning, images: Any, labels: Any, cycles: Cycles | None
    ) -> PruningRoom:
        """Of an integer network, by scores that are counted once."""
        layers = weighted_layers(graph, how.layers)
        check_scored(how, images, labels)

        def tried(made: Graph) -> TriedGraph:
            count = None if cycles is None else cycles(made)
            if isinstance(how.pattern, WholeChannels):
                return TriedGraph.of(made, count)
            return TriedGraph(graph=made, bits=bits_that_stay(made), cycles=count)

        if isinstance(how.pattern, WholeChannels):
            return cls._of_channels(graph, how, images, labels, tried)
        return cls._of_weights(
            weight_scores(graph, how, layers, images, labels),
            how,
            lambda masks: tried(masked(graph, masks) if masks else graph),
        )

    @classmethod
    def of_floats(cls, model: FloatModel, how: Pruning) -> PruningRoom:
        """Of a float model, by magnitude."""

        def tried(masks: Mapping[str, Mask]) -> TriedFloats:
            made = masked_floats(model, masks)
            return TriedFloats(model=made, bits=float_bits_that_stay(made))

        return cls._of_weights(float_scores(model, how), how, tried)

    @classmethod
    def _of_weights(
        cls,
        scores: Mapping[str, Score],
        how: Pruning,
        tried: Callable[[Mapping[str, Mask]], TriedNetwork],
    ) -> PruningRoom:
        pattern = how.pattern
        nofm = pattern if isinstance(pattern, NOfM) else None
        least, parts = (nofm.kept, nofm.size) if nofm else (1, SIXTEENTHS)
        fitting = masks_of(scores, pattern, amount={})
        block = pattern.pe * pattern.simd if isinstance(pattern, Blocks) else 1
        cells = {name: nofm.size if nofm else mask.size // block for name, mask in fitting.items()}

        def amount(name: str, stay: int) -> float:
            return min(1 - stay / parts, 1 - 1 / cells[name])  # one stays of few blocks, too

        def values(name: str) -> tuple[int, ...]:
            return _apart(range(least, parts + 1), lambda stay: amount(name, stay), cells[name])

        def masks(kept: Kept) -> dict[str, Mask]:
            some = {name: scores[name] for name in kept}
            amounts = {name: amount(name, stay) for name, stay in kept.items()}
            return masks_of(some, pattern, amount=amounts) if some else {}

        return cls(
            values={name: values(name) for name in fitting},
            of=f"of each {parts} weights" if nofm else "of 16 parts",
            make=lambda kept: tried(masks(kept)),
            masks=masks,
            amount=amount,
            whole=undivided(how, scores, fitting),
            adds=True,
        )

    @classmethod
    def _of_channels(
        cls,
        graph: Graph,
        how: Pruning,
        images: Any,
        labels: Any,
        tried: Callable[[Graph], TriedNetwork],
    ) -> PruningRoom:
        room = ChannelRoom.of(graph, how, images, labels)
        counts = {name: len(order) for name, order in room.layers.items()}
        return cls(
            values={name: parts_of(count) for name, count in counts.items()},
            of="channels",
            make=lambda kept: tried(room.without(kept)),
            masks=lambda _: {},
            amount=lambda name, stay: 1 - stay / counts[name],
            whole={
                n: why
                for n, why in room.map.stays.items()
                if n in weighted_layers(graph, how.layers)
            },
            adds=False,
        )


def _apart(stays: Sequence[int], amount: Callable[[int], float], cells: int) -> tuple[int, ...]:
    """Of parts that leave as many cells (weights or blocks), those that say best how many."""
    found: dict[int, int] = {}
    for stay in stays:
        left = cells - count_of(amount(stay), cells)
        off = abs(stay * cells - left * stays[-1])
        if left not in found or off <= abs(found[left] * cells - left * stays[-1]):
            found[left] = stay
    return tuple(sorted(found.values()))


def bits_that_stay(graph: Graph) -> int:
    """Bits of the weights that are not 0, each channel with its own where it has some."""
    total = 0
    for op in weighted_layers(graph).values():
        kept = np.count_nonzero(op.weights.reshape(-1, op.outputs), axis=0)
        total += int((kept * np.array(op.channel_bits or op.weight_bits)).sum())
    return total


def float_bits_that_stay(model: FloatModel) -> int:
    """The same of a float model, 32 a weight."""
    constants: Mapping[str, npt.NDArray[Any]] = model.constants
    names = {layer.weights for layer in places(model).layers}
    return FLOAT_BITS * sum(int(np.count_nonzero(constants[name])) for name in names)
