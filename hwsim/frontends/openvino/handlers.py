"""How nodes of an OpenVINO model are read: those of ONNX, and FakeQuantize."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx import elementwise, float_chain
from hwsim.frontends.onnx import matmul as products
from hwsim.frontends.onnx.handlers import FLOAT_HANDLERS
from hwsim.frontends.onnx.importer import Handler, Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.qdq import dequantize_linear
from hwsim.frontends.openvino.fake_quantizer import FakeQuantizer, sums_of_weights
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.openvino.lines import again, is_signed, shift_of
from hwsim.frontends.openvino.lowering import DOMAIN
from hwsim.frontends.shared.rounding import quantize, relabel
from hwsim.frontends.shared.values import (
    Arithmetic,
    Constant,
    FloatArray,
    Level,
    RawInput,
    Real,
    Weighing,
)
from hwsim.ops import Dense, Quant

F32 = np.float32
MOST_LEVELS = 256


def fake_quantize(run: Importer, node: OnnxNode) -> None:
    """FakeQuantize of an input or a computed tensor."""
    value, ends = run.value(node, 0), [run.constant(node, i).array for i in range(1, 5)]
    levels = node.integer("levels", MOST_LEVELS)
    if isinstance(value, Constant):
        raise HwsimError(f"{node}: its input must not be constant")
    by = quantizer(node, levels, ends)
    by = replace(by, kept=_shown_only(run, node), signed=by.signed and takes_int8(run, node))
    name = f"{node.output}.codes"
    if isinstance(value, RawInput):
        if not value.dtype.startswith("float"):
            raise HwsimError(f"{node}: its input must be reals, not {value.dtype}")
        codes = by.enter(run, value, node.name, value.name)
    else:
        codes = quantize(run, run.real(node, 0), by, node.name, name)
    if isinstance(run, OvImporter) and not by.signed:
        run.shifts[codes.edge] = float(
            shift_of(F32(ends[2].ravel()[0]), F32(ends[3].ravel()[0]), levels)
        )
    scales = None if len(by.scales) == 1 else np.array(by.scales, F32)
    made = Real(Level(codes, by.scale, by.zero_point, scales), codes.layout)
    if by.kept and scales is None:
        in_layer = isinstance(value, Real) and isinstance(value.source, Weighing)
        made = made.then(by.shown(ends[2], ends[3], in_layer=in_layer))
    run.values[node.output] = made


MOVING = (
    "Concat", "DepthToSpace", "Flatten", "Gather", "MaxPool", "Pad", "Relu", "Reshape", "Resize", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that leave codes as they are."""


def takes_int8(run: Importer, node: OnnxNode) -> bool:
    """Whether the plugin may take int8: convolutions behind a quantizer want uint8."""
    reached = [node.output]
    for other in run.model.nodes:
        if not set(other.inputs) & set(reached):
            continue
        if other.op == "Conv":
            return False
        if other.op in MOVING:
            reached += other.outputs
    return True


def _shown_only(run: Importer, node: OnnxNode) -> bool:
    """Whether nothing but the model's user reads what a node makes."""
    read = any(node.output in other.inputs for other in run.model.nodes)
    return not read and any(port.name == node.output for port in run.model.outputs)


def quantizer(node: OnnxNode, levels: int, ends: list[FloatArray]) -> FakeQuantizer:
    """The rule of a FakeQuantize, checked."""
    if not 2 <= levels <= MOST_LEVELS:
        raise HwsimError(f"{node}: its levels must be from 2 to {MOST_LEVELS}, not {levels}")
    if not all(np.isfinite(end).all() and end.size for end in ends):
        raise HwsimError(f"{node}: its ranges must be finite numbers")
    low, high, least, most = (end.astype(F32) for end in ends)
    if not (low < high).all() or not (least < most).all():
        raise HwsimError(f"{node}: its ranges must be from a number to a larger one")
    scale = (most - least) / F32(levels - 1)
    place = -least / scale
    zero = np.rint(place)
    if np.abs(place - zero).max() > 1e-3 or (zero != zero.ravel()[0]).any():
        raise HwsimError(f"{node}: 0 must be one of its values, and the same one in all channels")
    if not 0 <= int(zero.ravel()[0]) < levels:
        raise HwsimError(f"{node}: 0 must lie in its range")
    width = max(1, (levels - 1).bit_length())
    ends = [end.ravel()[:1] if (end == end.ravel()[0]).all() else end for end in (low, high, scale)]
    size = max(end.size for end in ends)
    lows, highs, scales = (
        tuple(float(value) for value in np.broadcast_to(end.ravel(), size)) for end in ends
    )
    fmt = Format.uint(width)
    signed = all(is_signed(x, y, levels) for x, y in zip(least.ravel(), most.ravel(), strict=False))
    return FakeQuantizer(fmt, levels, lows, highs, scales, int(zero.ravel()[0]), signed)


def add(run: Importer, node: OnnxNode) -> None:
    """Add: a constant is added in float32, whatever it is added to."""
    values = [run.value(node, place) for place in (0, 1)]
    reals = [value for value in values if isinstance(value, Real)]
    constants = [value for value in values if isinstance(value, Constant)]
    if len(reals) == len(constants) == 1:
        array = float_chain.constant_of(node, constants[0])
        run.values[node.output] = float_chain.real_step(run, node, reals[0], "add", array)
    else:
        elementwise.add(run, node)


def matmul(run: Importer, node: OnnxNode) -> None:
    """MatMul; one whose codes have a place of 0 gets that out of its sums as the plugin does.

    It multiplies the weights' sums by the place of 0, which it has rounded to float32.
    """
    products.matmul(run, node)
    made = run.values[node.output]
    source = made.source if isinstance(made, Real) else None
    if not isinstance(run, OvImporter) or not isinstance(source, Weighing):
        return
    shift = run.shift(source.input)
    shown = _shown_only(run, node)
    exact = shift == source.input.zero_point
    if not shift or (exact and not (shown and source.scale.size == 1)):
        return
    assert isinstance(made, Real) and isinstance(source.op, Dense)
    edge = source.input.codes.edge
    bare = relabel(run, edge, Quant((1.0,)), f"{edge}.bare")
    level = replace(
        source.input, codes=replace(source.input.codes, edge=bare), scale=1.0, zero_point=0
    )
    ones = None if source.op.weight_format.frac_bits == 0 else (1.0,)
    op = replace(source.op, zero_point=0, weight_scale=ones)
    whole = replace(source, input=level, op=op, scale=np.ones(1, F32))
    taken = sums_of_weights(source.op, F32(shift))
    scale = again(source.scale) if shown and source.scale.size == 1 else source.scale
    steps = (Arithmetic(str(node), "sub", taken), Arithmetic(str(node), "mul", scale))
    run.values[node.output] = replace(made, source=whole, steps=steps)


HANDLERS: dict[tuple[str, str], Handler] = {
    **FLOAT_HANDLERS,
    ("", "DequantizeLinear"): dequantize_linear,
    ("", "Add"): add,
    ("", "MatMul"): matmul,
    (DOMAIN, "FakeQuantize"): fake_quantize,
}
