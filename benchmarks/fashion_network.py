"""Fashion-MNIST and one small CNN of 8,538 parameters with a residual, for `fashion_mnist.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from hwsim.data.sets import Examples, load
from hwsim.errors import HwsimError

Array = npt.NDArray[Any]
FOLDER = Path("/usr/share/datasets/fashion-mnist")
EPOCHS, BATCH, SEED = 8, 256, 0


def samples(folder: Path, part: str) -> Examples:
    """`train` or `t10k`; ends the program where the files are not there."""
    try:
        found = load("fashion-mnist", folder)
    except HwsimError as error:
        raise SystemExit(f"error: {error}") from None
    return found.train if part == "train" else found.test


def read(folder: Path, part: str) -> Array:
    """The classes of `train-labels` or `t10k-labels`."""
    return samples(folder, part.removesuffix("-labels")).labels


def images(folder: Path, part: str) -> Array:
    """Pixels from 0 to 1, float32 (samples, 1, 28, 28)."""
    return samples(folder, part).reals()


class Network(nn.Module):
    """Four convolutions, a skip, two kinds of pool, a dense layer: (N, 1, 28, 28) to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.inner = nn.Conv2d(16, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 32, 3, padding=1)
        self.dense = nn.Linear(32, 10)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.mean = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.first(x))
        x = self.relu(self.second(x))
        x = self.pool(self.relu(self.inner(x) + x))
        x = self.mean(self.relu(self.last(x)))
        return self.dense(torch.flatten(x, 1))


def trained(folder: Path) -> Network:
    """The network after some epochs with one thread: the same weights each time on a machine."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    x = torch.from_numpy(images(folder, "train"))
    y = torch.from_numpy(read(folder, "train-labels"))
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        for picked in torch.randperm(len(x)).split(BATCH):
            loss = nn.functional.cross_entropy(network(x[picked]), y[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()
