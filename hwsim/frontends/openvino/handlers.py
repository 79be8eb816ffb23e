"""How nodes of an OpenVINO model are read: those of ONNX, and FakeQuantize."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx import elementwise, float_chain, scale, weighted
from hwsim.frontends.onnx import matmul as products
from hwsim.frontends.onnx.handlers import FLOAT_HANDLERS
from hwsim.frontends.onnx.importer import Handler, Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.qdq import dequantize_linear
from hwsim.frontends.openvino import codes as codes_of
from hwsim.frontends.openvino import wrong
from hwsim.frontends.openvino.fake_quantizer import FakeQuantizer, sums_of_weights
from hwsim.frontends.openvino.importer import OvImporter, TwoPaths
from hwsim.frontends.openvino.lines import again, is_signed, shift_of
from hwsim.frontends.openvino.lowering import DOMAIN
from hwsim.frontends.openvino.pools import average_pool
from hwsim.frontends.openvino.residual import ClippedSum, ClippingEnds
from hwsim.frontends.shared.rounding import quantize, relabel
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import (
    Arithmetic,
    Constant,
    FloatArray,
    Level,
    Pair,
    RawInput,
    Real,
    Unary,
    Weighing,
)
from hwsim.ops import Conv, Dense, Quant

F32 = np.float32
MOST_LEVELS = 256
QUANTIZERS = ("FakeQuantize", "QuantizeLinear")


def fake_quantize(run: Importer, node: OnnxNode) -> None:
    """FakeQuantize of an input or a computed tensor."""
    value, ends = run.value(node, 0), [run.constant(node, i).array for i in range(1, 5)]
    levels = node.integer("levels", MOST_LEVELS)
    if isinstance(value, Constant):
        raise HwsimError(f"{node}: its input must not be constant")
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
    made = Real(Level(codes, by.scale, by.zero_point, scales), codes.layout)
    in_layer = isinstance(value, Real) and isinstance(value.source, Weighing)
    maker = _maker(run, node.inputs[0])
    over = maker in MOVED_OVER or (
        maker in MOVING and maker != "Relu" and again_alike(run, value, by)
    )
    if by.kept and scales is None and over:
        made = made.then(by.apart())
    elif by.kept and scales is None:
        made = made.then(by.shown(ends[2], ends[3], in_layer=in_layer))
    elif in_layer and not by.place and _shown_only(run, node) and scales is None:
        made = made.then(by.divided())
    run.values[node.output] = made


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
        return replace(by, kept=_shown_only(run, node), signed=signed, place=place)
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
    value, total = run.values.get(node.inputs[0]), _only_reader(run, node.output)
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
    total = _only_reader(run, node.output)
    if not (added and plain) or total is None or total.op != "Add":
        return False
    others = [name for name in total.inputs if name != node.output]
    assert isinstance(source, Weighing)
    layer = next(other for other in run.model.nodes if source.tensor in other.outputs)
    if layer.inputs[0] in others:  # its result cannot take the place of what it still reads
        return False
    if len(others) != 1 or run.model.constants.get(others[0]) is not None:
        return False
    behind = _only_reader(run, total.output)
    if behind is not None and behind.op == "Relu":
        behind = _only_reader(run, behind.output)
    if behind is None or behind.op not in QUANTIZERS:
        return False
    return not (total.inputs[1] == node.output and _of_convolution(run, others[0]))


def _is_bias(step: object, place: int) -> bool:
    return place == 0 and isinstance(step, Arithmetic) and step.op == "add"


def _is_relu(step: object) -> bool:
    return isinstance(step, Unary) and step.low == 0 and step.high is None


def _only_reader(run: Importer, name: str) -> OnnxNode | None:
    """The only node that reads a tensor; None where there are several, or the user reads it."""
    readers = [other for other in run.model.nodes if name in other.inputs]
    shown = any(port.name == name for port in run.model.outputs)
    return readers[0] if len(readers) == 1 and not shown else None


def _of_convolution(run: Importer, name: str) -> bool:
    """Whether a tensor is a quantizer's that clips too, were it not the second."""
    return name in run.clipping if isinstance(run, OvImporter) else False


MOVING = (
    "Concat", "DepthToSpace", "Flatten", "Gather", "MaxPool", "Pad", "Relu", "Reshape", "Resize",
    "Slice", "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that leave codes as they are."""


MOVED_OVER = ("Concat", "Transpose")
"""Operators ahead of which the plugin moves a quantizer."""


def _maker(run: Importer, name: str) -> str:
    """The operator that makes a tensor."""
    return next((other.op for other in run.model.nodes if name in other.outputs), "")


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


def add(run: Importer, node: OnnxNode) -> None:
    """Add: a constant is added in float32, whatever it is added to."""
    values = [run.value(node, place) for place in (0, 1)]
    reals = [value for value in values if isinstance(value, Real)]
    constants = [value for value in values if isinstance(value, Constant)]
    if len(reals) == len(constants) == 1 and not _function_of_reals(run, node):
        if isinstance(reals[0].source, Weighing) and not reals[0].steps and goes_on(run, node):
            run.values[node.output] = among_sums(run, node, reals[0], constants[0])
            return
        array = float_chain.constant_of(node, constants[0])
        run.values[node.output] = float_chain.real_step(run, node, reals[0], "add", array)
    elif len(reals) == len(constants) == 1:
        return
    elif isinstance(run, OvImporter) and set(node.inputs) & set(run.clipping):
        run.values[node.output] = clipped_sum(run, node)
    else:
        met(run, node)
        elementwise.add(run, node)


def paired(run: Importer, node: OnnxNode) -> None:
    """Sub and Mul, of two tensors or of one and a constant."""
    met(run, node)
    if not (_factor_of_codes(run, node) or _function_of_reals(run, node)):
        scale.arithmetic(run, node)


def _factor_of_codes(run: Importer, node: OnnxNode) -> bool:
    """Codes times a constant, right before a quantizer."""
    behind = _only_reader(run, node.output)
    values = [run.values.get(name) for name in node.inputs]
    reals = [x for x in values if isinstance(x, Real) and isinstance(x.source, Level)]
    constants = [x for x in values if isinstance(x, Constant) and x.array.size == 1]
    if node.op != "Mul" or not (reals and constants) or behind is None:
        return False
    if behind.op not in QUANTIZERS or reals[0].steps:
        return False
    step = Arithmetic(str(node), "mul", constants[0].array.astype(F32).reshape(1))
    run.values[node.output] = reals[0].then(step)
    return True


def _function_of_reals(run: Importer, node: OnnxNode) -> bool:
    """A number added to or multiplied by reals that are neither codes nor a layer's sum."""
    values = [run.values.get(name) for name in node.inputs]
    place = next((i for i, value in enumerate(values) if isinstance(value, Constant)), None)
    if place is None:
        return False
    real, constant = values[1 - place], values[place]
    assert isinstance(constant, Constant)
    if not isinstance(real, Real) or isinstance(real.source, Weighing | Level):
        return False
    if constant.array.size != 1:
        return False
    number = F32(constant.array.reshape(())[()])
    op = float_chain.OPS[node.op]
    op = "sub_from" if op == "sub" and place == 0 else op
    if (op == "div" and (place == 0 or not number)) or not np.isfinite(number):
        return False
    step = Arithmetic(str(node), op, np.array([number], F32))
    named = (op, float(number))
    made = Unary(str(node), step.function, rising=step.rising, arithmetic=named)
    run.values[node.output] = real.then(made)
    return True


def clip(run: Importer, node: OnnxNode) -> None:
    """Clip; one at the end of the model cuts the codes that it reads."""
    value = run.values.get(node.inputs[0])
    FLOAT_HANDLERS["", "Clip"](run, node)
    made = run.values[node.output]
    if not (isinstance(run, OvImporter) and isinstance(value, Real) and isinstance(made, Real)):
        return
    level, steps = value.source, made.steps
    one = isinstance(level, Level) and not value.steps and len(steps) == 1
    if not one or not _shown_only(run, node) or not isinstance(steps[0], Unary):
        return
    assert isinstance(level, Level)
    if level.scales is None and steps[0].low is not None and steps[0].high is not None:
        cut = codes_of.cut(steps[0], run.meaning(level), level.zero_point)
        run.values[node.output] = replace(made, steps=(cut,))


def met(run: Importer, node: OnnxNode) -> None:
    """Note what two tensors are to the plugin where they meet."""
    if isinstance(run, OvImporter) and all(
        isinstance(run.values.get(n), Real) for n in node.inputs
    ):
        one, two = (_alone(run, name) for name in node.inputs)
        run.pairs[node.output] = TwoPaths(full_path(run, node), (one, two))


def _alone(run: Importer, name: str) -> bool:
    """Whether a quantizer makes a tensor for one reader."""
    maker = next((other for other in run.model.nodes if name in other.outputs), None)
    return maker is not None and maker.op in QUANTIZERS and _only_reader(run, name) is not None


def full_path(run: Importer, node: OnnxNode) -> int:
    """Which of two tensors the plugin brings to the codes of the other before it adds them."""
    makers = {name: other for other in run.model.nodes for name in other.outputs}
    behind = [makers.get(name) for name in node.inputs]
    quantized = [maker is not None and maker.op in QUANTIZERS for maker in behind]
    if quantized[0] != quantized[1]:
        return 0 if quantized[0] else 1
    readers = [sum(name in other.inputs for other in run.model.nodes) for name in node.inputs]
    if all(quantized) and min(readers) == 1 < max(readers):
        return readers.index(1)
    parents = [_parent(makers, maker) for maker in behind]
    layers = [maker is not None and maker.op in LAYERS for maker in parents]
    if min(readers) == 1 < max(readers):
        return readers.index(1)
    return layers.index(True) if layers[0] != layers[1] else 0


LAYERS = ("Conv", "MatMul")


def _parent(makers: dict[str, OnnxNode], node: OnnxNode | None) -> OnnxNode | None:
    """What a quantizer reads, through a bias and a ReLU."""
    while node is not None and node.op in (*QUANTIZERS, "Add", "Relu"):
        node = makers.get(node.inputs[0])
    return node


def goes_on(run: Importer, node: OnnxNode) -> bool:
    """Whether a layer's sum is used as it is, by no quantizer and not at the end."""
    reached = [node.output]
    for other in run.model.nodes:
        if not set(other.inputs) & set(reached):
            continue
        if other.op in QUANTIZERS:
            return False
        if len(other.inputs) == 1 or other.op == "Clip":
            reached += other.outputs
    ends = {port.name for port in run.model.outputs}
    read = any(set(other.inputs) & set(reached) for other in run.model.nodes)
    return read and not ends & set(reached)


def among_sums(run: Importer, node: OnnxNode, real: Real, bias: Constant) -> Real:
    """A bias among the whole numbers of a layer, as fine as they allow."""
    source = real.source
    assert isinstance(source, Weighing)
    flat = Constant(bias.array.astype(F32).ravel())
    rough = replace(source, exact=False, integer_bias=False)
    return replace(real, source=weighted.biased(run, node, rough, flat))


def clipped_sum(run: OvImporter, node: OnnxNode) -> Real:
    """The sum of a convolution whose quantizer only clips and of a quantized tensor."""
    place = next(i for i, name in enumerate(node.inputs) if name in run.clipping)
    by = run.clipping[node.inputs[place]]
    real, other = run.real(node, place), run.real(node, 1 - place)
    source, level = real.source, level_of(run, node, other)
    assert isinstance(source, Weighing)
    if not real.layout.same(other.layout) or real.layout.shape != other.layout.shape:
        raise HwsimError(f"{node}: its inputs must lie alike and be of one shape")
    biases = [step.values for step in real.steps if isinstance(step, Arithmetic)]
    found = ClippedSum(
        source,
        biases[0] if biases else None,
        by,
        run.meaning(level),
        level,
    )
    run.clipped[node.output] = found
    return Real(Pair(node.name, node.output, source, level), real.layout)


IN_FLOAT = (
    "OpenVINO computes this layer in float32, since its weights have a zero point or are no 8-bit "
    "integers with a scale for each output: about one code in 200,000 (8-bit result) may differ by "
    "one step, and reals in their last bits (about 1e-6 of the largest)"
)


def conv(run: Importer, node: OnnxNode) -> None:
    """Conv without a bias; the plugin takes whole numbers where weights have no zero point."""
    note_float(run, node)
    wrong.note_joined(run, node)
    weighted.conv(run, node)


def note_float(run: Importer, node: OnnxNode) -> None:
    """Say it of a layer that the plugin computes in float32."""
    held = run.values.get(node.input(1))
    if not isinstance(held, Constant):
        return
    narrow = held.codes is not None and bool((np.abs(held.codes) <= 128).all())
    if held.shifted or not narrow:
        run.warn(node.name, IN_FLOAT)


def matmul(run: Importer, node: OnnxNode) -> None:
    """MatMul; one whose codes have a place of 0 gets that out of its sums as the plugin does.

    It multiplies the weights' sums by the place of 0, which it has rounded to float32.
    """
    note_float(run, node)
    products.matmul(run, node)
    made = run.values[node.output]
    source = made.source if isinstance(made, Real) else None
    if not isinstance(run, OvImporter) or not isinstance(source, Weighing):
        return
    meaning = run.meaning(source.input)
    if meaning.lowest and run.of_onnx:
        run.warn(node.name, wrong.DENSE)
    shift, shown = float(meaning.shift), _shown_only(run, node)
    alike = bool((source.scale == source.scale[0]).all())  # then the plugin has one for all
    exact = shift == source.input.zero_point + meaning.lowest
    if not shift or (exact and not (shown and alike)):
        return
    assert isinstance(made, Real) and isinstance(source.op, Dense)
    edge = source.input.codes.edge
    bare = relabel(run, edge, Quant((1.0,), -meaning.lowest), f"{edge}.bare")
    codes = replace(source.input.codes, edge=bare)
    level = replace(source.input, codes=codes, scale=1.0, zero_point=-meaning.lowest)
    ones = None if source.op.weight_format.frac_bits == 0 else (1.0,)
    op = replace(source.op, zero_point=-meaning.lowest, weight_scale=ones)
    whole = replace(source, input=level, op=op, scale=np.ones(1, F32))
    taken = sums_of_weights(source.op, F32(shift))
    scale = again(source.scale) if shown and alike else source.scale
    steps = (Arithmetic(str(node), "sub", taken), Arithmetic(str(node), "mul", scale))
    run.values[node.output] = replace(made, source=whole, steps=steps)


HANDLERS: dict[tuple[str, str], Handler] = {
    **FLOAT_HANDLERS,
    **wrong.MEANS,
    ("", "DequantizeLinear"): dequantize_linear,
    ("", "Add"): add,
    ("", "AveragePool"): average_pool,
    ("", "Clip"): clip,
    ("", "Conv"): conv,
    ("", "MatMul"): matmul,
    ("", "Div"): paired,
    ("", "Mul"): paired,
    ("", "Sub"): paired,
    (DOMAIN, "FakeQuantize"): fake_quantize,
}
