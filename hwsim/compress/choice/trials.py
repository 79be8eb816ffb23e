"""Choices tried for real: made, run by the emulator, and judged; each one once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hwsim.compress.choice.divergence import Yardstick
from hwsim.compress.choice.knapsack import Answers, Knapsack
from hwsim.compress.figures import bit_operations, weight_bits
from hwsim.compress.float_model import Batch
from hwsim.compress.training.fit import LabelledBatch
from hwsim.emulator.run import planned
from hwsim.evaluation.measure import measure
from hwsim.graph import Graph

Make = Callable[[Answers], Graph]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceTrial:
    """A choice and what came of it.

    `predicted` is the sum of what its options lose alone, `loss` what the integer network is from
    the float one, and `agreement` the share of samples that have its class (None where there are no
    classes, or too many cycles); `accuracy` is None without labels, and `cycles` where nobody asked
    for them. `bits` are those of all weights, `operations` bit operations.
    """

    answers: Answers
    cost: int
    predicted: float
    loss: float
    accuracy: float | None
    agreement: float | None
    bits: int
    operations: int
    cycles: int | None = None

    @property
    def rank(self) -> tuple[float, float]:
        """More is better: accuracy, or agreement without labels, then nearness in the scores."""
        right = self.agreement if self.accuracy is None else self.accuracy
        return (right or 0.0, -self.loss)


@dataclass(slots=True, eq=False)
class ChoiceTrials:
    """Networks of a knapsack's choices, made by `make` and judged on samples.

    `yardstick` has the float model's outputs on `batches`; `data` are samples with labels to count
    accuracy on. `count` gives the cycles of a Graph, None
    where a device has no room; what takes more than `most` of them is not judged by accuracy.
    """

    sack: Knapsack
    make: Make
    yardstick: Yardstick
    batches: tuple[Batch, ...]
    data: LabelledBatch | None = None
    count: Callable[[Graph], int | None] | None = None
    most: int | None = None
    say: Callable[[str], None] | None = None
    found: dict[Answers, ChoiceTrial] = field(default_factory=dict)

    def __call__(self, answers: Answers) -> ChoiceTrial:
        """The trial of a choice."""
        if answers not in self.found:
            if self.say is not None:
                self.say(f"trying choice {len(self.found) + 1}")
            self.found[answers] = self._tried(answers)
        return self.found[answers]

    @property
    def every(self) -> tuple[ChoiceTrial, ...]:
        """All so far, in their order."""
        return tuple(self.found.values())

    def _tried(self, answers: Answers) -> ChoiceTrial:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the network that is chosen says them
            graph = self.make(answers)
            cycles = None if self.count is None else self.count(graph)
            slow = self.most is not None and (cycles is None or cycles > self.most)
            outputs = outputs_of(graph, self.batches)
            return ChoiceTrial(
                answers=answers,
                cost=self.sack.cost(answers),
                predicted=self.sack.loss(answers),
                loss=self.yardstick.loss(outputs),
                agreement=None if slow else self.yardstick.agreement(outputs),
                accuracy=None if slow else accuracy_of(graph, self.data),
                bits=weight_bits(graph),
                operations=bit_operations(graph),
                cycles=cycles,
            )


def outputs_of(graph: Graph, batches: tuple[Batch, ...]) -> list[Mapping[str, Any]]:
    """What the emulator gives for each batch, by name."""
    emulator = planned(graph)
    names = [port.name for port in graph.outputs]

    def outputs(batch: Batch) -> Mapping[str, Any]:
        found = emulator.decode(emulator.run_chunked(emulator.encode(dict(batch))))
        return found if isinstance(found, Mapping) else {names[0]: found}

    return [outputs(batch) for batch in batches]


def accuracy_of(graph: Graph, data: LabelledBatch | None) -> float | None:
    """The share of samples that are right."""
    if data is None or data.labels is None:
        return None
    return measure(graph, data.arrays, data.labels, names=data.names).top1
