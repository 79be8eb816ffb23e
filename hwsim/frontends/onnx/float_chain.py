"""Float32 arithmetic with constants, node by node.

What is computed of an input before anything quantizes it becomes part of its port; what a QONNX
model computes between a layer's sum and the next Quant node becomes steps that its executor's own
arithmetic goes through.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.float_steps import narrowed
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.float_sums import exact, powers_of_two, rough
from hwsim.frontends.shared.values import (
    NO_PADDING,
    Arithmetic,
    Constant,
    FloatArray,
    Level,
    OfTwoCodes,
    PerChannel,
    RawInput,
    Real,
    Unary,
    Weighing,
)

F32 = np.float32
MAX_BIAS_BITS = 24
MOST_BIAS, MOST_EXACT = 2.0**31, 2.0**47
OPS = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}


def bits_after_point(values: npt.NDArray[np.float64]) -> int:
    """The fewest fraction bits that hold all values exactly (more than the limit: limit + 1)."""
    for bits in range(MAX_BIAS_BITS + 1):
        if np.array_equal(np.rint(values * 2.0**bits), values * 2.0**bits):
            return bits
    return MAX_BIAS_BITS + 1


def constant_of(node: OnnxNode, value: object, *, divides: bool = False) -> FloatArray:
    """The constant that a tensor is computed with, in float32."""
    if not isinstance(value, Constant):
        raise HwsimError(f"{node}: what its input is added to or scaled by must be constant")
    with np.errstate(over="ignore"):
        array: FloatArray = np.asarray(value.array).astype(F32)
    if not np.isfinite(array).all() or (divides and not array.all()):
        raise HwsimError(f"{node}: its constant must be finite, and what it divides by not 0")
    return array


def spread(node: OnnxNode, array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """A constant for every element of a tensor of that shape, without the batch."""
    rank = len(shape) + 1
    try:
        fits = array.ndim <= rank and np.broadcast_shapes(array.shape, (1, *shape)) == (1, *shape)
    except ValueError:
        fits = False
    if not fits:
        raise HwsimError(
            f"{node}: its constant must broadcast over (batch, {', '.join(map(str, shape))}), not "
            f"be of shape {array.shape}"
        )
    whole: FloatArray = np.broadcast_to(array, (1, *shape))[0]
    return whole


def raw_step(node: OnnxNode, raw: RawInput, op: str, array: FloatArray) -> RawInput:
    """An input of the graph with one more step at its port."""
    if not raw.dtype.startswith("float"):
        raise HwsimError(f"{node}: an input of {raw.dtype} must be cast to float32 first")
    if raw.padding != NO_PADDING:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    layout = raw.plain
    values = spread(node, array, layout.shape).ravel()[layout.order]
    step = narrowed(op, values.reshape(layout.physical))
    return replace(raw, steps=(*raw.steps, step))


def raw_function(node: OnnxNode, raw: RawInput, function: Unary) -> RawInput:
    """A clamp of an input of the graph, at its port."""
    if not function.clamp:
        raise HwsimError(
            f"{node}: its input must be quantized (QuantizeLinear, or Quant) before it"
        )
    for op, limit in (("max", function.low), ("min", function.high)):
        if limit is not None:
            raw = raw_step(node, raw, op, np.array(limit, F32))
    return raw


def arithmetic(run: Importer, node: OnnxNode) -> bool:
    """Add, Sub, Mul or Div with a constant, of an input or in a QONNX model; False for another."""
    first, second = run.value(node, 0), run.value(node, 1)
    reverse = isinstance(first, Constant)
    value, constant = (second, first) if reverse else (first, second)
    raw = isinstance(value, RawInput) or isinstance(constant, RawInput)
    followed = run.choices is None or (isinstance(value, Real) and _pixels(value))
    if not raw and not (followed and isinstance(constant, Constant)):
        return False
    op = OPS[node.op]
    if isinstance(value, Constant):
        return False
    if reverse and op == "div":
        if isinstance(value, RawInput):
            raise HwsimError(f"{node}: what it divides by must be constant")
        return False
    array = constant_of(node, constant, divides=op == "div")
    op = "sub_from" if reverse and op == "sub" else op
    whole_input = isinstance(value, RawInput) and run.is_annotated(value)
    if isinstance(value, RawInput) and not whole_input:
        run.values[node.output] = raw_step(node, value, op, array)
    else:
        real = run.real(node, 1 if reverse else 0)
        biased = None
        if op == "add" and isinstance(real.source, Weighing) and not real.steps:
            whole = spread(node, array, real.layout.shape)
            lying = whole.ravel()[real.layout.order].reshape(-1, real.layout.physical[-1])
            if (lying == lying[:1]).all():
                biased = exact_bias(run, real.source, lying[0])
        if biased is not None:
            run.values[node.output] = replace(real, source=biased)
        else:
            run.values[node.output] = real_step(run, node, real, op, array)
    return True


def _pixels(real: Real) -> bool:
    """Whether a tensor is an input's integers, cast to float32, and functions of them."""
    first = real.steps[0] if real.steps else None
    plain = all(isinstance(step, Unary | Arithmetic) for step in real.steps)
    cast = isinstance(first, Unary) and first.name.startswith("Cast ")
    return isinstance(real.source, Level) and plain and cast


def with_bias(run: Importer, node: OnnxNode, real: Real, bias: Constant) -> Real:
    """A layer's sum with its bias: among the whole numbers where that is exact, or added to reals.

    The executor adds it to the sum in float32 (ONNX Runtime's Gemm and Conv, for one row).
    """
    source = real.source
    assert isinstance(source, Weighing)
    values, outputs = constant_of(node, bias).ravel(), source.op.outputs
    if values.size not in (1, outputs):
        raise HwsimError(
            f"{node}: its bias must have {outputs} values, one a channel, not {values.size}"
        )
    folded = exact_bias(run, source, values)
    if folded is not None:
        return replace(real, source=folded)
    return real.then(Arithmetic(str(node), "add", values))


def exact_bias(run: Importer, source: Weighing, values: FloatArray) -> Weighing | None:
    """The layer with a bias among its whole numbers, if float32 holds all of its sums so."""
    if source.op.bias.any() or not powers_of_two(source.scale):
        return None
    codes = values.astype(np.float64) / source.scale.astype(np.float64)
    extra = bits_after_point(codes)
    most = MOST_EXACT if run.exact_sums else MOST_BIAS
    if extra > MAX_BIAS_BITS or np.abs(codes).max() >= most:
        return None
    kind = run.types[source.input.codes.edge]
    fraction = kind.format.frac_bits + source.op.weight_format.frac_bits
    whole = np.broadcast_to(codes * 2.0**extra, source.op.outputs).astype(np.int64)
    found = replace(source, op=replace(source.op, bias=whole, bias_frac=fraction + extra))
    return found if exact(run, found) or rough(run, found) else None


def real_step(run: Importer, node: OnnxNode, real: Real, op: str, array: FloatArray) -> Real:
    """A computed tensor with one more step."""
    if array.size == 1:
        step = Arithmetic(str(node), op, array.reshape(1))
        tabled = isinstance(real.source, OfTwoCodes | PerChannel)  # tried code by code, as it is
        narrow = tabled or (isinstance(real.source, Level) and real.source.scales is None)
        if narrow and not any(isinstance(s, Arithmetic) for s in real.steps):
            return real.then(Unary(step.name, step.function, rising=step.rising))
        return real.then(step)
    whole = spread(node, array, real.layout.shape)
    real = _with_channels(run, node, real, whole)
    lying = whole.ravel()[real.layout.order].reshape(-1, real.layout.physical[-1])
    if (lying != lying[:1]).any():
        raise HwsimError(
            f"{node}: its constant must be one value, or one for each index of an axis of "
            f"(batch, {', '.join(map(str, real.layout.shape))}) that lies innermost"
        )
    return real.then(Arithmetic(str(node), op, np.ascontiguousarray(lying[0])))


def _with_channels(run: Importer, node: OnnxNode, real: Real, whole: FloatArray) -> Real:
    """A tensor whose innermost axis is that along which a constant varies, if it can be moved."""
    layout = real.layout
    lying = whole.ravel()[layout.order].reshape(-1, layout.physical[-1])
    source = real.source
    if not (lying != lying[:1]).any() or not isinstance(source, Level) or real.steps:
        return real
    varied = [axis for axis, size in enumerate(whole.shape) if _varies(whole, axis)]
    held = replace(source.codes, layout=layout)
    if len(varied) == 1 and len(layout.shape) > 1:
        codes = run.arranged(held, Arrangement.innermost(layout.shape, varied[0]), node)
    else:
        codes = run.flat(held)
    return replace(real, source=replace(source, codes=codes), layout=codes.layout)


def _varies(whole: FloatArray, axis: int) -> bool:
    return bool((whole != whole.take([0], axis=axis)).any())


def line(
    node: OnnxNode, constants: list[Any], epsilon: float, count: int
) -> tuple[FloatArray, FloatArray]:
    """Factor and offset of a BatchNormalization of `count` channels, each rounded to float32."""
    scale, bias, mean, variance = (np.asarray(c).astype(F32).ravel() for c in constants)
    if any(values.size != count for values in (scale, bias, mean, variance)):
        raise HwsimError(f"{node}: its constants must have one value for each of {count} channels")
    if not all(np.isfinite(values).all() for values in (scale, bias, mean, variance)):
        raise HwsimError(f"{node}: its constants must be finite")
    wide = variance + F32(epsilon)
    if not (wide > 0).all():
        raise HwsimError(f"{node}: its variance must be above 0")
    factor = scale * (F32(1) / np.sqrt(wide))
    return factor, bias - mean * factor


def normalized(run: Importer, node: OnnxNode, constants: list[Any], epsilon: float) -> bool:
    """BatchNormalization of an input or in a QONNX model; False for another.

    ONNX Runtime's kernel: a product and a sum, each rounded to float32.
    """
    value = run.value(node, 0)
    if run.choices is not None and not isinstance(value, RawInput):
        return False
    shape = value.plain.shape if isinstance(value, RawInput) else run.real(node, 0).layout.shape
    count = shape[0] if shape else 0
    factor, offset = line(node, constants, epsilon, count)
    places = (count, *(1,) * (len(shape) - 1))
    for op, values in (("mul", factor), ("add", offset)):
        array = values.reshape(places)
        if isinstance(value, RawInput):
            value = raw_step(node, value, op, array)
        else:
            real = run.real(node, 0) if value is run.value(node, 0) else value
            assert isinstance(real, Real)
            value = real_step(run, node, real, op, array)
    run.values[node.output] = value
    return True
