"""The samples of a pruning, in files: to choose and to train by, and to count an accuracy on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hwsim.cli.labelled import named_files
from hwsim.data import Labelled, Preparation
from hwsim.errors import HwsimError
from hwsim.graph import Graph

if TYPE_CHECKING:
    from hwsim.compress.choice.judges import Pair
    from hwsim.compress.choice.pruned import PruningAim
    from hwsim.compress.choice.target import ChoiceTarget
    from hwsim.compress.float_model import FloatModel


@dataclass(frozen=True, slots=True)
class SampleFiles:
    """What a call names to prune by: samples, others to count an accuracy on, and labels.

    Labels are those of the latter where there are any.
    """

    data: list[str] | None
    test: list[str] | None
    labels: Path | None
    prepare: Preparation

    def of(self, model: Graph | FloatModel) -> Labelled | None:
        """The samples of a model; None where none are named."""
        if not self.data:
            if self.labels is not None:
                raise HwsimError("--labels must come with --data, the samples that they belong to")
            return None
        return self._of(model, self.data, None if self.test else self.labels)

    def aim(
        self,
        target: ChoiceTarget | None,
        model: Graph | FloatModel,
        given: Labelled | None,
        cycles: Callable[[Graph], int | None] | None,
        say: Callable[[str], None],
    ) -> PruningAim | None:
        """What amounts are chosen for, on which samples; None without a target."""
        from hwsim.compress.choice.judges import own_pair
        from hwsim.compress.choice.pruned import PruningAim

        if target is None:
            if self.test:
                raise HwsimError("--test must come with --target-accuracy, not without a target")
            return None
        if given is None:
            raise HwsimError(f"a target {target.kind} must come with samples (--data), not without")
        own = own_pair(given)
        tested = self._tested(model) if target.accuracy is not None else None
        try:
            return PruningAim.of(
                target,
                given.arrays,
                None if own is None else own[1],
                tested,
                names=given.names,
                cycles=cycles,
                say=say,
            )
        except HwsimError as error:
            raise HwsimError(f"{named_files(self.data or [], None)}: {error}") from None

    def _tested(self, model: Graph | FloatModel) -> Pair | None:
        """Samples to count an accuracy on, with class numbers; None where none are named."""
        from hwsim.compress.choice.judges import tested_pair

        if not self.test:
            return None
        found = self._of(model, self.test, self.labels)
        try:
            return tested_pair(found)
        except HwsimError as error:
            raise HwsimError(f"{named_files(self.test, self.labels)}: {error}") from None

    def _of(self, model: Graph | FloatModel, names: list[str], labels: Path | None) -> Labelled:
        from hwsim.cli.floats import float_samples
        from hwsim.cli.labelled import read_data

        if isinstance(model, Graph):
            return read_data(model, names, labels, None, self.prepare, required=False)
        return float_samples(model, names, labels, None, self.prepare)
