"""On what choices are judged besides the calibration data: samples with labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.compress.choice.target import ChoiceTarget
from hwsim.compress.training.fit import ChosenSamples, LabelledBatch
from hwsim.evaluation.measure import batch_size

JUDGED = 10_000
"""Of the calibration data's samples, on which accuracy is counted at most."""

Say = Callable[[str], None]
"""What gets told what is being done."""

Pair = tuple[Mapping[str, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judges:
    """Samples with labels, or None, and what they are called; `say` gets what is being done."""

    data: LabelledBatch | None
    told: str
    say: Say | None = None

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
        """
        if target.accuracy is not None and test is not None:
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
