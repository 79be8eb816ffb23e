"""TensorFlow Lite models in their own runtimes: four kernel sets, one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ARENA = 1 << 22  # bytes for the tensors of TensorFlow Lite Micro
SETS = ("tflm", "reference", "builtin", "xnnpack")


class NotRunError(Exception):
    """A kernel set that has no kernel for the model."""


def ran(model: bytes, like: str, inputs: dict[str, Array]) -> list[Array]:
    """Outputs for batches of inputs (batch, ...), one sample after the other, state kept."""
    return _micro(model, inputs) if like == "tflm" else _lite(model, like, inputs)


def _lite(model: bytes, like: str, inputs: dict[str, Array]) -> list[Array]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = {
        "xnnpack": OpResolverType.AUTO,
        "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        "reference": OpResolverType.BUILTIN_REF,
    }[like]
    try:
        interpreter = Interpreter(
            model_content=model, experimental_op_resolver_type=resolver, num_threads=1
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise NotRunError(str(error)) from None
    details = interpreter.get_input_details()
    places = {one["name"].partition(";")[0]: one["index"] for one in details}
    shapes = {one["index"]: one["shape"] for one in details}
    outputs = [one["index"] for one in interpreter.get_output_details()]
    rows: list[list[Array]] = []
    for sample in range(len(next(iter(inputs.values())))):
        for number, (name, values) in enumerate(inputs.items()):
            place = places.get(name, details[number]["index"])  # some files have no names
            interpreter.set_tensor(place, values[sample].reshape(shapes[place]))
        try:
            interpreter.invoke()
        except RuntimeError as error:
            raise NotRunError(str(error)) from None
        rows.append([_seen(interpreter.get_tensor(index)) for index in outputs])
    return [np.stack(values) for values in zip(*rows, strict=True)]


def _seen(array: Array) -> Array:
    """A tensor as hwsim shows it: without a first axis of 1."""
    array = np.array(array)
    return array[0] if array.shape[:1] == (1,) else array


def _micro(model: bytes, inputs: dict[str, Array]) -> list[Array]:
    from tflite_micro import runtime

    try:
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=ARENA + 10 * len(model))
    except RuntimeError as error:
        raise NotRunError(str(error)) from None
    rows: list[list[Array]] = []
    for sample in range(len(next(iter(inputs.values())))):
        for place, values in enumerate(inputs.values()):
            shape = interpreter.get_input_details(place)["shape"]
            interpreter.set_input(values[sample].reshape(shape), place)
        try:
            interpreter.invoke()
        except RuntimeError as error:
            raise NotRunError(str(error)) from None
        made, place = [], 0
        while True:
            try:
                made.append(_seen(interpreter.get_output(place)))
            except (RuntimeError, ValueError, IndexError):
                break
            place += 1
        rows.append(made)
    return [np.stack(values) for values in zip(*rows, strict=True)]
