"""quantize_per_tensor, dequantize_per_tensor and their per-channel forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.rounding import quantize
from hwsim.frontends.shared.trying import TABLE_BITS
from hwsim.frontends.shared.values import Codes, Constant, Level, RawInput, Real, Unary
from hwsim.frontends.torch.decomposed import Decomposed
from hwsim.frontends.torch.eager import EagerQuantizer
from hwsim.frontends.torch.importer import Executor, ProgramImporter
from hwsim.frontends.torch.program import ProgramNode
from hwsim.frontends.torch.unary import after
from hwsim.frontends.torch.xnnpack import XnnQuantizer
from hwsim.ops import Relu, TensorType

F32 = np.float32
LEAST_SCALE = 2.0**-60  # nearer to float32's ends products overflow or vanish
FORMATS = {
    "uint8": Format.uint(8),
    "int8": Format.int(8),
    "int16": Format.int(16),
    "uint16": Format.uint(16),
    "int32": Format.int(32),
}
QUANTIZERS: dict[Executor, type[Decomposed]] = {
    Executor.EXECUTORCH: XnnQuantizer,
    Executor.TORCH: EagerQuantizer,
}


def format_of(node: ProgramNode) -> Format:
    """The format of a node's codes."""
    dtype = node.args.get("dtype")
    if not isinstance(dtype, str) or dtype not in FORMATS:
        raise HwsimError(f"{node}: its codes must be {', '.join(FORMATS)}, not {dtype}")
    return FORMATS[dtype]


def quantizer(run: ProgramImporter, node: ProgramNode) -> Decomposed:
    """The scale and zero point of an activation, checked."""
    scales, zeros = run.number(node, "scale"), run.number(node, "zero_point")
    if scales is None or zeros is None or scales.size != 1 or zeros.size != 1:
        raise HwsimError(
            f"{node}: an activation must have one constant scale and zero point; a dynamically "
            "quantized one (choose_qparams) has none before it runs"
        )
    scale, zero, fmt = float(scales.ravel()[0]), int(zeros.ravel()[0]), format_of(node)
    if not LEAST_SCALE <= scale <= 1 / LEAST_SCALE:
        raise HwsimError(
            f"{node}: the scale of an activation must be from {LEAST_SCALE:.2g} to "
            f"{1 / LEAST_SCALE:.2g}, not {scale:.3g}"
        )
    if fmt.width > 16:
        raise HwsimError(f"{node}: an activation must have at most 16 bits, not {fmt.width}")
    if not fmt.min <= zero <= fmt.max:
        raise HwsimError(f"{node}: its zero point must be a code of {fmt}, not {zero}")
    if run.executor is Executor.EXECUTORCH and fmt != FORMATS["int8"]:
        raise HwsimError(
            f"{node}: ExecuTorch's XNNPACK delegate has activations of int8, not "
            f"{node.args['dtype']}; like='torch' reads the program as PyTorch itself runs it"
        )
    return QUANTIZERS[run.executor](fmt, float(F32(scale)), zero)


def limits(node: ProgramNode, fmt: Format) -> tuple[int, int]:
    """The least and the largest code that a node gives."""
    low, high = node.integer("quant_min", fmt.min), node.integer("quant_max", fmt.max)
    if not fmt.min <= low <= high <= fmt.max:
        raise HwsimError(f"{node}: its codes must be some of {fmt}, not {low} to {high}")
    return low, high


def quantize_per_tensor(run: ProgramImporter, node: ProgramNode) -> None:
    """Reals become codes."""
    value = run.value(node, "input")
    if isinstance(value, Constant):
        run.values[node.output] = _codes(run, node, value, None)
        return
    by = quantizer(run, node)
    if isinstance(value, RawInput):
        if value.dtype != "float32":
            raise HwsimError(f"{node}: its input must be float32, not {value.dtype}")
        codes = by.enter(run, value, node.name, node.output)
    else:
        real = run.real(node, "input")
        codes = quantize(run, real, by, node.name, node.output)
        _note_last_bits(run, node, real, by)
    run.values[node.output] = _limited(run, node, codes, by.format)


LAST_BITS = 8 * 2.0**-24
"""How far a runtime's function may lie from the exact one, as a part of it."""
ROUGH = (
    "the last bits of {name} decide {count} of {all} codes, which may be others in the runtime by "
    "one step"
)


def _note_last_bits(run: ProgramImporter, node: ProgramNode, real: Real, by: Decomposed) -> None:
    """Say it where a function of a code lies so near to a threshold that its last bits decide."""
    source, functions = real.source, [s for s in real.steps if isinstance(s, Unary)]
    if not isinstance(source, Level) or not any(step.rough for step in functions):
        return
    kind = run.types[source.codes.edge]
    if kind.format.width > TABLE_BITS:
        return
    x = (np.arange(kind.lo, kind.hi + 1) - source.zero_point).astype(F32) * F32(source.scale)
    exact = after(x, functions).astype(np.float64)
    with np.errstate(invalid="ignore"):
        ends = [by.codes((exact * (1 + part)).astype(F32)) for part in (-LAST_BITS, LAST_BITS)]
    doubtful = int((ends[0] != ends[1]).sum())
    if doubtful:
        name = next(step.name for step in functions if step.rough)
        run.warn(node.name, ROUGH.format(name=name, count=doubtful, all=len(x)))


def _limited(run: ProgramImporter, node: ProgramNode, codes: Codes, fmt: Format) -> Codes:
    """Codes of fewer values than their format has."""
    low, high = limits(node, fmt)
    kind = run.types[codes.edge]
    if low <= kind.lo and kind.hi <= high:
        return codes
    op = Relu(zero_point=low, maximum=None if high == fmt.max else high)
    edge = run.emit(f"{node.name}.limits", op, [codes.edge], f"{codes.edge}.limits")
    return Codes(edge, codes.format, codes.layout, codes.padding)


def dequantize_per_tensor(run: ProgramImporter, node: ProgramNode) -> None:
    """Codes are taken for reals again."""
    value = run.value(node, "input")
    if isinstance(value, Constant):
        run.values[node.output] = _dequantized(run, node, value, None)
        return
    by = quantizer(run, node)
    if isinstance(value, RawInput):
        if value.dtype != node.args.get("dtype"):
            raise HwsimError(f"{node}: its input must be {node.args.get('dtype')}")
        kind = TensorType((), by.format, by.quant)
        value = run.input_codes(value, kind, {"element": value.dtype}, value.name)
        run.values[run.named(node, "input")] = value
    if not isinstance(value, Codes) or value.format != by.format:
        raise HwsimError(f"{node}: its input must hold codes of {by.format}")
    run.values[node.output] = Real(Level(value, by.scale, by.zero_point), value.layout)


def quantize_per_channel(run: ProgramImporter, node: ProgramNode) -> None:
    """Weights become codes."""
    axis = node.integer("axis")
    run.values[node.output] = _codes(run, node, run.constant(node, "input"), axis)


def dequantize_per_channel(run: ProgramImporter, node: ProgramNode) -> None:
    """Codes of weights are taken for reals again."""
    axis = node.integer("axis")
    run.values[node.output] = _dequantized(run, node, run.constant(node, "input"), axis)


def _parameters(
    run: ProgramImporter, node: ProgramNode, shape: tuple[int, ...], axis: int | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Scales and zero points of a constant, so that they broadcast against it."""
    names = ("scale", "zero_point") if axis is None else ("scales", "zero_points")
    given = run.number(node, names[0])
    zeros = run.number(node, names[1]) if node.args.get(names[1]) is not None else np.array(0)
    if given is None or zeros is None:
        raise HwsimError(f"{node}: the scales of a constant must be constant")
    scales = np.asarray(given, F32).ravel()
    count = 1 if axis is None else shape[axis] if -len(shape) <= axis < len(shape) else 0
    if scales.size != count or zeros.size not in (1, count):
        raise HwsimError(
            f"{node}: a constant of shape {shape} must have {count} scales and zero points, not "
            f"{scales.size} and {zeros.size}"
        )
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise HwsimError(f"{node}: scales must be finite and above 0")
    along = [1] * len(shape)
    if axis is not None:
        along[axis] = count
    points = np.broadcast_to(zeros.ravel().astype(np.int64), count)
    return scales.reshape(along), points.reshape(along)


def _codes(run: ProgramImporter, node: ProgramNode, value: Constant, axis: int | None) -> Constant:
    fmt = format_of(node)
    low, high = limits(node, fmt)
    scales, zeros = _parameters(run, node, value.array.shape, axis)
    reals = value.array.astype(F32)
    if not np.isfinite(reals).all():
        raise HwsimError(f"{node}: weights must be finite")
    whole = np.rint(reals * (F32(1) / scales)).astype(np.float64) + zeros
    return Constant(np.clip(whole, low, high).astype(node.args["dtype"]))


def _dequantized(
    run: ProgramImporter, node: ProgramNode, value: Constant, axis: int | None
) -> Constant:
    """Codes with the zero point taken off, and their scale."""
    fmt = format_of(node)
    if value.array.dtype.name != node.args["dtype"]:
        raise HwsimError(f"{node}: its codes must be {node.args['dtype']}, not {value.array.dtype}")
    scales, zeros = _parameters(run, node, value.array.shape, axis)
    codes: npt.NDArray[Any] = value.array.astype(np.int64) - zeros
    shifted = bool(zeros.any())
    if shifted and codes.size:
        fmt = Format.holding(int(codes.min()), int(codes.max()))
    with np.errstate(over="ignore"):
        reals = codes.astype(F32) * scales
    zero = int(zeros.ravel()[0]) if zeros.size == 1 else 0
    return Constant(reals, codes, fmt, scales, shifted, zero)
