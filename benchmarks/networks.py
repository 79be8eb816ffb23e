"""Networks in published shapes with random weights, as graphs, for benchmarks of the hardware."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    AvgPool,
    Conv2D,
    Dense,
    Flatten,
    Op,
    Quant,
    Requantize,
    ScaledAdd,
    Scheme,
    TensorType,
    Window,
)

S8, U8 = Format.int(8), Format.uint(8)
SAME, POINT = Window((3, 3), (1, 1), (1, 1, 1, 1)), Window((1, 1))


class Layers:
    """A graph that grows layer by layer: uint8 activations, int8 weights, a scale a channel."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        kind = TensorType(shape, U8, Quant((1 / 255,)))
        self.port = InputPort(name="image", tensor="image", type=kind)
        self.nodes: list[Node] = []
        self.types = {"image": kind}

    def add(self, name: str, op: Op, *edges: str) -> str:
        """One node; its name is that of its edge."""
        self.nodes.append(Node(name, op, edges, name))
        self.types[name] = op.infer([self.types[edge] for edge in edges])
        return name

    def requantize(self, name: str, edge: str, out: Format = U8, scale: float = 0.02) -> str:
        """Sums to 8 bits, so that a typical sum takes a good part of the codes."""
        kind = self.types[edge]
        base = 512 / max(kind.magnitude, 1)
        factors = (base * self.rng.uniform(0.5, 2.0, kind.channels)).astype(np.float32)
        op = Requantize(
            scheme=Scheme.F32_RNE_OUT,
            multiplier=tuple(float(f) for f in factors),
            out=out,
            quant=Quant((scale,)),
        )
        return self.add(name, op, edge)

    def conv(self, name: str, edge: str, outputs: int, window: Window, **how: Any) -> str:
        """A convolution and its requantizer, whose lower end is the ReLU's."""
        inputs = self.types[edge].channels
        data = self._constants(*window.kernel, inputs, outputs)
        return self.requantize(f"{name}_q", self.add(name, Conv2D(**data, window=window), edge))

    def dense(self, name: str, edge: str, outputs: int) -> str:
        """A dense layer and its requantizer."""
        data = self._constants(self.types[edge].channels, outputs)
        return self.requantize(f"{name}_q", self.add(name, Dense(**data), edge), out=S8)

    def join(self, name: str, a: str, b: str) -> str:
        """The quantized sum of two maps."""
        ratios = tuple(float(np.float32(r)) for r in self.rng.uniform(0.3, 0.9, 2))
        op = ScaledAdd(ratios=(ratios[0], ratios[1]), offset=0.0, out=U8, quant=Quant((0.02,)))
        return self.add(name, op, a, b)

    def graph(self, edge: str) -> Graph:
        """The graph that shows `edge`."""
        return Graph((self.port,), tuple(self.nodes), (OutputPort(name="scores", tensor=edge),))

    def _constants(self, *shape: int) -> dict[str, Any]:
        weights = np.clip(np.rint(self.rng.normal(0, 40, shape)), -127, 127).astype(int)
        bias = self.rng.integers(-2000, 2000, shape[-1])
        scales = tuple(float(s) for s in self.rng.uniform(0.001, 0.004, shape[-1]))
        return {"weights": weights, "bias": bias, "weight_format": S8, "weight_scale": scales}


def resnet20(seed: int = 20) -> Graph:
    """He et al.'s ResNet-20 for 32 x 32 images in 10 classes: three stages of three blocks."""
    net = Layers((32, 32, 3), seed)
    edge = net.conv("stem", "image", 16, SAME)
    for stage, channels in enumerate((16, 32, 64)):
        for block in range(3):
            name = f"s{stage}b{block}"
            step = 2 if stage and not block else 1
            first = Window((3, 3), (step, step), (1, 1, 1, 1))
            long = net.conv(f"{name}_a", edge, channels, first)
            long = net.conv(f"{name}_b", long, channels, SAME)
            if step == 2:
                edge = net.conv(f"{name}_skip", edge, channels, Window((1, 1), (2, 2)))
            edge = net.join(f"{name}_add", long, edge)
    pooled = net.add("pool", AvgPool(window=Window((8, 8))), edge)
    flat = net.add("flat", Flatten(), net.requantize("pool_q", pooled))
    return net.graph(net.dense("fc", flat, 10))


def wide_layers(channels: int, layers: int = 4, seed: int = 0) -> Graph:
    """3 x 3 convolutions of as many channels in as out, on 8 x 8 maps."""
    net = Layers((8, 8, channels), seed)
    edge = "image"
    for k in range(layers):
        edge = net.conv(f"c{k}", edge, channels, SAME)
    return net.graph(edge)
