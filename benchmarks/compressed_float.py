"""The float network of the compression table: its samples, how they vary, its training."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save  # noqa: E402
from torch import nn  # noqa: E402

from hwsim.compress.training.loss import Lesson  # noqa: E402
from hwsim.data.sets import load  # noqa: E402
from hwsim.errors import HwsimError  # noqa: E402
from hwsim.storage import write_atomically  # noqa: E402

Array = npt.NDArray[Any]
BATCH, FLOAT_BATCH = 128, 256
FEWEST = 20  # steps of a schedule
CALIBRATION = 1024
"""Samples that ranges are chosen on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """Images (samples, 1, side, side) from 0 to 1 and class numbers, to train and to test with."""

    x: Array
    y: Array
    xt: Array
    yt: Array

    @classmethod
    def read(cls, name: str, folder: Path | None, most: int | None) -> Samples:
        """A set by name; of each part the first `most`. Ends the program where it is not there."""
        try:
            found = load(name, folder)
        except HwsimError as error:
            raise SystemExit(f"error: {error}") from None
        parts = [(part.reals()[:most], part.labels[:most]) for part in (found.train, found.test)]
        (x, y), (xt, yt) = parts
        return cls(x=x, y=y.astype(np.int64), xt=xt, yt=yt.astype(np.int64))

    def calibration(self, name: str) -> list[dict[str, Array]]:
        """The first samples in batches, for an input of this name."""
        ends = range(0, min(CALIBRATION, len(self.x)), BATCH)
        return [{name: self.x[at : at + BATCH]} for at in ends]


def moved(batch: Array, rng: np.random.Generator) -> Array:
    """Images, half of them mirrored, all moved by up to two pixels."""
    mirrored = rng.random(len(batch)) < 0.5
    batch = np.where(mirrored[:, None, None, None], batch[..., ::-1], batch)
    down, right = rng.integers(-2, 3, 2)
    room = ((0, 0), (0, 0), (2 + down, 2 - down), (2 + right, 2 - right))
    return np.ascontiguousarray(np.pad(batch, room)[:, :, 2:-2, 2:-2])


class NormedNetwork(nn.Sequential):
    """Four convolutions with batch norms, three pools, a dense layer: 26,298 parameters at 28."""

    def __init__(self, side: int) -> None:
        def block(inputs: int, outputs: int) -> list[nn.Module]:
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]

        half, last = nn.MaxPool2d(2), nn.Linear(32 * (side // 8) ** 2, 10)
        blocks = (block(1, 16), block(16, 32), block(32, 32), block(32, 32))
        one, two, three, four = blocks
        super().__init__(*one, half, *two, *three, half, *four, half, nn.Flatten(), last)


def epochs_of(
    count: int, batch: int, epochs: int, rng: np.random.Generator, say: Callable[[int], None]
) -> Any:
    """Places of each batch, epoch by epoch."""
    for epoch in range(epochs):
        order = rng.permutation(count)
        yield from (order[at : at + batch] for at in range(0, count, batch))
        say(epoch + 1)


def trained(
    data: Samples, seed: int, epochs: int, device: str, say: Callable[[int], None]
) -> NormedNetwork:
    """The float network after so many epochs."""
    torch.manual_seed(seed)
    network, rng = NormedNetwork(data.x.shape[-1]).to(device), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    steps = max(epochs * -(-len(data.x) // FLOAT_BATCH), FEWEST)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for part in epochs_of(len(data.x), FLOAT_BATCH, epochs, rng, say):
        x = torch.from_numpy(moved(data.x[part], rng)).to(device)
        y = torch.from_numpy(data.y[part]).to(device)
        loss = nn.functional.cross_entropy(network(x), y, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.cpu().eval()


def write_float(network: NormedNetwork, side: int, path: Path) -> None:
    """The network as ONNX (`image` to `logits`), and its state in a file beside it."""
    torch.onnx.export(
        network,
        (torch.zeros(2, 1, side, side),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    write_atomically(path.with_suffix(".safetensors"), save(dict(network.state_dict())))


def read_float(path: Path, side: int) -> NormedNetwork:
    """The network again whose ONNX file this is."""
    network = NormedNetwork(side)
    network.load_state_dict(load_file(path.with_suffix(".safetensors")))
    return network.eval()


def teacher(path: Path, side: int, device: str) -> Callable[[Any], Lesson]:
    """The float network's scores for a batch, computed by PyTorch."""
    network = read_float(path, side).to(device)

    def teach(batch: Any) -> Lesson:
        with torch.no_grad():
            return Lesson(network(torch.from_numpy(np.asarray(batch)).to(device)).cpu().numpy())

    return teach
