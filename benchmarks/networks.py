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
CODE = 64.0  # a typical code of an activation
SAME, POINT = Window((3, 3), (1, 1), (1, 1, 1, 1)), Window((1, 1))


class Layers:
    """A graph that grows layer by layer: uint8 activations, int8 weights, a scale a channel.

    With `typical`, sums take far less than their proven range, as those of trained networks do.
    """

    def __init__(self, shape: tuple[int, ...], seed: int, *, typical: bool = False) -> None:
        self.typical = typical
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

    def requantize(
        self,
        name: str,
        edge: str,
        out: Format = U8,
        scale: float = 0.02,
        largest: float | None = None,
    ) -> str:
        """Sums to 8 bits, so that a typical sum takes a good part of the codes.

        `largest` is the sum that is just represented; by default half of what is possible.
        """
        kind = self.types[edge]
        base = 512 / max(kind.magnitude, 1) if largest is None else out.max / largest
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
        made = self.add(name, Conv2D(**data, window=window), edge)
        return self.requantize(f"{name}_q", made, largest=self._largest(data))

    def depthwise(self, name: str, edge: str, window: Window) -> str:
        """A convolution of each channel by itself and its requantizer."""
        channels = self.types[edge].channels
        data = self._constants(*window.kernel, 1, channels)
        made = self.add(name, Conv2D(**data, window=window, groups=channels), edge)
        return self.requantize(f"{name}_q", made, largest=self._largest(data))

    def dense(self, name: str, edge: str, outputs: int, out: Format = S8) -> str:
        """A dense layer and its requantizer."""
        data = self._constants(self.types[edge].channels, outputs)
        made = self.add(name, Dense(**data), edge)
        return self.requantize(f"{name}_q", made, out=out, largest=self._largest(data))

    def _largest(self, data: dict[str, Any]) -> float | None:
        """Where sums are as large as in trained networks: four deviations of a random sum."""
        if not self.typical:
            return None
        terms = data["weights"][..., 0].size
        return 4 * float(data["weights"].std()) * CODE * float(np.sqrt(terms))

    def join(self, name: str, a: str, b: str) -> str:
        """The quantized sum of two maps."""
        ratios = tuple(float(np.float32(r)) for r in self.rng.uniform(0.3, 0.9, 2))
        op = ScaledAdd(ratios=(ratios[0], ratios[1]), offset=0.0, out=U8, quant=Quant((0.02,)))
        return self.add(name, op, a, b)

    def residual(self, name: str, edge: str, channels: int, step: int) -> str:
        """Two convolutions beside the way around them, which has its own where it steps."""
        window = Window((3, 3), (step, step), (1, 1, 1, 1))
        long = self.conv(f"{name}_a", edge, channels, window)
        long = self.conv(f"{name}_b", long, channels, SAME)
        if step == 2:
            edge = self.conv(f"{name}_skip", edge, channels, Window((1, 1), (2, 2)))
        return self.join(f"{name}_add", long, edge)

    def classified(self, edge: str, size: tuple[int, int], classes: int) -> Graph:
        """The network that ends in the mean of all places and a dense layer."""
        pooled = self.add("pool", AvgPool(window=Window(size)), edge)
        flat = self.add("flat", Flatten(), self.requantize("pool_q", pooled))
        return self.graph(self.dense("fc", flat, classes))

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
            step = 2 if stage and not block else 1
            edge = net.residual(f"s{stage}b{block}", edge, channels, step)
    return net.classified(edge, (8, 8), 10)


def ds_cnn(seed: int = 49) -> Graph:
    """MLPerf Tiny's keyword spotting: a DS-CNN for 49 x 10 features in 12 classes."""
    net = Layers((49, 10, 1), seed, typical=True)
    edge = net.conv("stem", "image", 64, Window((10, 4), (2, 2), (4, 1, 5, 1)))
    for block in range(4):
        edge = net.depthwise(f"b{block}_dw", edge, SAME)
        edge = net.conv(f"b{block}_pw", edge, 64, POINT)
    return net.classified(edge, (25, 5), 12)


def resnet8(seed: int = 8) -> Graph:
    """MLPerf Tiny's image classification: a ResNet-8 for 32 x 32 images in 10 classes."""
    net = Layers((32, 32, 3), seed, typical=True)
    edge = net.conv("stem", "image", 16, SAME)
    for stage, channels in enumerate((16, 32, 64)):
        edge = net.residual(f"s{stage}", edge, channels, 2 if stage else 1)
    return net.classified(edge, (8, 8), 10)


def autoencoder(seed: int = 640) -> Graph:
    """MLPerf Tiny's anomaly detection: ten dense layers, 640 to 8 and back."""
    net, edge = Layers((640,), seed, typical=True), "image"
    for k, outputs in enumerate((128, 128, 128, 128, 8, 128, 128, 128, 128)):
        edge = net.dense(f"fc{k}", edge, outputs, out=U8)
    return net.graph(net.dense("fc9", edge, 640))


def wide_layers(channels: int, layers: int = 4, seed: int = 0) -> Graph:
    """3 x 3 convolutions of as many channels in as out, on 8 x 8 maps."""
    net = Layers((8, 8, channels), seed)
    edge = "image"
    for k in range(layers):
        edge = net.conv(f"c{k}", edge, channels, SAME)
    return net.graph(edge)
