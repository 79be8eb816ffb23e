"""How much of which layer is pruned for a bound: what each part alone loses, a knapsack, trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hwsim.compress.choice.divergence import Yardstick
from hwsim.compress.choice.judges import Judges
from hwsim.compress.choice.knapsack import Answers, Knapsack, Question
from hwsim.compress.choice.networks import TriedNetwork
from hwsim.compress.choice.report import BitChoice
from hwsim.compress.choice.rooms import Kept, PruningRoom
from hwsim.compress.choice.run import ALONE, SAMPLES, UNLABELLED, reported
from hwsim.compress.choice.search import best_within, cheapest_that_holds, dearest_that_holds
from hwsim.compress.choice.target import ChoiceTarget
from hwsim.compress.choice.trials import ChoiceTrial, ChoiceTrials
from hwsim.compress.choice.unmet import below, best_inside, beyond
from hwsim.compress.float_model import Batch
from hwsim.compress.prune.scores import in_batches
from hwsim.compress.training.fit import LabelledBatch
from hwsim.errors import HwsimError

Cost = Callable[[TriedNetwork], int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChosenAmounts:
    """The share that goes of each layer that can be pruned, how it was found, and the network.

    `kept` are the parts that stay instead, `gone` is the share of all bits of weights that goes.
    """

    amounts: Mapping[str, float]
    kept: Kept
    gone: float
    choice: BitChoice
    network: TriedNetwork


def choose_amounts(
    room: PruningRoom, samples: LabelledBatch, target: ChoiceTarget, judges: Judges
) -> ChosenAmounts:
    """Amounts by layer for a target of accuracy, of bits of the weights that stay, or of cycles.

    The network that is pruned says what `samples` should give. Raises HwsimError with exit status 1
    where no choice meets the bounds, which says the nearest.
    """
    if target.accuracy is not None and judges.data is None:
        raise HwsimError("a target accuracy must come with samples and their labels, not without")
    count = SAMPLES if judges.data is not None else UNLABELLED
    few = tuple(in_batches(samples.few(count)))
    part = tuple(in_batches(samples.few(ALONE)))
    whole = room.make({})
    cost = cost_of(target, room)
    sack = sack_of(room, Yardstick.of(whole.outputs(part)), part, judges, cost)
    trials = judges.trials(
        sack,
        lambda answers: room.make(kept_of(sack, answers)),
        Yardstick.of(whole.outputs(few)),
        few,
        target.cycles,
    )
    best = _searched(trials, room, target)
    kept = kept_of(sack, best.answers)
    made = room.make(kept)
    return ChosenAmounts(
        kept=kept,
        gone=max(0.0, 1 - max(made.bits, 1) / max(whole.bits, 1)),
        amounts={name: room.amount(name, stay) for name, stay in kept.items()},
        choice=reported(trials, best, target, "bits", judges.told),
        network=made,
    )


def cost_of(target: ChoiceTarget, room: PruningRoom) -> Cost:
    """Bits of weights; for cycles that channels take away, products."""
    if target.cycles is not None and not room.adds:
        return lambda made: made.products or 0
    return lambda made: made.bits


def kept_of(sack: Knapsack, answers: Answers) -> Kept:
    """Parts that stay of each layer."""
    return {q.name: q.values[at] for q, at in zip(sack.questions, answers, strict=True)}


def sack_of(
    room: PruningRoom,
    yardstick: Yardstick,
    batches: tuple[Batch, ...],
    judges: Judges,
    cost: Cost,
) -> Knapsack:
    """A question for each layer: parts that stay, what the lack of others loses and costs.

    Costs are those of the whole network with that lack alone; where they add up (`adds`) they are
    counted from the fewest parts on, so that a choice costs what its network does.
    """
    questions = []
    whole = cost(room.make({}))
    fixed = whole
    for name, values in room.values.items():
        if judges.say is not None:
            judges.say(f"what the loss of parts of {name} alone costs")
        made = [room.make({name: stay}) for stay in values]
        losses = tuple(yardstick.loss(one.outputs(batches)) for one in made)
        costs = tuple(cost(one) for one in made)
        if room.adds:
            costs = tuple(one - costs[0] for one in costs)
            fixed -= costs[-1]
        questions.append(Question(name, room.of, values, losses, costs))
    return Knapsack(tuple(questions), fixed=fixed if room.adds else 0)


def _searched(trials: ChoiceTrials, room: PruningRoom, target: ChoiceTarget) -> ChoiceTrial:
    start = None
    if target.bits is not None or target.cycles is not None:
        if target.cycles is None and target.bits is not None and room.adds:
            start = best_within(trials, target.bits, target.tries)
        else:
            start = dearest_that_holds(trials, target.within, target.tries)
        if start is None:
            smallest = trials(trials.sack.cheapest)
            shown = chosen_parts(trials.sack, smallest.answers)
            raise beyond(target, trials.every, "amounts by layer", f"with {shown}")
        if target.accuracy is None:
            return start
    found = cheapest_that_holds(trials, target.holds, target.tries, start)
    if found is None:
        best = best_inside(target, trials.every)
        shown = chosen_parts(trials.sack, best.answers)
        raise below(target, best, "amounts by layer", f"with {shown}")
    return found


def chosen_parts(sack: Knapsack, answers: Answers) -> str:
    """The parts that stay of layers of which some go."""
    pairs = zip(sack.questions, answers, strict=True)
    some = [f"{q.values[at]} {q.of} in {q.name}" for q, at in pairs if at < len(q.values) - 1]
    return ", ".join(some) or "all of each layer"
