"""Choices tried for real: made, run by the emulator, and judged; each one once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

from hwsim.compress.choice.divergence import Yardstick
from hwsim.compress.choice.knapsack import Answers, Knapsack
from hwsim.compress.choice.networks import TriedNetwork
from hwsim.compress.float_model import Batch
from hwsim.compress.training.fit import LabelledBatch

Make = Callable[[Answers], TriedNetwork]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceTrial:
    """A choice and what came of it.

    `predicted` is the sum of what its options lose alone, `loss` what the integer network is from
    the float one, and `agreement` the share of samples that have its class (None where there are no
    classes, or too many cycles); `accuracy` is None without labels, and `cycles` where nobody asked
    for them. `bits` are those of all weights, `operations` bit operations (None of floats).
    """

    answers: Answers
    cost: int
    predicted: float
    loss: float
    accuracy: float | None
    agreement: float | None
    bits: int
    operations: int | None
    cycles: int | None = None

    @property
    def rank(self) -> tuple[float, float]:
        """More is better: accuracy, or agreement without labels, then nearness in the scores."""
        right = self.agreement if self.accuracy is None else self.accuracy
        return (right or 0.0, -self.loss)


@dataclass(slots=True, eq=False)
class ChoiceTrials:
    """Networks of a knapsack's choices, made by `make` and judged on samples.

    `yardstick` has the outputs on `batches` that they are to give; `data` are samples with labels
    to count accuracy on, that of the `output` where there are several. What takes more
    than `most` cycles is not judged by accuracy.
    """

    sack: Knapsack
    make: Make
    yardstick: Yardstick
    batches: tuple[Batch, ...]
    data: LabelledBatch | None = None
    output: str | None = None
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
            made = self.make(answers)
            slow = self.most is not None and (made.cycles is None or made.cycles > self.most)
            outputs = made.outputs(self.batches)
            return ChoiceTrial(
                answers=answers,
                cost=self.sack.cost(answers),
                predicted=self.sack.loss(answers),
                loss=self.yardstick.loss(outputs),
                agreement=None if slow else self.yardstick.agreement(outputs),
                accuracy=None
                if slow or self.data is None
                else made.accuracy(self.data, self.output),
                bits=made.bits,
                operations=made.operations,
                cycles=made.cycles,
            )
