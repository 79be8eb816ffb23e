"""Tensors of an ONNX graph with the arithmetic of arrays: each step leaves behind a node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.onnx_export.onnx_draft import OnnxDraft

ROWS = 1_000_003
"""Stands for the batch in recorded shapes: a prime that no other axis has for a factor."""

Shape = tuple[int, ...]
INT64, FLOAT32, FLOAT64, BOOL = (np.dtype(k) for k in ("int64", "float32", "float64", "bool"))


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """A tensor of the ONNX graph, as operators' texts handle arrays: shape, type and arithmetic."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    recorder: NodeRecorder

    __array_ufunc__ = None  # so that NumPy leaves arithmetic with its arrays to this class
    device = "recorded"

    @property
    def ndim(self) -> int:
        """Axes, with the batch."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Elements, where the batch counts as `ROWS`."""
        return math.prod(self.shape)

    def __add__(self, other: Any) -> Recorded:
        return self.recorder.pair("Add", self, other)

    def __radd__(self, other: Any) -> Recorded:
        return self.recorder.pair("Add", other, self)

    def __sub__(self, other: Any) -> Recorded:
        return self.recorder.pair("Sub", self, other)

    def __rsub__(self, other: Any) -> Recorded:
        return self.recorder.pair("Sub", other, self)

    def __mul__(self, other: Any) -> Recorded:
        return self.recorder.pair("Mul", self, other)

    def __rmul__(self, other: Any) -> Recorded:
        return self.recorder.pair("Mul", other, self)

    def __truediv__(self, other: Any) -> Recorded:
        return self.recorder.pair("Div", self, other)

    def __rtruediv__(self, other: Any) -> Recorded:
        return self.recorder.pair("Div", other, self)

    def __floordiv__(self, other: Any) -> Recorded:
        return self.recorder.floor_divide(self, other)

    def __mod__(self, other: Any) -> Recorded:
        return self.recorder.pair("Mod", self, other)

    def __neg__(self) -> Recorded:
        return self.recorder.unary("Neg", self)

    def __lshift__(self, bits: Any) -> Recorded:
        return self.recorder.pair("Mul", self, self.recorder.power(bits))

    def __rshift__(self, bits: Any) -> Recorded:
        return self.recorder.floor_divide(self, self.recorder.power(bits))

    def __rlshift__(self, number: int) -> Recorded:
        return self.recorder.pair("Mul", self.recorder.power(self), number)

    def __and__(self, other: Any) -> Recorded:
        return self.recorder.pair("And" if self.dtype == BOOL else "BitwiseAnd", self, other)

    def __or__(self, other: Any) -> Recorded:
        return self.recorder.pair("Or" if self.dtype == BOOL else "BitwiseOr", self, other)

    def __invert__(self) -> Recorded:
        return self.recorder.unary("Not" if self.dtype == BOOL else "BitwiseNot", self)

    def __lt__(self, other: Any) -> Recorded:
        return self.recorder.pair("Less", self, other, BOOL)

    def __le__(self, other: Any) -> Recorded:
        return self.recorder.pair("LessOrEqual", self, other, BOOL)

    def __gt__(self, other: Any) -> Recorded:
        return self.recorder.pair("Greater", self, other, BOOL)

    def __ge__(self, other: Any) -> Recorded:
        return self.recorder.pair("GreaterOrEqual", self, other, BOOL)

    def __eq__(self, other: object) -> Recorded:  # type: ignore[override]
        return self.recorder.pair("Equal", self, other, BOOL)

    def __ne__(self, other: object) -> Recorded:  # type: ignore[override]
        return self.recorder.unary("Not", self == other)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, key: Any) -> Recorded:
        return self.recorder.item(self, key if isinstance(key, tuple) else (key,))


class NodeRecorder:
    """Writes nodes and knows the shape and type of what each makes.

    `source` is a tensor with the batch in front.
    """

    def __init__(self, draft: OnnxDraft, source: str) -> None:
        self.draft, self._source = draft, source
        self._batch: Recorded | None = None

    def record(
        self, op: str, inputs: Sequence[str], shape: Shape, dtype: Any, **attributes: Any
    ) -> Recorded:
        """A node, and the tensor that it makes."""
        return Recorded(self.draft.add(op, inputs, **attributes), shape, np.dtype(dtype), self)

    def batch(self) -> Recorded:
        """The batch's size, a vector of one number."""
        if self._batch is None:
            self._batch = self.record("Shape", [self._source], (1,), INT64, start=0, end=1)
        return self._batch

    def ints(self, *numbers: int) -> str:
        """A vector of whole numbers, as ONNX's operators take axes and sizes."""
        return self.draft.constant(np.array(numbers, np.int64))

    def tensor(self, value: Any, dtype: np.dtype[Any]) -> Recorded:
        """A recorded array or a constant, with elements of a type."""
        if isinstance(value, Recorded):
            cast: Recorded = self.astype(value, dtype)
            return cast
        array = np.asarray(value).astype(dtype)
        return Recorded(self.draft.constant(array), array.shape, dtype, self)

    def pair(self, op: str, a: Any, b: Any, made: np.dtype[Any] | None = None) -> Recorded:
        """A node of two arrays that broadcast, at the type that NumPy would compute in."""
        kinds = [
            v.dtype if isinstance(v, Recorded | np.ndarray | np.generic) else v for v in (a, b)
        ]
        dtype = np.result_type(*kinds)
        if op == "Div" and dtype.kind != "f":
            dtype = FLOAT64
        first, second = self.tensor(a, dtype), self.tensor(b, dtype)
        shape = np.broadcast_shapes(first.shape, second.shape)
        return self.record(op, [first.name, second.name], shape, made or dtype)

    def unary(self, op: str, x: Recorded, made: Any = None) -> Recorded:
        """A node of one array."""
        return self.record(op, [x.name], x.shape, made or x.dtype)

    def floor_divide(self, x: Recorded, by: Any) -> Recorded:
        """Whole numbers divided toward minus infinity; ONNX divides them toward zero."""
        if not isinstance(by, Recorded) and bool((np.asarray(by) == 1).all()):
            return x
        below: Recorded = x - self.pair("Mod", x, by)
        return self.whole_quotient(below, by)

    def whole_quotient(self, x: Recorded, by: Any) -> Recorded:
        """A Div of whole numbers, which goes toward zero."""
        second = self.tensor(by, x.dtype)
        shape = np.broadcast_shapes(x.shape, second.shape)
        return self.record("Div", [x.name, second.name], shape, x.dtype)

    def power(self, bits: Any) -> Any:
        """Two to the power of whole numbers from 0 to 62."""
        if isinstance(bits, Recorded):
            return self.take(np.int64(1) << np.arange(63), bits, axis=0)
        return np.int64(1) << np.asarray(bits, np.int64)

    def item(self, x: Recorded, key: tuple[Any, ...]) -> Recorded:
        """What an index of slices, whole numbers, None and an ellipsis selects."""
        cuts, gone, new = [], list[int](), list[int]()
        axis = place = 0
        for part in _whole_key(key, x.ndim):
            if part is None:
                new.append(place)
                place += 1
                continue
            if isinstance(part, slice):
                cuts.append((axis, part))
                place += 1
            else:
                number = int(part) % x.shape[axis]
                cuts.append((axis, slice(number, number + 1)))
                gone.append(axis)
            axis += 1
        out = self._cut(x, [(a, cut) for a, cut in cuts if cut != slice(None)])
        if gone:
            shape = tuple(size for a, size in enumerate(out.shape) if a not in gone)
            out = self.record("Squeeze", [out.name, self.ints(*gone)], shape, out.dtype)
        if new:
            sizes = list(out.shape)
            for where in new:
                sizes.insert(where, 1)
            out = self.record("Unsqueeze", [out.name, self.ints(*new)], tuple(sizes), x.dtype)
        return out

    def _cut(self, x: Recorded, cuts: list[tuple[int, slice]]) -> Recorded:
        if not cuts:
            return x
        shape, starts, ends, steps = list(x.shape), [], [], []
        for axis, cut in cuts:
            span = range(x.shape[axis])[cut]
            shape[axis] = len(span)
            starts.append(span.start)
            steps.append(span.step)
            ends.append(span.stop if span.stop >= 0 else -(1 << 31))
        if tuple(shape) == x.shape and all(step == 1 for step in steps):
            return x
        axes = [axis for axis, _ in cuts]
        given = [self.ints(*numbers) for numbers in (starts, ends, axes, steps)]
        return self.record("Slice", [x.name, *given], tuple(shape), x.dtype)

    def astype(self, x: Any, dtype: Any, copy: Any = True) -> Any:
        """A Cast, where the type is another."""
        if not isinstance(x, Recorded):
            return np.asarray(x).astype(dtype)
        wanted = np.dtype(dtype)
        if x.dtype == wanted:
            return x
        from onnx import helper

        return self.record(
            "Cast", [x.name], x.shape, wanted, to=helper.np_dtype_to_tensor_dtype(wanted)
        )

    def take(self, x: Any, indices: Any, axis: int = 0) -> Any:
        """A Gather."""
        if not isinstance(x, Recorded | np.ndarray):
            x = np.asarray(x)
        if not isinstance(x, Recorded) and not isinstance(indices, Recorded):
            return np.take(x, indices, axis=axis)
        data, places = self.tensor(x, x.dtype), self.tensor(indices, INT64)
        shape = (*data.shape[:axis], *places.shape, *data.shape[axis + 1 :])
        return self.record("Gather", [data.name, places.name], shape, x.dtype, axis=axis)


def _whole_key(key: tuple[Any, ...], rank: int) -> tuple[Any, ...]:
    """An index in which each axis has its part; an ellipsis stands for the axes not named."""
    used = sum(part is not None and part is not Ellipsis for part in key)
    rest = (slice(None),) * (rank - used)
    place = next((k for k, part in enumerate(key) if part is Ellipsis), len(key))
    return (*key[:place], *rest, *key[place + 1 :])
