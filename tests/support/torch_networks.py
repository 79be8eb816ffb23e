"""Whole networks of the kinds that people quantize with PyTorch, calibrated on random images."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.ao import quantization as tq
from torch.ao.nn.quantized import FloatFunctional
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from support import torch_modules as made

F = nn.functional


def norm_relu(inputs: int, outputs: int, size: int = 3, **how: Any) -> nn.Sequential:
    """A convolution, its batch normalization, a ReLU."""
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **how)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """Two layers and their input, added by FloatFunctional."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = norm_relu(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        )
        self.sum = FloatFunctional()

    def forward(self, x: Any) -> Any:
        return self.sum.add_relu(self.second(self.first(x)), x)


class Inverted(nn.Module):
    """MobileNetV2's block: wide, by channel, narrow again."""

    def __init__(self, channels: int, wide: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            norm_relu(channels, wide, 1),
            norm_relu(wide, wide, groups=wide),
            nn.Conv2d(wide, channels, 1),
            nn.BatchNorm2d(channels),
        )
        self.sum = FloatFunctional()

    def forward(self, x: Any) -> Any:
        return self.sum.add(x, self.body(x))


def resnet() -> nn.Module:
    """Residual blocks, a global average, one layer."""
    return nn.Sequential(
        norm_relu(3, 16),
        nn.MaxPool2d(2),
        Residual(16),
        norm_relu(16, 24, stride=2),
        Residual(24),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )


def mobile() -> nn.Module:
    """Inverted blocks, an average pool, dropout."""
    return nn.Sequential(
        norm_relu(3, 8, stride=2),
        Inverted(8, 24),
        Inverted(8, 16),
        nn.AvgPool2d(8),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8, 10),
    )


def dense() -> nn.Module:
    """Layers one after the other."""
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(),
                         nn.Linear(16, 5))  # fmt: skip


def autoencoder() -> nn.Module:
    """Down and up again, by transposed convolutions and by copies."""
    return nn.Sequential(
        norm_relu(3, 8, stride=2),
        norm_relu(8, 12, stride=2),
        nn.ConvTranspose2d(12, 12, 2, stride=2),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(12, 3, 3, padding=1),
    )


def generator() -> nn.Module:
    """A vector as a small map, which grows."""
    return nn.Sequential(
        nn.Linear(8, 36),
        nn.ReLU(),
        nn.Unflatten(1, (4, 3, 3)),
        nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 2, 1),
        nn.Softmax(1),
    )


def line() -> nn.Module:
    """Convolutions along one axis."""
    return nn.Sequential(
        nn.Conv1d(4, 8, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(8, 12, 3, padding=2, dilation=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 16, 4),
    )


class Gated(nn.Module):
    """Squeeze and excite, hard swish, parts beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.down, self.up = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
        self.last = nn.Linear(24, 6)

    def forward(self, x: Any) -> Any:
        x = F.hardswish(self.first(x))
        gate = F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))
        x = x * torch.sigmoid(self.up(gate))
        both = torch.cat([x, F.leaky_relu(x, 0.1)], 1)
        return self.last(torch.flatten(F.adaptive_avg_pool2d(both, 1), 1))


NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "resnet": (resnet, (3, 16, 16)),
    "mobile": (mobile, (3, 16, 16)),
    "dense": (dense, (20,)),
    "autoencoder": (autoencoder, (3, 16, 16)),
    "generator": (generator, (8,)),
    "line": (line, (4, 32)),
    "gated": (Gated, (3, 8, 8)),
}
WAYS = {"resnet": "eager", "mobile": "eager"}
"""Networks that eager quantization takes, with FloatFunctional; FX takes the others."""


def quantized(name: str, engine: str, seed: int) -> nn.Module:
    """A network of that kind, with random weights, calibrated and converted for an engine."""
    torch.manual_seed(seed)
    build, shape = NETWORKS[name]
    network = build()
    with made.engine(engine):
        _normalized(network, shape)
        network.eval()
        if name in WAYS:
            return _eager(network, engine, shape)
        mapping = tq.get_default_qconfig_mapping(engine)
        mapping.set_object_type(nn.ConvTranspose2d, tq.default_qconfig)  # one scale for all
        example = torch.randn(1, *shape)
        ready = prepare_fx(network, mapping, (example,))
        for _ in range(4):
            ready(torch.randn(8, *shape))
        return convert_fx(ready)


def _normalized(network: nn.Module, shape: tuple[int, ...]) -> None:
    """Statistics of the batch normalizations, from random images."""
    network.train()
    for _ in range(3):
        network(torch.randn(8, *shape))


def _eager(network: nn.Module, engine: str, shape: tuple[int, ...]) -> nn.Module:
    ready = nn.Sequential(tq.QuantStub(), network, tq.DeQuantStub()).eval()
    groups = []
    for name, part in ready.named_modules():
        kinds = [type(child) for child in part.children()]
        for first, kind in enumerate(kinds):
            if kind is nn.Conv2d and kinds[first + 1 : first + 2] == [nn.BatchNorm2d]:
                more = 3 if kinds[first + 2 : first + 3] == [nn.ReLU] else 2
                prefix = f"{name}." if name else ""
                groups.append([f"{prefix}{place}" for place in range(first, first + more)])
    tq.fuse_modules(ready, groups, inplace=True)
    ready.qconfig = tq.get_default_qconfig(engine)
    tq.prepare(ready, inplace=True)
    for _ in range(4):
        ready(torch.randn(8, *shape))
    return tq.convert(ready).eval()
