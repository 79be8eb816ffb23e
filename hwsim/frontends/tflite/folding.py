"""What constants alone make: shapes and indices that converters leave to be computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.moving import axis_of, strided
from hwsim.frontends.tflite.schema import ITEM_BYTES

Values = npt.NDArray[Any]
Fold = Callable[[LiteImporter, LiteNode, list[Values]], Values]
MOST = 1 << 20  # elements of a constant that is made
OF_SHAPE = ("SHAPE", "RANK")  # which look at their input's shape alone


def folded(run: LiteImporter, node: LiteNode) -> bool:
    """Whether an operator is computed here, as its inputs are constant."""
    if node.op not in FOLDS or len(node.outputs) != 1:
        return False
    made = run.made(node)
    if node.op in OF_SHAPE:
        given = [np.array(run.axes(run.tensor(node, 0)), np.int64)]
    else:
        held = [run.value(index) for index in node.inputs if index >= 0]
        given = [values for values in held if values is not None]
        if len(given) != len(held) or not given or made.dtype not in ITEM_BYTES:
            return False
    if made.quant is not None and node.op not in MOVES:
        return False
    values = _computed(run, node, given)
    if values.size > MOST:
        raise HwsimError(f"{node}: a constant must have at most {MOST} elements")
    run.folded[node.outputs[0]] = values.astype(made.dtype)
    return True


def _computed(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    try:
        with np.errstate(all="ignore"):
            return np.asarray(FOLDS[node.op](run, node, given))
    except (ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError):
        shapes = [values.shape for values in given]
        raise HwsimError(f"{node}: its constants of shapes {shapes} must fit") from None


def _whole(values: Values) -> list[int]:
    if values.dtype.kind not in "iub":
        raise ValueError
    return [int(value) for value in values.ravel()]


def _sized(shape: list[int]) -> list[int]:
    if min(shape, default=0) < 0 or math.prod(shape) > MOST:
        raise ValueError
    return shape


def _reshape(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    shape = _whole(given[1]) if given[1:] else list(node.options.get("shape") or ())
    return given[0].reshape(shape or run.made(node).shape)


def _fixed_shape(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    return given[0].reshape(run.made(node).shape)


def _concat(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    return np.concatenate(given, axis=int(node.options["axis"]))


def _pack(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    return np.stack(given, axis=int(node.options["axis"]))


def _gather(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    axis = axis_of(node, int(node.options["axis"]), given[0].ndim)
    return np.take(given[0], np.array(_whole(given[1])).reshape(given[1].shape), axis=axis)


def _strided(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    begin, end, step = (_whole(values) for values in given[1:4])
    picked = strided(node, given[0].shape, begin, end, step)
    taken = given[0][np.ix_(*(list(indices) for indices in picked))]
    return taken.reshape(run.made(node).shape)


def _slice(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    begin, size = _whole(given[1]), _whole(given[2])
    ends = [None if n == -1 else first + n for first, n in zip(begin, size, strict=True)]
    return given[0][tuple(slice(a, b) for a, b in zip(begin, ends, strict=True))]


def _fill(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    return np.full(_sized(_whole(given[0])), given[1].reshape(()))


def _tile(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    times = _whole(given[1])
    _sized([*given[0].shape, *times])
    return np.tile(given[0], times)


def _broadcast(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    return np.broadcast_to(given[0], _sized(_whole(given[1])))


def _range(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    first, past, step = (_whole(values)[0] for values in given)
    _sized([len(range(first, past, step))])
    return np.arange(first, past, step)


def _pairwise(function: Callable[[Values, Values], Values]) -> Fold:
    def fold(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
        if any(values.dtype.kind not in "iub" for values in given):
            raise ValueError
        first, second = (values.astype(np.int64) for values in given)
        _sized(list(np.broadcast_shapes(first.shape, second.shape)))
        return function(first, second)

    return fold


def _divided(a: Values, b: Values) -> Values:
    if not b.all():
        raise ZeroDivisionError
    return a // b


def _product(run: LiteImporter, node: LiteNode, given: list[Values]) -> Values:
    keep = bool(node.options["keep_dims"])
    axes = tuple(axis_of(node, axis, given[0].ndim) for axis in _whole(given[1]))
    return np.asarray(np.prod(given[0], axis=axes, keepdims=keep))


MOVES: Mapping[str, Fold] = {
    "BROADCAST_TO": _broadcast,
    "CONCATENATION": _concat,
    "EXPAND_DIMS": _fixed_shape,
    "GATHER": _gather,
    "PACK": _pack,
    "RESHAPE": _reshape,
    "SLICE": _slice,
    "SQUEEZE": _fixed_shape,
    "STRIDED_SLICE": _strided,
    "TILE": _tile,
    "TRANSPOSE": lambda run, node, given: given[0].transpose(_whole(given[1])),
}
"""What moves elements, of codes and of plain numbers."""

FOLDS: Mapping[str, Fold] = {
    **MOVES,
    "ADD": _pairwise(np.add),
    "BROADCAST_ARGS": lambda run, node, given: np.array(
        np.broadcast_shapes(_whole(given[0]), _whole(given[1])), np.int64
    ),
    "CAST": lambda run, node, given: given[0],
    "FILL": _fill,
    "FLOOR_DIV": _pairwise(_divided),
    "MAXIMUM": _pairwise(np.maximum),
    "MINIMUM": _pairwise(np.minimum),
    "MUL": _pairwise(np.multiply),
    "RANGE": _range,
    "RANK": lambda run, node, given: np.array(given[0].size),
    "REDUCE_PROD": _product,
    "SHAPE": lambda run, node, given: given[0],
    "SUB": _pairwise(np.subtract),
    "ZEROS_LIKE": lambda run, node, given: np.zeros_like(given[0]),
}
"""By the operator's name in the schema."""
