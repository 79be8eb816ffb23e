"""Arithmetic on two tensors, or on one and a constant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx import elementwise, extremes, float_chain, scale, weighted
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.openvino.announcements import LEAST, PRODUCT, SUMMED_INT8
from hwsim.frontends.openvino.importer import OvImporter, TwoPaths
from hwsim.frontends.openvino.readers import QUANTIZERS, full_path, goes_on, only_reader, takes_int8
from hwsim.frontends.openvino.residual import ClippedSum
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import Arithmetic, Constant, Level, Pair, Real, Unary, Weighing

F32 = np.float32


def add(run: Importer, node: OnnxNode) -> None:
    """Add: a constant is added in float32, whatever it is added to."""
    values = [run.value(node, place) for place in (0, 1)]
    reals = [value for value in values if isinstance(value, Real)]
    constants = [value for value in values if isinstance(value, Constant)]
    if len(reals) == len(constants) == 1 and not _function_of_reals(run, node):
        if _bare(reals[0]) and goes_on(run, node):
            run.values[node.output] = among_sums(run, node, reals[0], constants[0])
            return
        array = float_chain.constant_of(node, constants[0])
        run.values[node.output] = float_chain.real_step(run, node, reals[0], "add", array)
    elif len(reals) == len(constants) == 1:
        return
    elif isinstance(run, OvImporter) and set(node.inputs) & set(run.clipping):
        run.values[node.output] = clipped_sum(run, node)
    else:
        _note_int8(run, node)
        met(run, node)
        elementwise.add(run, node)


def _note_int8(run: Importer, node: OnnxNode) -> None:
    """Say it of a sum of int8 codes with a zero point that a layer reads too."""
    for maker in run.model.nodes:
        if set(maker.outputs) & set(node.inputs) and maker.attributes.get("codes") == "int8":
            zero = run.model.constants.get(str(maker.attributes["zero"]))
            if zero is not None and np.any(zero) and not takes_int8(run, maker):
                run.warn(node.name, SUMMED_INT8)
                return


def _bare(real: Real) -> bool:
    """Whether it is a layer's sum, to which nothing has been added yet."""
    source = real.source
    return isinstance(source, Weighing) and not (real.steps or source.op.bias.any())


def paired(run: Importer, node: OnnxNode) -> None:
    """Sub and Mul, of two tensors or of one and a constant."""
    met(run, node)
    _note_product(run, node)
    if not (_factor_of_codes(run, node) or _function_of_reals(run, node)):
        scale.arithmetic(run, node)


def _note_product(run: Importer, node: OnnxNode) -> None:
    """Say it of a product of two tensors, uint8 codes among them, in an ONNX file."""
    both = all(isinstance(run.values.get(name), Real) for name in node.inputs)
    if node.op == "Mul" and both and isinstance(run, OvImporter) and run.of_onnx:
        makers = [other for other in run.model.nodes if set(other.outputs) & set(node.inputs)]
        if any(maker.attributes.get("codes") == "uint8" for maker in makers):
            run.warn(node.name, PRODUCT)


def minimum(run: Importer, node: OnnxNode) -> None:
    """Min; said of two tensors."""
    if all(isinstance(run.values.get(name), Real) for name in node.inputs):
        run.warn(node.name, LEAST)
    extremes.extreme(run, node)


def _factor_of_codes(run: Importer, node: OnnxNode) -> bool:
    """Codes times a constant, right before a quantizer."""
    behind = only_reader(run, node.output)
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
    return maker is not None and maker.op in QUANTIZERS and only_reader(run, name) is not None


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
