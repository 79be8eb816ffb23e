"""Formats for a float model's tensors, from what they held on calibration data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.calibration import Histogram, observe
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.places import places
from hwsim.compress.quantize.qonnx_file import QuantNode, quantized
from hwsim.errors import HwsimError

Reals = npt.NDArray[np.float64]
EXPONENTS = 5  # powers of two that are tried below the one that holds everything


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Bits of weights, of activations and of the model's inputs."""

    weights: int = 8
    activations: int = 8
    inputs: int = 8

    @classmethod
    def parse(cls, text: str) -> Widths:
        """Read `w4a8`."""
        match = re.fullmatch(r"w(\d{1,2})a(\d{1,2})", text)
        if match is None or not all(1 <= int(part) <= 16 for part in match.groups()):
            raise HwsimError(f"bits must be like w4a8, from 1 to 16 each, not {text!r}")
        return cls(weights=int(match[1]), activations=int(match[2]))


def quantize(model: FloatModel, batches: Iterable[Batch], widths: Widths) -> Any:
    """A QONNX ModelProto with scales that are powers of two, of the least squared error.

    Weights have one scale a channel and no lowest code, activations one, and no sign where none was
    seen. The bias has the unit of the sum.
    """
    found = places(model)
    seen = observe(model, batches, found.tensors)
    tensors = {
        name: of_tensor(seen[name], widths.inputs if name in model.inputs else widths.activations)
        for name in found.tensors
    }
    constants = model.constants
    weights = {
        layer.name: of_weights(constants[layer.weights], widths.weights, layer.axis)
        for layer in found.layers
    }
    return quantized(model, found, tensors, weights)


def of_tensor(seen: Histogram, bits: int) -> QuantNode:
    """A format for a tensor."""
    signed = seen.least < 0
    rows, shares = seen.centres()[None, :], seen.counts[None, :].astype(np.float64)
    ends = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    top = np.array([max(-seen.least, seen.most)])
    return QuantNode(_scales(rows, shares, top, ends).astype(np.float32), bits, signed)


def of_weights(weights: npt.NDArray[Any], bits: int, axis: int) -> QuantNode:
    """A format for each channel of a layer's weights."""
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1).astype(np.float64)
    most = max((1 << bits - 1) - 1, 1)
    scale = _scales(rows, np.ones_like(rows), np.abs(rows).max(axis=1), (-most, most))
    return QuantNode(scale.astype(np.float32), bits, signed=True, narrow=True, axis=axis)


def _scales(rows: Reals, shares: Reals, top: Reals, ends: tuple[int, int]) -> Reals:
    """For each row the power of two with the least squared error, each number by its share."""
    first = np.ceil(np.log2(np.maximum(top, 2.0**-60) / max(ends[1], -ends[0])))
    tried = []
    for below in range(EXPONENTS):
        scale = 2.0 ** (first - below)[:, None]
        back = np.clip(np.round(rows / scale), *ends) * scale
        tried.append((shares * (back - rows) ** 2).sum(axis=1))
    return np.asarray(2.0 ** (first - np.argmin(tried, axis=0)))
