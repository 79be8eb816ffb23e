"""CuPy where there is no GPU: NumPy behind arrays that are none of NumPy's, as CuPy's are not.

`FAKE_GPUS` is the number of devices that it finds (1), `FAKE_GPU_FAULT` the name of a function
whose results are off by one.
"""

from __future__ import annotations

import os
from functools import wraps
from types import SimpleNamespace
from typing import Any

import numpy as np

__version__ = "0.0"


class ndarray:
    """An array on the device: no NumPy function takes it, and `get` fetches it."""

    __array_ufunc__ = None

    def __init__(self, array: Any) -> None:
        self._array = np.asarray(array)
        self.device = "device 0"

    def get(self) -> np.ndarray:
        return self._array.copy()

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use get().")

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._array, name)
        return _on_device(value) if isinstance(value, np.ndarray | np.generic) else value

    def __getitem__(self, at: Any) -> ndarray:
        return ndarray(self._array[_on_host(at)])

    def __setitem__(self, at: Any, value: Any) -> None:
        self._array[_on_host(at)] = _on_host(value)

    def __bool__(self) -> bool:
        return bool(self._array)

    def __int__(self) -> int:
        return int(self._array)

    def __float__(self) -> float:
        return float(self._array)

    def __len__(self) -> int:
        return len(self._array)


def _operator(name: str) -> Any:
    def method(self: ndarray, *others: Any) -> Any:
        for other in others:
            if isinstance(other, np.ndarray):
                raise TypeError(f"Unsupported type {type(other)}")
        return _on_device(getattr(self._array, name)(*map(_on_host, others)))

    return method


_BOTH_WAYS = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow")
_BOTH_WAYS += ("and", "or", "xor", "lshift", "rshift")
_ONE_WAY = ("lt", "le", "eq", "ne", "gt", "ge", "neg", "abs", "invert")
for _name in (*_BOTH_WAYS, *(f"r{name}" for name in _BOTH_WAYS), *_ONE_WAY):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


def _on_host(value: Any) -> Any:
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, list | tuple):
        return type(value)(map(_on_host, value))
    return value


def _on_device(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(value)
    return [_on_device(v) for v in value] if isinstance(value, list) else value


def asnumpy(array: Any) -> np.ndarray:
    return array.get() if isinstance(array, ndarray) else np.asarray(array)


def asarray(value: Any, dtype: Any = None) -> ndarray:
    return ndarray(np.array(_on_host(value), dtype))


def isdtype(dtype: Any, kind: Any) -> bool:
    return np.isdtype(dtype, kind)


def __getattr__(name: str) -> Any:
    value = getattr(np, name)
    if isinstance(value, type) or not callable(value):
        return value

    @wraps(value)
    def function(*args: Any, **kwargs: Any) -> Any:
        for arg in args:
            if isinstance(arg, np.ndarray):
                raise TypeError(f"Unsupported type {type(arg)}")
        out = value(*map(_on_host, args), **{k: _on_host(v) for k, v in kwargs.items()})
        if name == os.environ.get("FAKE_GPU_FAULT"):
            out = out + out.dtype.type(1)
        return _on_device(out)

    return function


def _count() -> int:
    return int(os.environ.get("FAKE_GPUS", "1"))


cuda = SimpleNamespace(
    is_available=lambda: _count() > 0,
    runtime=SimpleNamespace(
        getDeviceCount=_count,
        getDeviceProperties=lambda device: {"name": b"Fake GPU/0 (no device)", "totalGlobalMem": 0},
        runtimeGetVersion=lambda: 13000,
        driverGetVersion=lambda: 13000,
        deviceSynchronize=lambda: None,
    ),
)
