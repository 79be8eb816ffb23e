"""Random float networks of PyTorch, which FX quantizes: layers, functions, branches, moves."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.ao import quantization as tq
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from support import torch_modules as made

F = nn.functional
Shape = tuple[int, ...]
Step = tuple[nn.Module, Shape]
ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh,
    lambda: nn.LeakyReLU(0.1), nn.ELU, nn.SiLU, nn.GELU,
)  # fmt: skip


class Sum(nn.Module):
    """A branch beside its input: their sum, with a ReLU behind it or none."""

    def __init__(self, body: nn.Module, *, relu: bool) -> None:
        super().__init__()
        self.body, self.relu = body, relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x + self.body(x)
        return F.relu(y) if self.relu else y


class Gate(nn.Module):
    """Squeeze and excitation: a factor a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1))))
        return x * F.hardsigmoid(gate)


class Joined(nn.Module):
    """A branch and its input, one behind the other."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.body(x)], 1)


class Shuffled(nn.Module):
    """ShuffleNet's unit: half of the channels through a branch, then mixed."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, 1)
        return F.channel_shuffle(torch.cat([a, self.body(b)], 1), 2)


class Mean(nn.Module):
    """Of all places."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean([2, 3])


def _conv(rng: np.random.Generator, shape: Shape) -> Step:
    """Any kind: wide, strided, dilated, in groups, by channel, of one place."""
    channels, *places = shape
    kernel = int(rng.choice([1, 3, 3, 5]))
    stride, dilation = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    kind = rng.integers(0, 3)
    groups = [1, channels, next(g for g in (4, 3, 2, 1) if channels % g == 0)][kind]
    outputs = groups * int(rng.integers(1, 3)) if kind else int(rng.integers(2, 20))
    pad = dilation * (kernel // 2)
    biased = bool(rng.integers(0, 2))
    conv = nn.Conv2d(channels, outputs, kernel, stride, pad, dilation, groups, bias=biased)
    parts: list[nn.Module] = [conv]
    if rng.random() < 0.6:
        parts.append(nn.BatchNorm2d(outputs))
    if rng.random() < 0.8:
        parts.append(ACTIVATIONS[rng.integers(0, len(ACTIVATIONS))]())
    return nn.Sequential(*parts), (outputs, *((n - 1) // stride + 1 for n in places))


def _body(rng: np.random.Generator, channels: int) -> nn.Module:
    """A branch that keeps its shape."""
    act = ACTIVATIONS[rng.integers(0, len(ACTIVATIONS))]()
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), act)


def _branch(rng: np.random.Generator, shape: Shape) -> Step:
    channels, *places = shape
    match int(rng.integers(0, 4)):
        case 0:
            return Sum(_body(rng, channels), relu=bool(rng.integers(0, 2))), shape
        case 1:
            return Gate(channels), shape
        case 2 if channels <= 24:
            return Joined(_body(rng, channels)), (2 * channels, *places)
        case _ if channels % 2 == 0:
            return Shuffled(_body(rng, channels // 2)), shape
    return nn.ReLU(), shape


def _pool(rng: np.random.Generator, shape: Shape) -> Step:
    channels, *places = shape
    if min(places) < 2:
        return nn.Hardswish(), shape
    halved = (channels, *(n // 2 for n in places))
    return (nn.MaxPool2d(2) if rng.integers(0, 2) else nn.AvgPool2d(2)), halved


def _grown(rng: np.random.Generator, shape: Shape) -> Step:
    channels, *places = shape
    wide = tuple(2 * n for n in places)
    if max(wide) > 12:
        return nn.ReLU(), shape
    if channels % 4 == 0 and rng.integers(0, 2):
        return nn.PixelShuffle(2), (channels // 4, *wide)
    return nn.Upsample(scale_factor=2), (channels, *wide)


STEPS = (_conv, _conv, _branch, _branch, _pool, _grown)


def _end(rng: np.random.Generator, shape: Shape) -> nn.Module:
    """A vector of classes, behind an average, a mean or a map laid flat."""
    channels, *places = shape
    ways: list[tuple[list[nn.Module], int]] = [
        ([nn.AdaptiveAvgPool2d(1), nn.Flatten()], channels),
        ([Mean()], channels),
        ([nn.Flatten()], channels * places[0] * places[1]),
    ]
    parts, size = ways[rng.integers(0, len(ways))]
    return nn.Sequential(*parts, nn.Linear(size, 6))


def network(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
    """A network of 2 to 5 steps and an end, and the shape of its input."""
    first = int(rng.integers(1, 5)), *(int(n) for n in rng.integers(5, 10, 2))
    torch.manual_seed(int(rng.integers(0, 1 << 31)))
    shape: Shape = first
    module, shape = _conv(rng, shape)
    parts = [module]
    for _ in range(rng.integers(2, 6)):
        module, shape = STEPS[rng.integers(0, len(STEPS))](rng, shape)
        parts.append(module)
    return nn.Sequential(*parts, _end(rng, shape)), first


def quantized(rng: np.random.Generator, engine: str) -> tuple[nn.Module, Shape]:
    """A drawn network, its norms and observers fed with noise, converted for an engine."""
    float_network, shape = network(rng)
    with made.engine(engine), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        float_network.train()
        for _ in range(3):
            float_network(torch.randn(8, *shape))
        mapping: Any = tq.get_default_qconfig_mapping(engine)
        ready = prepare_fx(float_network.eval(), mapping, (torch.randn(1, *shape),))
        for _ in range(3):
            ready(torch.randn(8, *shape))
        return convert_fx(ready), shape
