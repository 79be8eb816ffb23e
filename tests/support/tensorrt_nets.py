"""QDQ networks as TensorRT wants them, in the ways of its users' tools.

Codes are int8 with zero points of 0, weights have a scale a channel and often no quantizer of their
own, biases are float32, a residual add has a quantizer on one of its branches alone, and what comes
after the last layer is not quantized.
"""

from __future__ import annotations

import numpy as np
import onnx

from support.onnx_builder import Array
from support.onnx_nets import Net


class Trt(Net):
    """A builder of such networks; `powers`: all scales are powers of two."""

    def __init__(self, seed: int, *, powers: bool = False, weights: str = "codes") -> None:
        super().__init__("int8", seed)
        self.powers, self.how = powers, weights

    def scale(self, about: float) -> np.float32:
        drawn = about * self.rng.uniform(0.7, 1.4)
        return np.float32(2.0 ** round(np.log2(drawn))) if self.powers else np.float32(drawn)

    def pair(self, x: str, about: float) -> str:
        """A quantizer and its dequantizer."""
        name = self.name("q")
        given = [
            self.constant(f"{name}_scale", self.scale(about)),
            self.constant(f"{name}_zero", np.int8(0)),
        ]
        return self.do("DequantizeLinear", self.do("QuantizeLinear", x, *given), *given)

    def filters(self, *shape: int) -> str:
        """Weights: codes behind a DequantizeLinear, or floats with a pair (`weights="floats"`)."""
        name = self.name("w")
        scales = np.array([self.scale(0.01) for _ in range(shape[0])], np.float32)
        codes = self.rng.integers(-127, 128, shape).astype(np.int8)
        held = self.constant(f"{name}_scale", scales)
        zero = self.constant(f"{name}_zero", np.zeros(shape[0], np.int8))
        if self.how == "floats":
            real = codes * scales.reshape(-1, *[1] * (len(shape) - 1))
            x = self.constant(name, real.astype(np.float32))
            x = self.do("QuantizeLinear", x, held, zero, axis=0)
        else:
            x = self.constant(name, codes)
        return self.do("DequantizeLinear", x, held, zero, axis=0)

    def bias(self, size: int) -> str:
        return self.constant(self.name("b"), self.rng.normal(0, 0.3, size).astype(np.float32))

    def convolved(self, x: str, cin: int, cout: int, **spec: object) -> str:
        spec = {"pads": [1, 1, 1, 1], **spec}
        held = self.filters(cout, cin // int(spec.get("group", 1)), 3, 3)  # type: ignore[call-overload]
        return self.do("Conv", x, held, self.bias(cout), **spec)


def residual(seed: int, **how: object) -> onnx.ModelProto:
    """A small ResNet: two blocks, a global average, a float tail (the last layer's sums)."""
    n = Trt(seed, **how)  # type: ignore[arg-type]
    x = n.pair(n.input("x", (3, 8, 8)), 0.02)
    x = n.pair(n.do("Relu", n.convolved(x, 3, 8)), 0.05)
    y = n.pair(n.do("Relu", n.convolved(x, 8, 8)), 0.05)
    y = n.convolved(y, 8, 8)
    x = n.do("Relu", n.do("Add", y, x))  # the other branch is not quantized
    x = n.pair(x, 0.06)
    x = n.pair(n.do("Relu", n.convolved(x, 8, 12, strides=[2, 2])), 0.06)
    x = n.do("Flatten", n.do("GlobalAveragePool", x))
    x = n.pair(x, 0.02)
    out = n.do("Gemm", x, n.filters(10, 12), n.bias(10), transB=1)
    return n.model((out, 2, "float32"))


def classifier(seed: int, **how: object) -> onnx.ModelProto:
    """A plain CNN whose last codes are quantized."""
    n = Trt(seed, **how)  # type: ignore[arg-type]
    x = n.pair(n.input("x", (3, 8, 8)), 0.02)
    x = n.pair(n.do("Relu", n.convolved(x, 3, 8)), 0.05)
    x = n.do("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = n.pair(n.do("Clip", n.convolved(x, 8, 8, group=8), *_six(n)), 0.05)
    x = n.pair(n.do("Gemm", n.do("Flatten", x), n.filters(10, 128), n.bias(10), transB=1), 0.2)
    return n.model((x, 2, "float32"))


def _six(n: Trt) -> tuple[str, str]:
    return n.constant("low", np.float32(0)), n.constant("high", np.float32(6))


def images(seed: int, count: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(0, 1.2, (count, 3, 8, 8)).astype(np.float32)}
