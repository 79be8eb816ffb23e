"""A float model on calibration data: a histogram of each tensor, batch after batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hwsim.compress.calibration.channels import ChannelHistogram
from hwsim.compress.calibration.histogram import Histogram
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.origins import ON_THE_SUM
from hwsim.errors import HwsimError

CONVOLUTIONS = ("Conv", "ConvTranspose")


def observe(
    model: FloatModel, batches: Iterable[Batch], tensors: Sequence[str]
) -> dict[str, Histogram]:
    """Histograms by tensor; HwsimError for no data, and for NaN and infinity."""
    axes = _channel_axes(model)
    found = {name: Histogram(name, axes.get(name)) for name in tensors}
    _fill(model, batches, found)
    return found


def observe_channels(
    model: FloatModel, batches: Iterable[Batch], axes: Mapping[str, int]
) -> dict[str, ChannelHistogram]:
    """Histograms of each channel, by tensor; `axes` says which axis of it holds the channels."""
    found = {name: ChannelHistogram(name, axis) for name, axis in axes.items()}
    _fill(model, batches, found)
    return found


def _channel_axes(model: FloatModel) -> dict[str, int]:
    """Where channels are, of what convolutions read and dense layers give, and functions of it."""
    axes: dict[str, int] = {}
    for node in model.nodes:
        if node.op_type in CONVOLUTIONS:
            axes |= dict.fromkeys((node.input[0], node.output[0]), 1)
        elif node.op_type == "Gemm" or (node.op_type in ON_THE_SUM and node.input[0] in axes):
            axes[node.output[0]] = 1
    return axes


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
