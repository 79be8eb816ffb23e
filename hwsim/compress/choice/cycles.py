"""Channels that go from a quantized network until it takes few cycles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hwsim.compress.choice.amounts import cost_of, kept_of, sack_of
from hwsim.compress.choice.divergence import Yardstick
from hwsim.compress.choice.judges import Judges
from hwsim.compress.choice.networks import TriedGraph
from hwsim.compress.choice.rooms import Cycles, PruningRoom
from hwsim.compress.choice.run import SAMPLES, reported, some, tried_on
from hwsim.compress.choice.search import dearest_that_holds
from hwsim.compress.choice.target import ChoiceTarget
from hwsim.compress.choice.unmet import beyond
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.prune.masks import WholeChannels
from hwsim.compress.prune.prune import Pruning
from hwsim.compress.quantize.result import QuantizedModel, output_sqnr
from hwsim.compress.samples import Batches, BatchStream
from hwsim.graph import Graph

FEWEST = "with 1 of 8 channels of each layer"


def choose_channels(
    model: FloatModel,
    made: QuantizedModel,
    batches: Batches | BatchStream,
    target: ChoiceTarget,
    judges: Judges,
    cycles: Cycles,
) -> QuantizedModel:
    """The quantized model without as many channels as it takes for a target of cycles.

    What its channels cost are products; whether it is fast enough `cycles` says. Raises HwsimError
    with exit status 1 where it never is, which says the fewest cycles.
    """
    few = tried_on(batches, judges)
    part = some(few, SAMPLES)
    yardstick, alone = (Yardstick.of(model.run(each, model.outputs)) for each in (few, part))
    room = PruningRoom.of_graph(made.graph, Pruning(pattern=WholeChannels()), None, None, cycles)
    sack = sack_of(room, alone, part, judges, cost_of(target, room))
    trials = judges.trials(
        sack,
        lambda answers: room.make(kept_of(sack, answers)),
        yardstick,
        few,
        target.cycles,
    )
    best = dearest_that_holds(trials, target.within, target.tries)
    if best is None:
        raise beyond(target, trials.every, "channels", FEWEST)
    found = room.make(kept_of(sack, best.answers))
    assert isinstance(found, TriedGraph)
    choice = reported(trials, best, target, "operations", judges.told)
    if found.graph is made.graph:
        return replace(made, choice=choice)
    return replace(without_channels(model, made, found.graph, few), choice=choice)


def without_channels(
    model: FloatModel, made: QuantizedModel, graph: Graph, few: Iterable[Batch]
) -> QuantizedModel:
    """The quantized model with a Graph of fewer channels, whose rows count what is left."""
    rows = tuple(_row(row, graph) for row in made.rows)
    sqnr = output_sqnr(model, graph, few)
    return replace(made, proto=None, graph=graph, form="hwsim", rows=rows, sqnr=sqnr)


def _row(row: dict[str, object], graph: Graph) -> dict[str, object]:
    """The row of a layer with the weights that it has left."""
    ops = {node.name: node.op for node in graph.nodes}
    weights = getattr(ops.get(str(row["name"])), "weights", None)
    return row if weights is None or "weights" not in row else {**row, "weights": weights.size}
