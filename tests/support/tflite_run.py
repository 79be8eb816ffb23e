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
    places = {one["name"]: one["index"] for one in interpreter.get_input_details()}
    outputs = [one["index"] for one in interpreter.get_output_details()]
    rows: list[list[Array]] = []
    for sample in range(len(next(iter(inputs.values())))):
        for name, values in inputs.items():
            interpreter.set_tensor(places[name], values[sample][None])
        try:
            interpreter.invoke()
        except RuntimeError as error:
            raise NotRunError(str(error)) from None
        rows.append([interpreter.get_tensor(index)[0].copy() for index in outputs])
    return [np.stack(values) for values in zip(*rows, strict=True)]


def _micro(model: bytes, inputs: dict[str, Array]) -> list[Array]:
    from tflite_micro import runtime

    try:
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=ARENA)
    except RuntimeError as error:
        raise NotRunError(str(error)) from None
    rows: list[list[Array]] = []
    for sample in range(len(next(iter(inputs.values())))):
        for place, values in enumerate(inputs.values()):
            interpreter.set_input(values[sample][None], place)
        interpreter.invoke()
        made, place = [], 0
        while True:
            try:
                made.append(interpreter.get_output(place)[0].copy())
            except (RuntimeError, ValueError, IndexError):
                break
            place += 1
        rows.append(made)
    return [np.stack(values) for values in zip(*rows, strict=True)]
