"""One rule for each kind of hls4ml layer: its operators and the casts between them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow, Rounding
from hwsim.frontends.hls4ml.types import Precision, read_precision, read_weights
from hwsim.graph import Node
from hwsim.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    Divide,
    MaxPool,
    Op,
    Relu,
    Reshape,
    Stepwise,
    TensorType,
    Transpose,
    Window,
)

ACTIVATIONS = ("relu", "linear")
# Modes that give the same whether a code or its sum with a code on the coarser grid is rounded.
EVEN_HANDED = (Rounding.TRN, Rounding.RND, Rounding.RND_MIN_INF)


@dataclass(slots=True)
class Build:
    """The Graph so far: nodes, types of edges, and the edge behind each of hls4ml's names."""

    stream: bool
    nodes: list[Node] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)
    edges: dict[str, str] = field(default_factory=dict)
    paddings: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)

    def edge(self, name: str) -> str:
        """The edge that holds hls4ml's tensor `name`."""
        if name in self.paddings:
            raise HwsimError(f"the zero padding {name!r} must be followed by a convolution")
        return self.edges[name]

    def add(self, edge: str, op: Op, inputs: tuple[str, ...]) -> str:
        """Append an operator whose output is `edge`, and whose node has that name."""
        self.nodes.append(Node(edge, op, inputs, edge))
        (self.types[edge],) = op.output_types([self.types[i] for i in inputs])
        return edge

    def cast(self, edge: str, source: str, precision: Precision) -> str:
        """An assignment; nothing where the type is the same."""
        kind = self.types[source]
        if kind.format == precision.format and kind.lo >= precision.least:
            return source
        return self.add(edge, precision.cast(), (source,))

    def finish(self, layer: Any, source: str) -> None:
        """The assignment to the layer's result; its edge carries the layer's own output name."""
        name = layer.outputs[0]
        precision = result(layer)
        kind = self.types[source]
        same = kind.format == precision.format and kind.lo >= precision.least
        if same and self.nodes and self.nodes[-1].outputs == (source,):
            last = self.nodes.pop()
            del self.types[source]
            self.add(name, last.op, last.inputs)
        elif same:
            self.edges[name] = source
            return
        else:
            self.add(name, precision.cast(), (source,))
        self.edges[name] = name


def result(layer: Any, name: str | None = None) -> Precision:
    """The precision of a layer's output variable."""
    variable = layer.variables[name or layer.outputs[0]]
    return read_precision("the precision 'result'", variable.type.precision)


def accumulator(layer: Any, order: Any = None) -> Stepwise:
    """The accumulator of a layer's sums."""
    precision = read_precision("the precision 'accum'", layer.get_attr("accum_t").precision)
    return Stepwise(
        format=precision.format,
        rounding=precision.rounding,
        overflow=precision.overflow,
        order=order,
    )


def read_dense(build: Build, layer: Any) -> None:
    """Products and partial sums in `accum_t`, in the strategy's order (`nnet_dense_*.h`)."""
    source = build.edge(layer.inputs[0])
    terms, outputs = int(layer.get_attr("n_in")), int(layer.get_attr("n_out"))
    weights, bias, modes = _constants(layer, (1, 0))
    op = Dense(
        weights=weights.reshape(terms, outputs),
        bias=bias,
        accumulator=accumulator(layer, _order(layer, terms, outputs)),
        **modes,
    )
    build.finish(layer, build.add(f"{layer.outputs[0]}/sum", op, (source,)))


def read_conv(build: Build, layer: Any) -> None:
    """The dense kernel on every window; terms go (height, width, channel)."""
    name = layer.inputs[0]
    padding = build.paddings.get(name)
    source = build.edges[name]
    attributes = [int(layer.get_attr(f"pad_{side}", 0)) for side in _SIDES]
    window = Window(
        (int(layer.get_attr("filt_height")), int(layer.get_attr("filt_width"))),
        (int(layer.get_attr("stride_height")), int(layer.get_attr("stride_width"))),
        tuple(a + b for a, b in zip(attributes, padding or (0, 0, 0, 0), strict=True)),  # type: ignore[arg-type]
    )
    for name in ("dilation", "dilation_height", "dilation_width"):
        if int(layer.get_attr(name, 1) or 1) != 1:
            raise HwsimError(f"a convolution's {name} must be 1, not {layer.get_attr(name)}")
    channels, outputs = int(layer.get_attr("n_chan")), int(layer.get_attr("n_filt"))
    weights, bias, modes = _constants(layer, (1, 2, 3, 0))
    terms = window.size * channels
    op = Conv2D(
        weights=weights.reshape(*window.kernel, channels, outputs),
        bias=bias,
        window=window,
        accumulator=accumulator(layer, _order(layer, terms, outputs)),
        **modes,
    )
    build.finish(layer, build.add(f"{layer.outputs[0]}/sum", op, (source,)))


_SIDES = ("top", "left", "bottom", "right")


def _constants(layer: Any, back: tuple[int, ...]) -> tuple[Any, Any, dict[str, Any]]:
    """Codes of weights and biases; `back` undoes the turn that the Resource strategy makes."""
    for name, variable in layer.weights.items():
        kind = type(variable).__name__
        if kind not in ("WeightVariable", "StaticWeightVariable", "BramWeightVariable"):
            raise HwsimError(f"{name} must be plain weights, not a {kind}")
    weights, precision = read_weights("weight", layer.weights["weight"])
    bias, bias_precision = read_weights("bias", layer.weights["bias"])
    if layer.get_attr("_weights_transposed", False):
        weights = np.transpose(weights, back)
    if precision.format.width == 1:
        raise HwsimError("weights must have at least 2 bits, not be binary")
    modes = {"weight_format": precision.format, "bias_frac": bias_precision.format.frac_bits}
    return weights, bias, modes


def _order(layer: Any, terms: int, outputs: int) -> tuple[int, ...] | None:
    """The order of the sums that strategy and reuse factor impose; None for the natural one."""
    strategy = str(layer.get_attr("strategy") or "latency").lower()
    reuse = int(layer.get_attr("reuse_factor") or 1)
    if strategy == "latency":
        return None
    if strategy != "resource":
        raise HwsimError(f"the strategy must be Latency or Resource, not {strategy}")
    if reuse <= terms:
        if terms % reuse:
            raise HwsimError(f"a reuse factor up to {terms} must divide it, and {reuse} does not")
        return tuple(k for start in range(reuse) for k in range(start, terms, reuse))
    if reuse % terms == 0:
        return None
    # Each output has an order of its own then (`dense_resource_rf_gt_nin`): only a proof helps.
    acc = accumulator(layer)
    if acc.overflow is Overflow.WRAP:
        return None
    raise HwsimError(
        f"a reuse factor above {terms} must be a multiple of it where sums do not wrap, not {reuse}"
    )


def read_batchnorm(build: Build, layer: Any) -> None:
    """`x * scale + bias` at full precision, then the result's type (`nnet_batchnorm.h`)."""
    source = build.edge(layer.inputs[0])
    scale, precision = read_weights("scale", layer.weights["scale"])
    bias, bias_precision = read_weights("bias", layer.weights["bias"])
    channels = build.types[source].channels
    op = BatchNorm(
        scale=np.broadcast_to(scale.reshape(-1), channels),
        bias=np.broadcast_to(bias.reshape(-1), channels),
        scale_format=precision.format,
        bias_frac=bias_precision.format.frac_bits,
    )
    build.finish(layer, build.add(f"{layer.outputs[0]}/full", op, (source,)))


def activation(layer: Any) -> str:
    """The function of an activation in lower case: hls4ml's readers write relu, ReLU and Relu.

    A ReLU above a threshold of 0, which is what Keras's ReLU layer becomes, is a ReLU.
    """
    name = str(layer.get_attr("activation")).lower()
    return "relu" if name == "thresholdedrelu" and layer.get_attr("activ_param") == 0 else name


def read_activation(build: Build, layer: Any) -> None:
    """ReLU compares before it assigns; a linear activation only assigns (`nnet_activation.h`)."""
    source = build.edge(layer.inputs[0])
    if activation(layer) == "relu":
        source = build.add(f"{layer.outputs[0]}/relu", Relu(), (source,))
    build.finish(layer, source)


def read_pool(build: Build, layer: Any) -> None:
    """Max and average pools; what a stream gathers it assigns to `accum_t` first."""
    source = build.edge(layer.inputs[0])
    kind, name = build.types[source], layer.outputs[0]
    if "pool_height" in layer.attributes:
        window = Window(
            (int(layer.get_attr("pool_height")), int(layer.get_attr("pool_width"))),
            (int(layer.get_attr("stride_height")), int(layer.get_attr("stride_width"))),
            tuple(int(layer.get_attr(f"pad_{side}", 0)) for side in _SIDES),  # type: ignore[arg-type]
        )
    else:
        window = Window((kind.shape[0], kind.shape[1]))
    acc = read_precision("the precision 'accum'", layer.get_attr("accum_t").precision)
    if layer.get_attr("pool_op") == "Max":
        if any(window.padding) and not kind.format.signed:
            raise HwsimError("a padded max pool's input must be signed: hls4ml pads wrongly here")
        if build.stream:
            source = build.cast(f"{name}/gathered", source, acc)
            pooled = build.add(f"{name}/max", MaxPool(window=window), (source,))
        else:
            pooled = build.add(f"{name}/max", MaxPool(window=window), (source,))
            pooled = build.cast(f"{name}/accum", pooled, acc)
    else:
        pooled = _average(build, layer, window, source, acc)
    if kind.shape[:2] != (1, 1) and layer.variables[name].shape != list(build.types[pooled].shape):
        shape = tuple(int(n) for n in layer.variables[name].shape)
        pooled = build.add(f"{name}/shape", Reshape(shape=shape), (pooled,))
    build.finish(layer, pooled)


def _average(build: Build, layer: Any, window: Window, source: str, acc: Precision) -> str:
    """The sum in `accum_t`, divided toward zero at its binary point."""
    kind, name = build.types[source], layer.outputs[0]
    sums = AvgPool(
        window=window,
        accumulator=Stepwise(format=acc.format, rounding=acc.rounding, overflow=acc.overflow),
    )
    drops = kind.format.frac_bits > acc.format.frac_bits
    most = window.size * kind.magnitude
    left = acc.format.frac_bits - kind.format.frac_bits
    fits = (most << max(left, 0)) >> max(-left, 0) < acc.format.max
    if (drops and acc.rounding not in EVEN_HANDED) or not (fits or acc.overflow is Overflow.WRAP):
        raise HwsimError(
            f"an average pool's accumulator must hold its sums, or wrap and round by "
            f"{', '.join(r.value for r in EVEN_HANDED)}, not be {acc.format} with "
            f"{acc.rounding.value} and {acc.overflow.value}"
        )
    total = build.add(f"{name}/sum", sums, (source,))
    height, width = build.types[total].shape[:2]
    counted = bool(layer.get_attr("count_pad", True)) or not any(window.padding)
    divisors = np.array([window.size]) if counted else _overlaps(window, kind, height, width)
    return build.add(f"{name}/mean", Divide(divisors=divisors), (total,))


def _overlaps(window: Window, kind: TensorType, height: int, width: int) -> Any:
    """How many positions of each window lie on the map."""

    def along(axis: int, count: int) -> list[int]:
        first, size = window.padding[axis], kind.shape[axis]
        found = []
        for k in range(count):
            start = k * window.stride[axis] - first
            found.append(min(start + window.kernel[axis], size) - max(start, 0))
        return found

    return np.outer(along(0, height), along(1, width))


def read_merge(build: Build, layer: Any) -> None:
    """The sum at full precision, then the result's type (`nnet_merge.h`)."""
    a, b = (build.edge(name) for name in layer.inputs)
    build.finish(layer, build.add(f"{layer.outputs[0]}/full", Add(), (a, b)))


def read_concatenate(build: Build, layer: Any) -> None:
    """Each input is assigned to the result's type; along the channels only."""
    name, precision = layer.outputs[0], result(layer)
    sources = [build.edge(i) for i in layer.inputs]
    rank = len(build.types[sources[0]].shape)
    axis = int(layer.get_attr("axis", -1))
    if axis not in (-1, rank):
        raise HwsimError(f"a concatenation must be along the channels, not axis {axis}")
    parts = tuple(build.cast(f"{name}/{k}", source, precision) for k, source in enumerate(sources))
    build.edges[name] = build.add(name, Concat(), parts)


def read_reshape(build: Build, layer: Any) -> None:
    """The same codes, row-major."""
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    shape = tuple(int(n) for n in layer.variables[name].shape)
    if math.prod(shape) != build.types[source].size:
        raise HwsimError(f"a reshape must keep {build.types[source].size} codes, not be {shape}")
    build.finish(layer, build.add(f"{name}/shape", Reshape(shape=shape), (source,)))


def read_transpose(build: Build, layer: Any) -> None:
    """Axes as hls4ml's `perm`; axes of length 1 that it puts in front are left out."""
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    axes = tuple(int(axis) for axis in layer.get_attr("perm"))
    rank = len(build.types[source].shape)
    while len(axes) > rank and axes[0] == 0:
        axes = tuple(axis - 1 for axis in axes[1:])
    build.finish(layer, build.add(f"{name}/turned", Transpose(axes=axes), (source,)))


def read_clone(build: Build, layer: Any) -> None:
    """A stream that several layers read."""
    source = build.edge(layer.inputs[0])
    for name in layer.outputs:
        build.edges[name] = build.cast(name, source, result(layer, name))


def read_zero_padding(build: Build, layer: Any) -> None:
    """Kept for the convolution that follows."""
    name = layer.outputs[0]
    source = build.cast(f"{name}/value", build.edge(layer.inputs[0]), result(layer))
    build.edges[name] = source
    build.paddings[name] = tuple(int(layer.get_attr(f"pad_{side}")) for side in _SIDES)  # type: ignore[assignment]
