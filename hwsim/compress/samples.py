"""Samples for a float model: what it takes, and batches of it that can be gone through again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.float_model import FloatModel
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.hints import shape_hint
from hwsim.ops import TensorType
from hwsim.ports import InputPort, channels_first, user_shape

BATCH = 128
PICTURE = (1, 3)
"""Channels of a picture, by which its layout is told."""


def input_ports(model: FloatModel) -> tuple[InputPort, ...]:
    """The inputs of a model as those of a Graph, for what reads samples; their codes mean nothing.

    HwsimError for an input whose shape beyond the batch is not known, or that takes no reals.
    """
    import onnx

    made = []
    for port in model.proto.graph.input:
        if port.name not in model.inputs:
            continue
        kind = port.type.tensor_type
        if kind.elem_type != onnx.TensorProto.FLOAT:
            told = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
            raise HwsimError(f"{model.path}: input {port.name!r} must be of float32, not {told}")
        axes = [int(axis.dim_value) for axis in kind.shape.dim][1:]
        if not axes or not all(axes):
            shown = [axis.dim_param or axis.dim_value or "?" for axis in kind.shape.dim]
            raise HwsimError(
                f"{model.path}: input {port.name!r} must have a known shape behind its batch, not "
                f"({', '.join(map(str, shown))})"
            )
        made.append(_port(port.name, tuple(axes)))
    return tuple(made)


def _port(name: str, shape: tuple[int, ...]) -> InputPort:
    first = len(shape) == 3 and (shape[0] in PICTURE or shape[2] not in PICTURE)
    held = (*shape[1:], shape[0]) if first else shape
    return InputPort(
        name=name,
        tensor=name,
        type=TensorType(held, Format.int(8)),
        axes=channels_first(3) if first else None,
    )


class Batches:
    """Samples by input name, in batches of float32; each `for` goes through them again.

    `samples` is how many are taken, evenly over all; None takes each. What is read in slices, as a
    mapped file or a folder of images, is never whole in memory.
    """

    def __init__(
        self,
        model: FloatModel,
        arrays: Mapping[str, Any],
        *,
        samples: int | None = None,
        size: int = BATCH,
    ) -> None:
        ports = {port.name: port for port in input_ports(model)}
        if set(arrays) != set(ports):
            raise HwsimError(f"inputs must be named {sorted(ports)}, not {sorted(arrays)}")
        counts = {name: len(array) for name, array in arrays.items()}
        if len(set(counts.values())) > 1:
            raise HwsimError(f"inputs must have one batch size, not {counts}")
        for name, port in ports.items():
            _expect_numbers(name, getattr(arrays[name], "dtype", np.dtype(np.float32)))
            _expect_shape(port, tuple(arrays[name].shape))
        count = next(iter(counts.values()))
        if not count:
            raise HwsimError("calibration data must have at least one sample, not none")
        self.arrays, self.size = dict(arrays), size
        self.places = _places(count, samples)

    def taken(self, samples: int) -> Batches:
        """So many of the same samples at most, evenly over all."""
        found = copy(self)
        found.places = _places(len(next(iter(self.arrays.values()))), samples)
        return found

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self.places), self.size):
            places = self.places[start : start + self.size]
            yield {
                name: np.ascontiguousarray(array[places], np.float32)
                for name, array in self.arrays.items()
            }


def _places(count: int, samples: int | None) -> npt.NDArray[np.int64]:
    taken = count if samples is None else min(samples, count)
    return np.arange(taken) * count // taken


class BatchStream:
    """Batches that come from elsewhere, one in memory at a time; each is checked as it comes.

    `source` is an iterable of dicts by input name, or of arrays where the model has one input; or a
    function that gives one, such as a generator function. `samples` is how many are taken, the
    first ones; None takes each. HwsimError for a generator, which cannot be gone through again.
    """

    def __init__(self, model: FloatModel, source: Any, *, samples: int | None = None) -> None:
        self.ports = {port.name: port for port in input_ports(model)}
        if isinstance(source, Iterator):
            raise HwsimError(
                "calibration data must be what can be gone through again, such as a list of "
                f"batches or the function that makes a generator, not a {type(source).__name__}"
            )
        if not isinstance(source, Iterable) and not callable(source):
            raise HwsimError(
                "calibration data must be an array, arrays by input name, or batches of them, not "
                f"{type(source).__name__}"
            )
        self.source, self.samples = source, samples

    def taken(self, samples: int) -> BatchStream:
        """The first so many samples."""
        found = copy(self)
        found.samples = samples
        return found

    def __iter__(self) -> Iterator[dict[str, Any]]:
        left = self.samples
        for given in self.source() if callable(self.source) else self.source:
            batch = self._checked(given)
            count = len(next(iter(batch.values())))
            if left is not None and count >= left:
                yield {name: array[:left] for name, array in batch.items()}
                return
            left = None if left is None else left - count
            yield batch

    def _checked(self, given: Any) -> dict[str, Any]:
        """A batch in float32."""
        named = given if isinstance(given, Mapping) else {}
        if not named and len(self.ports) == 1:
            named = {next(iter(self.ports)): given}
        if set(named) != set(self.ports):
            told = sorted(named) if named else f"{type(given).__name__} without names"
            raise HwsimError(f"inputs must be named {sorted(self.ports)}, not {told}")
        batch = {}
        for name, port in self.ports.items():
            array = np.asarray(named[name])
            _expect_numbers(name, array.dtype)
            _expect_shape(port, array.shape)
            batch[name] = np.ascontiguousarray(array, np.float32)
        counts = {name: len(array) for name, array in batch.items()}
        if len(set(counts.values())) > 1:
            raise HwsimError(f"inputs must have one batch size, not {counts}")
        return batch


def _expect_numbers(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "biuf":
        raise HwsimError(f"calibration data for input {name!r} must be numbers, not {dtype}")


def _expect_shape(port: InputPort, given: tuple[int, ...]) -> None:
    wanted = user_shape(port.type, port)
    if given[1:] != wanted or not given:
        raise HwsimError(
            f"calibration data for input {port.name!r} must have the shape "
            f"(batch, {', '.join(map(str, wanted))}), not {given}"
            f"{shape_hint(wanted, given, port.axes)}"
        )
