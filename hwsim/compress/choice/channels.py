"""Channels that go from a quantized network until it takes few cycles: how many of which layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from hwsim.compress.choice.divergence import Yardstick
from hwsim.compress.choice.judges import Judges
from hwsim.compress.choice.knapsack import Answers, Knapsack, Question
from hwsim.compress.choice.report import BitChoice
from hwsim.compress.choice.run import SAMPLES, reported, some
from hwsim.compress.choice.search import dearest_that_holds
from hwsim.compress.choice.target import ChoiceTarget
from hwsim.compress.choice.trials import ChoiceTrials, outputs_of
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.prune.masks import WholeChannels
from hwsim.compress.prune.prune import Pruning, group_scores
from hwsim.compress.prune.scores import least_first
from hwsim.compress.prune.shrink import ChannelGroup, ChannelMap
from hwsim.compress.quantize.result import QuantizedModel, output_sqnr
from hwsim.errors import HwsimError
from hwsim.graph import Graph

PARTS = 8
"""Of a layer's channels; all but one of them can go."""
SCORE = "magnitude"
"""By what channels of one layer are told from each other."""

Cycles = Callable[[Graph], int | None]
"""Cycles of the fastest hardware that a device has room for; None where it has none."""


@dataclass(frozen=True, slots=True, eq=False)
class ChannelRoom:
    """A graph, and the channels of each layer that can go, those that matter least first."""

    map: ChannelMap
    layers: dict[str, list[ChannelGroup]]

    @classmethod
    def of(cls, graph: Graph, batches: Iterable[Batch]) -> ChannelRoom:
        """Channels that go together count for the first layer that makes some."""
        found = ChannelMap.of(graph)
        few = list(batches)
        images = {name: np.concatenate([batch[name] for batch in few]) for name in few[0]}
        how = Pruning(by=SCORE, pattern=WholeChannels())
        score = group_scores(graph, how, found, images, None)
        layers: dict[str, list[ChannelGroup]] = {}
        for group in found.groups:
            layers.setdefault(group.layer, []).append(group)
        if not layers:
            raise HwsimError("there must be a layer whose channels can go, not none")
        return cls(found, {name: least_first(each, score) for name, each in layers.items()})

    def without(self, kept: dict[str, int]) -> Graph:
        """The graph with so many channels of some layers, and all of the others."""
        gone: list[ChannelGroup] = []
        for name, count in kept.items():
            order = self.layers[name]
            gone += self.map.choose(order, len(order) - count)
        return self.map.shrunk(gone) if gone else self.map.graph

    def sack(self, yardstick: Yardstick, batches: tuple[Batch, ...], judges: Judges) -> Knapsack:
        """A question for each layer: channels kept, what their lack alone loses, all products."""
        questions = []
        for name, order in self.layers.items():
            if judges.say is not None:
                judges.say(f"what channels of {name} alone are worth")
            parts = {max(1, round(len(order) * k / PARTS)) for k in range(1, PARTS + 1)}
            graphs = [self.without({name: kept}) for kept in sorted(parts)]
            questions.append(
                Question(
                    name,
                    "channels",
                    tuple(sorted(parts)),
                    tuple(yardstick.loss(outputs_of(graph, batches)) for graph in graphs),
                    tuple(products(graph) for graph in graphs),
                )
            )
        return Knapsack(tuple(questions))


def products(graph: Graph) -> int:
    """Of an inference."""
    return sum(work.macs for work in graph.work().values())


def choose_channels(
    model: FloatModel,
    made: QuantizedModel,
    batches: Iterable[Batch],
    target: ChoiceTarget,
    judges: Judges,
    cycles: Cycles,
) -> QuantizedModel:
    """The quantized model without as many channels as it takes for a target of cycles.

    What its channels cost are products; whether it is fast enough `cycles` says. Raises HwsimError
    with exit status 1 where it never is, which says the fewest cycles.
    """
    assert target.cycles is not None
    few = some(batches, SAMPLES)
    yardstick = Yardstick.of(model.run(few, model.outputs))
    room = ChannelRoom.of(made.graph, few)
    sack = room.sack(yardstick, few, judges)

    def kept(answers: Answers) -> dict[str, int]:
        return {q.name: q.values[at] for q, at in zip(sack.questions, answers, strict=True)}

    trials = ChoiceTrials(
        sack=sack,
        make=lambda answers: room.without(kept(answers)),
        yardstick=yardstick,
        batches=few,
        data=judges.data,
        count=cycles,
        most=target.cycles,
        say=judges.say,
    )
    bound = target.cycles
    best = dearest_that_holds(
        trials, lambda t: t.cycles is not None and t.cycles <= bound, target.tries
    )
    if best is None:
        counts = [trial.cycles for trial in trials.every if trial.cycles is not None]
        told = f"the fewest are {min(counts):,}" if counts else "the device has room for none"
        raise HwsimError(
            f"no choice of channels takes an inference to {bound:,} cycles: {told}, with 1 of "
            f"{PARTS} channels of each layer",
            exit_status=1,
        )
    graph = room.without(kept(best.answers))
    choice: BitChoice = reported(trials, best, target, "operations", judges.told)
    if graph is made.graph:
        return replace(made, choice=choice)
    sqnr = output_sqnr(model, graph, few)
    rows = tuple(_row(row, graph) for row in made.rows)
    return replace(made, proto=None, graph=graph, form="hwsim", rows=rows, sqnr=sqnr, choice=choice)


def _row(row: dict[str, object], graph: Graph) -> dict[str, object]:
    """The row of a layer with the weights that it has left."""
    ops = {node.name: node.op for node in graph.nodes}
    weights = getattr(ops.get(str(row["name"])), "weights", None)
    return row if weights is None or "weights" not in row else {**row, "weights": weights.size}
