"""On what choices are judged besides the calibration data: samples with labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.compress.choice.divergence import Yardstick
from hwsim.compress.choice.knapsack import Knapsack
from hwsim.compress.choice.target import ChoiceTarget
from hwsim.compress.choice.trials import ChoiceTrials, Make
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.training.fit import ChosenSamples, LabelledBatch
from hwsim.data import Labelled
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import batch_size, read_labels

JUDGED = 10_000
"""Of the calibration data's samples, on which accuracy is counted at most."""

Say = Callable[[str], None]
"""What gets told what is being done."""

Pair = tuple[Mapping[str, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judges:
    """Samples with labels, or None, and what they are called; `say` gets what is being done.

    `output` names the one that classifies, of several.
    """

    data: LabelledBatch | None
    told: str
    say: Say | None = None
    output: str | None = None

    @classmethod
    def of(
        cls,
        target: ChoiceTarget,
        own: Pair | None,
        test: Pair | None,
        *,
        names: Sequence[str] | None = None,
        say: Say | None = None,
        model: str = "the float model",
    ) -> Judges:
        """For a target: an accuracy is that of `test` if given, all else is judged on `own`.

        Both are arrays by input name with labels, `own` the calibration data. Test samples that
        are no part of a bound are not looked at: what is chosen by them is no longer unseen.
        `model` is what the network is called whose classes count where there are no labels.
        Raises HwsimError for test samples without labels where an accuracy is to be that of them.
        """
        if target.accuracy is not None and test is not None:
            _expect_labels(test[1])
            return cls(data=LabelledBatch.read(*test, names), told="the test samples", say=say)
        if own is None:
            return cls(data=None, told=f"{model}'s classes and scores", say=say)
        found = LabelledBatch.read(*own, names)
        count = batch_size(found.arrays)
        if count <= JUDGED:
            return cls(data=found, told="the data and its labels", say=say)
        places = np.arange(JUDGED) * count // JUDGED
        assert found.labels is not None
        part = LabelledBatch(
            arrays={name: ChosenSamples(array, places) for name, array in found.arrays.items()},
            labels=found.labels[places],
            names=names,
        )
        return cls(data=part, told=f"{JUDGED:,} samples of the data and their labels", say=say)

    def trials(
        self,
        sack: Knapsack,
        make: Make,
        yardstick: Yardstick,
        batches: tuple[Batch, ...],
        most: int | None = None,
    ) -> ChoiceTrials:
        """Trials of a knapsack's choices, of at most so many cycles, that these judge."""
        return ChoiceTrials(
            sack=sack,
            make=make,
            yardstick=yardstick,
            batches=batches,
            data=self.data,
            output=self.output,
            most=most,
            say=self.say,
        )


def own_pair(data: Labelled) -> Pair | None:
    """The calibration data with class numbers; None where it has no labels, or none of classes."""
    if data.labels is None:
        return None
    try:
        return data.arrays, read_labels(data.labels, batch_size(data.arrays), data.names)
    except HwsimError:
        return None  # labels of something else, which lie beside the samples


def tested_pair(data: Labelled) -> Pair:
    """Samples to test an accuracy with, with class numbers.

    Raises HwsimError where they have no labels, or none of classes.
    """
    _expect_labels(data.labels)
    return data.arrays, read_labels(data.labels, batch_size(data.arrays), data.names)


def _expect_labels(labels: Any) -> None:
    if labels is None:
        raise HwsimError("samples that a target accuracy is tested with must have labels, not none")


def expect_output(model: FloatModel, output: str | None) -> None:
    """Raise HwsimError for the name of an output that a model does not have."""
    if output is not None and output not in model.outputs:
        raise HwsimError(f"output must be one of {', '.join(model.outputs)}, not {output!r}")
