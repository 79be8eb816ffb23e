"""Float networks of the kinds that people train, on images of 8 x 8, as PyTorch exports them."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import onnx
import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """Skips, one of them with a convolution, and batch norms; the mean over all places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.same = nn.Sequential(
            *(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)),
        )
        self.halved = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12))
        self.skip = nn.Sequential(nn.Conv2d(8, 12, 1, 2), nn.BatchNorm2d(12))
        self.head = nn.Linear(12, 10)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        x = torch.relu(x + self.same(x))
        return self.head(torch.relu(self.skip(x) + self.halved(x)).mean((2, 3)))


class Inverted(nn.Module):
    """MobileNetV2's blocks: ReLU6, depthwise convolutions, a sum without a function behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.same, self.halved = self.block(8, 8, 1), self.block(8, 12, 2)
        self.head = nn.Linear(12, 10)

    def block(self, taken: int, given: int, stride: int) -> nn.Module:
        wide = 2 * taken
        return nn.Sequential(
            *(nn.Conv2d(taken, wide, 1), nn.BatchNorm2d(wide), nn.ReLU6()),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide),
            *(nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, given, 1), nn.BatchNorm2d(given)),
        )

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        x = self.halved(x + self.same(x))
        return self.head(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


class Branches(nn.Module):
    """Branches of different ranges side by side, one of them with a sign; a computed shape."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(1, 4, 1)
        self.both, self.head = nn.Conv2d(12, 6, 3), nn.Linear(54, 10)

    def forward(self, x: Any) -> Any:
        x = torch.cat([torch.relu(self.one(x)), 5 * self.other(x)], 1)
        x = functional.avg_pool2d(torch.relu(self.both(x)), 2)
        return self.head(x.view(x.size(0), -1))


class Temporal(nn.Module):
    """Causal convolutions in time, further and further apart, with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Conv1d(8, 16, 3), nn.Conv1d(16, 16, 3, dilation=2)
        self.skip, self.head = nn.Conv1d(8, 16, 1), nn.Linear(16, 10)

    def forward(self, x: Any) -> Any:
        x = x[:, 0]
        y = torch.relu(self.near(functional.pad(x, (2, 0))))
        y = torch.relu(self.far(functional.pad(y, (4, 0)))) + self.skip(x)
        return self.head(torch.relu(y).mean(2))


class Gated(nn.Module):
    """SiLU, squeeze and excitation, hard swish, and a softmax in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2)
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)
        self.head = nn.Linear(72, 10)

    def forward(self, x: Any) -> Any:
        x = functional.silu(self.stem(x))
        gate = self.excite(torch.relu(self.squeeze(x.mean((2, 3)))))
        x = functional.hardswish(self.last(x * torch.sigmoid(gate)[:, :, None, None]))
        return torch.softmax(self.head(torch.flatten(x, 1)), 1)


class Decoder(nn.Module):
    """Sums of sums, a transposed convolution, padding, resizing, a maximum over all places."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(n, 6, 3, padding=1) for n in (1, 6, 6))
        self.up, self.norm = nn.ConvTranspose2d(6, 6, 2, 2), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.a(x))
        y = self.b(x) + self.c(x)
        z = functional.max_pool2d((y + x) + torch.sigmoid(y), 2)
        z = functional.pad(torch.relu(self.norm(self.up(z))), (1, 1, 1, 1))
        return self.head(functional.interpolate(z, scale_factor=2).amax((2, 3)))


class Attention(nn.Module):
    """One block of a transformer over the rows, with learned places."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Linear(8, 16), nn.Parameter(torch.randn(1, 8, 16) / 3)
        self.norms = nn.ModuleList([nn.LayerNorm(16), nn.LayerNorm(16)])
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))
        self.wide, self.narrow, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 10)

    def heads(self, x: Any) -> Any:
        return x.view(-1, 8, 2, 8).transpose(1, 2)

    def forward(self, x: Any) -> Any:
        x = self.embed(x[:, 0]) + self.places
        y = self.norms[0](x)
        q, k, v = (self.heads(layer(y)) for layer in (self.q, self.k, self.v))
        y = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5, -1) @ v
        x = x + self.o(y.transpose(1, 2).reshape(-1, 8, 16))
        x = x + self.narrow(functional.gelu(self.wide(self.norms[1](x))))
        return self.head(x.mean(1))


def perceptron() -> nn.Module:
    """Batch norms before and behind the function, a layer without a bias, scaled inputs."""
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU()),
        *(nn.Linear(32, 32, bias=False), nn.ReLU(), nn.BatchNorm1d(32)),
        *(nn.Linear(32, 24), nn.LeakyReLU(0.1), nn.Linear(24, 10)),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "perceptron": perceptron,
    "residual": Residual,
    "inverted": Inverted,
    "branches": Branches,
    "temporal": Temporal,
    "gated": Gated,
    "decoder": Decoder,
    "attention": Attention,
}


def network(name: str, seed: int) -> nn.Module:
    """A network with random weights and batch norms that do something."""
    torch.manual_seed(seed)
    made = NETWORKS[name]()
    for norm in made.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0.5, 2)
            norm.weight.data.uniform_(0.5, 1.5)
            norm.bias.data.normal_(0, 0.3)
    return made.eval()


def exported(made: nn.Module, *, dynamo: bool, batch: int | None) -> onnx.ModelProto:
    """What `torch.onnx.export` writes of a network, for any batch or one."""
    x = torch.zeros(batch or 2, 1, 8, 8)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if dynamo:
            free = None if batch else ({0: torch.export.Dim("N")},)
            program = torch.onnx.export(
                made, (x,), dynamo=True, verbose=False, input_names=["image"], dynamic_shapes=free
            )
            return program.model_proto
        file = io.BytesIO()
        axes = None if batch else {"image": {0: "N"}}
        torch.onnx.export(
            made, x, file, dynamo=False, input_names=["image"], dynamic_axes=axes, opset_version=17
        )
    return onnx.load_from_string(file.getvalue())
