"""Float modules of PyTorch of more kinds, on images of 8 x 8: how they are written, not trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Vgg(nn.Module):
    """Convolutions in pairs with pools between, dropout ahead of dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 8, 3, padding="same"), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        )
        self.classifier = nn.Sequential(
            *(nn.Linear(32, 16), nn.ReLU(), nn.Dropout()), nn.Linear(16, 10)
        )

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x).flatten(1))


class UNet(nn.Module):
    """Down, up by a transposed convolution, beside it what was there before; gives a map."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 12, 3, padding=1)
        self.up, self.join = nn.ConvTranspose2d(12, 6, 2, 2), nn.Conv2d(12, 6, 3, padding=1)
        self.norm, self.out = nn.BatchNorm2d(6), nn.Conv2d(6, 3, 1)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.norm(self.down(x)))
        y = self.up(torch.relu(self.deep(functional.max_pool2d(x, 2))))
        return self.out(torch.relu(self.join(torch.cat([x, y], 1))))


class Separable(nn.Module):
    """Depthwise and pointwise convolutions over a line, channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = nn.Conv1d(8, 16, 3, padding=1, groups=8)
        self.point, self.head = nn.Conv1d(16, 12, 1), nn.Linear(12, 10)

    def forward(self, x: Any) -> Any:
        x = functional.hardswish(self.point(torch.relu(self.depth(x.squeeze(1)))))
        return self.head(functional.adaptive_avg_pool1d(x, 1).squeeze(-1))


class Shared(nn.Module):
    """One layer that is used twice, a split, and a product of halves."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.same, self.head = nn.Linear(64, 16), nn.Linear(16, 16), nn.Linear(8, 10)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.same(torch.relu(self.same(torch.relu(self.enter(x.flatten(1)))))))
        left, right = x.chunk(2, 1)
        return self.head(left * torch.sigmoid(right))


class TwoInputs(nn.Module):
    """An image and eight numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense = nn.Conv2d(1, 4, 3, 2), nn.Linear(8, 12)
        self.head = nn.Linear(48, 10)

    def forward(self, image: Any, numbers: Any) -> Any:
        seen = torch.relu(self.conv(image)).flatten(1)
        return self.head(torch.cat([seen, torch.relu(self.dense(numbers))], 1))


class Recurrent(nn.Module):
    """A GRU over the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(8, 12, batch_first=True), nn.Linear(12, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(x[:, 0])[0][:, -1])


class Called(nn.Module):
    """A layer and a function of what it gives."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.body, self.function = nn.Sequential(nn.Linear(8, 10)), function

    def forward(self, x: Any) -> Any:
        return self.function(self.body(x))


class Sorted(nn.Module):
    """What ONNX has, but no rule to quantize for."""

    def forward(self, x: Any) -> Any:
        return torch.sort(x, -1)[0]


class Unlike(nn.Module):
    """What PyTorch's ONNX exporter has nothing for."""

    def forward(self, x: Any) -> Any:
        return torch.special.bessel_j0(x)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "vgg": Vgg,
    "unet": UNet,
    "separable": Separable,
    "shared": Shared,
}


def module(name: str, seed: int) -> nn.Module:
    """A module with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    return MODULES[name]().eval()
