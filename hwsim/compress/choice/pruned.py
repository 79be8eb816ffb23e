"""A network pruned for a target: amounts by layer chosen first, then the rounds that go to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwsim.compress.choice.amounts import choose_amounts
from hwsim.compress.choice.judges import Judges, Pair, Say
from hwsim.compress.choice.networks import TriedFloats, TriedGraph
from hwsim.compress.choice.rooms import Cycles, PruningRoom
from hwsim.compress.choice.target import ChoiceTarget, parse_accuracy
from hwsim.compress.float_model import FloatModel
from hwsim.compress.prune.float_weights import PrunedFloat, prune_float
from hwsim.compress.prune.masks import Mask
from hwsim.compress.prune.prune import Pruned, Pruning
from hwsim.compress.prune.resume import Behind
from hwsim.compress.prune.rounds import (
    Round,
    Rounds,
    expect_trained,
    prune_in_rounds,
    warn_of_emptied,
)
from hwsim.compress.training.fingerprint import Teacher
from hwsim.compress.training.fit import LabelledBatch
from hwsim.errors import HwsimError
from hwsim.graph import Graph

AMOUNT = 0.5
"""What goes where neither an amount nor a target says it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PruningAim:
    """A target, the samples that amounts are chosen on, by what they are judged, and cycles."""

    target: ChoiceTarget
    samples: LabelledBatch
    judges: Judges
    cycles: Cycles | None = None

    @classmethod
    def of(
        cls,
        target: ChoiceTarget,
        arrays: Mapping[str, Any],
        labels: Any,
        test: Pair | None,
        *,
        names: Sequence[str] | None = None,
        cycles: Cycles | None = None,
        say: Say | None = None,
    ) -> PruningAim:
        """With samples by input name, class numbers or None, and others to count accuracy on."""
        samples = LabelledBatch.read(arrays, labels, names)
        own = None if labels is None else (arrays, labels)
        what = "the whole network"
        judges = Judges.of(target, own, test, names=names, say=say, model=what)
        return cls(target=target, samples=samples, judges=judges, cycles=cycles)


def parse_pruning_target(
    accuracy: str | float | None,
    bits: int | None,
    cycles: int | None,
    *,
    amount: float | None,
    scope: str,
) -> ChoiceTarget | None:
    """The target of a call, None where it has none.

    Raises HwsimError for values that are none, and for an amount or a scope beside it.
    """
    if accuracy is None and bits is None and cycles is None:
        return None
    target = ChoiceTarget(accuracy=parse_accuracy(accuracy), bits=bits, cycles=cycles, cost="bits")
    if amount is not None:
        raise HwsimError(
            f"an amount must not be given with a target {target.kind}, which chooses amounts by "
            f"layer, not as {amount:g}"
        )
    if scope != "layer":
        raise HwsimError(
            f"the scope must be layer with a target {target.kind}, which chooses amounts by layer, "
            f"not {scope!r}"
        )
    return target


def prune_to(
    graph: Graph,
    how: Pruning,
    rounds: Rounds,
    aim: PruningAim | None,
    images: Any = None,
    labels: Any = None,
    *,
    teacher: Teacher | None = None,
    reals: Behind | None = None,
    masks: Mapping[str, Mask] | None = None,
    checkpoint: Path | None = None,
    say: Callable[[Round], None] | None = None,
) -> Pruned:
    """The graph after the last round, as `prune_in_rounds`; with an aim, of amounts by layer.

    They are chosen by the network as it is, before any training; `choice` in the result says how.
    """
    expect_trained(rounds, checkpoint)
    choice, plain = None, rounds.training is None and rounds.count == 1
    if aim is not None:
        room = PruningRoom.of_graph(graph, how, _given(aim.samples), aim.samples.labels, aim.cycles)
        judges = replace(aim.judges, output=how.output)
        found = choose_amounts(room, aim.samples, aim.target, judges)
        how, choice = replace(how, amounts=found.amounts, amount=found.gone), found.choice
        if plain:
            assert isinstance(found.network, TriedGraph)
            once = Pruned(found.network.graph, room.masks(found.kept), room.whole, choice)
            warn_of_emptied(graph, once)
            return once
    made = prune_in_rounds(
        graph,
        how,
        rounds,
        images,
        labels,
        teacher=teacher,
        reals=reals,
        masks=masks,
        checkpoint=checkpoint,
        say=say,
    )
    return replace(made, choice=choice)


def _given(samples: LabelledBatch) -> Any:
    """Samples as scores take them."""
    arrays = samples.arrays
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def prune_floats_to(model: FloatModel, how: Pruning, aim: PruningAim | None) -> PrunedFloat:
    """The float model with weights of 0, as `prune_float`; with an aim, of amounts by layer."""
    if aim is None:
        return prune_float(model, how)
    if aim.target.cycles is not None:
        raise HwsimError(
            f"{model.path} must be a quantized network for a target of cycles, which are those of "
            "integers in hardware"
        )
    room, judges = PruningRoom.of_floats(model, how), replace(aim.judges, output=how.output)
    found = choose_amounts(room, aim.samples, aim.target, judges)
    assert isinstance(found.network, TriedFloats)
    proto = found.network.model.proto
    return PrunedFloat(proto, room.masks(found.kept), room.whole, found.choice)
