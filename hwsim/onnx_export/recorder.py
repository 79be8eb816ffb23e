"""An array namespace that computes nothing: what an operator's own text does becomes ONNX nodes.

Each operator of a Graph has one text for every array namespace. Run on this one, it leaves behind
the plain ONNX operators that give the same whole numbers, step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
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
    recorder: Recorder

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


class Recorder:
    """The namespace: functions of the array API that operators' texts use, as ONNX nodes.

    `source` is a tensor with the batch in front. What has no recorded argument NumPy computes
    at once. Raises HwsimError for a function that it does not know.
    """

    __name__ = "recorder"
    bool, float32, float64 = np.bool_, np.float32, np.float64
    int8, uint8, int16, uint16 = np.int8, np.uint8, np.int16, np.uint16
    int32, int64 = np.int32, np.int64

    def __init__(self, draft: OnnxDraft, source: str) -> None:
        self.draft, self._source = draft, source
        self._batch: Recorded | None = None

    def __getattr__(self, name: str) -> Any:
        raise HwsimError(f"no plain ONNX operators are known for the function {name!r}")

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
        used = sum(part is not None and part is not Ellipsis for part in key)
        if Ellipsis in [part for part in key if part is None or part is Ellipsis]:
            place = next(k for k, part in enumerate(key) if part is Ellipsis)
            rest = (slice(None),) * (x.ndim - used)
            key = (*key[:place], *rest, *key[place + 1 :])
        else:
            key = (*key, *(slice(None),) * (x.ndim - used))
        axis, cuts, gone, new, place = 0, list[tuple[int, slice]](), list[int](), list[int](), 0
        for part in key:
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
            shape_list = list(out.shape)
            for where in new:
                shape_list.insert(where, 1)
            out = self.record("Unsqueeze", [out.name, self.ints(*new)], tuple(shape_list), x.dtype)
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

    # What follows is the array API.

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        """Recorded arrays as they are."""
        return x if isinstance(x, Recorded) else np.asarray(x, dtype=dtype)

    def isdtype(self, dtype: Any, kind: Any) -> Any:
        """As NumPy says."""
        return np.isdtype(dtype, kind)

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

    def reshape(self, x: Any, shape: Any) -> Any:
        """A Reshape, in which the batch's axis takes what the others leave."""
        if not isinstance(x, Recorded):
            return np.reshape(x, shape)
        sizes = [int(size) for size in shape]
        known = math.prod(size for size in sizes if size != -1)
        sizes = [x.size // known if size == -1 else size for size in sizes]
        if tuple(sizes) == x.shape:
            return x
        written = [-1 if size % ROWS == 0 else size for size in sizes]
        if written.count(-1) > 1:
            raise HwsimError("the batch must be in one axis of every tensor")
        return self.record("Reshape", [x.name, self.ints(*written)], tuple(sizes), x.dtype)

    def permute_dims(self, x: Any, axes: Any) -> Any:
        """A Transpose."""
        if not isinstance(x, Recorded):
            return np.transpose(x, axes)
        order = [int(axis) % x.ndim for axis in axes]
        if order == list(range(x.ndim)):
            return x
        shape = tuple(x.shape[axis] for axis in order)
        return self.record("Transpose", [x.name], shape, x.dtype, perm=order)

    def matmul(self, a: Any, b: Any) -> Any:
        """A MatMul of whole numbers or floats of one type."""
        dtype = np.result_type(a.dtype, b.dtype)
        first, second = self.tensor(a, dtype), self.tensor(b, dtype)
        outer = np.broadcast_shapes(first.shape[:-2], second.shape[:-2])
        shape = (*outer, first.shape[-2], second.shape[-1])
        return self.record("MatMul", [first.name, second.name], shape, dtype)

    def concat(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """A Concat."""
        if not any(isinstance(a, Recorded) for a in arrays):
            return np.concatenate(arrays, axis=axis)
        dtype = np.result_type(*(a.dtype for a in arrays))
        parts = [self.tensor(a, dtype) for a in arrays]
        if len(parts) == 1:
            return parts[0]
        axis %= parts[0].ndim
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.record("Concat", [p.name for p in parts], tuple(shape), dtype, axis=axis)

    def stack(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """Each with a new axis, then a Concat."""
        axis %= arrays[0].ndim + 1
        return self.concat([a[(slice(None),) * axis + (None, ...)] for a in arrays], axis=axis)

    def take(self, x: Any, indices: Any, axis: int = 0) -> Any:
        """A Gather."""
        if not isinstance(x, Recorded | np.ndarray):
            x = np.asarray(x)
        if not isinstance(x, Recorded) and not isinstance(indices, Recorded):
            return np.take(x, indices, axis=axis)
        data, places = self.tensor(x, x.dtype), self.tensor(indices, INT64)
        shape = (*data.shape[:axis], *places.shape, *data.shape[axis + 1 :])
        return self.record("Gather", [data.name, places.name], shape, x.dtype, axis=axis)

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """A Where."""
        kinds = [v.dtype if hasattr(v, "dtype") else v for v in (a, b)]
        dtype = np.result_type(*kinds)
        parts = [self.tensor(condition, BOOL), self.tensor(a, dtype), self.tensor(b, dtype)]
        shape = np.broadcast_shapes(*(part.shape for part in parts))
        return self.record("Where", [part.name for part in parts], shape, dtype)

    def maximum(self, a: Any, b: Any) -> Recorded:
        """A Max."""
        return self.pair("Max", a, b)

    def minimum(self, a: Any, b: Any) -> Recorded:
        """A Min."""
        return self.pair("Min", a, b)

    def clip(self, x: Any, low: Any, high: Any) -> Any:
        """A Max and a Min, without a bound that all numbers keep."""
        out = x
        for op, bound in (("Max", low), ("Min", high)):
            if not _unbounded(bound, x.dtype):
                out = self.pair(op, out, self.tensor(bound, x.dtype))
        return out

    def sum(self, x: Any, axis: Any = None, keepdims: Any = False, dtype: Any = None) -> Any:
        """A ReduceSum."""
        return self._reduce("ReduceSum", x, axis, keepdims)

    def max(self, x: Any, axis: Any = None, keepdims: Any = False) -> Any:
        """A ReduceMax."""
        return self._reduce("ReduceMax", x, axis, keepdims)

    def min(self, x: Any, axis: Any = None, keepdims: Any = False) -> Any:
        """A ReduceMin."""
        return self._reduce("ReduceMin", x, axis, keepdims)

    def _reduce(self, op: str, x: Recorded, axis: Any, keepdims: Any) -> Recorded:
        given = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
        axes = sorted(int(a) % x.ndim for a in given)
        if 0 in axes and x.shape[0] % ROWS == 0:
            raise HwsimError("nothing may be reduced along the batch")
        shape = [1 if a in axes else size for a, size in enumerate(x.shape)]
        if not keepdims:
            shape = [size for a, size in enumerate(shape) if a not in axes]
        return self.record(
            op, [x.name, self.ints(*axes)], tuple(shape), x.dtype, keepdims=int(bool(keepdims))
        )

    def argmax(self, x: Any, axis: int = -1, keepdims: Any = False) -> Recorded:
        """An ArgMax, the first of equals."""
        axis %= x.ndim
        shape = tuple(1 if a == axis else size for a, size in enumerate(x.shape))
        made = self.record("ArgMax", [x.name], shape, INT64, axis=axis, keepdims=1)
        return made if keepdims else made[(slice(None),) * axis + (0,)]

    def abs(self, x: Any) -> Any:
        """An Abs."""
        return self.unary("Abs", x) if isinstance(x, Recorded) else np.abs(x)

    def sign(self, x: Recorded) -> Recorded:
        """A Sign."""
        return self.unary("Sign", x)

    def sqrt(self, x: Recorded) -> Recorded:
        """A Sqrt."""
        return self.unary("Sqrt", x)

    def floor(self, x: Recorded) -> Recorded:
        """A Floor."""
        return self.unary("Floor", x)

    def ceil(self, x: Recorded) -> Recorded:
        """A Ceil."""
        return self.unary("Ceil", x)

    def round(self, x: Recorded) -> Recorded:
        """A Round: ties to even."""
        return self.unary("Round", x)

    def trunc(self, x: Recorded) -> Recorded:
        """The floor of the magnitude, with its sign; ONNX has no operator for it."""
        return self.sign(x) * self.floor(self.abs(x))

    def full(self, shape: Any, value: Any, dtype: Any = None) -> Any:
        """A constant for every sample."""
        kind = np.dtype(dtype) if dtype is not None else np.asarray(value).dtype
        sizes = [int(size) for size in shape]
        if not any(size % ROWS == 0 for size in sizes):
            return np.full(shape, value, kind)
        one = self.tensor(np.full([1] * len(sizes), value), kind)
        parts = [
            (self.batch() * (size // ROWS)).name if size % ROWS == 0 else self.ints(size)
            for size in sizes
        ]
        spread = self.draft.add("Concat", parts, axis=0) if len(parts) > 1 else parts[0]
        return self.record("Expand", [one.name, spread], tuple(sizes), kind)

    def full_like(self, x: Any, value: Any) -> Any:
        """As `full`."""
        return self.full(x.shape, value, x.dtype)

    def zeros_like(self, x: Any) -> Any:
        """As `full`."""
        return self.full(x.shape, 0, x.dtype)

    def ones_like(self, x: Any) -> Any:
        """As `full`."""
        return self.full(x.shape, 1, x.dtype)

    def zeros(self, shape: Any, dtype: Any = None) -> Any:
        """As `full`."""
        return self.full(shape, 0, dtype)

    def searchsorted(self, values: Any, x: Recorded, side: str = "left") -> Recorded:
        """How many of a sorted vector are below (or at most) each number, by a binary search."""
        row = np.asarray(values)
        compare: Callable[[Any, Any], Recorded] = (
            (lambda a, b: a <= b) if side == "right" else (lambda a, b: a < b)
        )
        length = len(row)
        steps = length.bit_length()
        most = np.inf if row.dtype.kind == "f" else np.iinfo(row.dtype).max
        padded = np.concatenate([row, np.full((1 << steps) - 1 - length, most, row.dtype)])
        count = self.full(x.shape, 0, INT64)
        for step in reversed(range(steps)):
            there = self.take(padded, count + ((1 << step) - 1), axis=0)
            count = count + self.astype(compare(there, x), INT64) * (1 << step)
        return count if isinstance(count, Recorded) else self.tensor(count, INT64)


def _unbounded(bound: Any, dtype: np.dtype[Any]) -> bool:
    """Whether every number of a type is on the right side of a bound."""
    if isinstance(bound, Recorded):
        return False
    if np.ndim(bound):
        return False
    if dtype.kind == "f":
        return bool(np.isinf(bound))
    info = np.iinfo(dtype)
    return int(bound) in (info.min, info.max)
