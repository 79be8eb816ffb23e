"""An array namespace that computes nothing: what an operator's own text does becomes ONNX nodes.

Each operator of a Graph has one text for every array namespace. Run on this one, it leaves behind
the plain ONNX operators that give the same whole numbers, step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.onnx_export.recorded import BOOL, INT64, ROWS, NodeRecorder, Recorded


class Recorder(NodeRecorder):
    """The namespace: functions of the array API that operators' texts use, as ONNX nodes.

    What has no recorded argument NumPy computes at once. Raises HwsimError for a function that it
    does not know.
    """

    __name__ = "recorder"
    bool, float32, float64 = np.bool_, np.float32, np.float64
    int8, uint8, int16, uint16 = np.int8, np.uint8, np.int16, np.uint16
    int32, int64 = np.int32, np.int64

    def __getattr__(self, name: str) -> Any:
        raise HwsimError(f"no plain ONNX operators are known for the function {name!r}")

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        """Recorded arrays as they are."""
        return x if isinstance(x, Recorded) else np.asarray(x, dtype=dtype)

    def isdtype(self, dtype: Any, kind: Any) -> Any:
        """As NumPy says."""
        return np.isdtype(dtype, kind)

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
