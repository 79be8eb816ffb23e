"""Layers of hls4ml with weights of one bit, of two, and exponents; and its heterogeneous quantizer.

Models of these need a training framework's reader elsewhere; here their quantizers are given.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from hls4ml.model.quantizers import BinaryQuantizer, Quantizer, TernaryQuantizer
from hls4ml.model.types import ExponentPrecisionType, XnorPrecisionType

from support.hls4ml_heads import types
from support.hls4ml_models import Model

NARROW = ("int<2>", "int<3>", "ufixed<1,0>", "fixed<1,1>", "uint<1>")


class Powers(Quantizer):
    """The nearest power of two, as QKeras's quantized_po2."""

    def __init__(self, bits: int) -> None:
        super().__init__(bits, ExponentPrecisionType(width=bits, signed=True))

    def __call__(self, data: Any) -> Any:
        low, high = -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        exponents = np.round(np.log2(np.abs(data) + 1e-6))
        return np.where(data < 0, -1.0, 1.0) * 2.0 ** np.clip(exponents, low, high)


def quantized(model: Model, source: str, by: Quantizer, kinds: dict[str, str], **options) -> None:
    """A dense layer whose weights go through a quantizer."""
    name = model.dense(source, 4, kinds, **options)
    layer = next(one for one in model.layers if one["name"] == name)
    layer["weight_quantizer"] = by


def weight_kinds(seed: int, *, bits: bool = False, **options) -> Model:
    """Dense layers with weights of every kind; with `bits` on inputs of one bit too."""
    rng = random.Random(seed)
    model = Model(seed, (6,), given="fixed<9,4,RND,SAT>")

    def some() -> dict[str, str]:
        return types(rng, "bias", "accum", "result")

    beside = model.activation("x", "linear", {"result": "fixed<10,4,RND,SAT>"})
    for by in (BinaryQuantizer(1), BinaryQuantizer(2), TernaryQuantizer(), Powers(3), Powers(4)):
        quantized(model, "x", by, some(), **options)
    for kind in NARROW:
        model.dense(beside, 4, {**some(), "weight": kind}, **options)
    if bits:
        sign = model.activation("x", "binary_tanh", {})
        model.layers[-1]["quantizer_precision"] = XnorPrecisionType()
        whole = {**some(), "bias": "int<3>"}
        quantized(model, sign, BinaryQuantizer(1), {**whole, "accum": "fixed<12,6>"}, **options)
        quantized(model, sign, BinaryQuantizer(1), {**whole, "accum": "int<6>"}, **options)
        quantized(model, sign, TernaryQuantizer(), some(), **options)
        model.dense(sign, 4, types(rng, "weight", "bias", "accum", "result"), **options)
    return model


def masks(model: Model, shape: tuple[int, ...], *, alike: bool = False) -> tuple[Any, ...]:
    """A sign, a width and integer bits for each element, or each channel; some have no bits."""
    rng, like = model.np, (1, *(1,) * (len(shape) - 1), shape[-1]) if alike else (1, *shape)
    signed = rng.integers(0, 2, like)
    widths = np.where(rng.random(like) < 0.2, 0, rng.integers(2, 8, like))
    return signed, widths, rng.integers(-1, 5, like)


def quantizer(model: Model, source: str, kinds: tuple[Any, ...], modes: tuple[str, str]) -> str:
    """HGQ's FixedPointQuantizer, as its proxy models hold it."""
    shape = model.shapes[source]
    return model.add(
        "FixedPointQuantizer",
        [source],
        shape,
        {"result": "fixed<14,6>"},
        mask_kbi=kinds,
        RND=modes[0],
        SAT=modes[1],
        fusible=False,
        overrides={},
    )


def heterogeneous(seed: int) -> Model:
    """Quantizers with a format for each element and for each channel, and layers behind them."""
    model = Model(seed, (4, 3), given="fixed<12,5>")
    rng = random.Random(seed)
    sums = ("weight", "bias", "accum", "result")
    for modes in (("RND", "SAT"), ("TRN", "WRAP"), ("RND_CONV", "SAT_SYM"), ("RND", "WRAP")):
        each = quantizer(model, "x", masks(model, (4, 3)), modes)
        model.conv_line(each, 3, 2, types(rng, *sums))
        row = quantizer(model, "x", masks(model, (4, 3), alike=True), modes)
        model.activation(row, "relu", types(rng, "result"))
    flat = quantizer(model, model.reshape("x", 12), masks(model, (12,)), ("RND_CONV", "SAT"))
    model.dense(flat, 4, types(rng, *sums))
    for layer in model.layers:  # their pass finds a type for weights as they are
        for name in {"weight_data", "bias_data"} & set(layer):
            layer[name] = np.round(layer[name] * 16) / 16
    return model


def binary_lines(seed: int) -> Model:
    """Convolutions of signs, padded (a padded sign is -1) and pointwise, and of binary weights."""
    model = Model(seed, (5, 2), given="fixed<9,4,RND,SAT>")
    sign = model.activation("x", "binary_tanh", {})
    model.layers[-1]["quantizer_precision"] = XnorPrecisionType()
    counts = {"accum": "fixed<12,6>", "bias": "int<3>", "result": "fixed<12,9>"}
    steps = {"accum": "fixed<9,5,RND,SAT>", "bias": "int<3>", "result": "fixed<12,9>"}
    model.conv_line(sign, 3, 3, {"weight": "fixed<6,2>", **steps}, pads=(1, 1))
    names = [
        model.conv_line(sign, 3, 3, dict(counts), pads=(1, 1)),
        model.conv_line(sign, 3, 1, dict(counts)),
        model.conv_line("x", 3, 3, dict(steps), pads=(1, 1)),
    ]
    for layer in model.layers:
        if layer["name"] in names:
            layer["weight_quantizer"] = BinaryQuantizer(1)
    return model
