"""The float networks of the compression table: samples, how they vary, trainings, smaller ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save  # noqa: E402
from torch import nn  # noqa: E402

from hwsim.compress.prune.gradual import GradualPruning, ShrinkingMasks  # noqa: E402
from hwsim.compress.prune.modules import prune_module  # noqa: E402
from hwsim.compress.training.loss import Lesson, LossShares, loss_of  # noqa: E402
from hwsim.data.sets import load  # noqa: E402
from hwsim.errors import HwsimError  # noqa: E402
from hwsim.storage import write_atomically  # noqa: E402

Array = npt.NDArray[Any]
BATCH, FLOAT_BATCH = 128, 256
FEWEST = 20  # steps of a schedule
WIDTHS = (16, 32, 32, 32)
ROUNDS = 4  # in which channels go
LATER = 1000  # from a seed to another of the same run
Augment = Callable[[Array, np.random.Generator], Array]
SHARES = LossShares(smoothing=0.05, distil=0.7, temperature=4.0, features=0.0)
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


def mirrored(batch: Array, rng: np.random.Generator) -> Array:
    """Images, half of them mirrored."""
    some = rng.random(len(batch)) < 0.5
    return np.ascontiguousarray(np.where(some[:, None, None, None], batch[..., ::-1], batch))


def moved(batch: Array, rng: np.random.Generator) -> Array:
    """Images, half of them mirrored, all moved by up to two pixels."""
    batch = mirrored(batch, rng)
    down, right = rng.integers(-2, 3, 2)
    room = ((0, 0), (0, 0), (2 + down, 2 - down), (2 + right, 2 - right))
    return np.ascontiguousarray(np.pad(batch, room)[:, :, 2:-2, 2:-2])


class NormedNetwork(nn.Sequential):
    """Four convolutions with batch norms, three pools, a dense layer: 26,298 parameters at 28."""

    def __init__(self, side: int, widths: Sequence[int] = WIDTHS) -> None:
        def block(inputs: int, outputs: int) -> list[nn.Module]:
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]

        a, b, c, d = widths
        half, last = nn.MaxPool2d(2), nn.Linear(d * (side // 8) ** 2, 10)
        one, two, three, four = block(1, a), block(a, b), block(b, c), block(c, d)
        super().__init__(*one, half, *two, *three, half, *four, half, nn.Flatten(), last)

    def layers(self) -> dict[str, nn.Parameter]:
        """The weights of convolutions and the dense layer by name."""
        found = self.named_modules()
        return {n: one.weight for n, one in found if isinstance(one, nn.Conv2d | nn.Linear)}


def folded(network: NormedNetwork) -> list[nn.Module]:
    """The float layers with batch norms in the convolutions before them."""
    layers: list[nn.Module] = []
    for one in network:
        if isinstance(one, nn.BatchNorm2d):
            conv = layers.pop()
            layers.append(nn.utils.fusion.fuse_conv_bn_eval(conv, one))  # type: ignore[type-var]
        else:
            layers.append(one)
    return layers


def epochs_of(
    count: int, batch: int, epochs: int, rng: np.random.Generator, say: Callable[[int], None]
) -> Any:
    """Places of each batch, epoch by epoch."""
    for epoch in range(epochs):
        order = rng.permutation(count)
        yield from (order[at : at + batch] for at in range(0, count, batch))
        say(epoch + 1)


def fitted(
    network: Any,
    data: Samples,
    seed: int,
    epochs: int,
    device: str,
    say: Callable[[int], None],
    *,
    teach: Callable[[Any], Lesson] | None = None,
    pruning: GradualPruning | None = None,
    augment: Augment = moved,
) -> Any:
    """A float network after so many epochs; weights go by `pruning`, and what is 0 stays so."""
    network, rng = network.to(device).train(), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    steps = epochs * -(-len(data.x) // FLOAT_BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=max(steps, FEWEST))
    masks = Thinning(pruning, steps, network.layers())
    for part in epochs_of(len(data.x), FLOAT_BATCH, epochs, rng, say):
        masks.before_step()
        batch = augment(data.x[part], rng)
        scores = network(torch.from_numpy(batch).to(device))
        with torch.device(device):
            lesson = None if teach is None else teach(batch)
            loss = loss_of(scores, data.y[part], lesson, {}, SHARES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    masks.apply()
    return network.cpu().eval()


class Thinning:
    """Weights of a float network that are 0 or go while it is trained, by their magnitude."""

    def __init__(
        self, how: GradualPruning | None, steps: int, layers: Mapping[str, nn.Parameter]
    ) -> None:
        self.layers = layers
        self.kept = {name: (one != 0).to(one) for name, one in layers.items()}
        whole = {name: numbers(one) != 0 for name, one in self.kept.items()}
        self.shrinking = None if how is None else ShrinkingMasks(how, steps, whole)

    def before_step(self) -> None:
        """Take weights away where a round is due; what has gone is 0."""
        if self.shrinking is not None:
            if self.shrinking.due:
                weights = {name: numbers(one) for name, one in self.layers.items()}
                for name, mask in self.shrinking.begin(weights).items():
                    self.kept[name] = torch.from_numpy(mask).to(self.layers[name])
            self.shrinking.step += 1
        self.apply()

    def apply(self) -> None:
        """Make what has gone 0."""
        with torch.no_grad():
            for name, one in self.layers.items():
                one.mul_(self.kept[name])


def numbers(tensor: Any) -> Array:
    """What a tensor of any device holds."""
    return np.asarray(tensor.detach().cpu().double())


def trained(
    data: Samples, seed: int, epochs: int, device: str, say: Callable[[int], None]
) -> NormedNetwork:
    """The float network of a seed, from nothing."""
    torch.manual_seed(seed)
    found = fitted(NormedNetwork(data.x.shape[-1]), data, seed, epochs, device, say)
    assert isinstance(found, NormedNetwork)
    return found


def sparse(network: NormedNetwork, data: Samples, seed: int, **how: Any) -> NormedNetwork:
    """The network with three quarters of its weights at 0, by and by while it is trained.

    The first layer, which has few, keeps its own.
    """
    names = tuple(network.layers())[1:]
    pruning = GradualPruning(amount=0.755, rounds=40, layers=names)
    return finished(fitted(network, data, seed, pruning=pruning, **how), data, seed, **how)


def halved(network: NormedNetwork, data: Samples, seed: int, **how: Any) -> NormedNetwork:
    """The network without half of its channels, taken in four rounds with an epoch after each."""
    example = torch.from_numpy(data.x[:2])
    for gone in shares(0.5, ROUNDS):
        network = prune_module(network.cpu().eval(), example, gone)
        network = fitted(network, data, seed, **{**how, "epochs": 1})
    return finished(fitted(network, data, seed, **how), data, seed, **how)


def finished(
    network: NormedNetwork, data: Samples, seed: int, *, epochs: int, **how: Any
) -> NormedNetwork:
    """The network after a fifth of the epochs again, on images that are not moved.

    Small networks have no room to learn what moved images look like: on Fashion-MNIST half of the
    channels gain 0.6 points by it.
    """
    more = {**how, "epochs": max(epochs // 5, 1), "augment": mirrored}
    return cast(NormedNetwork, fitted(network, data, seed + LATER, **more))


def shares(amount: float, rounds: int) -> Iterator[float]:
    """The share of what is left that goes in each of even rounds."""
    for k in range(rounds):
        yield amount / rounds / (1 - amount * k / rounds)


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
    state = load_file(path.with_suffix(".safetensors"))
    widths = [len(part) for part in state.values() if part.ndim == 4]
    network = NormedNetwork(side, widths)
    network.load_state_dict(state)
    return network.eval()


def teacher(path: Path, side: int, device: str) -> Callable[[Any], Lesson]:
    """The float network's scores for a batch, computed by PyTorch."""
    network = read_float(path, side).to(device)

    def teach(batch: Any) -> Lesson:
        with torch.no_grad():
            return Lesson(network(torch.from_numpy(np.asarray(batch)).to(device)).cpu().numpy())

    return teach
