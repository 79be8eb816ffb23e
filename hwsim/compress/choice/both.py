"""Channels and bits at once: within cycles and bits, or for an accuracy within cycles.

Channels first, then bits of what they leave, then exchanges of either for the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from hwsim.compress.choice.amounts import chosen_parts, kept_of, sack_of
from hwsim.compress.choice.channels import ChannelRoom, without_same
from hwsim.compress.choice.cycles import FEWEST, without_channels
from hwsim.compress.choice.divergence import Yardstick
from hwsim.compress.choice.judges import Judges
from hwsim.compress.choice.knapsack import Answers, Knapsack
from hwsim.compress.choice.networks import TriedGraph
from hwsim.compress.choice.report import BitChoice
from hwsim.compress.choice.rooms import Cycles, PruningRoom
from hwsim.compress.choice.run import ALONE, chosen, reported, searched, some, tried_on
from hwsim.compress.choice.search import better_within, cheaper_that_holds, dearest_that_holds
from hwsim.compress.choice.sensitivity import measured, priced
from hwsim.compress.choice.target import ChoiceTarget
from hwsim.compress.choice.trials import ChoiceTrial, ChoiceTrials
from hwsim.compress.choice.unmet import beyond
from hwsim.compress.choice.widths import Range, Room
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.prune.masks import WholeChannels
from hwsim.compress.prune.prune import Pruning
from hwsim.compress.quantize.equalize import equalized
from hwsim.compress.quantize.options import LinearScheme
from hwsim.compress.quantize.result import QuantizedModel
from hwsim.compress.quantize.run import run
from hwsim.compress.samples import Batches, BatchStream
from hwsim.graph import Graph

QUANTIZED = 16
"""Networks of other bits that are kept, for other channels of them."""


def choose_both(
    model: FloatModel,
    batches: Batches | BatchStream,
    linear: LinearScheme,
    target: ChoiceTarget,
    judges: Judges,
    cycles: Cycles,
) -> QuantizedModel:
    """The model with bits by layer and without some channels, for cycles and another bound.

    What is best within bits and cycles; with an accuracy what costs least. Raises HwsimError with
    exit status 1 where no choice meets the bounds, which says the nearest.
    """
    start = equalized(model)[0] if linear.equalize else model
    linear = replace(linear, equalize=False)
    few = tried_on(batches, judges)
    span = Range(target.least, linear.widths)
    room = Room.of(start, batches, linear, tensors=target.counts == "operations")
    bits = priced(room, measured(room, some(few, ALONE), span, judges.say), target.counts)
    whole = run(start, batches, linear, seen=room.seen).graph
    how = Pruning(pattern=WholeChannels())
    yardstick, part = Yardstick.of(start.run(few, start.outputs)), some(few, ALONE)
    channels = sack_of(
        PruningRoom.of_graph(whole, how, None, None, cycles),
        Yardstick.of(start.run(part, start.outputs)),
        part,
        judges,
        lambda made: made.products or 0,
    )
    search = _BothSearch(
        room=room,
        bits=bits,
        channels=channels,
        whole=ChannelRoom.of(whole, how),
        quantized=lru_cache(maxsize=QUANTIZED)(
            lambda answers: run(start, batches, chosen(room, bits, answers), seen=room.seen)
        ),
        counts=target.counts,
        cycles=cycles,
    )

    def trials(sack: Knapsack, make: Callable[[Answers], TriedGraph]) -> ChoiceTrials:
        return judges.trials(sack, make, yardstick, few, target.cycles)

    first = _of_channels(trials(channels, search.of_channels), search, target)
    second = trials(search.sack_of(first), lambda answers: search.make((*first, *answers)))
    bare = searched(second, target, span, f" and {chosen_parts(channels, first)}")
    every = trials(search.sack, search.make)
    for answers, trial in second.found.items():
        every.found[(*first, *answers)] = search.moved(first, trial)
    best, last = search.moved(first, bare), len(every.found) + target.tries
    if target.accuracy is not None:
        best = cheaper_that_holds(every, best, target.holds, last)
    elif target.bits is not None:
        best = better_within(every, best, target.bits, target.within, last)
    choice = reported(every, best, target, target.counts, judges.told)
    return search.result(model, best.answers, few, choice=choice)


def _of_channels(trials: ChoiceTrials, search: _BothSearch, target: ChoiceTarget) -> Answers:
    """The best channels within the cycles, of which the fewest bits are within the bits."""

    def smallest(trial: ChoiceTrial) -> ChoiceTrial:
        if target.bits is None:
            return trial
        sack = search.sack_of(trial.answers)
        return replace(trial, bits=sack.cost(sack.cheapest))

    best = dearest_that_holds(trials, lambda t: target.within(smallest(t)), target.tries)
    if best is None:
        raise beyond(target, [smallest(t) for t in trials.every], "channels and bits", FEWEST)
    return best.answers


@dataclass(frozen=True, kw_only=True, eq=False)
class _BothSearch:
    """Answers of channels, followed by those of bits, and their networks.

    `whole` is the network of all channels and the most bits, whose channels go in their order;
    `quantized` gives that of answers of bits.
    """

    room: Room
    bits: Knapsack
    channels: Knapsack
    whole: ChannelRoom
    quantized: Callable[[Answers], QuantizedModel]
    counts: str
    cycles: Cycles

    @cached_property
    def sack(self) -> Knapsack:
        """All questions; what a choice costs is known for the channels that it leaves."""
        questions = (*self.channels.questions, *self.bits.questions)
        return Knapsack(questions, price=self._price)

    def _price(self, answers: Answers) -> int:
        first, second = self._split(answers)
        return self.sack_of(first).cost(second)

    def sack_of(self, first: Answers) -> Knapsack:
        """The questions of bits for some channels."""
        if first not in self._sacks:
            graph = self.whole.without(kept_of(self.channels, first))
            self._sacks[first] = priced(self.room.shrunk(graph), self.bits.questions, self.counts)
        return self._sacks[first]

    @cached_property
    def _sacks(self) -> dict[Answers, Knapsack]:
        return {}

    def of_channels(self, first: Answers) -> TriedGraph:
        """The network of the most bits without some channels."""
        return self._tried(self.whole.without(kept_of(self.channels, first)))

    def make(self, answers: Answers) -> TriedGraph:
        """The network of a choice."""
        first, second = self._split(answers)
        gone = self.whole.gone(kept_of(self.channels, first))
        graph = self.quantized(second).graph
        return self._tried(without_same(graph, gone) if gone else graph)

    def _tried(self, graph: Graph) -> TriedGraph:
        return TriedGraph.of(graph, self.cycles(graph))

    def _split(self, answers: Answers) -> tuple[Answers, Answers]:
        count = len(self.channels.questions)
        return answers[:count], answers[count:]

    def moved(self, first: Answers, trial: ChoiceTrial) -> ChoiceTrial:
        """A trial of bits alone as one of both."""
        answers = (*first, *trial.answers)
        return replace(trial, answers=answers, predicted=self.sack.loss(answers))

    def result(
        self,
        model: FloatModel,
        answers: Answers,
        few: tuple[Batch, ...],
        *,
        choice: BitChoice,
    ) -> QuantizedModel:
        """The quantized model of a choice."""
        found, made = self.quantized(self._split(answers)[1]), self.make(answers)
        if made.graph is found.graph:
            return replace(found, choice=choice)
        return replace(without_channels(model, found, made.graph, few), choice=choice)
