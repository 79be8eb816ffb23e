"""Quantized operators of PyTorch, each in a module of its own: layers, functions, pairs, pools."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.ao.nn import quantized as nnq
from torch.ao.nn.intrinsic import quantized as nniq

from support import torch_modules as made


def layer(layer: Any, rng: Any, setting: str, *, by_channel: bool, biased: bool) -> Any:
    """A layer's weights and bias drawn, and the layer behind a quantizer."""
    shape = tuple(layer.weight().shape)
    turned = "Transpose" in type(layer).__name__
    held = made.weights(rng, setting, shape, axis=1 if turned else 0, by_channel=by_channel)
    outputs = shape[1] * layer.groups if turned else shape[0]
    bias = made.bias(rng, setting, outputs, 2.0**-12) if biased else None
    layer.set_weight_bias(held, bias)
    terms = int(np.prod(shape)) // (shape[1] if turned else shape[0])
    return made.placed(layer, rng, setting, terms)


LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda: nnq.Linear(24, 13), (24,)),
    "linear relu": (lambda: nniq.LinearReLU(24, 16), (24,)),
    "linear on rows": (lambda: nnq.Linear(12, 9), (5, 12)),
    "conv": (lambda: nnq.Conv2d(6, 10, 3, padding=1), (6, 7, 9)),
    "conv relu, strides": (
        lambda: nniq.ConvReLU2d(4, 12, (3, 5), stride=(2, 1), padding=(1, 2)),
        (4, 9, 8),
    ),
    "conv in groups, dilated": (
        lambda: nnq.Conv2d(6, 9, 3, padding=2, dilation=2, groups=3),
        (6, 8, 8),
    ),
    "depthwise": (lambda: nnq.Conv2d(8, 8, 3, padding=1, groups=8), (8, 6, 6)),
    "depthwise, many": (lambda: nnq.Conv2d(104, 104, 3, padding=1, groups=104), (104, 4, 4)),
    "wide padding": (lambda: nnq.Conv2d(3, 5, 2, padding=3), (3, 5, 5)),
    "reflected": (lambda: nnq.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"), (3, 6, 5)),
    "conv along one axis": (lambda: nnq.Conv1d(5, 8, 3, padding=1, stride=2), (5, 17)),
    "conv relu along one axis, dilated": (
        lambda: nniq.ConvReLU1d(4, 8, 3, padding=2, dilation=2, groups=2),
        (4, 15),
    ),
    "transposed": (lambda: nnq.ConvTranspose2d(6, 6, 3, stride=2, padding=1), (6, 5, 4)),
    "transposed in groups": (
        lambda: nnq.ConvTranspose2d(6, 4, 2, stride=(2, 3), groups=2),
        (6, 4, 4),
    ),
    "transposed, longer": (
        lambda: nnq.ConvTranspose2d(4, 4, 3, stride=2, output_padding=(0, 1)),
        (4, 5, 4),
    ),
    "transposed along one axis": (lambda: nnq.ConvTranspose1d(5, 5, 4, stride=2), (5, 9)),
}


def alone(function: Any, shape: tuple[int, ...], rng: Any, setting: str) -> Any:
    """A module that quantizes its input and computes one function of it."""

    class Alone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            given = made.scale(rng, setting, 0.02, 0.1)
            zero = torch.tensor(made.zero_point(rng))
            self.quantize = nnq.Quantize(torch.tensor(given), zero, torch.quint8)
            self.out = made.scale(rng, setting, 0.01, 0.1)
            self.zero = made.zero_point(rng)

        def forward(self, x: Any) -> Any:
            return function(self, self.quantize(x))

    return Alone().eval()


ops = torch.ops.quantized
F = torch.nn.functional


def slopes(count: int) -> Any:
    """Quantized slopes of a PReLU, one a channel."""
    reals = torch.linspace(-0.3, 0.9, count)
    return torch.quantize_per_tensor(reals, 0.01, 40, torch.quint8)


NORMS = ((0.2, 1.5), (-0.4, 0.6), (-0.1, 0.2), (0.3, 2.0))
FUNCTIONS: dict[str, Any] = {
    "relu": lambda s, q: F.relu(q),
    "relu in place": lambda s, q: F.relu(q, inplace=True),
    "relu6": lambda s, q: F.relu6(q),
    "hardtanh": lambda s, q: F.hardtanh(q, -0.4, 0.7),
    "clamp": lambda s, q: q.clamp(-0.5, 1.0),
    "sigmoid": lambda s, q: torch.sigmoid(q),
    "sigmoid, its own scale": lambda s, q: ops.sigmoid(q, s.out, s.zero),
    "tanh": lambda s, q: torch.tanh(q),
    "hardsigmoid": lambda s, q: F.hardsigmoid(q),
    "hardswish": lambda s, q: ops.hardswish(q, s.out, s.zero),
    "leaky relu": lambda s, q: ops.leaky_relu(q, 0.1, False, s.out, s.zero),
    "elu": lambda s, q: ops.elu(q, s.out, s.zero, 0.8),
    "celu": lambda s, q: ops.celu(q, s.out, s.zero, 0.8),
    "prelu": lambda s, q: ops.prelu(q, slopes(q.shape[1]), s.out, s.zero),
    "batch norm": lambda s, q: (ops.batch_norm2d if q.ndim == 4 else ops.batch_norm1d)(
        q, *(torch.linspace(low, high, q.shape[1]) for low, high in NORMS), 1e-5, s.out, s.zero
    ),
    "add a number": lambda s, q: ops.add_scalar(q, 0.37),
    "mul a number": lambda s, q: ops.mul_scalar(q, -1.7),
    "quantized again": lambda s, q: torch.quantize_per_tensor(
        q.dequantize(), s.out, s.zero, torch.quint8
    ),
    "reals in between": lambda s, q: torch.quantize_per_tensor(
        F.gelu(q.dequantize()) * 1.5, s.out, s.zero, torch.qint8
    ),
}

SOFTMAXES: dict[str, Any] = {
    "softmax": lambda s, q: ops.softmax(q, 1, 1 / 256, 0),
    "softmax, its last axis": lambda s, q: ops.softmax(q, -1, 1 / 256, 0),
    "softmax, its own scale": lambda s, q: ops.softmax(q, -1, s.out / 16, 3),
}


def two(function: Any, shape: tuple[int, ...], rng: Any, setting: str) -> Any:
    """A module of two inputs, both quantized, and one operator on both."""

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("first", "second"):
                given = made.scale(rng, setting, 0.02, 0.1)
                zero = torch.tensor(made.zero_point(rng))
                part = nnq.Quantize(torch.tensor(given), zero, torch.quint8)
                setattr(self, name, part)
            self.out, self.zero = made.scale(rng, setting, 0.03, 0.2), made.zero_point(rng)

        def forward(self, x: Any) -> Any:
            a = self.first(x)
            b = torch.flip(self.second(a.dequantize()), [1])
            return function(self, a, b)

    return Two().eval()


PAIRS: dict[str, Any] = {
    "add": lambda s, a, b: ops.add(a, b, s.out, s.zero),
    "add relu": lambda s, a, b: ops.add_relu(a, b, s.out, s.zero),
    "mul": lambda s, a, b: ops.mul(a, b, s.out, s.zero),
    "mul relu": lambda s, a, b: ops.mul_relu(a, b, s.out, s.zero),
    "cat": lambda s, a, b: ops.cat([a, b], 1, s.out, s.zero),
    "cat in channels_last": lambda s, a, b: ops.cat(
        [t.contiguous(memory_format=torch.channels_last) for t in (a, b)], 1, s.out, s.zero
    ),
    "cat of two meanings": lambda s, a, b: torch.cat([a, b], 1),
    "cat of codes": lambda s, a, b: torch.cat([a, a], -1),
}


def channels_last(q: Any) -> Any:
    return q.contiguous(memory_format=torch.channels_last)


POOLS: dict[str, Any] = {
    "max": lambda s, q: F.max_pool2d(q, 3, 2, 1),
    "max, rounded up": lambda s, q: F.max_pool2d(q, 2, 2, ceil_mode=True),
    "average": lambda s, q: F.avg_pool2d(q, 2),
    "average, its channels last": lambda s, q: F.avg_pool2d(channels_last(q), (3, 2), 1),
    "average, padded": lambda s, q: F.avg_pool2d(q, 3, 2, 1),
    "global": lambda s, q: F.adaptive_avg_pool2d(q, 1),
    "global, its channels last": lambda s, q: F.adaptive_avg_pool2d(channels_last(q), 1),
    "adaptive": lambda s, q: F.adaptive_avg_pool2d(q, (3, 2)),
    "mean": lambda s, q: q.mean([2, 3]),
    "mean, kept": lambda s, q: q.mean([-1, -2], keepdim=True),
    "mean of rows": lambda s, q: q.mean(2),
}
