"""The step that takes weights or channels out of a network, in rounds with training or at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hwsim.compress.choice.judges import own_pair
from hwsim.compress.choice.pruned import (
    AMOUNT,
    PruningAim,
    parse_pruning_target,
    prune_floats_to,
    prune_to,
)
from hwsim.compress.choice.report import BitChoice
from hwsim.compress.choice.target import ChoiceTarget
from hwsim.compress.float_model import FloatModel
from hwsim.compress.prune.float_weights import facts_of_float
from hwsim.compress.prune.masks import WholeChannels, parse_pattern
from hwsim.compress.prune.prune import Pruning, facts_of
from hwsim.compress.prune.rounds import Rounds, expect_used, joined
from hwsim.compress.prune.scores import BY_LABELS
from hwsim.compress.training.fit import LabelledBatch
from hwsim.compress.training.teachers import any_teacher
from hwsim.data import Labelled
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.recipe.job import FLOATS, INTEGERS, Job, StepResult, save_masks
from hwsim.recipe.keys import Values
from hwsim.recipe.steps.making import TARGETS, expect_choosing, tested_in
from hwsim.recipe.steps.training import expect_training, float_start
from hwsim.storage import write_atomically
from hwsim.verbs.designs import fewest_cycles


def pruning(values: Values, output: str | None = None) -> Pruning:
    """What is to go."""
    amount = values["amount"]
    return Pruning(
        amount=AMOUNT if amount is None else amount,
        output=output,
        by=values["by"],
        pattern=parse_pattern(values["pattern"]),
        scope=values["scope"],
        layers=values["layer"],
        seed=values["seed"],
    )


def target_of(values: Values) -> ChoiceTarget | None:
    """What amounts by layer are chosen for."""
    return parse_pruning_target(
        *(values[name] for name in TARGETS), amount=values["amount"], scope=values["scope"]
    )


def rounds_of(values: Values) -> Rounds:
    """In how many rounds, and how the network is trained after each."""
    settings = {name: values[name] for name in ("rate", "batch", "seed", "device")}
    return Rounds.of(values["schedule"], values["rounds"], values["epochs_a_round"], **settings)


def check_pruning(values: Values) -> None:
    """Raise HwsimError for values that mean nothing."""
    start, teacher = isinstance(values["from"], Path), values["teacher"] is not None
    expect_used(pruning(values), rounds_of(values), start=start, teacher=teacher)
    target_of(values)


def needs_data(values: Values) -> bool:
    """Whether samples to train with are looked at."""
    aimed = any(values[name] is not None for name in TARGETS)
    return bool(values["by"] != "magnitude" or values["epochs_a_round"] or aimed)


def needs_labels(values: Values) -> bool:
    """Whether they must have labels."""
    untaught = values["epochs_a_round"] and values["teacher"] is None
    return bool(values["by"] in BY_LABELS or untaught)


def check_float_pruning(values: Values) -> None:
    """Raise HwsimError for what only a network of integers can be pruned by."""
    how = pruning(values)
    if how.by != "magnitude" or isinstance(how.pattern, WholeChannels):
        what = "channels" if isinstance(how.pattern, WholeChannels) else f"scores by {how.by}"
        raise HwsimError(
            f"{what} must come after the step that quantizes; a float network is pruned by the "
            "magnitude of its weights"
        )
    if values["target_cycles"] is not None:
        raise HwsimError(
            "target_cycles must come after the step that quantizes: cycles are those of integers "
            "in hardware"
        )
    if rounds_of(values) != Rounds():
        raise HwsimError("rounds with training must come after the step that quantizes")


def expect_pruning(values: Values) -> None:
    """Raise HwsimError where what trains, scores by gradients or chooses is not installed."""
    expect_choosing(values, "a choice of amounts")
    if values["by"] in BY_LABELS or values["epochs_a_round"]:
        expect_training()


def run_pruning(job: Job) -> StepResult:
    """The network with weights of 0, or without channels."""
    how = pruning(job.values, job.data.output)
    if job.before.is_float:
        model = FloatModel.read(job.before.path)
        gone = prune_floats_to(model, how, _aim(job, model))
        write_atomically(job.folder / FLOATS, gone.proto.SerializeToString())
        after = replace(job.before, path=job.folder / FLOATS, zeros=True)
        return StepResult(network=after, facts=facts_of_float(model, gone) | _told(gone.choice))
    graph, rounds, held = job.before.graph(), rounds_of(job.values), job.before.held_masks()
    images, labels = _samples(job, graph)
    teacher = job.values["teacher"]
    reals, notes = (None, ()) if rounds.training is None else float_start(job)
    found = prune_to(
        graph,
        how,
        rounds,
        _aim(job, graph),
        images,
        labels,
        teacher=None if teacher is None else any_teacher(teacher, graph, job.data.output, {}),
        reals=reals,
        masks=held,
        checkpoint=None if rounds.training is None else job.checkpoint,
        say=lambda one: job.say(str(one)),
    )
    found.graph.save(job.folder / INTEGERS)
    after = replace(job.before, path=job.folder / INTEGERS)
    if isinstance(how.pattern, WholeChannels) or rounds.training is not None:
        after = replace(after, origin=None)
    after = replace(after, masks=save_masks(job.folder, joined(held, found)))
    facts = facts_of(graph, found.graph, found.whole) | _told(found.choice)
    return StepResult(network=after, facts=facts, notes=notes)


def _told(choice: BitChoice | None) -> dict[str, Any]:
    return {} if choice is None else {"choice": choice.to_dict()}


def _aim(job: Job, model: Graph | FloatModel) -> PruningAim | None:
    """The target, and the samples that amounts are chosen on and judged by."""
    target = target_of(job.values)
    if target is None:
        return None

    def part(name: str) -> Labelled:
        if isinstance(model, Graph):
            return job.data.of_graph(model, name)
        return job.data.of_floats(model, name)

    data, test = part("train"), None
    if target.accuracy is not None and job.data.has("test"):
        test = tested_in(part("test"))
    cycles = None if target.cycles is None else fewest_cycles(job.values["target"])
    own = own_pair(data)
    return PruningAim.of(
        target,
        data.arrays,
        None if own is None else own[1],
        test,
        names=data.names,
        cycles=cycles,
        say=job.say,
    )


def _samples(job: Job, graph: Graph) -> tuple[Any, Any]:
    """Images and class numbers for scores by data and for training."""
    if not needs_data(job.values):
        return None, None
    data = job.data.of_graph(graph, "train", required=needs_labels(job.values))
    trains = job.values["by"] in BY_LABELS or job.values["epochs_a_round"]
    batch = LabelledBatch.read(data.arrays, data.labels if trains else None, data.names)
    return batch.arrays, batch.labels
