"""Networks as people have them, quantized by PT2E with ExecuTorch's quantizer for XNNPACK."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

Array = np.ndarray[Any, Any]
Shapes = list[tuple[int, ...]]


class Residual(nn.Module):
    """Convolution, ReLU, max pool, depthwise, pointwise, residual, dense."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.deep = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.point, self.last = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.dense = nn.Linear(16, 10)

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        y = F.relu(self.point(self.deep(x)) + x)
        y = F.adaptive_avg_pool2d(F.relu6(self.last(y)), 1)
        return self.dense(y.flatten(1))


def normed(i: int, o: int, k: int, act: nn.Module | None, **options: Any) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    parts: list[nn.Module] = [nn.Conv2d(i, o, k, padding=k // 2, bias=False, **options)]
    parts.append(nn.BatchNorm2d(o))
    return nn.Sequential(*parts, *([] if act is None else [act]))


class Excited(nn.Module):
    """Squeeze and excite with Hardswish and Sigmoid, grouped convolution, concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.a = normed(3, 16, 3, nn.ReLU6(), stride=2)
        self.b = normed(16, 16, 5, nn.Hardswish(), groups=16)
        self.down, self.up = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.one, self.two = nn.Linear(32, 16), nn.Linear(16, 10)

    def forward(self, x: Any) -> Any:
        x = self.a(x)
        y = self.b(x)
        gate = torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(y, 1)))))
        y = y * gate
        z = torch.cat([self.grouped(y) + x, y], 1).mean([2, 3])
        return self.two(F.relu(self.one(z)))


class Inverted(nn.Module):
    """The block of MobileNetV2."""

    def __init__(self, i: int, o: int, stride: int, grow: int) -> None:
        super().__init__()
        h, self.same = i * grow, stride == 1 and i == o
        self.body = nn.Sequential(
            normed(i, h, 1, nn.ReLU6()),
            normed(h, h, 3, nn.ReLU6(), stride=stride, groups=h),
            normed(h, o, 1, None),
        )

    def forward(self, x: Any) -> Any:
        return x + self.body(x) if self.same else self.body(x)


class Mobile(nn.Module):
    """A small MobileNetV2."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            normed(3, 8, 3, nn.ReLU6(), stride=2),
            Inverted(8, 8, 1, 2),
            Inverted(8, 12, 2, 3),
            Inverted(12, 12, 1, 3),
            normed(12, 32, 1, nn.ReLU6()),
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 10))

    def forward(self, x: Any) -> Any:
        return self.head(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class Residuals(nn.Module):
    """Two blocks of a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one = normed(3, 8, 3, nn.ReLU()), normed(8, 8, 3, None)
        self.two, self.short = normed(8, 16, 3, None, stride=2), normed(8, 16, 1, None, stride=2)
        self.dense = nn.Linear(16, 10)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        x = F.relu(self.one(x) + x)
        x = F.relu(self.two(x) + self.short(x))
        return self.dense(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class Autoencoder(nn.Sequential):
    """Dense layers."""

    def __init__(self) -> None:
        sizes = [nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 8), nn.ReLU()]
        super().__init__(*sizes, nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))


class Keywords(nn.Module):
    """A DS-CNN for keyword spotting."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(1, 16, (10, 4), (2, 2), (5, 1)), nn.ReLU()]
        for _ in range(2):
            parts.append(normed(16, 16, 3, nn.ReLU(), groups=16))
            parts.append(normed(16, 16, 1, nn.ReLU()))
        self.features, self.dense = nn.Sequential(*parts), nn.Linear(16, 12)

    def forward(self, x: Any) -> Any:
        return self.dense(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class Temporal(nn.Module):
    """Dilated convolutions in time, and the mean over it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv1d(4, 16, 3, padding=2, dilation=2)
        self.b = nn.Conv1d(16, 16, 3, padding=4, dilation=4)
        self.d, self.dense = nn.Conv1d(16, 16, 1), nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.a(x))
        y = F.relu(F.relu(self.b(x)) + self.d(x))
        return self.dense(y.mean(-1))


class Segments(nn.Module):
    """A U-Net of two levels with a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = normed(1, 8, 3, nn.ReLU()), normed(8, 16, 3, nn.ReLU())
        self.up, self.three = nn.ConvTranspose2d(16, 8, 2, 2), normed(16, 8, 3, nn.ReLU())
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Any) -> Any:
        a = self.one(x)
        b = self.two(F.max_pool2d(a, 2))
        return self.last(self.three(torch.cat([self.up(b), a], 1)))


class TwoEnds(nn.Module):
    """Two inputs and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(6, 16)
        self.c, self.d = nn.Linear(32, 4), nn.Linear(16, 3)

    def forward(self, x: Any, y: Any) -> Any:
        u, v = F.relu(self.a(x)), F.relu(self.b(y))
        return self.c(torch.cat([u, v], 1)), self.d(u * v)


class Unrolled(nn.Module):
    """A gated recurrent cell, two steps of it written out: each layer is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.given, self.gate, self.held = nn.Linear(12, 24), nn.Linear(24, 24), nn.Linear(24, 24)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Any) -> Any:
        state = torch.tanh(self.given(x))
        for _ in range(2):
            gate = torch.sigmoid(self.gate(state))
            state = gate * state + (1 - gate) * torch.tanh(self.held(state))
        return self.head(state)


NETWORKS: dict[str, tuple[type[nn.Module], Shapes]] = {
    "residual": (Residual, [(1, 28, 28)]),
    "squeeze and excite": (Excited, [(3, 16, 16)]),
    "MobileNetV2": (Mobile, [(3, 24, 24)]),
    "ResNet": (Residuals, [(3, 16, 16)]),
    "autoencoder": (Autoencoder, [(64,)]),
    "keyword spotting": (Keywords, [(1, 49, 10)]),
    "temporal": (Temporal, [(4, 40)]),
    "U-Net": (Segments, [(1, 16, 16)]),
    "unrolled": (Unrolled, [(12,)]),
    "two inputs and outputs": (TwoEnds, [(8,), (6,)]),
}


def quantized(
    kind: type[nn.Module], shapes: Shapes, *, seed: int, samples: int
) -> tuple[Any, list[Array]]:
    """The exported program of a network with drawn weights, calibrated, and inputs for it."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    torch.manual_seed(seed)
    module = kind().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
            nn.init.normal_(part.running_mean, 0, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 2)
    example = tuple(torch.randn(1, *shape) for shape in shapes)
    quantizer = XNNPACKQuantizer()
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(module, example).module(), quantizer)
    for _ in range(8):
        prepared(*(torch.randn_like(x) for x in example))
    program = torch.export.export(convert_pt2e(prepared), example)
    rng = np.random.default_rng(seed)
    return program, [rng.normal(size=(samples, *s)).astype(np.float32) for s in shapes]
