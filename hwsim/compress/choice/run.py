"""A float model quantized within a bound: what each place loses alone, a knapsack, trials."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hwsim.compress.choice.divergence import Yardstick
from hwsim.compress.choice.judges import Judges
from hwsim.compress.choice.knapsack import Answers, Knapsack
from hwsim.compress.choice.networks import TriedGraph
from hwsim.compress.choice.report import BitChoice, front
from hwsim.compress.choice.search import best_within, cheapest_that_holds
from hwsim.compress.choice.sensitivity import measured, priced
from hwsim.compress.choice.target import ChoiceTarget
from hwsim.compress.choice.trials import ChoiceTrial, ChoiceTrials
from hwsim.compress.choice.unmet import below, best_inside
from hwsim.compress.choice.widths import Range, Room
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.equalize import equalized
from hwsim.compress.quantize.options import LinearScheme, Widths
from hwsim.compress.quantize.result import QuantizedModel
from hwsim.compress.quantize.run import run
from hwsim.compress.samples import Batches, BatchStream
from hwsim.errors import HwsimError

SAMPLES = 1024
"""Of the data, on which networks' losses are measured."""
UNLABELLED = 4096
"""The same where no labels judge: what is chosen from 1,024 alone fits those."""
ALONE = 512
"""Of those, on which a place is tried alone."""


def choose_widths(
    model: FloatModel,
    batches: Batches | BatchStream,
    linear: LinearScheme,
    target: ChoiceTarget,
    judges: Judges,
) -> QuantizedModel:
    """The model with bits by layer for a target of accuracy or of bits of weights.

    `linear` has the most bits; what its patterns name, and inputs, keep theirs. Raises HwsimError
    with exit status 1 where no choice meets the bound, which says the nearest.
    """
    start = equalized(model)[0] if linear.equalize else model
    linear = replace(linear, equalize=False)
    cost = target.counts
    room = Room.of(start, batches, linear, tensors=cost == "operations")
    if not room.places:
        raise HwsimError("there must be a layer whose bits can be chosen, not patterns for all")
    few = tried_on(batches, judges)
    span = Range(target.least, linear.widths)
    questions = measured(room, some(few, ALONE), span, judges.say)
    sack = priced(room, questions, cost)
    trials = judges.trials(
        sack,
        lambda answers: TriedGraph.of(
            run(start, batches, chosen(room, sack, answers), seen=room.seen).graph
        ),
        Yardstick.of(start.run(few, start.outputs)),
        few,
    )
    best = searched(trials, target, span)
    made = run(start, batches, chosen(room, sack, best.answers), seen=room.seen)
    return replace(made, choice=reported(trials, best, target, cost, judges.told))


def tried_on(batches: Batches | BatchStream, judges: Judges) -> tuple[Batch, ...]:
    """The samples on which networks are compared with the float model: more where no labels are."""
    if judges.data is not None:
        return some(batches, SAMPLES)
    return some(batches.taken(UNLABELLED), UNLABELLED)


def searched(
    trials: ChoiceTrials, target: ChoiceTarget, span: Range, beside: str = ""
) -> ChoiceTrial:
    """By the bits and the accuracy of a target; `beside` says what else the networks lack.

    Raises HwsimError with exit status 1 where no choice meets them, which says the nearest.
    """
    sack, (least, most), start = trials.sack, (span.least, span.most), None
    what = f"{least.weights} to {most.weights} bits"
    if target.bits is not None:
        start = best_within(trials, target.bits, target.tries)
        if start is None:
            raise HwsimError(
                f"no choice of {what} of weights fits {target.bits:,} bits: the fewest are "
                f"{sack.cost(sack.cheapest):,}",
                exit_status=1,
            )
        if target.accuracy is None:
            return start
    found = cheapest_that_holds(trials, target.holds, target.tries, start)
    if found is None:
        highest = best_inside(target, trials.every)
        raise below(target, highest, what, f"at {_shown(sack, highest, most)}{beside}")
    return found


def _shown(sack: Knapsack, trial: ChoiceTrial, most: Widths) -> str:
    """Bits as they are asked for, and which places have fewer."""
    pairs = zip(sack.questions, trial.answers, sack.dearest, strict=True)
    fewer = [f"{q.values[at]} bits of {q.of} in {q.name}" for q, at, top in pairs if at != top]
    whole = f"w{most.weights}a{most.activations}"
    return f"{whole} with {', '.join(fewer)}" if fewer else whole


def chosen(room: Room, sack: Knapsack, answers: Answers) -> LinearScheme:
    """What to ask `quantize` for."""
    pairs = zip(room.places, sack.questions, answers, strict=True)
    return room.scheme({place: q.values[at] for place, q, at in pairs})


def some(batches: Iterable[Batch], most: int) -> tuple[Batch, ...]:
    """At most so many samples, evenly over all, batch by batch."""
    total = sum(len(next(iter(batch.values()))) for batch in batches)
    step, found, place = -(-total // most), list[Batch](), 0
    for batch in batches:
        count = len(next(iter(batch.values())))
        first = -place % step
        if first < count:
            found.append({name: array[first::step] for name, array in batch.items()})
        place += count
    return tuple(found)


def reported(
    trials: ChoiceTrials,
    best: ChoiceTrial,
    target: ChoiceTarget,
    cost: str,
    judged: str,
) -> BitChoice:
    """Plain values of all that was tried."""
    sack = trials.sack
    tried = tuple(_facts(sack, trial, cost) for trial in trials.every)
    rows = tuple(
        {
            "name": q.name,
            "of": q.of,
            "values": list(q.values),
            "losses": list(q.losses),
            "chosen": q.values[at],
            "same": at == len(q.values) - 1,
        }
        for q, at in zip(sack.questions, best.answers, strict=True)
    )
    return BitChoice(
        kind=target.kind,
        bound=float(next(iter(target.bounds.values()))),
        bounds=target.bounds,
        cost=cost,
        rows=rows,
        best=_facts(sack, best, cost),
        tried=tried,
        curve=front(tried),
        judged=judged,
    )


def _facts(sack: Knapsack, trial: ChoiceTrial, cost: str) -> dict[str, Any]:
    """With the cost that the network has; that of the knapsack may only stand for it."""
    choice: dict[str, dict[str, int]] = {}
    for q, at in zip(sack.questions, trial.answers, strict=True):
        choice.setdefault(q.of, {})[q.name] = q.values[at]
    return {
        "choice": choice,
        "cost": trial.bits if cost == "bits" else trial.operations,
        "bits": trial.bits,
        "operations": trial.operations,
        "predicted": trial.predicted,
        "loss": trial.loss,
        "accuracy": trial.accuracy,
        "agreement": trial.agreement,
        "cycles": trial.cycles,
    }
