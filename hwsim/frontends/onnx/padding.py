"""Pad: taken in by the next convolution, a frame of its own, or elements of the tensor again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxModel, OnnxNode
from hwsim.frontends.onnx.selecting import BATCH, moved, taken
from hwsim.frontends.onnx.window import added_padding, is_map, map_level
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.values import NO_PADDING, Codes, Padding, RawInput, Real
from hwsim.ops.base import Shape

TAKES_IN = ("Conv", "QLinearConv", "AveragePool", "QLinearAveragePool")
KEEPS_ZERO = (
    "QuantizeLinear", "DequantizeLinear", "Quant", "IntQuant", "Identity", "Dropout", "Cast",
    "Relu", "LeakyRelu", "Elu", "Tanh", "HardSwish", "Abs", "Neg",
)  # fmt: skip
"""Operators that give 0 for 0."""
AGAIN = ("reflect", "edge", "wrap")


def pad(run: Importer, node: OnnxNode) -> None:
    """Pad in every mode; real zeros around a map go into the convolution or average behind it."""
    given = run.value(node, 0)
    rank = len(_shape(node, given))
    amounts, value = _amounts(run, node, rank), _value(run, node)
    mode = node.text("mode", "constant")
    if mode in AGAIN:
        _repeated(run, node, amounts, mode)
    elif mode != "constant":
        raise HwsimError(f"{node}: 'mode' must be constant, {', '.join(AGAIN)}, not {mode!r}")
    elif value == 0 and _is_frame(given, amounts) and _is_taken_in(run.model, node):
        _pending(run, node, given, amounts)
    else:
        _framed(run, node, amounts, value)


def _shape(node: OnnxNode, given: object) -> Shape:
    match given:
        case Codes() | Real():
            return given.layout.shape
        case RawInput():
            return given.plain.shape
    raise HwsimError(f"{node}: its input must not be a constant")


def _amounts(run: Importer, node: OnnxNode, rank: int) -> list[tuple[int, int]]:
    """What comes before and after on each axis; below 0 what goes."""
    pads = node.integers("pads") or tuple(
        int(v) for v in (run.constant(node, 1).array.ravel() if node.input(1) else ())
    )
    axes: Sequence[int] = range(rank + 1)
    if node.input(3):
        axes = [int(a) % (rank + 1) for a in run.constant(node, 3).array.ravel()]
    if len(pads) != 2 * len(axes) or len(set(axes)) != len(axes):
        raise HwsimError(
            f"{node}: its pads must be two for each of {len(axes)} axes, not {list(pads)}"
        )
    found = [(0, 0)] * (rank + 1)
    for place, axis in enumerate(axes):
        found[axis] = pads[place], pads[place + len(axes)]
    if found[0] != (0, 0):
        raise HwsimError(f"{node}: {BATCH}, not pad it by {found[0]}")
    return found[1:]


def _value(run: Importer, node: OnnxNode) -> float:
    if not node.input(2):
        return node.real("value", 0.0)
    value = run.constant(node, 2).array
    if value.size != 1 or math.isnan(float(value.ravel()[0])):
        raise HwsimError(f"{node}: its value must be one number")
    return float(value.ravel()[0])


def _is_frame(given: object, amounts: Sequence[tuple[int, int]]) -> bool:
    """Whether it is around the places of a map, whose channels stay."""
    floats = isinstance(given, Real)
    if isinstance(given, RawInput):
        floats = given.dtype.startswith("float")
    around = is_map((0,) * len(amounts)) and amounts[0] == (0, 0)
    return floats and around and all(min(each) >= 0 for each in amounts)


def _is_taken_in(model: OnnxModel, node: OnnxNode) -> bool:
    """Whether all that reads it are convolutions and averages, behind quantizers and the like."""
    if node.output in {port.name for port in model.outputs}:
        return False
    readers = [reader for reader in model.nodes if node.output in reader.inputs]
    return bool(readers) and all(
        reader.op in TAKES_IN
        or (reader.op in KEEPS_ZERO and _is_taken_in(model, reader))
        or (reader.op == "Pad" and _is_taken_in(model, reader))
        for reader in readers
    )


def _pending(run: Importer, node: OnnxNode, given: Any, amounts: Sequence[tuple[int, int]]) -> None:
    added = (*(before for before, _ in amounts[1:]), *(after for _, after in amounts[1:]))
    new: Padding = added if any(added) else NO_PADDING
    if isinstance(given, RawInput):
        run.values[node.output] = replace(given, padding=added_padding(given.padding, new))
        return
    real = run.real(node, 0)
    level, _ = map_level(run, node, real)
    codes = replace(level.codes, padding=added_padding(level.codes.padding, new))
    run.values[node.output] = Real(replace(level, codes=codes), codes.layout)


def _framed(
    run: Importer, node: OnnxNode, amounts: Sequence[tuple[int, int]], value: float
) -> None:
    held = moved(run, node)
    shape = held.layout.shape
    if any(min(each) < 0 for each in amounts):
        kept = [
            range(max(-before, 0), size - max(-after, 0))
            for size, (before, after) in zip(shape, amounts, strict=True)
        ]
        taken(run, node, held, kept)
        held = moves.held(run, run.values[node.output])  # type: ignore[arg-type]
        shape = held.layout.shape
    frame = [(max(before, 0), max(after, 0), 0) for before, after in amounts]
    if math.prod(size + sum(each) for size, each in zip(shape, frame, strict=True)) > MAX_ELEMENTS:
        raise HwsimError(f"{node}: its padded input must have at most {MAX_ELEMENTS} elements")
    if isinstance(held, Codes) and not held.format.min <= value <= held.format.max:
        raise HwsimError(f"{node}: its value must be a code of {held.format}, not {value:g}")
    run.values[node.output] = moves.padded(run, held, frame, value, node.name, node.output)


def _repeated(run: Importer, node: OnnxNode, amounts: Sequence[tuple[int, int]], mode: str) -> None:
    held = moved(run, node)
    indices = [
        _again(node, size, *each, mode) if any(each) else None
        for size, each in zip(held.layout.shape, amounts, strict=True)
    ]
    taken(run, node, held, indices)


def _again(node: OnnxNode, size: int, before: int, after: int, mode: str) -> list[int]:
    """The indices of an axis around which some of its own come again."""
    most = {"reflect": size - 1, "edge": MAX_ELEMENTS, "wrap": size}[mode]
    if min(before, after) < 0 or max(before, after) > most:
        raise HwsimError(
            f"{node}: in mode {mode} it must pad an axis of {size} by 0 to {most}, not by "
            f"{before} and {after}"
        )
    places = range(-before, size + after)
    match mode:
        case "edge":
            return [min(max(place, 0), size - 1) for place in places]
        case "wrap":
            return [place % size for place in places]
    return [abs(place) if place < size else 2 * (size - 1) - place for place in places]
