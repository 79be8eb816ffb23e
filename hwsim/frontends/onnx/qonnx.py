"""QONNX: ONNX with Quant, IntQuant and BipolarQuant nodes.

A Quant node computes `(round(clamp(x / scale + zero_point)) - zero_point) * scale`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx import qonnx_last, qonnx_linear, qonnx_lowered
from hwsim.frontends.onnx.fused_norms import with_norms
from hwsim.frontends.onnx.handlers import FLOAT_HANDLERS
from hwsim.frontends.onnx.importer import Handler, Importer
from hwsim.frontends.onnx.model import OnnxModel, OnnxNode
from hwsim.frontends.onnx.qonnx_bipolar import Bipolar
from hwsim.frontends.onnx.qonnx_channels import by_channel, innermost
from hwsim.frontends.onnx.qonnx_each import by_formats, each_channel
from hwsim.frontends.onnx.qonnx_float import float_quant
from hwsim.frontends.onnx.qonnx_rules import MODES, IntQuant, power_of_two
from hwsim.frontends.onnx.qonnx_thresholds import multi_threshold
from hwsim.frontends.onnx.qonnx_trunc import trunc
from hwsim.frontends.onnx.runtime import Runtime
from hwsim.frontends.onnx.walk import read_graph
from hwsim.frontends.shared.rounding import quantize
from hwsim.frontends.shared.values import Constant, FloatArray, Level, RawInput, Real
from hwsim.graph import Graph

DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
ROUND = ("Quant", "IntQuant", "BipolarQuant", "MultiThreshold", "FloatQuant", "QuantAvgPool2d")
QUANTIZERS = {(d, op) for d in DOMAINS for op in ROUND}
"""What makes a model one of QONNX; not all of them are read."""
MAX_BITS = 32


def scalars(run: Importer, node: OnnxNode, position: int, what: str) -> FloatArray:
    """A constant parameter of a quantizer."""
    values = np.asarray(run.constant(node, position).array, np.float32)
    if not values.size or not np.isfinite(values).all():
        raise HwsimError(f"{node}: its {what} must be finite numbers")
    return values


def quant(run: Importer, node: OnnxNode) -> None:
    """Quant and IntQuant."""
    scale = positive(node, scalars(run, node, 1, "scale"))
    zero, bits = scalars(run, node, 2, "zero point"), scalars(run, node, 3, "bit width")
    mode = node.text("rounding_mode", "ROUND").upper()
    if mode not in MODES:
        raise HwsimError(f"{node}: 'rounding_mode' must be one of {', '.join(MODES)}, not {mode!r}")
    whole = np.array_equal(np.rint(zero), zero) and np.abs(zero).max() < 2.0**MAX_BITS
    several = np.unique(bits).size > 1 or np.unique(scale).size > 1
    varied = several and isinstance(run.value(node, 0), Real)
    if (bits < 1).any() or (bits > MAX_BITS).any() or (bits % 1).any():
        raise HwsimError(f"{node}: its bit width must be one whole number from 1 to {MAX_BITS}")
    if np.unique(bits).size > 1 and not varied:
        raise HwsimError(
            f"{node}: its bit width must be one whole number from 1 to {MAX_BITS}; one a channel "
            "is for computed tensors"
        )
    if not whole or np.unique(zero).size != 1:
        raise HwsimError(f"{node}: its zero point must be one whole number, not {zero.ravel()[:4]}")
    width, signed = int(bits.ravel()[0]), node.integer("signed", 1) != 0
    narrow = node.integer("narrow", 0) != 0
    if varied:
        signs = signed and bool((bits == 1).any())
        rounds = MODES[mode] is not None and not signs and not (narrow and not signed)
        plain = not zero.any() and rounds and bool((bits >= 1 + signed).all())
        if not (plain and _powers(scale) and by_formats(run, run.real(node, 0))):
            _each(run, node, scale, bits, int(zero.ravel()[0]), mode)
            return

        def each(scale: float, bits: int) -> IntQuant:
            ends = limits(bits, signed=signed, narrow=narrow)
            return IntQuant(bits, signed, *ends, mode, scale, int(zero.ravel()[0]))

        real = run.real(node, 0)
        by = by_channel(node, real.layout, scale, bits, each)
        codes = quantize(run, real, by, node.name, f"{node.output}.codes")
        run.values[node.output] = Real(Level(codes, by.scale, 0), codes.layout)
        return
    low, high = limits(width, signed=signed, narrow=narrow)
    if width == 1 and signed:
        if zero.any():
            raise HwsimError(f"{node}: the zero point of a 1-bit signed quantizer must be 0")
        apply(run, node, scale, lambda s: Bipolar(s))
        return
    apply(
        run,
        node,
        scale,
        lambda s: IntQuant(width, signed, low, high, mode, s, int(zero.ravel()[0])),
    )


def _each(
    run: Importer, node: OnnxNode, scale: FloatArray, bits: FloatArray, zero: int, mode: str
) -> None:
    """A computed tensor with a scale or a bit width for each channel, by thresholds."""
    real = run.real(node, 0)
    channels = [
        innermost(node, real.layout, parameter, "scale and bit width")
        for parameter in (scale, bits)
    ]
    signed, narrow = node.integer("signed", 1) != 0, node.integer("narrow", 0) != 0
    widths = channels[1].astype(int).tolist()
    sign = signed and 1 in widths
    if sign and set(widths) != {1}:
        raise HwsimError(f"{node}: its channels must have 1 bit and a sign all, or none of them")
    ends = [(-1, 1) if sign else limits(b, signed=signed, narrow=narrow) for b in widths]
    low, high = (np.array(each, np.int64) for each in zip(*ends, strict=True))
    by = each_channel(channels[0], (low, high), zero, mode, sign=sign)
    codes = quantize(run, real, by, node.name, f"{node.output}.codes")
    scales = None if by.one == by.one else channels[0]
    run.values[node.output] = Real(Level(codes, by.one, 0, scales), codes.layout)


def _powers(scale: FloatArray) -> bool:
    return all(power_of_two(float(value)) is not None for value in scale.ravel())


def limits(bits: int, *, signed: bool, narrow: bool) -> tuple[int, int]:
    """The smallest and the largest code."""
    if signed:
        return -(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1 - narrow


def bipolar_quant(run: Importer, node: OnnxNode) -> None:
    """BipolarQuant."""
    apply(run, node, positive(node, scalars(run, node, 1, "scale")), lambda s: Bipolar(s))


def positive(node: OnnxNode, scale: FloatArray) -> FloatArray:
    """Scales above 0."""
    if not (scale > 0).all():
        bad = float(scale.ravel()[scale.ravel() <= 0][0])
        raise HwsimError(f"{node}: a scale must be a finite number above 0, not {bad}")
    return scale


def apply(run: Importer, node: OnnxNode, scale: FloatArray, rule: Any) -> None:
    """Quantize a constant, an input of the graph or a computed tensor."""
    value = run.value(node, 0)
    if isinstance(value, Constant):
        run.values[node.output] = constant(node, value, scale, rule)
        return
    if np.unique(scale).size != 1 and isinstance(value, RawInput):
        raise HwsimError(f"{node}: an input of the graph must have one scale for all channels")
    if np.unique(scale).size != 1:
        _each(run, node, scale, np.ones(1, np.float32), 0, "ROUND")
        return
    by = rule(float(scale.ravel()[0]))
    codes_name = f"{node.output}.codes"
    if isinstance(value, RawInput):
        bipolar = isinstance(by, Bipolar)
        codes = by.enter(run, value, node.name, codes_name if bipolar else value.name)
    else:
        codes = quantize(run, run.real(node, 0), by, node.name, codes_name)
    run.values[node.output] = Real(Level(codes, by.scale, by.zero_point), codes.layout)


def constant(node: OnnxNode, value: Constant, scale: FloatArray, rule: Any) -> Constant:
    """Weights or a bias; codes with the zero point taken off."""
    array = value.array.astype(np.float32)
    if not np.isfinite(array).all():
        raise HwsimError(f"{node}: weights must be finite")
    try:
        spread = np.broadcast_to(scale, array.shape) if scale.size > 1 else None
    except ValueError:
        raise HwsimError(
            f"{node}: scales of shape {scale.shape} must fit weights of shape {array.shape}"
        ) from None
    whole = rule(float(scale.ravel()[0]))
    # A rule of scale 1 sees the quotient, which is what every channel's own rule would see.
    unit = rule(1.0)
    ratio = array / (np.float32(whole.scale) if spread is None else spread)
    codes = unit.codes(ratio) - whole.zero_point
    fmt = whole.format
    single = scale.size == 1
    if whole.zero_point or not single:
        fraction = fmt.frac_bits if single else 0
        fmt = Format.holding(int(codes.min()), int(codes.max()), fraction)
        if not whole.zero_point:
            fmt = Format(whole.format.signed, whole.format.width, 0)
    # One scale for each entry of the last axes is one for each, also where ones are left out.
    scales = scale.reshape((1,) * (array.ndim - scale.ndim) + scale.shape)
    if single:
        scales = scale.reshape((1,) * array.ndim)
    return Constant(codes.astype(np.float32) * scales, codes, fmt, scales.astype(np.float32))


HANDLERS: dict[tuple[str, str], Handler] = {
    **FLOAT_HANDLERS,
    **{(d, op): quant for d in DOMAINS for op in ("Quant", "IntQuant")},
    **{(d, "BipolarQuant"): bipolar_quant for d in DOMAINS},
    **{(d, "FloatQuant"): float_quant for d in DOMAINS},
    **{(d, "Im2Col"): qonnx_lowered.im2col for d in DOMAINS},
    **{(d, "XnorPopcountMatMul"): qonnx_lowered.xnor_popcount for d in DOMAINS},
    **{(d, "QuantAvgPool2d"): qonnx_lowered.quant_avg_pool for d in DOMAINS},
    ("", "MatMul"): qonnx_lowered.product,
    **qonnx_linear.HANDLERS,
    **{(d, "Trunc"): trunc for d in DOMAINS},
    **{(d, "MultiThreshold"): multi_threshold for d in DOMAINS},
    **{(d, "MaxPoolNHWC"): qonnx_last.between_transposes for d in DOMAINS},
    **qonnx_last.HANDLERS,
}


def read(
    model: OnnxModel, runtime: Runtime | None = None, importer: type[Importer] = Importer
) -> Graph:
    """The Graph of a QONNX model, as QONNX's executor computes it, or another `runtime`."""
    return read_graph(with_norms(model), HANDLERS, runtime, importer=importer)
