"""A float model on calibration data: a histogram of each tensor, batch after batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hwsim.compress.calibration.channels import ChannelHistogram
from hwsim.compress.calibration.histogram import Histogram
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.errors import HwsimError


def observe(
    model: FloatModel, batches: Iterable[Batch], tensors: Sequence[str]
) -> dict[str, Histogram]:
    """Histograms by tensor; HwsimError for no data, and for NaN and infinity."""
    found = {name: Histogram(name) for name in tensors}
    _fill(model, batches, found)
    return found


def observe_channels(
    model: FloatModel, batches: Iterable[Batch], axes: Mapping[str, int]
) -> dict[str, ChannelHistogram]:
    """Histograms of each channel, by tensor; `axes` says which axis of it holds the channels."""
    found = {name: ChannelHistogram(name, axis) for name, axis in axes.items()}
    _fill(model, batches, found)
    return found


def _fill(
    model: FloatModel,
    batches: Iterable[Batch],
    found: Mapping[str, Histogram] | Mapping[str, ChannelHistogram],
) -> None:
    for reals in model.run(batches, tuple(found)):
        for name, histogram in found.items():
            histogram.add(reals[name])
    if not all(histogram.total for histogram in found.values()):
        raise HwsimError("calibration data must have at least one sample, not none")
