"""One operator of exported programs each, as a module, for the front end and the runtimes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from support.exported import Build, Forward, Maker, Tensor, Written


def conv(
    *shape: int,
    size: tuple[int, ...] = (6, 6),
    after: Callable[[Tensor], Tensor] = lambda x: x,
    biased: bool = True,
    per_channel: bool = True,
    **options: Any,
) -> Build:
    """A convolution of weights (out, in / groups, kernel) over a map of that size."""

    def build(m: Maker) -> Forward:
        given, out, inputs, kernel = m.meaning(), shape[0], shape[1], shape[2:]
        weights = m.weights(*shape, per_channel=per_channel)
        terms = inputs * int(np.prod(kernel))
        made = m.meaning(given.scale * 0.02 * 60 * np.sqrt(terms))
        bias = m.bias(out, made.scale * 30) if biased else None
        m.input(inputs * options.get("groups", 1), *size)
        call = F.conv1d if len(kernel) == 1 else F.conv2d

        def forward(module: Written, x: Tensor) -> Tensor:
            held = None if bias is None else bias(module)
            return made(after(call(given(x), weights(module), held, **options)))

        return forward

    return build


def linear(
    inputs: int,
    outputs: int,
    *outer: int,
    after: Callable[[Tensor], Tensor] = lambda x: x,
    biased: bool = True,
    per_channel: bool = True,
) -> Build:
    """A dense layer along the last axis."""

    def build(m: Maker) -> Forward:
        given = m.meaning()
        weights = m.weights(outputs, inputs, per_channel=per_channel)
        made = m.meaning(given.scale * 0.02 * 60 * np.sqrt(inputs))
        bias = m.bias(outputs, made.scale * 30) if biased else None
        m.input(*outer, inputs)

        def forward(module: Written, x: Tensor) -> Tensor:
            held = None if bias is None else bias(module)
            return made(after(F.linear(given(x), weights(module), held)))

        return forward

    return build


def pair(
    function: Callable[[Tensor, Tensor], Tensor],
    near: float = 0.07,
    first: tuple[int, ...] = (4, 5, 5),
    second: tuple[int, ...] | None = None,
) -> Build:
    """A function of two tensors."""

    def build(m: Maker) -> Forward:
        a, b, made = m.meaning(), m.meaning(0.03), m.meaning(near)
        m.input(*first)
        m.input(*(second or first))
        return lambda module, x, y: made(function(a(x), b(y)))

    return build


def one(
    function: Callable[[Tensor], Tensor],
    near: float | None = 0.04,
    shape: tuple[int, ...] = (4, 6, 6),
    zero: int | None = None,
) -> Build:
    """A function of one tensor; the result has the scale of its input where `near` is None."""

    def build(m: Maker) -> Forward:
        given = m.meaning()
        made = given if near is None else m.meaning(near, zero)
        m.input(*shape)
        return lambda module, x: made(function(given(x)))

    return build


def at_the_end(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Build:
    """A function of a tensor that nothing quantizes again."""

    def build(m: Maker) -> Forward:
        given = m.meaning()
        m.input(*shape)
        return lambda module, x: function(given(x))

    return build


def joined(dim: int, shape: tuple[int, ...] = (4, 5, 5), *, alike: bool = True) -> Build:
    """Two tensors one after the other, of one scale as PT2E quantizes them, or of two."""

    def build(m: Maker) -> Forward:
        given = m.meaning()
        other = given if alike else m.meaning()
        m.input(*shape)
        m.input(*shape)
        return lambda module, x, y: given(torch.cat([given(x), other(y)], dim))

    return build


def stacked(dim: int) -> Build:
    """Two tensors of one scale side by side along an axis of their own."""

    def build(m: Maker) -> Forward:
        given = m.meaning()
        m.input(3, 4)
        m.input(3, 4)
        return lambda module, x, y: given(torch.stack([given(x), given(y)], dim))

    return build


def sloped(slopes: int) -> Build:
    """Times a slope below 0, one for all or one a channel."""

    def build(m: Maker) -> Forward:
        given, made, weight = m.meaning(), m.meaning(0.03), m.positive(slopes)
        m.input(4, 5, 5)
        return lambda module, x: made(F.prelu(given(x), weight(module)))

    return build


def with_codes(function: Callable[[Tensor, Tensor], Tensor], *shape: int) -> Build:
    """A function of a tensor and a constant that came through a quantizer of one scale."""

    def build(m: Maker) -> Forward:
        given, own, made = m.meaning(), m.meaning(0.01), m.meaning()
        name = f"k{len(m.buffers)}"
        m.buffers[name] = torch.tensor(m.rng.integers(-128, 128, shape), dtype=torch.int8)
        m.input(4, 5, 5)
        return lambda module, x: made(function(given(x), own.reals(getattr(module, name))))

    return build


def products(*, batched: bool = False) -> Build:
    """Matrices times matrices, both computed."""

    def build(m: Maker) -> Forward:
        a, b, made = m.meaning(), m.meaning(), m.meaning(0.6)
        outer = (3,) if batched else ()
        m.input(*outer, 4, 6)
        m.input(*outer, 6, 5)
        return lambda module, x, y: made(torch.matmul(a(x), b(y)))

    return build


def several(m: Maker) -> Forward:
    """Two inputs and two outputs."""
    a, b, made = m.meaning(), m.meaning(), m.meaning()
    m.input(3, 4)
    m.input(3, 4)

    def forward(module: Written, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        total = made(a(x) + b(y))
        return total, made(F.relu(a(x)))

    return forward


def parted(m: Maker) -> Forward:
    """Parts of a tensor in another order, one of them turned round."""
    given = m.meaning()
    m.input(6, 4, 4)

    def forward(module: Written, x: Tensor) -> Tensor:
        first, second, third = torch.chunk(given(x), 3, 1)
        parts = [given(part) for part in (third, first.transpose(2, 3), second)]
        return given(torch.cat(parts, 1))

    return forward


def normalized(shape: tuple[int, ...], parts: int = 1, after: Forward = F.relu) -> Build:
    """A batch's normalization of one tensor, or of several of their own scales side by side."""

    def build(m: Maker) -> Forward:
        given, made = [m.meaning() for _ in range(parts)], m.meaning(0.06)
        size = shape[0] * parts
        weight, bias, mean = (m.constant(size) for _ in range(3))
        variance = m.positive(size)
        for _ in range(parts):
            m.input(*shape)

        def forward(module: Written, *x: Tensor) -> Tensor:
            held = [meaning(each) for meaning, each in zip(given, x, strict=True)]
            whole = torch.cat(held, 1) if parts > 1 else held[0]
            constants = [each(module) for each in (mean, variance, weight, bias)]
            return made(after(F.batch_norm(whole, *constants)))

        return forward

    return build


def scaled_norm(size: int) -> Build:
    """A layer's normalization with factors and offsets."""

    def build(m: Maker) -> Forward:
        given, made = m.meaning(), m.meaning(0.05)
        weight, bias = m.constant(size), m.constant(size)
        m.input(3, size)
        return lambda module, x: made(F.layer_norm(given(x), (size,), weight(module), bias(module)))

    return build


def of_floats(call: Callable[..., Tensor], *shape: int, outputs: int, size: int = 6) -> Build:
    """A convolution whose weights no quantizer made."""

    def build(m: Maker) -> Forward:
        given, made = m.meaning(), m.meaning(0.2)
        weights, bias = m.constant(*shape), m.constant(outputs)
        m.input(4, size, size)
        return lambda module, x: made(F.relu(call(given(x), weights(module), bias(module))))

    return build


def by_inputs(m: Maker) -> Forward:
    """A transposed convolution with a weight scale for each input channel, as PT2E makes it."""
    given, made = m.meaning(), m.meaning(0.6)
    weights = m.weights(4, 3, 2, 2)
    m.input(4, 5, 5)
    return lambda module, x: made(F.conv_transpose2d(given(x), weights(module), stride=2))


def transposed(*shape: int, after: Forward = F.relu, **options: Any) -> Build:
    """A transposed convolution of weights (in, out, kernel) of one scale."""

    def build(m: Maker) -> Forward:
        given, made = m.meaning(), m.meaning(0.6)
        weights, bias = m.weights(*shape, per_channel=False), m.bias(shape[1], 10.0)
        m.input(shape[0], 5, 5)

        def forward(module: Written, x: Tensor) -> Tensor:
            held = given(x), weights(module), bias(module)
            return made(after(F.conv_transpose2d(*held, **options)))

        return forward

    return build


OPERATORS: dict[str, Sequence[Build]] = {
    "conv2d": [
        conv(6, 4, 3, 3, padding=1),
        conv(5, 3, 3, 3, stride=2, per_channel=False),
        conv(4, 1, 3, 3, padding=1, biased=False),
        conv(6, 4, 1, 1, after=F.relu),
        conv(4, 3, 3, 3, padding="same", after=F.relu),
    ],
    "conv2d, bounded": [conv(6, 4, 3, 3, after=F.relu6), conv(6, 4, 3, 3, after=F.hardtanh)],
    "conv2d, dilated": [conv(4, 3, 3, 3, dilation=2, padding=2, after=F.relu)],
    "conv2d, grouped": [conv(6, 2, 3, 3, groups=3, padding=1)],
    "conv2d, depthwise": [
        conv(5, 1, 3, 3, groups=5, padding=1),
        conv(8, 1, 3, 3, groups=4, stride=2, after=F.relu),
        conv(4, 1, 5, 5, groups=4, padding=2, biased=False),
    ],
    "conv1d": [
        conv(6, 4, 3, size=(12,), padding=1),
        conv(4, 1, 5, size=(12,), groups=4, dilation=2, after=F.relu),
    ],
    "conv_transpose2d": [transposed(4, 3, 2, 2, stride=2), transposed(4, 3, 3, 3, padding=1)],
    "batch_norm": [
        normalized((4, 5, 5)),
        normalized((3, 5, 5), 2),
        normalized((6,), after=lambda x: x),
    ],
    "linear": [
        linear(24, 10),
        linear(17, 5, after=F.relu),
        linear(16, 8, 5, per_channel=False),
        linear(40, 7, biased=False),
    ],
    "add": [
        pair(torch.add),
        pair(lambda x, y: F.relu(x + y)),
        pair(torch.add, second=(4, 1, 1)),
        with_codes(torch.add, 1, 4, 1, 1),
    ],
    "sub": [pair(torch.sub), pair(lambda x, y: F.relu(x - y))],
    "mul": [
        pair(torch.mul, 0.3),
        pair(torch.mul, 0.3, second=(4, 1, 1)),
        pair(lambda x, y: F.relu(x * y), 0.3),
        with_codes(torch.mul, 1, 4, 1, 1),
    ],
    "add, sub, mul, div by a number": [
        one(lambda x: x + 0.3),
        one(lambda x: 1.5 - x),
        one(lambda x: x * 0.7),
        one(lambda x: x / 3.0),
    ],
    "adaptive_avg_pool2d": [
        one(lambda x: F.adaptive_avg_pool2d(x, 1), 0.02),
        one(lambda x: F.adaptive_avg_pool2d(x, 1), None, (8, 7, 7)),
    ],
    "mean": [
        one(lambda x: x.mean([2, 3], keepdim=True), 0.02),
        one(lambda x: x.mean([-1, -2], keepdim=True), None, (8, 5, 5)),
    ],
    "mean, axes gone": [
        one(lambda x: x.mean([2, 3]), 0.02),
        one(lambda x: x.mean(2), 0.02, (6, 8)),
    ],
    "avg_pool2d": [
        one(lambda x: F.avg_pool2d(x, 2), 0.04),
        one(lambda x: F.avg_pool2d(x, 3, 2), None, (3, 7, 7)),
        one(lambda x: F.avg_pool2d(x, 4), None, (3, 8, 8)),
    ],
    "max_pool2d": [
        one(lambda x: F.max_pool2d(x, 2), None),
        one(lambda x: F.max_pool2d(x, 3, 2, 1), None, (3, 7, 7)),
        one(lambda x: F.max_pool2d(x, 2, ceil_mode=True), None, (3, 5, 5)),
    ],
    "max_pool1d": [one(lambda x: F.max_pool1d(x, 2), None, (4, 16))],
    "relu": [one(F.relu, None), one(F.relu)],
    "hardtanh": [one(F.relu6, None), one(F.hardtanh, None), one(F.relu6), one(F.hardtanh)],
    "clamp": [one(lambda x: x.clamp(-0.7, 1.3), None), one(lambda x: x.clamp(min=-1.1))],
    "sigmoid": [one(torch.sigmoid, 1 / 256, zero=-128), one(torch.sigmoid, 0.006)],
    "tanh": [one(torch.tanh, 1 / 128), one(torch.tanh, 0.01)],
    "hardswish": [one(F.hardswish)],
    "hardsigmoid": [one(F.hardsigmoid, 0.006)],
    "silu": [one(F.silu)],
    "gelu": [one(F.gelu), one(lambda x: F.gelu(x, approximate="tanh"))],
    "leaky_relu": [one(F.leaky_relu), one(lambda x: F.leaky_relu(x, 0.2), None)],
    "elu": [one(F.elu)],
    "prelu": [sloped(4), sloped(1)],
    "stack": [stacked(1), stacked(-1)],
    "requantize": [one(lambda x: x, 0.03), one(lambda x: x, 0.09)],
    "cat": [joined(1), joined(2), joined(1, (7,)), joined(-1, (5, 6))],
    "view, permute": [
        one(lambda x: x.flatten(1), None),
        one(lambda x: x.permute(0, 2, 3, 1).flatten(1), None),
        one(lambda x: x.view(1, 12, 12), None),
        one(lambda x: x.unsqueeze(1).transpose(1, 2).squeeze(2), None),
    ],
    "slice, select, split": [
        one(lambda x: x[:, 1:3, ::2], None),
        one(lambda x: x[:, :, 2], None),
        one(lambda x: torch.split(x, [1, 3], 1)[1], None),
        parted,
    ],
    "pad": [one(lambda x: F.pad(x, (1, 2, 0, 1)), None)],
    "upsample_nearest2d": [one(lambda x: F.interpolate(x, scale_factor=2), None)],
    "upsample_bilinear2d": [
        one(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
        one(lambda x: F.interpolate(x, size=(9, 11), mode="bilinear"), 0.03, (4, 4, 5)),
        one(lambda x: F.interpolate(x, size=7, mode="bilinear", align_corners=True), 0.03),
    ],
    "upsample_linear1d": [
        one(lambda x: F.interpolate(x, scale_factor=2, mode="linear"), None, (4, 7))
    ],
    "several inputs and outputs": [several],
}
"""Ways to write each operator."""

BY_TORCH: dict[str, Sequence[Build]] = {"mish": [one(F.mish)], "scales of inputs": [by_inputs]}
"""What ExecuTorch does not lower, or lowers to operators that are not read."""

BY_ITSELF: dict[str, Sequence[Build]] = {
    "layers with float weights": [
        of_floats(F.conv2d, 5, 4, 3, 3, outputs=5),
        of_floats(partial(F.conv_transpose2d, stride=2), 4, 3, 2, 2, outputs=3),
    ],
    "sigmoid at the end": [at_the_end(torch.sigmoid, (4, 6))],
    "adaptive_avg_pool2d, channels last": [
        one(lambda x: F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 1), 0.02, (6, 6, 4)),
    ],
    "layer_norm": [one(lambda x: F.layer_norm(x, (12,)), 0.03, (4, 12)), scaled_norm(16)],
    "softmax": [at_the_end(lambda x: F.softmax(x, -1), (10,))],
    "log_softmax": [at_the_end(lambda x: F.log_softmax(x, 1), (10,))],
    "matmul": [products(), products(batched=True)],
}
