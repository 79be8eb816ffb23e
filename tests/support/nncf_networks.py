"""Networks of many kinds in PyTorch, quantized by NNCF as OpenVINO models."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

F32 = np.float32


def block(
    inputs: int, outputs: int, size: int = 3, step: int = 1, groups: int = 1, act: Any = nn.ReLU
) -> nn.Module:
    """A convolution, its normalization and a function."""
    held = nn.Conv2d(inputs, outputs, size, step, size // 2, groups=groups, bias=False)
    return nn.Sequential(held, nn.BatchNorm2d(outputs), act())


def linear_block(inputs: int, outputs: int, size: int = 1, step: int = 1) -> nn.Module:
    """The same without a function."""
    return block(inputs, outputs, size, step, act=nn.Identity)


class Inverted(nn.Module):
    """MobileNetV2's: wide in the middle, added to what it began with where that fits."""

    def __init__(self, inputs: int, outputs: int, step: int) -> None:
        super().__init__()
        wide, six = 3 * inputs, nn.ReLU6
        self.same = step == 1 and inputs == outputs
        self.body = nn.Sequential(
            block(inputs, wide, 1, act=six),
            block(wide, wide, 3, step, wide, act=six),
            linear_block(wide, outputs),
        )

    def forward(self, x: Any) -> Any:
        """One step."""
        return x + self.body(x) if self.same else self.body(x)


class Basic(nn.Module):
    """ResNet's, with a convolution beside it where the size changes."""

    def __init__(self, inputs: int, outputs: int, step: int) -> None:
        super().__init__()
        self.first, self.second = block(inputs, outputs, 3, step), linear_block(outputs, outputs, 3)
        same = step == 1 and inputs == outputs
        self.beside = nn.Identity() if same else linear_block(inputs, outputs, 1, step)

    def forward(self, x: Any) -> Any:
        """One step."""
        return F.relu(self.second(self.first(x)) + self.beside(x))


class Classifier(nn.Module):
    """A body of maps, their means and a dense layer."""

    def __init__(self, body: nn.Module, maps: int, classes: int = 10) -> None:
        super().__init__()
        self.body, self.last = body, nn.Linear(maps, classes)

    def forward(self, x: Any) -> Any:
        """Scores."""
        return self.last(self.body(x).mean([2, 3]))


class Squeezed(nn.Module):
    """MobileNetV3's: channels weighed by what they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.first = block(3, 8, 3, 2, act=nn.Hardswish)
        self.deep = block(8, 8, 3, 1, 8, act=nn.Hardswish)
        self.down, self.up, self.last = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1), linear_block(8, 8)

    def forward(self, x: Any) -> Any:
        """Maps."""
        x = self.first(x)
        y = self.deep(x)
        weights = F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(y, 1)))))
        return x + self.last(y * weights)


class UNet(nn.Module):
    """Down and up again, with what stood before beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.deep = block(3, 8), block(8, 16)
        self.up, self.joined = nn.ConvTranspose2d(16, 8, 2, 2), block(16, 8)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Any) -> Any:
        """A map of scores."""
        x = self.first(x)
        y = self.up(self.deep(F.max_pool2d(x, 2)))
        return self.last(self.joined(torch.cat([y, x], 1)))


class InTime(nn.Module):
    """Dilated convolutions along one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(8, 16, 3, padding=1)
        self.second = nn.Conv1d(16, 16, 3, padding=2, dilation=2)
        self.last = nn.Linear(16, 4)

    def forward(self, x: Any) -> Any:
        """Scores."""
        x = F.relu(self.first(x))
        return self.last(F.relu(self.second(x) + x).mean(2))


class Attention(nn.Module):
    """One head."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: Any) -> Any:
        """Rows."""
        q, k, v = (part(x) for part in self.parts[:3])
        return self.parts[3](F.softmax(q @ k.transpose(1, 2) / 4, -1) @ v)


def autoencoder() -> nn.Module:
    """Dense layers, the one in the middle narrow."""
    sizes, layers = (64, 32, 32, 8, 32, 32, 64), list[nn.Module]()
    for place, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(inputs, outputs))
        if place < 5:
            layers += [nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def separable() -> nn.Module:
    """DS-CNN of keyword spotting."""
    first = [nn.Conv2d(1, 16, (10, 4), 2, (4, 1)), nn.BatchNorm2d(16), nn.ReLU()]
    deep = [m for _ in range(2) for m in (block(16, 16, 3, 1, 16), block(16, 16, 1))]
    return Classifier(nn.Sequential(*first, *deep), 16, 12)


def plain() -> nn.Module:
    """LeNet's kind."""
    maps = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU()]
    dense = [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 32), nn.ReLU(), nn.Linear(32, 10)]
    return nn.Sequential(*maps, *dense)


NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "residual": (
        lambda: Classifier(nn.Sequential(block(3, 8), Basic(8, 8, 1), Basic(8, 16, 2)), 16),
        (3, 16, 16),
    ),
    "mobile": (
        lambda: Classifier(
            nn.Sequential(block(3, 8, 3, 2, act=nn.ReLU6), Inverted(8, 8, 1), Inverted(8, 12, 2)),
            12,
        ),
        (3, 16, 16),
    ),
    "autoencoder": (autoencoder, (64,)),
    "separable": (separable, (1, 40, 12)),
    "plain": (plain, (1, 28, 28)),
    "squeezed": (lambda: Classifier(Squeezed(), 8), (3, 16, 16)),
    "unet": (UNet, (3, 16, 16)),
    "in time": (InTime, (8, 32)),
    "attention": (Attention, (10, 16)),
}


def quantized(name: str, preset: str, seed: int) -> tuple[Any, npt.NDArray[np.float32]]:
    """The network as an OpenVINO model that NNCF has quantized, and inputs for it."""
    import nncf
    import openvino

    make, shape = NETWORKS[name]
    torch.manual_seed(seed)
    network = make().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            for values, ends in ((module.running_var, (0.5, 1.5)), (module.weight, (0.5, 1.5))):
                nn.init.uniform_(values, *ends)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
    model = openvino.convert_model(network, example_input=torch.zeros(1, *shape))
    model.reshape([-1, *shape])
    rng = np.random.default_rng(seed)
    known = [rng.normal(size=(1, *shape)).astype(F32) for _ in range(30)]
    kind = getattr(nncf.QuantizationPreset, preset)
    found = nncf.quantize(model, nncf.Dataset(known), preset=kind, subset_size=30)
    return found, rng.normal(size=(100, *shape)).astype(F32)
