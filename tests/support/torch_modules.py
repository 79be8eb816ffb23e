"""Quantized PyTorch modules with scales, zero points and weights of our own, and their engines."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.ao.nn import quantized as nnq

import hwsim

ENGINES = ("fbgemm", "qnnpack", "onednn", "x86")
SETTINGS = ("ties", "random", "near ties")


@contextmanager
def engine(name: str) -> Iterator[None]:
    """PyTorch's engine for a while, on one thread, without its notes on what is deprecated."""
    before, threads = torch.backends.quantized.engine, torch.get_num_threads()
    torch.backends.quantized.engine = name
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.quantized.engine = before
        torch.set_num_threads(threads)


def scale(rng: np.random.Generator, setting: str, low: float, high: float) -> float:
    """A power of two for ties, or any float32."""
    drawn = rng.uniform(np.log2(low), np.log2(high))
    return float(2.0 ** np.rint(drawn)) if setting == "ties" else float(np.float32(2.0**drawn))


def zero_point(rng: np.random.Generator) -> int:
    """An odd one."""
    return int(rng.integers(1, 120)) | 1


def weights(
    rng: np.random.Generator,
    setting: str,
    shape: Sequence[int],
    *,
    axis: int = 0,
    by_channel: bool = True,
) -> torch.Tensor:
    """int8 weights with a scale for each channel along an axis, or one for all."""
    codes = torch.from_numpy(rng.integers(-127, 128, tuple(shape)).astype(np.int8))
    count = shape[axis] if by_channel else 1
    scales = [scale(rng, setting, 0.002, 0.03) for _ in range(count)]
    if not by_channel:
        return torch._make_per_tensor_quantized_tensor(codes, scales[0], 0)
    zeros = torch.zeros(count, dtype=torch.long)
    held = torch.tensor(scales, dtype=torch.float64)
    return torch._make_per_channel_quantized_tensor(codes, held, zeros, axis)


def bias(rng: np.random.Generator, setting: str, count: int, step: float) -> torch.Tensor:
    """A float bias; for ties in halves of the sums' steps."""
    values = rng.normal(0, 200 * step, count)
    if setting == "ties":
        values = np.rint(values / step * 2) * step / 2
    return torch.from_numpy(values.astype(np.float32))


def placed(layer: Any, rng: np.random.Generator, setting: str, terms: int) -> torch.nn.Module:
    """A layer behind a quantizer, whose output scale spreads its sums over all codes and more."""
    given = scale(rng, setting, 0.02, 0.1)
    layer.scale = scale(rng, setting, 0.3, 1.0) * given * 0.5 * float(np.sqrt(terms))
    layer.scale = float(2.0 ** np.rint(np.log2(layer.scale))) if setting == "ties" else layer.scale
    layer.zero_point = zero_point(rng)
    first = nnq.Quantize(torch.tensor(given), torch.tensor(zero_point(rng)), torch.quint8)
    return torch.nn.Sequential(first, layer).eval()


def inputs(
    rng: np.random.Generator, module: Any, shape: Sequence[int], most: int = 275
) -> np.ndarray[Any, Any]:
    """Reals that reach all codes of a module's first quantizer up to one, and saturate a little."""
    first = next(part for part in module.modules() if isinstance(part, nnq.Quantize))
    given, zero = float(first.scale), int(first.zero_point)
    codes = rng.integers(-20, most + 1, tuple(shape)) - zero
    return (codes * given).astype(np.float32)


def codes(module: Any, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The integers that PyTorch gives."""
    made: np.ndarray[Any, Any] = module(torch.from_numpy(x)).int_repr().numpy()
    return made


def compare(
    module: Any, name: str, x: np.ndarray[Any, Any], like: str | None
) -> tuple[int, int, hwsim.Graph]:
    """Codes compared and different between PyTorch's engine and the Graph, and that Graph."""
    with engine(name):
        wanted = codes(module, x)
    graph = hwsim.load(module, like=like, example=(1, *x.shape[1:]))
    got = hwsim.emulate(graph, x)
    assert got.shape == wanted.shape
    return wanted.size, int((got != wanted).sum()), graph
