"""Networks of Brevitas's layers, of the kinds that its users train; random, and calibrated."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from brevitas import nn as qnn
    from brevitas import quant
    from brevitas.inject.enum import RestrictValueType

POWERS = {"restrict_scaling_type": RestrictValueType.POWER_OF_TWO}


def ends(bits: int = 8, **how: Any) -> tuple[Any, Any]:
    """A quantizer of the input and one of the output, so that outputs are codes."""
    first = qnn.QuantIdentity(bit_width=bits, return_quant_tensor=True, **how)
    return first, qnn.QuantIdentity(bit_width=bits, **how)


def cnv(weights: int, acts: int, **how: Any) -> nn.Module:
    """FINN's CNV in small: convolutions, norms, ReLUs, a pool, a dense layer."""
    first, last = ends(8, **how)

    def block(inputs: int, outputs: int) -> list[Any]:
        conv = qnn.QuantConv2d(inputs, outputs, 3, bias=False, weight_bit_width=weights, **how)
        act = qnn.QuantReLU(bit_width=acts, return_quant_tensor=True, **how)
        return [conv, nn.BatchNorm2d(outputs), act]

    dense = qnn.QuantLinear(32, 10, bias=False, weight_bit_width=weights, **how)
    return nn.Sequential(
        first, *block(3, 8), *block(8, 8), nn.MaxPool2d(2), nn.Flatten(), dense, last
    )


def dense(bits: int, **how: Any) -> nn.Module:
    """A perceptron with so many bits throughout."""
    first, last = ends(max(bits, 2), **how)
    act = {"bit_width": bits, "return_quant_tensor": True, **how}
    return nn.Sequential(
        first,
        qnn.QuantLinear(16, 24, bias=True, weight_bit_width=max(bits, 2), **how),
        nn.BatchNorm1d(24),
        qnn.QuantReLU(**act),
        qnn.QuantLinear(24, 6, bias=True, bias_quant=quant.Int16Bias, weight_bit_width=max(bits, 2),
                        **how),
        last,
    )  # fmt: skip


def binary(weight_quant: Any) -> nn.Module:
    """FINN's TFC and LFC: signs as activations."""
    sign = quant.SignedBinaryActPerTensorConst

    def layer(inputs: int, outputs: int) -> list[Any]:
        dense = qnn.QuantLinear(inputs, outputs, bias=False, weight_quant=weight_quant)
        return [dense, nn.BatchNorm1d(outputs), qnn.QuantIdentity(act_quant=sign)]

    return nn.Sequential(
        qnn.QuantIdentity(act_quant=sign), *layer(16, 24), *layer(24, 24), *layer(24, 6)
    )


class Residual(nn.Module):
    """A convolution and a depthwise one beside their input, and parts behind each other."""

    def __init__(self, **how: Any) -> None:
        super().__init__()
        self.first, self.last = ends(8, **how)
        self.conv = qnn.QuantConv2d(4, 4, 3, padding=1, bias=True, weight_bit_width=4, **how)
        self.act = qnn.QuantReLU(bit_width=6, return_quant_tensor=True, **how)
        self.wise = qnn.QuantConv2d(4, 4, 3, padding=1, groups=4, bias=False, **how)
        self.sum = qnn.QuantEltwiseAdd(
            input_quant=quant.Int8ActPerTensorFloat, return_quant_tensor=True
        )
        self.again = qnn.QuantIdentity(bit_width=8, return_quant_tensor=True, **how)
        self.dense = qnn.QuantLinear(8 * 9, 5, bias=True, **how)

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        y = self.sum(x, self.wise(self.act(self.conv(x))))
        y = torch.cat([self.again(y), self.again(x)], dim=1)
        y = nn.functional.max_pool2d(y, 2)
        return self.last(self.dense(torch.flatten(y, 1)))


def decoder(**how: Any) -> nn.Module:
    """A transposed convolution."""
    first, last = ends(8, **how)
    up = qnn.QuantConvTranspose2d(4, 3, 2, stride=2, bias=True, weight_bit_width=5, **how)
    return nn.Sequential(first, up, qnn.QuantReLU(bit_width=4, **how), last)


def line(**how: Any) -> nn.Module:
    """Convolutions along one axis."""
    first, last = ends(8, **how)
    return nn.Sequential(
        first,
        qnn.QuantConv1d(4, 8, 3, padding=1, bias=True, weight_bit_width=4, **how),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True, **how),
        nn.Flatten(),
        qnn.QuantLinear(8 * 12, 5, bias=False, weight_bit_width=6, **how),
        last,
    )


def shifted() -> nn.Module:
    """Asymmetric activations and weights, with zero points."""
    act, weight = quant.ShiftedUint8ActPerTensorFloat, quant.ShiftedUint8WeightPerTensorFloat
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=act, return_quant_tensor=True),
        qnn.QuantConv2d(3, 6, 3, bias=True, weight_quant=weight),
        qnn.QuantIdentity(act_quant=act),
    )


def channels() -> nn.Module:
    """A scale for each channel of weights."""
    first, last = ends()
    weight = quant.Int8WeightPerChannelFloat
    return nn.Sequential(
        first,
        qnn.QuantConv2d(3, 6, 3, bias=True, bias_quant=quant.Int32Bias, weight_quant=weight),
        qnn.QuantReLU(bit_width=5, return_quant_tensor=True),
        nn.Flatten(),
        qnn.QuantLinear(6 * 36, 4, bias=True, weight_quant=weight),
        last,
    )


def truncated() -> nn.Module:
    """Bits of an average cut off."""
    first, last = ends(**POWERS)
    act = qnn.QuantReLU(bit_width=6, return_quant_tensor=True, **POWERS)
    return nn.Sequential(first, act, qnn.TruncAvgPool2d(2, bit_width=6), last)


class Functions(nn.Module):
    """Layers of functions, one with bounds of its own, and a pyramid that is joined again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = ends(8)
        self.conv = qnn.QuantConv2d(3, 4, 3, padding=1, weight_bit_width=4, bias=True)
        self.bent = qnn.QuantReLU(bit_width=6, max_val=2.5, return_quant_tensor=True)
        self.down = qnn.QuantConv2d(4, 4, 3, stride=2, padding=1, weight_bit_width=3)
        self.tanh = qnn.QuantTanh(bit_width=6, return_quant_tensor=True)
        self.up = qnn.QuantUpsample(scale_factor=2, mode="nearest", return_quant_tensor=True)
        self.gate = qnn.QuantSigmoid(bit_width=5, return_quant_tensor=True)
        self.join = qnn.QuantIdentity(bit_width=6, return_quant_tensor=True)
        self.out = qnn.QuantConv2d(8, 2, 1, weight_bit_width=2)

    def forward(self, x: Any) -> Any:
        wide = self.bent(self.conv(self.first(x)))
        small = self.tanh(self.down(wide))
        parts = [self.gate(wide.value).value, self.up(small).value]
        return self.last(self.out(self.join(torch.cat(parts, 1))))


def between(function: nn.Module) -> nn.Module:
    """A function of reals between two quantizers."""
    return nn.Sequential(qnn.QuantIdentity(bit_width=8), function, qnn.QuantIdentity(bit_width=7))


class Square(nn.Module):
    """x times itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x**2


class Gated(nn.Module):
    """A Swish written out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)


FUNCTIONS: dict[str, nn.Module] = {
    "celu": nn.CELU(0.5),
    "elu": nn.ELU(0.7),
    "gated": Gated(),
    "gelu": nn.GELU(),
    "gelu, its tangent": nn.GELU(approximate="tanh"),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardswish": nn.Hardswish(),
    "hardtanh": nn.Hardtanh(-0.5, 0.7),
    "leaky relu": nn.LeakyReLU(0.1),
    "mish": nn.Mish(),
    "prelu": nn.PReLU(4),
    "relu6": nn.ReLU6(),
    "selu": nn.SELU(),
    "sigmoid": nn.Sigmoid(),
    "silu": nn.SiLU(),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "square": Square(),
    "tanh": nn.Tanh(),
}

NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "cnv 2 bits": (lambda: cnv(2, 2), (3, 8, 8)),
    "cnv 4 bits": (lambda: cnv(4, 4), (3, 8, 8)),
    "cnv powers of two": (lambda: cnv(4, 4, **POWERS), (3, 8, 8)),
    **{f"dense {n} bits": (lambda n=n: dense(n), (16,)) for n in (1, 2, 3, 4, 6, 8)},
    "dense powers of two": (lambda: dense(4, **POWERS), (16,)),
    "binary": (lambda: binary(quant.SignedBinaryWeightPerTensorConst), (16,)),
    "ternary": (lambda: binary(quant.SignedTernaryWeightPerTensorConst), (16,)),
    "residual": (Residual, (4, 6, 6)),
    "decoder": (decoder, (4, 5, 5)),
    "line": (line, (4, 12)),
    "shifted": (shifted, (3, 8, 8)),
    "channels": (channels, (3, 8, 8)),
    "truncated": (truncated, (4, 8, 8)),
    "functions": (Functions, (3, 8, 8)),
}


def trained(name: str, seed: int) -> nn.Module:
    """A network that has seen some random batches in training, now in evaluation mode."""
    torch.manual_seed(seed)
    build, shape = NETWORKS[name]
    network = build()
    network.train()
    for _ in range(5):
        network(torch.randn(16, *shape))
    evaluated: nn.Module = network.eval()
    return evaluated
