"""FakeQuantize nodes: their rules, and what the plugin makes of them where they stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.openvino import ends as ends_of
from hwsim.frontends.openvino.announcements import LEVELS
from hwsim.frontends.openvino.fake_quantizer import FakeQuantizer
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.openvino.lines import is_signed, shift_of
from hwsim.frontends.openvino.readers import (
    MOVED_OVER,
    MOVING,
    QUANTIZERS,
    maker_of,
    only_reader,
    shown_only,
    takes_int8,
)
from hwsim.frontends.openvino.residual import ClippingEnds
from hwsim.frontends.shared.rounding import quantize
from hwsim.frontends.shared.values import (
    Arithmetic,
    Constant,
    FloatArray,
    Level,
    RawInput,
    Real,
    Unary,
    Weighing,
)
from hwsim.ops import Conv

F32 = np.float32
MOST_LEVELS = 256


def fake_quantize(run: Importer, node: OnnxNode) -> None:
    """FakeQuantize of an input or a computed tensor."""
    value, ends = run.value(node, 0), [run.constant(node, i).array for i in range(1, 5)]
    levels = node.integer("levels", MOST_LEVELS)
    if isinstance(value, Constant):
        raise HwsimError(f"{node}: its input must not be constant")
    if levels != MOST_LEVELS:
        run.warn(node.name, LEVELS.format(levels=levels))
    by = quantizer(node, levels, ends)
    by = held(run, node, by)
    name = f"{node.output}.codes"
    if isinstance(run, OvImporter) and isinstance(value, Real) and only_clips(run, node, value):
        run.values[node.output] = value
        run.clipping[node.output] = ClippingEnds(*by.ends, by.levels, by.meaning)
        return
    if isinstance(value, RawInput):
        if not value.dtype.startswith("float"):
            raise HwsimError(f"{node}: its input must be reals, not {value.dtype}")
        codes = by.enter(run, value, node.name, value.name)
    else:
        codes = quantize(run, run.real(node, 0), by, node.name, name)
    if isinstance(run, OvImporter):
        run.meanings[codes.edge] = by.meaning
    scales = None if len(by.scales) == 1 else np.array(by.scales, F32)
    if isinstance(run, OvImporter) and len(by.scales) == 1:
        run.together[codes.edge] = by.shown(ends[2], ends[3], in_layer=False)
    made = Real(Level(codes, by.scale, by.zero_point, scales), codes.layout)
    in_layer = isinstance(value, Real) and _of_layer(run, value)
    maker = maker_of(run, node.inputs[0])
    over = maker in MOVED_OVER or (
        maker in MOVING and maker != "Relu" and again_alike(run, value, by)
    )
    if by.kept and scales is None and over:
        made = made.then(by.apart())
    elif by.kept and scales is None:
        made = made.then(by.shown(ends[2], ends[3], in_layer=in_layer))
    elif "codes" in node.attributes and shown_only(run, node):
        for step in ends_of.reals_shown(run, node, by, again=again_alike(run, value, by)):
            made = made.then(step)
    run.values[node.output] = made


def _of_layer(run: Importer, real: Real) -> bool:
    """Whether it is the sum of a layer, in whose kernel a quantizer stands."""
    source = real.source
    between: set[str] = run.between if isinstance(run, OvImporter) else set()
    return isinstance(source, Weighing) and source.tensor not in between


def again_alike(run: Importer, value: object, by: FakeQuantizer) -> bool:
    """Whether codes mean to the plugin what its quantizer gives, which it then leaves out."""
    if not isinstance(run, OvImporter) or not isinstance(value, Real):
        return False
    if not isinstance(value.source, Level):
        return False
    before, after = run.meaning(value.source), by.meaning
    return before.same(after)


def held(run: Importer, node: OnnxNode, by: FakeQuantizer) -> FakeQuantizer:
    """A quantizer with what the plugin makes of it: whether it holds int8, and takes it apart.

    An ONNX file's has integers of its own, and a zero point of them.
    """
    own = node.attributes.get("codes")
    if own is None:
        signed = by.signed and takes_int8(run, node)
        signed = signed and not (by.place != by.levels // 2 and _beside_its_input(run, node))
        place = 0.0 if signed else by.place
        return replace(by, kept=shown_only(run, node), signed=signed, place=place)
    signed = own == "int8" and takes_int8(run, node)
    return replace(
        by,
        scales=(node.real("scale", by.scale),),
        signed=signed,
        place=float(by.zero_point + (-128 if signed else 0)),
    )


def _beside_its_input(run: Importer, node: OnnxNode) -> bool:
    """Whether a convolution's quantizer is for a sum alone that reads the convolution's input too.

    The plugin leaves such a quantizer for the kernel to take in with the sum, and then cannot:
    where its place of 0 is not whole, it stays as it is.
    """
    value, total = run.values.get(node.inputs[0]), only_reader(run, node.output)
    source = value.source if isinstance(value, Real) else None
    if not isinstance(source, Weighing) or total is None or total.op != "Add":
        return False
    layer = next(other for other in run.model.nodes if source.tensor in other.outputs)
    return layer.op == "Conv" and layer.inputs[0] in total.inputs


def only_clips(run: Importer, node: OnnxNode, real: Real) -> bool:
    """Whether the plugin takes a quantizer and the sum behind it into a convolution.

    It does where nothing else reads it, and a quantizer follows the sum, a ReLU between them maybe.
    """
    source = real.source
    added = isinstance(source, Weighing) and isinstance(source.op, Conv)
    plain = all(_is_bias(step, place) or _is_relu(step) for place, step in enumerate(real.steps))
    total = only_reader(run, node.output)
    if not (added and plain) or total is None or total.op != "Add":
        return False
    others = [name for name in total.inputs if name != node.output]
    assert isinstance(source, Weighing)
    layer = next(other for other in run.model.nodes if source.tensor in other.outputs)
    if layer.inputs[0] in others:  # its result cannot take the place of what it still reads
        return False
    if len(others) != 1 or run.model.constants.get(others[0]) is not None:
        return False
    behind = only_reader(run, total.output)
    if behind is not None and behind.op == "Relu":
        behind = only_reader(run, behind.output)
    if behind is None or behind.op not in QUANTIZERS:
        return False
    return not (total.inputs[1] == node.output and _of_convolution(run, others[0]))


def _is_bias(step: object, place: int) -> bool:
    return place == 0 and isinstance(step, Arithmetic) and step.op == "add"


def _is_relu(step: object) -> bool:
    return isinstance(step, Unary) and step.low == 0 and step.high is None


def _of_convolution(run: Importer, name: str) -> bool:
    """Whether a tensor is a quantizer's that clips too, were it not the second."""
    return name in run.clipping if isinstance(run, OvImporter) else False


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
    if np.abs(place - zero).max() > 1e-3:
        raise HwsimError(f"{node}: 0 must be one of its values")
    if (zero < 0).any() or (zero >= levels).any():
        raise HwsimError(f"{node}: 0 must lie in its range")
    several = bool((zero != zero.ravel()[0]).any())
    bits = max(1, (levels - 1).bit_length())
    ends = [end.ravel()[:1] if (end == end.ravel()[0]).all() else end for end in (low, high, scale)]
    size = max(end.size for end in ends)
    lows, highs, scales = (
        tuple(float(value) for value in np.broadcast_to(end.ravel(), size)) for end in ends
    )
    signed = all(is_signed(x, y, levels) for x, y in zip(least.ravel(), most.ravel(), strict=False))
    return FakeQuantizer(
        format=Format.int(bits + 1) if several else Format.uint(bits),
        levels=levels,
        low=lows,
        high=highs,
        scales=scales,
        zero_point=0 if several else int(zero.ravel()[0]),
        place=float(shift_of(least.ravel()[0], most.ravel()[0], levels)),
        signed=signed,
        zeros=tuple(int(value) for value in zero.ravel()) if several else (),
    )
