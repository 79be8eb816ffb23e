"""The accuracy of a float model, piece by piece, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwsim.compress.float_model import FloatModel
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import batch_size, read_labels
from hwsim.evaluation.scores import Accuracy, Tally

PIECE = 256
"""Samples that it is run on at once."""


def accuracy_of_floats(
    model: FloatModel,
    arrays: Mapping[str, Any],
    labels: Any,
    names: Sequence[str] | None = None,
    *,
    output: str | None = None,
) -> Accuracy:
    """Counts on a batch by input name, whose `labels` are as `measure` takes them.

    Raises HwsimError where the output that classifies is not named among several.
    """
    known = list(model.outputs)
    if output not in known and len(known) > 1:
        raise HwsimError(f"output must be one of {', '.join(known)}, not {output!r}")
    name = output if output in known else known[0]
    run, tally = model.runner([name]), Tally(name, None)
    count = batch_size(arrays)
    wanted = read_labels(labels, count, names)
    for start in range(0, count, PIECE):
        part = slice(start, start + PIECE)
        piece = {
            each: np.ascontiguousarray(array[part], np.float32) for each, array in arrays.items()
        }
        tally.add(run(piece)[name], wanted[part])
    return tally.result(None if names is None else tuple(names))
