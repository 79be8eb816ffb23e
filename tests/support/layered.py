"""A graph with layers of several kinds, as tests of saving and of the hash take it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Cast,
    Concat,
    Conv2D,
    Dense,
    Flatten,
    Quant,
    Relu,
    Requantize,
    Scheme,
    Stepwise,
    Table,
    TensorType,
    Window,
)
from support.cases import tensor

S8 = Format.int(8)


def layered() -> Graph:
    """Two inputs, a convolution, a skip, a table and two outputs."""
    image = TensorType((4, 4, 1), S8, Quant((0.1,), 3))
    conv = Conv2D(
        weights=np.arange(-9, 9).reshape(3, 3, 1, 2),
        bias=np.array([100, -7]),
        weight_format=Format.int(6),
        zero_point=3,
        window=Window((3, 3), (1, 1), (1, 1, 1, 1)),
    )
    to8 = Requantize(scheme=Scheme.F32_RNE_OUT, multiplier=(0.011, 0.25), out=S8, zero_point=-1)
    dense = Dense(
        weights=np.full((34, 3), 5), bias=np.zeros(3, int), weight_format=Format.parse("s4.2")
    )
    stepped = replace(dense, accumulator=Stepwise(format=Format.parse("s9.1")))
    nodes = (
        Node("conv", conv, ("image",), "sums"),
        Node("to8", to8, ("sums",), "codes"),
        Node("table", Table(values=np.arange(256)[::-1] - 128, out=S8), ("codes",), "mapped"),
        Node("relu", Relu(), ("mapped",), "positive"),
        Node("flat", Flatten(), ("positive",), "vector"),
        Node("join", Concat(), ("vector", "extra"), "joined"),
        Node("dense", dense, ("joined",), "exact"),
        Node("stepped", stepped, ("joined",), "stepped"),
        Node("cast", Cast(out=Format.parse("s8.1")), ("stepped",), "short"),
    )
    return Graph(
        (
            InputPort(name="x", tensor="image", type=image, axes=(2, 0, 1)),
            InputPort(name="e", tensor="extra", type=tensor(2)),
        ),
        nodes,
        (OutputPort(name="y", tensor="exact"), OutputPort(name="z", tensor="short")),
    )
