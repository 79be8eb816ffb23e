"""Operators of one int16 code: rescaled, clamped and bent by a few exact operators.

int16 activations are symmetric. Sources: TensorFlow Lite `activations.cc`, `leaky_relu.h`,
`reference/integer_ops/logistic.h` and `tanh.h`, and TensorFlow Lite Micro's copies.
"""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.frontends.tflite import gates
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.interpolated import between, halved
from hwsim.frontends.tflite.kernels import F32, KernelSet, limits
from hwsim.frontends.tflite.model import LiteNode, LiteQuant, LiteTensor
from hwsim.frontends.tflite.rounding import clamp, requantized
from hwsim.frontends.tflite.scaled import double
from hwsim.ops import Add, Literal, Mul, Op, Quant, Relu, Requantize, Scheme, Sub, Table
from hwsim.ops.base import IntArray

LONG = Format.int(32)
MOST_MULTIPLIER = 1 << 16  # with a code of 16 bits it passes 32
OUTPUT = -15  # logarithm of the scale of every int16 logistic, tangent and softmax


def rescale(factor: float, out: Format) -> Requantize:
    """gemmlowp's two roundings, to whole numbers without a meaning of their own."""
    return Requantize(scheme=Scheme.GEMMLOWP_DOUBLE, multiplier=(factor,), out=out)


def ratio(run: LiteImporter, before: LiteQuant, after: LiteQuant) -> float:
    """Steps of the result that a code is worth; in float32 but for TensorFlow Lite Micro."""
    if run.like is KernelSet.TFLM:
        return float(before.scale) / float(after.scale)
    return float(F32(before.scale) / F32(after.scale))


def relu(run: LiteImporter, node: LiteNode) -> None:
    """RELU and RELU6."""
    given, made = run.tensor(node, 0), run.made(node)
    before, after, out = run.meaning(given), run.meaning(made), run.format(made)
    ends = (out.min, out.max)
    if run.like is KernelSet.TFLM and node.op == "RELU6":  # looks at the input's meaning only
        low, high = limits(run.like, node.op, before.scale, 0, ends)
        same = Requantize(
            scheme=Scheme.SHIFT, multiplier=(1.0,), out=out, quant=Quant((float(after.scale),))
        )
        run.give(node, [same, *clamp(out, low, high)], run.edge(node))
        return
    low, high = limits(KernelSet.REFERENCE, node.op, after.scale, 0, ends)
    scaled = requantized(run, made, Scheme.GEMMLOWP_DOUBLE, np.array([ratio(run, before, after)]))
    run.give(node, [scaled, *clamp(out, low, high)], run.edge(node))


def leaky_relu(run: LiteImporter, node: LiteNode) -> None:
    """LEAKY_RELU: what is below zero by a factor of its own, which may be negative."""
    before, after = run.meaning(run.tensor(node, 0)), run.meaning(run.made(node))
    alpha = F32(node.options["alpha"])
    if run.like is KernelSet.TFLM:
        bent = float(before.scale) * float(alpha) / float(after.scale)
    else:
        bent = float(F32(F32(before.scale) * alpha) / F32(after.scale))
    below = _below(run, node)
    _bent(run, node, below, bent)


def prelu(run: LiteImporter, node: LiteNode, slopes: IntArray, meant: LiteQuant) -> None:
    """PRELU: what is below zero times slopes of 8 bits, one or one a channel."""
    before, after = run.meaning(run.tensor(node, 0)), run.meaning(run.made(node))
    name = run.label(run.made(node))
    if run.like is KernelSet.TFLM:
        bent = float(before.scale) * float(meant.scale) / float(after.scale)
    else:
        bent = float(F32(F32(before.scale) * F32(meant.scale)) / F32(after.scale))
    values = slopes.astype(np.int64).ravel() - meant.zero_point
    held = Literal(values=values, out=Format.holding(int(values.min()), int(values.max())))
    below = _below(run, node)
    edge = run.emit(f"{name}.slopes", held, [below], f"{name}.slopes")
    below = run.emit(f"{name}.bent", Mul(), [below, edge], f"{name}.bent")
    _bent(run, node, below, bent)


def bare(run: LiteImporter, node: LiteNode) -> str:
    """The codes of an operator's input without their meaning."""
    edge = run.edge(node)
    name = run.label(run.made(node))
    plain = Requantize(scheme=Scheme.SHIFT, multiplier=(1.0,), out=run.types[edge].format)
    return run.emit(f"{name}.codes", plain, [edge], f"{name}.codes")


def _below(run: LiteImporter, node: LiteNode) -> str:
    """What of the input is below zero, and zero elsewhere."""
    name, edge = run.label(run.made(node)), bare(run, node)
    kind = run.types[edge]
    part = Relu(zero_point=kind.format.min, maximum=0)
    return run.emit(f"{name}.below", part, [edge], f"{name}.below")


def _bent(run: LiteImporter, node: LiteNode, below: str, bent: float) -> None:
    """The result from what is above zero, rescaled, and `below`, scaled by `bent`."""
    made = run.made(node)
    before, after = run.meaning(run.tensor(node, 0)), run.meaning(made)
    name, fine = run.label(made), Format.int(24)  # nothing saturates before the sum
    above = run.chain(
        f"{name}.above",
        bare(run, node),
        [Relu(), rescale(ratio(run, before, after), fine)],
        f"{name}.above",
    )
    if not bent:
        total = above
    else:
        part = run.emit(f"{name}.part", rescale(abs(bent), fine), [below], f"{name}.part")
        both = Add() if bent > 0 else Sub()
        total = run.emit(f"{name}.total", both, [above, part], f"{name}.total")
    out = run.format(made)
    run.give(node, [halved(0, out, quant=Quant((float(after.scale),)))], total)


def format_of(run: LiteImporter, tensor: LiteTensor) -> Format:
    """The format of what QUANTIZE takes or makes, which may be of int32."""
    return LONG if tensor.dtype == "int32" else run.format(tensor)


LITERT = (
    ("int16", "int8"), ("int16", "int16"), ("int16", "int32"), ("int32", "int8"),
    ("int32", "int16"), ("int8", "int16"),
)  # fmt: skip
MICRO = (*LITERT, ("int8", "int32"))
"""From which type to which the runtimes bring codes, beside those of 8 bits."""


def quantize(run: LiteImporter, node: LiteNode) -> None:
    """QUANTIZE to or from int16 and int32: gemmlowp's two roundings in all kernel sets."""
    given, made = run.tensor(node, 0), run.made(node)
    types = given.dtype, made.dtype
    if types not in (MICRO if run.like is KernelSet.TFLM else LITERT):
        raise HwsimError(f"{node}: {run.like.value} has no kernel from {types[0]} to {types[1]}")
    before, after = run.meaning(given), run.meaning(made)
    factor = float(before.scale) / float(after.scale)
    rounding = Requantize(
        scheme=Scheme.GEMMLOWP_DOUBLE,
        multiplier=(factor,),
        out=format_of(run, made),
        zero_point=after.zero_point,
        input_zero_point=before.zero_point,
        quant=Quant((float(after.scale),), after.zero_point),
    )
    edge, kind = run.edge(node), run.types[run.edge(node)]
    ahead: list[Op] = []
    if kind.lo == LONG.min:  # which passes 32 bits without its sign
        codes = double(np.array([LONG.min, LONG.min + 1]), factor) + after.zero_point
        if before.zero_point or factor >= 1 or len(set(np.clip(codes, *_ends(made)).tolist())) > 1:
            raise HwsimError(
                f"{node}: from int32 its output's scale must be so much larger that the two least "
                "codes become one"
            )
        ahead = [Relu(zero_point=LONG.min + 1)]
    run.give(node, [*ahead, rounding], edge)


def _ends(tensor: LiteTensor) -> tuple[int, int]:
    bits = {"int8": 8, "int16": 16}[tensor.dtype]
    return -(1 << bits - 1), (1 << bits - 1) - 1


def power_of_two(scale: np.float32) -> int | None:
    """The logarithm of a scale that the kernels take for a power of two, within 0.07 percent."""
    found = F32(np.log(F32(scale))) * F32(F32(1) / F32(np.log(F32(2))))
    whole = np.copysign(np.floor(np.abs(found) + F32(0.5)), found)
    return int(whole) if abs(F32(found - whole)) < F32(1e-3) else None


def logistic(run: LiteImporter, node: LiteNode) -> None:
    """LOGISTIC: between 256 entries of a table; gemmlowp's for one scale in `builtin`."""
    _check_output(run, node, exact=run.like is not KernelSet.TFLM)
    scale = run.meaning(run.tensor(node, 0)).scale
    log = power_of_two(scale)
    if log == -12 and run.like in (KernelSet.BUILTIN, KernelSet.XNNPACK):
        _whole(run, node, gates.logistic())
        return
    entries = _mirrored()
    base, slope = (entries[:-1] << 9) + np.diff(entries), np.diff(entries)
    base[0], slope[0] = 1 << 10, 0  # beyond the table
    base -= 1 << 24  # ties go away from the middle
    factor = _factor(run, node, 3 if log == -12 else None)
    steps = Requantize(scheme=Scheme.SINGLE, multiplier=factor, out=LONG, zero_point=-1)
    middle = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0**-10,),
        out=run.format(run.made(node)),
        rounding=Rounding.RND_INF,
        zero_point=1 << 14,
        quant=Quant((float(run.meaning(run.made(node)).scale),)),
    )
    ends = Relu(zero_point=-255 * 512 - 1, maximum=255 * 512 - 1)
    _interpolated(run, node, [steps, ends], 9, base, slope, middle)


def tanh(run: LiteImporter, node: LiteNode) -> None:
    """TANH: the same table, read at half of its steps."""
    _check_output(run, node, exact=False)
    log = power_of_two(run.meaning(run.tensor(node, 0)).scale)
    left = None if log is None else log + 12
    if left in (0, 1) and run.like in (KernelSet.BUILTIN, KernelSet.XNNPACK):
        values = gates.tanh(3)
        codes = np.clip(gates.CODES << left, -32768, 32767)
        _whole(run, node, values[codes + 32768])
        return
    entries = _mirrored()
    base, slope = (entries[:-1] << 8) - (1 << 23), np.diff(entries)
    factor = _factor(run, node, None if left is None else {0: 3, 1: 6}.get(left))
    steps = Requantize(scheme=Scheme.SINGLE, multiplier=factor, out=LONG)
    middle = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0**-8,),
        out=run.format(run.made(node)),
        rounding=Rounding.RND_INF,
        quant=Quant((float(run.meaning(run.made(node)).scale),)),
    )
    ends = Relu(zero_point=-255 * 256, maximum=255 * 256)
    _interpolated(run, node, [steps, ends], 8, base, slope, middle)


def _mirrored() -> IntArray:
    """The table for both signs, from -256 to 256; the outermost entries are never between."""
    half = np.append(gates.sigmoids(), gates.sigmoids()[-1])
    return np.concatenate([65536 - half[:0:-1], half])


def _check_output(run: LiteImporter, node: LiteNode, *, exact: bool) -> None:
    scale = run.meaning(run.made(node)).scale
    fits = float(scale) == 2.0**OUTPUT if exact else power_of_two(scale) == OUTPUT
    if not fits:
        raise HwsimError(f"{node}: its output must have scale 1/32768, not {scale}")


def _whole(run: LiteImporter, node: LiteNode, values: IntArray) -> None:
    """A table of all codes."""
    made = run.made(node)
    meaning = Quant((float(run.meaning(made).scale),))
    run.give(node, [Table(values=values, out=run.format(made), quant=meaning)], run.edge(node))


def _factor(run: LiteImporter, node: LiteNode, whole: int | None) -> tuple[float]:
    """From codes to steps of the table: a whole number, or one of up to 15 bits and a shift."""
    scale = run.meaning(run.tensor(node, 0)).scale
    value, right = float(scale) * 4096.0 * 3.0, 0
    while value <= 32767.0 / 2.0 and right <= 30:
        value, right = value * 2.0, right + 1
    factor, right = (int(value), right) if whole is None else (whole, 0)
    if not 0 < factor < MOST_MULTIPLIER:
        raise HwsimError(f"{node}: its input's scale must be from 2**-42 to 5, not {scale}")
    return (factor * 2.0**-right,)


def _interpolated(
    run: LiteImporter,
    node: LiteNode,
    steps: list[Op],
    bits: int,
    base: IntArray,
    slope: IntArray,
    rounding: Requantize,
) -> None:
    """A function of the codes in steps of the table."""
    name = run.label(run.made(node))
    edge = run.chain(f"{name}.steps", run.edge(node), steps, f"{name}.steps")
    run.give(node, [rounding], between(run, name, edge, bits, base, slope))
