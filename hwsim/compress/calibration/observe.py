"""A float model on calibration data: a histogram of each tensor, batch after batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hwsim.compress.calibration.histogram import Histogram
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.errors import HwsimError


def observe(
    model: FloatModel, batches: Iterable[Batch], tensors: Sequence[str]
) -> dict[str, Histogram]:
    """Histograms by tensor; HwsimError for no data, and for NaN and infinity."""
    found = {name: Histogram(name) for name in tensors}
    for reals in model.run(batches, tensors):
        for name, histogram in found.items():
            histogram.add(reals[name])
    if not all(histogram.total for histogram in found.values()):
        raise HwsimError("calibration data must have at least one sample, not none")
    return found
