"""Ten small networks in the architectures that people train, for both of PyTorch's exporters.

Widths and depths are those of a test; blocks, their order and their options are the originals'.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def normed(
    cin: int, cout: int, kernel: int = 3, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution without a bias, and its batch norm."""
    layer = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(cout)]


class Cnn(nn.Module):
    """Convolutions with batch norm, max pools, two dense layers with a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *normed(1, 4), nn.ReLU(), nn.MaxPool2d(2), *normed(4, 6), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(24, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 5)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.softmax(self.head(self.features(x)), dim=1)


class Residual(nn.Module):
    """ResNet's basic block, with a 1 x 1 shortcut where the shape changes."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*normed(cin, cout, stride=stride), nn.ReLU(), *normed(cout, cout))
        plain = cin == cout and stride == 1
        self.shortcut = (
            nn.Identity() if plain else nn.Sequential(*normed(cin, cout, 1, stride=stride))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class ResNet8(nn.Module):
    """The stem, three stages of one block, a global average, a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*normed(3, 4), nn.ReLU())
        self.stages = nn.Sequential(Residual(4, 4, 1), Residual(4, 6, 2), Residual(6, 8, 2))
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(F.adaptive_avg_pool2d(self.stages(self.stem(x)), 1), 1))


class Inverted(nn.Module):
    """MobileNetV2's block: expand, depthwise, project, with a skip where the shape stays."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        wide = 3 * cin
        self.body = nn.Sequential(
            *normed(cin, wide, 1), nn.ReLU6(),
            *normed(wide, wide, stride=stride, groups=wide), nn.ReLU6(), *normed(wide, cout, 1),
        )  # fmt: skip
        self.skips = cin == cout and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.skips else self.body(x)


class MobileNetV2(nn.Module):
    """A stem, inverted residuals, a 1 x 1 convolution, a global mean, dropout, a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *normed(3, 4, stride=2), nn.ReLU6(), Inverted(4, 4, 1), Inverted(4, 6, 2),
            Inverted(6, 6, 1), *normed(6, 10, 1), nn.ReLU6(),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(10, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


class SqueezeExcite(nn.Module):
    """A factor a channel, from the global average."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 2, 1)
        self.expand = nn.Conv2d(channels // 2, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))
        return x * F.hardsigmoid(self.expand(weight))


class MobileNetV3(nn.Module):
    """A block with hard swish and squeeze-excite, and the classifier with hard swish."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*normed(3, 4, stride=2), nn.Hardswish())
        self.expand = nn.Sequential(*normed(4, 8, 1), nn.Hardswish())
        self.depthwise = nn.Sequential(*normed(8, 8, 5, groups=8), nn.Hardswish())
        self.squeeze = SqueezeExcite(8)
        self.project = nn.Sequential(*normed(8, 4, 1))
        self.classifier = nn.Sequential(nn.Linear(4, 8), nn.Hardswish(), nn.Linear(8, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.project(self.squeeze(self.depthwise(self.expand(x))))
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class UNet(nn.Module):
    """One level down and up again, by a transposed convolution or by a resize, with the skip."""

    def __init__(self, *, resize: bool) -> None:
        super().__init__()
        self.down = nn.Sequential(*normed(1, 4), nn.ReLU())
        self.deep = nn.Sequential(*normed(4, 6), nn.ReLU())
        self.up = (
            nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(6, 4, 3, 1, 1))
            if resize
            else nn.ConvTranspose2d(6, 4, 2, stride=2)
        )
        self.out = nn.Sequential(*normed(8, 4), nn.ReLU(), nn.Conv2d(4, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down = self.down(x)
        up = self.up(self.deep(F.max_pool2d(down, 2)))
        return torch.sigmoid(self.out(torch.cat([down, up], dim=1)))


class Cnn1d(nn.Module):
    """Convolutions along time with batch norm and pools, a global average, a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(2, 4, 5, padding=2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(4, 6, 3, padding=2, dilation=2), nn.BatchNorm1d(6), nn.SiLU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


class Encoder(nn.Module):
    """A transformer's encoder: positions, attention of two heads, GELU, layer norms, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.positions = nn.Parameter(torch.randn(1, 6, 8) / 4)
        self.query, self.key, self.value, self.mix = (nn.Linear(8, 8) for _ in range(4))
        self.first, self.second = nn.LayerNorm(8), nn.LayerNorm(8)
        self.feed = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 4)

    def heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1, 6, 2, 4).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x) + self.positions
        q, k, v = (self.heads(part(x)) for part in (self.query, self.key, self.value))
        weights = torch.softmax(q @ k.transpose(-2, -1) / 2.0, dim=-1)
        x = self.first(x + self.mix((weights @ v).transpose(1, 2).reshape(-1, 6, 8)))
        x = self.second(x + self.feed(x))
        return self.head(x.mean(dim=1))


class EncoderLayer(nn.Module):
    """PyTorch's own encoder layer, which moves the batch behind time, between two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(3, 8), nn.Linear(8, 4)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embed(x))[:, 0])


class Autoencoder(nn.Module):
    """Strided convolutions to a code of a few numbers, and transposed ones back to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(24, 3),
        )  # fmt: skip
        self.decode = nn.Sequential(
            nn.Linear(3, 24), nn.ReLU(), nn.Unflatten(1, (6, 2, 2)),
            nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1), nn.ReLU(),
            nn.ConvTranspose2d(4, 1, 3, 2, 1, output_padding=1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(x))


class Detector(nn.Module):
    """As YOLO: SiLU, a split that is joined again, pools in a row, upsampling, a decoded head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*normed(3, 4, 3, stride=2), nn.SiLU())
        self.cut = nn.Sequential(*normed(4, 8, 1), nn.SiLU())
        self.inner = nn.Sequential(*normed(4, 4, 3), nn.SiLU())
        self.down = nn.Sequential(*normed(12, 6, 3, stride=2), nn.SiLU())
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.up = nn.Upsample(scale_factor=2)
        self.head = nn.Conv2d(24, 6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.cut(self.stem(x)).chunk(2, 1)
        wide = torch.cat([first, second, second + self.inner(second)], 1)
        deep = self.down(wide)
        deep = self.up(torch.cat([deep, self.pool(deep)], 1))
        found = self.head(torch.cat([deep, wide], 1)).flatten(2).permute(0, 2, 1)
        box, score = found.split((4, 2), 2)
        return torch.cat([box.sigmoid() * 2 - 0.5, score.sigmoid()], 2)


class ConvNext(nn.Module):
    """Layer norms over channels that lie last, a layer scale of 1e-6, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 4, 3, 1, 1, groups=4)
        self.norm, self.last = nn.LayerNorm(4), nn.LayerNorm(4)
        self.feed = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
        self.scale = nn.Parameter(torch.full((4, 1, 1), 1e-6))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.feed(self.norm(self.deep(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        x = self.last((x + self.scale * y).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(self.pool(x).flatten(1))


class WaveNet(nn.Module):
    """Gates of causal, dilated convolutions; sums of what they skip."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 4, 1)
        self.filters, self.gates = (
            nn.ModuleList(nn.Conv1d(4, 4, 2, dilation=2**i) for i in range(3)) for _ in range(2)
        )
        self.mix = nn.ModuleList(nn.Conv1d(4, 4, 1) for _ in range(3))
        self.last = nn.Conv1d(4, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, kept = self.first(x), torch.zeros(1)
        for i, (filtered, gate, mix) in enumerate(
            zip(self.filters, self.gates, self.mix, strict=True)
        ):
            padded = nn.functional.pad(x, (2**i, 0))
            y = mix(torch.tanh(filtered(padded)) * torch.sigmoid(gate(padded)))
            x, kept = x + y, y if i == 0 else kept + y
        return self.last(torch.relu(kept))


class Segmenter(nn.Module):
    """As DeepLab: dilated convolutions side by side, one of a mean; resized to the input's size."""

    def __init__(self) -> None:
        super().__init__()
        self.back = nn.Sequential(*normed(3, 4, 3, stride=2), nn.ReLU())
        self.near = nn.Conv2d(4, 3, 1)
        self.far = nn.Conv2d(4, 3, 3, padding=2, dilation=2)
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 3, 1), nn.ReLU())
        self.head = nn.Conv2d(9, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.back(x)
        mean = nn.functional.interpolate(self.whole(y), size=y.shape[-2:], mode="bilinear")
        y = self.head(torch.cat([self.near(y), self.far(y), mean], 1))
        return nn.functional.interpolate(y, size=x.shape[-2:], mode="bilinear")
