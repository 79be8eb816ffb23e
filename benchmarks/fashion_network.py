"""Fashion-MNIST and one small CNN of 8,538 parameters with a residual, for `fashion_mnist.py`."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Array = npt.NDArray[Any]
FOLDER = Path("/usr/share/datasets/fashion-mnist")
HASHES = {  # of what is in the files, which are compressed anew by whoever packages them
    "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
AXES = {"images": 3, "labels": 1}
EPOCHS, BATCH, SEED = 8, 256, 0


def read(folder: Path, part: str) -> Array:
    """One of the four files: uint8 (samples, 28, 28), or labels."""
    axes = AXES[part.partition("-")[2]]
    path = folder / f"{part}-idx{axes}-ubyte.gz"
    if not path.is_file():
        raise SystemExit(
            f"error: {path} must be there: Debian's package dataset-fashion-mnist has it"
        )
    data = gzip.decompress(path.read_bytes())
    if hashlib.sha256(data).hexdigest() != HASHES[part]:
        raise SystemExit(f"error: {path} must be Fashion-MNIST's {part}, but is another file")
    shape = np.frombuffer(data, ">u4", axes, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def images(folder: Path, part: str) -> Array:
    """Pixels from 0 to 1, float32 (samples, 1, 28, 28)."""
    return (read(folder, f"{part}-images")[:, None] / np.float32(255)).astype(np.float32)


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
    y = torch.from_numpy(read(folder, "train-labels").astype(np.int64))
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
