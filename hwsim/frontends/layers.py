"""Float operators on quantized tensors: dense, convolution, pooling, add, concat, activations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends import float_math
from hwsim.frontends.importer import Handler, Importer
from hwsim.frontends.onnx_file import MAX_ELEMENTS, OnnxNode
from hwsim.frontends.values import (
    NO_PADDING,
    Codes,
    Constant,
    FloatArray,
    Joined,
    Layout,
    Level,
    Mean,
    Padding,
    Pair,
    Pool,
    RawInput,
    Real,
    Unary,
    Weighing,
)
from hwsim.ops import ArgMax, Conv2D, Dense, MaxPool, Window
from hwsim.ops.base import IntArray

F32 = np.float32
BIAS_TOLERANCE = 0.02  # ONNX Runtime fuses a convolution whose bias scale is within 1%, not 10%
MAX_BIAS_BITS = 24


def weights_of(run: Importer, node: OnnxNode, position: int) -> Constant:
    """A constant that came through a quantizer."""
    value = run.constant(node, position)
    if value.codes is None or value.scale is None:
        raise HwsimError(
            f"{node}: its weights {node.input(position)!r} must be quantized (DequantizeLinear or "
            "Quant of a constant), not plain floats"
        )
    return value


def scales_along(node: OnnxNode, weights: Constant, axis: int) -> FloatArray:
    """One scale, or one for each index of `axis`."""
    assert weights.scale is not None
    scale = weights.scale
    if scale.size == 1:
        return scale.reshape(1)
    outputs = weights.array.shape[axis]
    shape = [1] * weights.array.ndim
    shape[axis] = outputs
    if scale.ndim != weights.array.ndim or list(scale.shape) != shape:
        raise HwsimError(
            f"{node}: weight scales must be one, or one for each of the {outputs} output channels, "
            f"not of shape {scale.shape}"
        )
    return scale.reshape(outputs)


def layer(
    run: Importer,
    node: OnnxNode,
    level: Level,
    weights: tuple[IntArray, Format, FloatArray],
    bias: Constant | None,
    window: tuple[Window, int] | None = None,
) -> Weighing:
    """Dense, or a convolution with `window` (and groups): weights with output channels last."""
    codes, fmt, weight_scale = weights
    own = weight_scale.size == 1 and float(weight_scale[0]) == 2.0**-fmt.frac_bits
    source = Weighing(
        node.name,
        level,
        _operator(codes, fmt, level.zero_point, None if own else weight_scale, window),
        F32(level.scale) * weight_scale,
    )
    return source if bias is None else biased(run, node, source, bias)


def _operator(
    codes: IntArray,
    fmt: Format,
    zero_point: int,
    scale: FloatArray | None,
    window: tuple[Window, int] | None,
) -> Dense | Conv2D:
    common = {
        "weights": codes,
        "bias": np.zeros(codes.shape[-1], np.int64),
        "weight_format": fmt,
        "zero_point": zero_point,
        "weight_scale": None if scale is None else tuple(float(v) for v in scale),
    }
    if window is None:
        return Dense(**common)  # type: ignore[arg-type]
    return Conv2D(window=window[0], groups=window[1], **common)  # type: ignore[arg-type]


def biased(run: Importer, node: OnnxNode, source: Weighing, bias: Constant) -> Weighing:
    """The layer with a bias."""
    kind = run.types[source.input.codes.edge]
    fraction = kind.format.frac_bits + source.op.weight_format.frac_bits
    powers = kind.quant is None and source.op.weight_scale is None
    codes, extra = bias_of(run, node, bias, source, powers=powers)
    return replace(source, op=replace(source.op, bias=codes, bias_frac=fraction + extra))


def bias_of(
    run: Importer, node: OnnxNode, bias: Constant, source: Weighing, *, powers: bool
) -> tuple[IntArray, int]:
    """Bias codes, and how many fraction bits they have over the accumulator's own.

    Codes that came through a quantizer with (about) the accumulator's scale count as they are, and
    a float bias is rounded to the nearest code: both as ONNX Runtime does. Between `powers` of two
    it keeps as many more fraction bits as it needs.
    """
    values, scale, outputs = bias.array.astype(np.float32).ravel(), source.scale, source.op.outputs
    if values.size not in (1, outputs):
        raise HwsimError(
            f"{node}: its bias must have {outputs} values, one a channel, not {values.size}"
        )
    if not np.isfinite(values).all():
        raise HwsimError(f"{node}: its bias must be finite")
    if bias.codes is not None and bias.scale is not None and not powers:
        ratio = bias.scale.ravel() / scale
        if ratio.size in (1, outputs) and np.all(np.abs(ratio - 1) < BIAS_TOLERANCE):
            return np.broadcast_to(bias.codes.ravel(), outputs).astype(np.int64), 0
    exact = values.astype(np.float64) / scale.astype(np.float64)
    extra = _bits_after_point(exact) if powers else 0
    codes = exact * 2.0**extra if powers and extra <= MAX_BIAS_BITS else np.rint(values / scale)
    if powers and extra > MAX_BIAS_BITS:
        run.warn(node.name, "its bias is rounded to the accumulator's own fraction bits")
        extra = 0
    if np.abs(codes).max(initial=0) >= 2.0 ** (31 + extra):
        raise HwsimError(f"{node}: its bias must fit 32 bits in the accumulator's scale")
    return np.broadcast_to(codes, outputs).astype(np.int64), extra


def _bits_after_point(values: npt.NDArray[np.float64]) -> int:
    """The fewest fraction bits that hold all values exactly (more than the limit: limit + 1)."""
    for bits in range(MAX_BIAS_BITS + 1):
        if np.array_equal(np.rint(values * 2.0**bits), values * 2.0**bits):
            return bits
    return MAX_BIAS_BITS + 1


def conv(run: Importer, node: OnnxNode) -> None:
    """Conv in two dimensions."""
    real = run.real(node, 0)
    weights = weights_of(run, node, 1)
    bias = run.constant(node, 2) if node.input(2) else None
    run.values[node.output] = convolution(run, node, real, weights, bias)


def convolution(
    run: Importer, node: OnnxNode, real: Real, weights: Constant, bias: Constant | None
) -> Real:
    """The layer behind Conv and QLinearConv; weights are (out, in / groups, height, width)."""
    level, shape = map_level(run, node, real)
    codes = weights.codes
    if codes is None or codes.ndim != 4 or weights.format is None:
        raise HwsimError(f"{node}: its weights must have 4 axes (two-dimensional convolution)")
    scale = scales_along(node, weights, 0)
    groups = node.integer("group", 1)
    if groups < 1 or shape[0] != codes.shape[1] * groups or codes.shape[0] % groups:
        raise HwsimError(
            f"{node}: weights of shape {codes.shape} in {groups} groups must fit an input of "
            f"{shape[0]} channels"
        )
    kernel = node.integers("kernel_shape", codes.shape[2:])
    if kernel != codes.shape[2:]:
        raise HwsimError(f"{node}: 'kernel_shape' must be {codes.shape[2:]}, not {kernel}")
    taps = dilated(node, codes.transpose(2, 3, 1, 0))
    window = window_of(node, shape, taps.shape[:2], level.codes.padding)
    level = replace(level, codes=replace(level.codes, padding=NO_PADDING))
    source = layer(run, node, level, (taps, weights.format, scale), bias, (window, groups))
    kind = source.op.infer([run.types[level.codes.edge]])
    height, width, outputs = kind.shape
    return Real(source, Layout.channels_last((outputs, height, width)))


def map_level(run: Importer, node: OnnxNode, real: Real) -> tuple[Level, tuple[int, int, int]]:
    """The codes behind a map (channels, height, width) that is only dequantized."""
    level = real.level(node)
    if len(real.layout.shape) != 3:
        raise HwsimError(
            f"{node}: its input must be (batch, channels, height, width), not of rank "
            f"{len(real.layout.shape) + 1}"
        )
    codes = run.standard(replace(level.codes, layout=real.layout), node)
    channels, height, width = real.layout.shape
    return replace(level, codes=codes), (channels, height, width)


def dilated(node: OnnxNode, taps: IntArray) -> IntArray:
    """A kernel (height, width, ...) with zeros between its taps."""
    dilations = node.integers("dilations", (1, 1))
    if len(dilations) != 2 or min(dilations) < 1:
        raise HwsimError(f"{node}: 'dilations' must be two numbers from 1, not {dilations}")
    if dilations == (1, 1):
        return taps
    height, width = ((n - 1) * d + 1 for n, d in zip(taps.shape, dilations, strict=False))
    if height * width * math.prod(taps.shape[2:]) > MAX_ELEMENTS:
        raise HwsimError(f"{node}: its dilated kernel must have at most {MAX_ELEMENTS} elements")
    out = np.zeros((height, width, *taps.shape[2:]), np.int64)
    out[:: dilations[0], :: dilations[1]] = taps
    return out


def window_of(
    node: OnnxNode, shape: tuple[int, ...], kernel: tuple[int, ...], extra: Padding = NO_PADDING
) -> Window:
    """Kernel, strides and padding of an ONNX operator on (channels, height, width)."""
    strides = node.integers("strides", (1, 1))
    if len(kernel) != 2 or len(strides) != 2 or min(*kernel, *strides) < 1:
        raise HwsimError(f"{node}: kernel and strides must be two numbers from 1 each")
    pads = node.integers("pads", NO_PADDING)
    auto = node.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(shape, kernel, strides, upper=auto == "SAME_UPPER")
    elif auto not in ("NOTSET", "VALID", ""):
        raise HwsimError(f"{node}: 'auto_pad' must be known, not {auto!r}")
    if len(pads) != 4 or min(pads) < 0:
        raise HwsimError(f"{node}: 'pads' must be four numbers from 0, not {pads}")
    if node.integer("ceil_mode", 0):
        pads = _ceiled(shape, kernel, strides, pads)
    top, left, bottom, right = (p + e for p, e in zip(pads, extra, strict=True))
    if (shape[1] + top + bottom) * (shape[2] + left + right) * shape[0] > MAX_ELEMENTS:
        raise HwsimError(f"{node}: its padded input must have at most {MAX_ELEMENTS} elements")
    return Window((kernel[0], kernel[1]), (strides[0], strides[1]), (top, left, bottom, right))


def _same(
    shape: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], *, upper: bool
) -> Padding:
    pads = []
    for size, k, s in zip(shape[1:], kernel, strides, strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if upper else (large, small))
    return pads[0][0], pads[1][0], pads[0][1], pads[1][1]


def _ceiled(
    shape: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...]
) -> Padding:
    """Padding at the end so that the last, partial window counts, if it starts inside."""
    ends = []
    for i, (size, k, s) in enumerate(zip(shape[1:], kernel, strides, strict=True)):
        before, after = pads[i], pads[i + 2]
        windows = -(-(size + before + after - k) // s) + 1
        if (windows - 1) * s >= size + before:
            windows -= 1
        ends.append(max((windows - 1) * s + k - size - before, after))
    return pads[0], pads[1], ends[0], ends[1]


def dense(
    run: Importer, node: OnnxNode, real: Real, weights: Constant, bias: Constant | None
) -> Real:
    """The layer behind Gemm, MatMul and their integer forms; weights are (in, out)."""
    level = real.level(node)
    if level.codes.padding != NO_PADDING:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    codes = weights.codes
    if codes is None or codes.ndim != 2 or weights.format is None:
        raise HwsimError(f"{node}: its weights must be a constant matrix")
    shape = real.layout.shape
    if not shape or shape[-1] != codes.shape[0]:
        raise HwsimError(
            f"{node}: weights of shape {codes.shape} must fit an input of shape (batch, "
            f"{', '.join(map(str, shape))})"
        )
    scale = scales_along(node, weights, 1)
    held = replace(level.codes, layout=real.layout)
    if len(shape) == 1:
        held = run.flat(held)
        codes = codes[held.layout.order]
    elif len(shape) == 2:
        held = run.standard(held, node)
    else:
        raise HwsimError(f"{node}: its input must have at most 3 axes, not {len(shape) + 1}")
    level = replace(level, codes=held)
    source = layer(run, node, level, (codes, weights.format, scale), bias)
    return Real(source, Layout.plain((*shape[:-1], codes.shape[1])))


def gemm(run: Importer, node: OnnxNode) -> None:
    """Gemm with constant weights."""
    weights = weights_of(run, node, 1)
    if node.real("alpha", 1.0) != 1.0 or (node.input(2) and node.real("beta", 1.0) != 1.0):
        raise HwsimError(f"{node}: 'alpha' and 'beta' must be 1")
    if node.integer("transA", 0):
        raise HwsimError(f"{node}: 'transA' must be 0")
    bias = run.constant(node, 2) if node.input(2) else None
    if node.integer("transB", 0):
        weights = turned(weights)
    run.values[node.output] = dense(run, node, run.real(node, 0), weights, bias)


def turned(weights: Constant) -> Constant:
    """A matrix of weights, transposed."""
    codes, scale = weights.codes, weights.scale
    if scale is not None and scale.ndim == 2:
        scale = scale.T
    return Constant(weights.array.T, None if codes is None else codes.T, weights.format, scale)


def matmul(run: Importer, node: OnnxNode) -> None:
    """MatMul with constant weights on the right."""
    run.values[node.output] = dense(run, node, run.real(node, 0), weights_of(run, node, 1), None)


def max_pool(run: Importer, node: OnnxNode) -> None:
    """MaxPool, on codes or on floats."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise HwsimError(f"{node}: its second output (indices) is not supported")
    if node.integers("dilations", (1, 1)) != (1, 1):
        raise HwsimError(f"{node}: 'dilations' must be 1")
    value = run.value(node, 0)
    if isinstance(value, Codes):
        codes = run.standard(value, node)
        window = window_of(node, codes.layout.shape, node.integers("kernel_shape"))
        edge = run.emit(node.name, MaxPool(window=window), [codes.edge], node.output)
        height, width, channels = run.types[edge].shape
        layout = Layout.channels_last((channels, height, width))
        run.values[node.output] = replace(codes, edge=edge, layout=layout)
        return
    real = run.real(node, 0)
    shape = map_shape(run, node, real)
    window = window_of(node, shape, node.integers("kernel_shape"))
    run.values[node.output] = pooled(node, real, shape, window)


def pooled(node: OnnxNode, real: Real, shape: tuple[int, ...], window: Window) -> Real:
    """A max pool still to come, with the layout that it will leave."""
    from hwsim.ops import TensorType

    size = window.output(TensorType((shape[1], shape[2], shape[0]), Format.int(8)))
    layout = Layout.channels_last((shape[0], *size))
    return replace(real.then(Pool(str(node), window)), layout=layout)


def map_shape(run: Importer, node: OnnxNode, real: Real) -> tuple[int, ...]:
    """The shape of a map in standard order."""
    layout = real.layout
    padded = isinstance(real.source, Level) and real.source.codes.padding != NO_PADDING
    if padded:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    if len(layout.shape) != 3 or not layout.standard or len(layout.physical) != 3:
        raise HwsimError(f"{node}: its input must be a map (batch, channels, height, width)")
    return layout.shape


def global_max_pool(run: Importer, node: OnnxNode) -> None:
    """GlobalMaxPool."""
    real = run.real(node, 0)
    shape = map_shape(run, node, real)
    run.values[node.output] = pooled(node, real, shape, Window((shape[1], shape[2])))


def average(run: Importer, node: OnnxNode, real: Real, *, whole: bool) -> Real:
    """The average behind AveragePool, GlobalAveragePool and their integer forms."""
    level, shape = map_level(run, node, real)
    extra = level.codes.padding
    level = replace(level, codes=replace(level.codes, padding=NO_PADDING))
    if whole:
        window = Window((shape[1], shape[2]))
    else:
        window = window_of(node, shape, node.integers("kernel_shape"), extra)
        counted = node.integer("count_include_pad", 0) or window.padding == extra
        if not counted or node.integer("ceil_mode", 0):
            raise HwsimError(
                f"{node}: an average with padding must count it ('count_include_pad' 1, "
                "'ceil_mode' 0), so that every window has the same size"
            )
    if whole and extra != NO_PADDING:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    height, width = window.output(run.types[level.codes.edge])
    layout = Layout.channels_last((shape[0], height, width))
    return Real(Mean(node.name, level, window, whole), layout)


def average_pool(run: Importer, node: OnnxNode) -> None:
    """AveragePool."""
    run.values[node.output] = average(run, node, run.real(node, 0), whole=False)


def global_average_pool(run: Importer, node: OnnxNode) -> None:
    """GlobalAveragePool."""
    run.values[node.output] = average(run, node, run.real(node, 0), whole=True)


def reduce_mean(run: Importer, node: OnnxNode) -> None:
    """ReduceMean over height and width."""
    from hwsim.frontends.shapes import axes

    real = run.real(node, 0)
    rank = len(real.layout.shape) + 1
    if rank != 4 or sorted(axes(node, run, rank)) != [2, 3]:
        raise HwsimError(f"{node}: it must average over height and width (axes 2 and 3) of a map")
    run.warn(node.name, "ONNX Runtime averages in float32; the exact average is rounded here")
    out = average(run, node, real, whole=True)
    if not node.integer("keepdims", 1):
        out = replace(out, layout=out.layout.reshaped(out.layout.shape[:1]))
    run.values[node.output] = out


def add(run: Importer, node: OnnxNode) -> None:
    """Add of two tensors, or of a bias to a layer."""
    values = [run.value(node, i) for i in (0, 1)]
    constants = [v for v in values if isinstance(v, Constant)]
    if len(constants) == 1:
        real = run.real(node, 0 if isinstance(values[1], Constant) else 1)
        run.values[node.output] = _add_constant(run, node, real, constants[0])
        return
    run.values[node.output] = added(run, node, run.real(node, 0), run.real(node, 1))


def _add_constant(run: Importer, node: OnnxNode, real: Real, bias: Constant) -> Real:
    source = real.source
    if isinstance(source, Weighing) and not real.steps:
        if source.op.bias.any():
            raise HwsimError(f"{node}: its input has a bias already")
        outputs = source.op.outputs
        fits = bias.array.size == 1 or bias.array.shape[-1] == outputs == bias.array.size
        if isinstance(source.op, Conv2D):
            fits = bias.array.size == 1 or bias.array.shape[-3:] == (outputs, 1, 1)
        if not fits:
            raise HwsimError(f"{node}: a constant added to a layer must be one value a channel")
        return replace(real, source=biased(run, node, source, bias))
    if bias.array.size == 1:
        value = F32(bias.array.reshape(())[()])
        return real.then(Unary(str(node), lambda x: x + value, rising=True))
    raise HwsimError(
        f"{node}: adding a constant tensor is supported only behind a layer, as a bias"
    )


def added(run: Importer, node: OnnxNode, first: Real, second: Real) -> Real:
    """The sum of two quantized tensors of one shape."""
    a, b = first.level(node), second.level(node)
    if first.layout.shape != second.layout.shape:
        raise HwsimError(
            f"{node}: its inputs must have one shape, not {first.layout.shape} and "
            f"{second.layout.shape}"
        )
    layouts = first.layout, second.layout
    if layouts[0].physical != layouts[1].physical:
        held = [
            run.standard(replace(s.codes, layout=t), node)
            for s, t in zip((a, b), layouts, strict=True)
        ]
        a, b = replace(a, codes=held[0]), replace(b, codes=held[1])
        layouts = held[0].layout, held[1].layout
    if not np.array_equal(layouts[0].order, layouts[1].order):
        raise HwsimError(f"{node}: its inputs must lie in one order; a Transpose stands in between")
    return Real(Pair(node.name, a, b), layouts[0])


def concat(run: Importer, node: OnnxNode) -> None:
    """Concat along the channels, or of constants."""
    values = [run.value(node, i) for i in range(len(node.inputs))]
    if all(isinstance(v, Constant) for v in values):
        arrays: list[npt.NDArray[np.generic]] = [v.array for v in values if isinstance(v, Constant)]
        joined = np.concatenate(arrays, axis=node.integer("axis", 0))
        run.values[node.output] = Constant(joined)
        return
    reals = [run.real(node, i) for i in range(len(node.inputs))]
    run.values[node.output] = concatenated(run, node, reals, node.integer("axis", 1))


def concatenated(run: Importer, node: OnnxNode, reals: list[Real], axis: int) -> Real:
    """Tensors one after the other along their channels."""
    shapes = [r.layout.shape for r in reals]
    rank = len(shapes[0]) + 1
    axis = axis + rank if axis < 0 else axis
    wanted = {4: 1, 3: 2, 2: 1}.get(rank)
    if axis != wanted or any(len(s) != rank - 1 for s in shapes):
        raise HwsimError(f"{node}: it must concatenate channels, not axis {axis} of {rank} axes")
    ends = [s[axis - 1] for s in shapes]
    rest = {s[: axis - 1] + s[axis:] for s in shapes}
    if len(rest) != 1:
        raise HwsimError(f"{node}: its inputs must agree but for the channels, not be {shapes}")
    shape = (*shapes[0][: axis - 1], sum(ends), *shapes[0][axis:])
    if rank == 2:
        starts = np.cumsum([0, *ends[:-1]])
        order = np.concatenate([r.layout.order + s for r, s in zip(reals, starts, strict=True)])
        return Real(Joined(node.name, tuple(reals)), Layout(shape, shape, order))
    if any(not r.layout.standard for r in reals):
        raise HwsimError(f"{node}: its inputs must be maps in standard order")
    return Real(Joined(node.name, tuple(reals)), Layout.channels_last(shape))


def unary(run: Importer, node: OnnxNode) -> None:
    """A function of one value."""
    run.values[node.output] = run.real(node, 0).then(function_of(node))


def function_of(node: OnnxNode) -> Unary:
    """The function that a node computes, in float32 as ONNX Runtime does."""
    name = str(node)
    match node.op:
        case "Relu":
            return Unary(name, lambda x: np.maximum(x, F32(0)), rising=True, low=0.0)
        case "Sigmoid" | "QLinearSigmoid":
            return Unary(name, float_math.sigmoid, rising=True)
        case "Tanh":
            return Unary(name, float_math.tanh, rising=True)
        case "LeakyRelu" | "QLinearLeakyRelu":
            alpha = node.real("alpha", 0.01)
            return Unary(name, lambda x: float_math.leaky_relu(x, alpha), rising=alpha >= 0)
        case "HardSigmoid":
            a, b = node.real("alpha", 0.2), node.real("beta", 0.5)
            return Unary(name, lambda x: float_math.hard_sigmoid(x, a, b), rising=a >= 0)
        case "HardSwish":
            return Unary(name, float_math.hard_swish, rising=False)
        case "Abs":
            return Unary(name, np.abs, rising=False)
        case _:
            return Unary(name, np.negative, rising=False)


def clip(run: Importer, node: OnnxNode) -> None:
    """Clip, its limits from inputs or attributes."""
    low = node.real("min", -math.inf) if "min" in node.attributes else -math.inf
    high = node.real("max", math.inf) if "max" in node.attributes else math.inf
    low = _limit(run, node, 1, low)
    high = _limit(run, node, 2, high)
    if low > high:
        raise HwsimError(f"{node}: its minimum must not be above its maximum")
    lowest, highest = F32(low), F32(high)
    step = Unary(
        str(node),
        lambda x: np.clip(x, lowest, highest),
        rising=True,
        low=None if math.isinf(low) else low,
        high=None if math.isinf(high) else high,
    )
    real = run.real(node, 0)
    run.values[node.output] = real.then(step) if step.clamp else real


def _limit(run: Importer, node: OnnxNode, position: int, default: float) -> float:
    if not node.input(position):
        return default
    value = run.constant(node, position).array
    if value.size != 1 or np.isnan(value.reshape(())[()]):
        raise HwsimError(f"{node}: its limits must be numbers")
    return float(value.reshape(())[()])


def pad(run: Importer, node: OnnxNode) -> None:
    """Pad with real zeros around a map; the next convolution takes it in."""
    real = run.real(node, 0)
    level, _ = map_level(run, node, real)
    amounts = node.integers("pads") or tuple(
        int(v) for v in (run.constant(node, 1).array.ravel() if node.input(1) else ())
    )
    value = run.constant(node, 2).array if node.input(2) else np.zeros(1)
    zero = value.size == 1 and float(value.reshape(())[()]) == 0 and not node.real("value", 0.0)
    if node.text("mode", "constant") != "constant" or not zero or node.input(3):
        raise HwsimError(f"{node}: it must pad all axes with constant zeros")
    if len(amounts) != 8 or min(amounts) < 0 or any(amounts[i] for i in (0, 1, 4, 5)):
        raise HwsimError(f"{node}: it must pad height and width only, not by {amounts}")
    new: Padding = (amounts[2], amounts[3], amounts[6], amounts[7])
    old = level.codes.padding
    top, left, bottom, right = (o + n for o, n in zip(old, new, strict=True))
    codes = replace(level.codes, padding=(top, left, bottom, right))
    run.values[node.output] = Real(replace(level, codes=codes), real.layout)


def arg_max(run: Importer, node: OnnxNode) -> None:
    """ArgMax along the channels."""
    value = run.value(node, 0)
    codes = value if isinstance(value, Codes) else run.real(node, 0).level(node).codes
    layout = codes.layout if isinstance(value, Codes) else run.real(node, 0).layout
    rank = len(layout.shape) + 1
    axis = node.integer("axis", 0)
    axis = axis + rank if axis < 0 else axis
    if axis != {4: 1, 3: 2, 2: 1}.get(rank) or node.integer("select_last_index", 0):
        raise HwsimError(f"{node}: it must take the first maximum along the channels")
    held = run.standard(replace(codes, layout=layout), node)
    edge = run.emit(node.name, ArgMax(), [held.edge], node.output)
    kind = run.types[edge]
    shape = tuple(1 if i + 1 == axis else d for i, d in enumerate(layout.shape))
    run.values[node.output] = Codes(edge, kind.format, Layout.channels_last(shape))


def identity(run: Importer, node: OnnxNode) -> None:
    """Identity, and Dropout at inference."""
    value = run.value(node, 0)
    run.values[node.output] = value
    if isinstance(value, RawInput):
        return


FLOAT_HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "Abs"): unary,
    ("", "Add"): add,
    ("", "ArgMax"): arg_max,
    ("", "AveragePool"): average_pool,
    ("", "Clip"): clip,
    ("", "Concat"): concat,
    ("", "Conv"): conv,
    ("", "Dropout"): identity,
    ("", "Gemm"): gemm,
    ("", "GlobalAveragePool"): global_average_pool,
    ("", "GlobalMaxPool"): global_max_pool,
    ("", "HardSigmoid"): unary,
    ("", "HardSwish"): unary,
    ("", "Identity"): identity,
    ("", "LeakyRelu"): unary,
    ("", "MatMul"): matmul,
    ("", "MaxPool"): max_pool,
    ("", "Neg"): unary,
    ("", "Pad"): pad,
    ("", "ReduceMean"): reduce_mean,
    ("", "Relu"): unary,
    ("", "Sigmoid"): unary,
    ("", "Tanh"): unary,
}
