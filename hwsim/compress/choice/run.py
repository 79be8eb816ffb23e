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
from hwsim.compress.choice.target import ChoiceTarget, share_text
from hwsim.compress.choice.trials import ChoiceTrial, ChoiceTrials
from hwsim.compress.choice.widths import Range, Room
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.equalize import equalized
from hwsim.compress.quantize.options import LinearScheme, Widths
from hwsim.compress.quantize.result import QuantizedModel
from hwsim.compress.quantize.run import run
from hwsim.compress.samples import Batches, BatchStream
from hwsim.errors import HwsimError

SAMPLES = 1024
"""Of the calibration data, on which losses are measured."""
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
    target.check_most(linear.widths)
    if target.kind == "accuracy" and judges.data is None:
        raise HwsimError("a target accuracy must come with samples and their labels, not without")
    start = equalized(model)[0] if linear.equalize else model
    linear = replace(linear, equalize=False)
    cost = "bits" if target.kind == "bits" else target.cost
    room = Room.of(start, batches, linear, tensors=cost == "operations")
    if not room.places:
        raise HwsimError("there must be a layer whose bits can be chosen, not patterns for all")
    few = some(batches, SAMPLES)
    span = Range(target.least, linear.widths)
    questions = measured(room, some(few, ALONE), span, judges.say)
    sack = priced(room, questions, cost)
    trials = ChoiceTrials(
        sack=sack,
        make=lambda answers: TriedGraph.of(
            run(start, batches, chosen(room, sack, answers), seen=room.seen).graph
        ),
        yardstick=Yardstick.of(start.run(few, start.outputs)),
        batches=few,
        data=judges.data,
        say=judges.say,
    )
    best = _searched(trials, target, span)
    made = run(start, batches, chosen(room, sack, best.answers), seen=room.seen)
    return replace(made, choice=reported(trials, best, target, cost, judges.told))


def _searched(trials: ChoiceTrials, target: ChoiceTarget, span: Range) -> ChoiceTrial:
    sack, (least, most) = trials.sack, (span.least, span.most)
    if target.bits is not None:
        found = best_within(trials, target.bits, target.tries)
        if found is None:
            raise HwsimError(
                f"no choice of {least.weights} to {most.weights} bits of weights fits "
                f"{target.bits:,} bits: the fewest are {sack.cost(sack.cheapest):,}",
                exit_status=1,
            )
        return found
    wanted = target.accuracy
    assert wanted is not None
    found = cheapest_that_holds(trials, lambda t: (t.accuracy or 0.0) >= wanted, target.tries)
    if found is None:
        highest = max(trials.every, key=lambda trial: trial.rank)
        of = f"{least.weights} to {most.weights} bits"
        raise HwsimError(
            f"no choice of {of} keeps an accuracy of {share_text(wanted)}: the highest is "
            f"{share_text(highest.accuracy or 0.0)}, at {_shown(sack, highest, most)}",
            exit_status=1,
        )
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
    tried = tuple(_facts(sack, trial) for trial in trials.every)
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
        best=_facts(sack, best),
        tried=tried,
        curve=front(tried),
        judged=judged,
    )


def _facts(sack: Knapsack, trial: ChoiceTrial) -> dict[str, Any]:
    choice: dict[str, dict[str, int]] = {}
    for q, at in zip(sack.questions, trial.answers, strict=True):
        choice.setdefault(q.of, {})[q.name] = q.values[at]
    return {
        "choice": choice,
        "cost": trial.cost,
        "bits": trial.bits,
        "operations": trial.operations,
        "predicted": trial.predicted,
        "loss": trial.loss,
        "accuracy": trial.accuracy,
        "agreement": trial.agreement,
        "cycles": trial.cycles,
    }
