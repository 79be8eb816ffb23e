"""Models of one operation between quantizers each, by OpenVINO's own API.

A layer at the end shows the codes of the last quantizer: whole numbers of it come out, unrounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from support import openvino_models as ov

F32 = np.float32
CHANNELS, SIDE = 8, 6


@dataclass(frozen=True, slots=True)
class Setting:
    """Scales that are powers of two or random; places of 0: 0, 128 or anywhere."""

    powers: bool
    zero: str


SETTINGS = [Setting(powers, zero) for powers in (False, True) for zero in ("0", "128", "odd")]


class Drawn:
    """One model, as its operation is built."""

    def __init__(self, setting: Setting, rng: np.random.Generator) -> None:
        self.op, self.setting, self.rng = ov.opset(), setting, rng

    def ends(self) -> ov.Ends:
        """Of a quantizer, 0 being one of its values."""
        zero = {"0": 0, "128": 128}.get(self.setting.zero, int(self.rng.integers(1, 255)))
        while True:
            scale = 2.0**-6 if self.setting.powers else float(self.rng.uniform(0.004, 0.02))
            low, high = ov.ends(self.rng, zero, scale)
            if np.rint(-low / ((high - low) / F32(255))) == zero:
                return low, high

    def quantized(self, x: Any) -> Any:
        """Behind a quantizer."""
        return ov.fake_quantize(x, self.ends())

    def weights(self, *shape: int, scales: tuple[int, ...]) -> Any:
        """Of 255 levels, with scales of that shape."""
        size = np.prod(shape[1:])
        scale = self.rng.uniform(0.2, 1, scales) / (40 * np.sqrt(size))
        held = 2.0 ** np.floor(np.log2(scale)) if self.setting.powers else scale
        return ov.weights(ov.codes(self.rng, *shape), held)

    def bias(self, *shape: int) -> Any:
        """A constant to be added."""
        values = self.rng.normal(0, 0.5, shape)
        values = np.rint(values * 256) / 256 if self.setting.powers else values
        return self.op.constant(values.astype(F32))

    def shown(self, y: Any) -> Any:
        """The codes of what is quantized, by a layer of ones."""
        size = y.get_output_partial_shape(0)[1].get_length()
        ones = 64 * np.eye(size, dtype=np.int8)
        if y.get_output_partial_shape(0).rank.get_length() == 2:
            held = ov.weights(ones, np.full((size, 1), 2.0**-6))
            return self.op.matmul(y, held, False, True)
        held = ov.weights(ones.reshape(size, size, 1, 1), np.full((size, 1, 1, 1), 2.0**-6))
        return self.op.convolution(y, held, [1, 1], [0, 0], [0, 0], [1, 1])


Build = Callable[[Drawn, Any], Any]


def conv(
    size: int, *, bias: bool, step: int = 1, apart: int = 1, one: bool = False, maps: int = 16
) -> Build:
    """A convolution of all channels."""

    def build(d: Drawn, q: Any) -> Any:
        scales = (1, 1, 1, 1) if one else (maps, 1, 1, 1)
        held = d.weights(maps, CHANNELS, size, size, scales=scales)
        pad = [apart * (size // 2)] * 2
        y = d.op.convolution(q, held, [step] * 2, pad, pad, [apart] * 2)
        return d.op.add(y, d.bias(1, maps, 1, 1)) if bias else y

    return build


def depthwise(d: Drawn, q: Any) -> Any:
    """Each channel by itself."""
    held = d.weights(CHANNELS, 1, 1, 3, 3, scales=(CHANNELS, 1, 1, 1, 1))
    y = d.op.group_convolution(q, held, [1, 1], [1, 1], [1, 1], [1, 1])
    return d.op.add(y, d.bias(1, CHANNELS, 1, 1))


def grouped(d: Drawn, q: Any) -> Any:
    """Two groups."""
    held = d.weights(2, 4, CHANNELS // 2, 3, 3, scales=(2, 4, 1, 1, 1))
    y = d.op.group_convolution(q, held, [1, 1], [1, 1], [1, 1], [1, 1])
    return d.op.add(y, d.bias(1, 8, 1, 1))


def dense(*, bias: bool, one: bool = False) -> Build:
    """A matrix of weights behind a flattened map."""

    def build(d: Drawn, q: Any) -> Any:
        size = CHANNELS * SIDE * SIDE
        flat = d.op.reshape(q, d.op.constant([-1, size]), False)
        held = d.weights(24, size, scales=(1, 1) if one else (24, 1))
        y = d.op.matmul(flat, held, False, True)
        return d.op.add(y, d.bias(1, 24)) if bias else y

    return build


def behind(build: Build, function: Callable[[Any, Any], Any]) -> Build:
    """A function of what another gives."""
    return lambda d, q: function(d.op, build(d, q))


def function(make: Callable[[Any, Any], Any]) -> Build:
    """Of each code."""
    return lambda d, q: make(d.op, q)


def const(value: Any) -> Any:
    """A constant of float32."""
    return ov.opset().constant(np.asarray(value, F32))


def of_two(make: Callable[[Any, Any, Any], Any]) -> Build:
    """Of two halves of the channels, each with a quantizer of its own."""

    def build(d: Drawn, x: Any) -> Any:
        first, second = d.op.split(x, 1, 2).outputs()
        return make(d.op, d.quantized(first), d.quantized(second))

    build.unquantized = True  # type: ignore[attr-defined]
    return build


def residual(d: Drawn, q: Any) -> Any:
    """A convolution's sum, its quantizer and what stands before the one ahead of it."""
    ahead = conv(3, bias=True, maps=CHANNELS)
    first = d.quantized(ahead(d, q))
    last = d.quantized(ahead(d, d.quantized(ahead(d, first))))
    return d.op.add(last, first)


def squeezed(d: Drawn, q: Any) -> Any:
    """Maps times what two layers with float weights make of their means."""
    y = d.op.reduce_mean(q, d.op.constant([2, 3]), True)
    for inputs, outputs, last in ((CHANNELS, 2, d.op.relu), (2, CHANNELS, d.op.hsigmoid)):
        held = const(d.rng.normal(0, 1, (outputs, inputs, 1, 1)))
        y = d.op.convolution(y, held, [1, 1], [0, 0], [0, 0], [1, 1])
        y = last(d.op.add(y, const(d.rng.normal(0, 1, (1, outputs, 1, 1)))))
    return d.op.multiply(q, d.op.fake_quantize(y, *map(const, (0.0, 1.0, 0.0, 1.0)), 256))


def normalized(build: Build, outputs: int) -> Build:
    """A batch norm of what another gives."""

    def made(d: Drawn, q: Any) -> Any:
        gamma, beta, mean, variance = d.rng.uniform(0.5, 1.5, (4, outputs))
        return d.op.batch_norm_inference(
            build(d, q), const(gamma), const(beta), const(mean), const(variance), 1e-5
        )

    return made


def ones(count: int, value: int = 1) -> list[int]:
    """A list of one number."""
    return [value] * count


def resized(mode: str, places: str, *, size: tuple[int, ...] = (), by: Any = ()) -> Build:
    """A map with other sizes, given as such or as factors of the old ones."""

    def build(d: Drawn, q: Any) -> Any:
        given = np.array(size) if size else np.array(by, F32)
        told = "sizes" if size else "scales"
        return d.op.interpolate(
            q,
            d.op.constant(given),
            mode,
            told,
            coordinate_transformation_mode=places,
            axes=d.op.constant([2, 3]),
        )

    return build


def transposed(size: int, step: int, pad: int, *, bias: bool) -> Build:
    """A transposed convolution."""

    def build(d: Drawn, q: Any) -> Any:
        held = d.weights(CHANNELS, 12, size, size, scales=(1, 12, 1, 1))
        y = d.op.convolution_backprop_data(q, held, [step] * 2, None, [pad] * 2, [pad] * 2, [1, 1])
        return d.op.add(y, d.bias(1, 12, 1, 1)) if bias else y

    return build


FORMS: dict[str, Build] = {
    "Convolution 3x3": conv(3, bias=True),
    "Convolution 3x3 without a bias": conv(3, bias=False),
    "Convolution, stride and dilation": conv(3, bias=True, step=2, apart=2),
    "Convolution 1x1, one scale": conv(1, bias=True, one=True),
    "Convolution 1x1, one scale, without a bias": conv(1, bias=False, one=True),
    "Convolution and ReLU": behind(conv(3, bias=True), lambda op, y: op.relu(y)),
    "Convolution and Clamp": behind(conv(3, bias=True), lambda op, y: op.clamp(y, 0.0, 0.7)),
    "Convolution and HSigmoid": behind(conv(3, bias=True), lambda op, y: op.hsigmoid(y)),
    "Convolution and HSwish": behind(conv(3, bias=True), lambda op, y: op.hswish(y)),
    "Squeeze and excite": squeezed,
    "GroupConvolution": grouped,
    "GroupConvolution, depthwise": depthwise,
    "MatMul": dense(bias=True),
    "MatMul without a bias": dense(bias=False),
    "MatMul, one scale": dense(bias=True, one=True),
    "MatMul, one scale, without a bias": dense(bias=False, one=True),
    "Convolution, FakeQuantize, Add": residual,
    "Add": of_two(lambda op, a, b: op.add(a, b)),
    "Multiply": of_two(lambda op, a, b: op.multiply(a, b)),
    "Subtract": of_two(lambda op, a, b: op.subtract(a, b)),
    "Maximum": of_two(lambda op, a, b: op.maximum(a, b)),
    "Minimum": of_two(lambda op, a, b: op.minimum(a, b)),
    "Concat": of_two(lambda op, a, b: op.concat([a, b], 1)),
    "FakeQuantize": function(lambda op, q: q),
    "ReLU": function(lambda op, q: op.relu(q)),
    "Clamp": function(lambda op, q: op.clamp(q, 0.0, 0.7)),
    "Sigmoid": function(lambda op, q: op.sigmoid(q)),
    "Tanh": function(lambda op, q: op.tanh(q)),
    "HSwish": function(lambda op, q: op.hswish(q)),
    "HSigmoid": function(lambda op, q: op.hsigmoid(q)),
    "Swish": function(lambda op, q: op.swish(q)),
    "Gelu": function(lambda op, q: op.gelu(q, "ERF")),
    "Elu": function(lambda op, q: op.elu(q, 1.0)),
    "Exp": function(lambda op, q: op.exp(q)),
    "PRelu, one slope": function(lambda op, q: op.prelu(q, const([0.1]))),
    "PRelu": function(lambda op, q: op.prelu(q, const(np.linspace(0.01, 0.3, CHANNELS)))),
    "Multiply by a constant": function(
        lambda op, q: op.multiply(q, const(np.linspace(0.3, 1.2, CHANNELS).reshape(1, -1, 1, 1)))
    ),
    "Add of a constant": function(
        lambda op, q: op.add(q, const(np.linspace(-0.3, 1.2, CHANNELS).reshape(1, -1, 1, 1)))
    ),
    "MaxPool": function(
        lambda op, q: op.max_pool(q, ones(2), ones(2), ones(2), ones(2), ones(2, 3)).output(0)
    ),
    "AvgPool": function(lambda op, q: op.avg_pool(q, ones(2, 2), [0, 0], [0, 0], ones(2, 2), True)),
    "AvgPool 3x3": function(
        lambda op, q: op.avg_pool(q, ones(2), [0, 0], [0, 0], ones(2, 3), True)
    ),
    "ReduceMean": function(lambda op, q: op.reduce_mean(q, op.constant([2, 3]), True)),
    "Interpolate, nearest": resized("nearest", "half_pixel", size=(9, 12)),
    "Interpolate, nearest, by factors": resized("nearest", "half_pixel", by=(1.7, 2.3)),
    "Interpolate, linear, twice": resized("linear_onnx", "half_pixel", size=(12, 12)),
    "Interpolate, linear": resized("linear_onnx", "align_corners", size=(9, 11)),
    "Interpolate, linear, by factors": resized("linear_onnx", "half_pixel", by=(1.7, 2.3)),
    "ConvolutionBackpropData 2x2": transposed(2, 2, 0, bias=True),
    "ConvolutionBackpropData 4x4": transposed(4, 2, 1, bias=True),
    "ConvolutionBackpropData without a bias": transposed(3, 2, 1, bias=False),
    "MatMul, BatchNormInference": normalized(dense(bias=True), 24),
    "Convolution, BatchNormInference": normalized(conv(3, bias=True), 16),
    "BatchNormInference": normalized(function(lambda op, q: q), CHANNELS),
    "MVN of rows": function(lambda op, q: op.mvn(q, op.constant([3]), True, 1e-5, "inside_sqrt")),
    "MVN of maps": function(
        lambda op, q: op.mvn(q, op.constant([2, 3]), True, 1e-5, "inside_sqrt")
    ),
    "Transpose": function(lambda op, q: op.transpose(q, op.constant([0, 1, 3, 2]))),
    "Split": function(lambda op, q: op.split(q, 1, 2).output(1)),
    "Slice": function(lambda op, q: op.slice(q, *(op.constant([v]) for v in (1, 5, 2, 2)))),
    "Gather": function(lambda op, q: op.gather(q, op.constant([3, 1, 1, 0]), op.constant(1))),
    "Pad": function(
        lambda op, q: op.pad(q, op.constant([0, 0, 1, 0]), op.constant([0, 0, 0, 2]), "edge")
    ),
}
"""What stands between the quantizers."""


def model(name: str, setting: Setting, rng: np.random.Generator, *, shown: bool) -> Any:
    """One operation; `shown`: the last quantizer is followed by a layer, else the model ends."""
    drawn, build = Drawn(setting, rng), FORMS[name]
    whole = getattr(build, "unquantized", False)
    x = ov.parameter(2 * CHANNELS if whole else CHANNELS, SIDE, SIDE)
    y = drawn.quantized(build(drawn, x if whole else drawn.quantized(x)))
    return ov.model(drawn.shown(y) if shown else y, x)


def inputs(given: Any, rng: np.random.Generator, samples: int) -> npt.NDArray[np.float32]:
    """Random reals, some beyond the input's range."""
    shape = [size.get_length() for size in list(given.inputs[0].partial_shape)[1:]]
    return rng.normal(0, 0.8, (samples, *shape)).astype(F32)
