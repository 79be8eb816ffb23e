"""ONNX with QuantizeLinear/DequantizeLinear and QLinear operators, as a runtime computes it.

The semantics were found by experiment, against ONNX Runtime 1.32 on x86-64 with all optimizations
on, and TVM 0.27; docs/frontends.md gives each formula and how it was tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx import elementwise, functions, matmul, pool, softmax, weighted
from hwsim.frontends.onnx.fused_norms import with_norms
from hwsim.frontends.onnx.handlers import FLOAT_HANDLERS
from hwsim.frontends.onnx.importer import Handler, Importer
from hwsim.frontends.onnx.model import OnnxModel, OnnxNode
from hwsim.frontends.onnx.ort.linear import Linear
from hwsim.frontends.onnx.ort.moves import note_moved, note_unsigned
from hwsim.frontends.onnx.ort.notes import note_codes
from hwsim.frontends.onnx.ort.parameters import (
    dequantized,
    optional,
    output_type,
    quantized_constant,
    quantizer,
)
from hwsim.frontends.onnx.pairs import paired
from hwsim.frontends.onnx.refusals import not_of
from hwsim.frontends.onnx.runtime import Runtime
from hwsim.frontends.onnx.scale import product_of_codes
from hwsim.frontends.onnx.strided import with_samples_apart
from hwsim.frontends.onnx.types import format_of
from hwsim.frontends.onnx.walk import fitting, read_graph
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.frontends.shared.literals import level_behind
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.rounding import quantize
from hwsim.frontends.shared.values import (
    Codes,
    Constant,
    Level,
    RawInput,
    Real,
)
from hwsim.graph import Graph
from hwsim.notices import warn
from hwsim.ops import TensorType

MICROSOFT = "com.microsoft"


def quantize_linear(run: Importer, node: OnnxNode) -> None:
    """QuantizeLinear of an input, a computed tensor or a constant."""
    rounded = quantized_by(run, node, lambda rule: by_runtime(run, rule))
    if rounded is not None:
        note_codes(run, *rounded)
        note_moved(run, node)


def by_runtime(run: Importer, rule: Linear) -> Linear:
    """A quantizer as the model's runtime has it."""
    highest = run.runtime is not None and run.runtime.highest
    return replace(rule, highest=True) if highest else rule


def quantized_by(
    run: Importer, node: OnnxNode, runtimes: Callable[[Linear], Quantizer]
) -> tuple[Real, Quantizer] | None:
    """QuantizeLinear as a runtime computes it: `runtimes` gives its rule from the node's own.

    Gives the computed tensor that it rounds and the rule; None of an input or a constant.
    """
    value = run.value(node, 0)
    scale, zero = run.constant(node, 1), optional(run, node, 2)
    dtype = output_type(node, zero)
    if isinstance(value, Constant):
        run.values[node.output] = quantized_constant(node, value, scale, zero, dtype)
        return None
    by = runtimes(quantizer(node, scale, zero, dtype))
    if isinstance(value, RawInput):
        if not value.dtype.startswith("float"):
            raise HwsimError(f"{node}: its input must be reals, not {value.dtype}")
        run.values[node.output] = by.enter(run, value, node.name, node.output)
        return None
    real = run.real(node, 0)
    run.values[node.output] = quantize(run, real, by, node.name, node.output)
    return real, by


def dequantize_linear(run: Importer, node: OnnxNode) -> None:
    """DequantizeLinear of codes or of a constant."""
    value = run.value(node, 0)
    scale, zero = run.constant(node, 1), optional(run, node, 2)
    if isinstance(value, Constant):
        run.values[node.output] = dequantized(node, value, scale, zero)
        return
    real = leveled(run, node, 0, scale, zero)
    run.values[node.output] = real
    if zero is None and isinstance(real.source, Level):
        note_unsigned(run, node, run.types[real.source.codes.edge])


def leveled(
    run: Importer, node: OnnxNode, position: int, scale: Constant, zero: Constant | None
) -> Real:
    """A tensor of codes with the meaning that its reader gives it."""
    value = run.value(node, position)
    if isinstance(value, RawInput):
        by = quantizer(node, scale, zero, value.dtype)
        if format_of(node, value.dtype) != by.format:
            raise HwsimError(
                f"{node}: its zero point must be {value.dtype} like input {value.name!r}"
            )
        kind = TensorType((), by.format, by.quant)
        value = run.input_codes(value, kind, {"element": value.dtype}, value.name)
        run.values[node.input(position)] = value
    if not isinstance(value, Codes):
        raise HwsimError(
            f"{node}: input {position} ({node.input(position)!r}) must hold integer codes"
        )
    dtype = f"{'int' if value.format.signed else 'uint'}{value.format.width}"
    by = quantizer(node, scale, zero, dtype)
    if by.format != value.format:
        raise HwsimError(
            f"{node}: its zero point must be {value.format} like its codes, not {by.format}"
        )
    return Real(Level(value, by.scale, by.zero_point), value.layout)


# QLinear operators: dequantize, compute, quantize, all in one node.


def given(run: Importer, node: OnnxNode, first: int) -> Real:
    """The tensor, scale and zero point at inputs `first` and after."""
    return leveled(run, node, first, run.constant(node, first + 1), optional(run, node, first + 2))


def given_weights(run: Importer, node: OnnxNode, first: int, axis: int) -> Constant:
    """Constant codes, scales and zero points, along `axis` where there are several."""
    codes = run.constant(node, first)
    turned = replace(node, attributes={"axis": axis})
    return dequantized(turned, codes, run.constant(node, first + 1), optional(run, node, first + 2))


def rounded(run: Importer, node: OnnxNode, real: Real, scale: int) -> None:
    """The result by the scale and zero point at inputs `scale` and after."""
    level = level_behind(real.source)
    signed = level.codes.format.signed
    by = quantizer(
        node,
        run.constant(node, scale),
        optional(run, node, scale + 1),
        "int8" if signed else "uint8",
    )
    run.values[node.output] = quantize(run, real, by, f"{node.name}.requantize", node.output)


def bias_codes(run: Importer, node: OnnxNode, position: int) -> Constant | None:
    """An int32 bias, which has the accumulator's scale by definition."""
    bias = optional(run, node, position)
    if bias is None:
        return None
    if bias.array.dtype != np.int32:
        raise HwsimError(f"{node}: its bias must be int32, not {bias.array.dtype}")
    return Constant(bias.array.astype(np.float32), bias.array.astype(np.int64))


def qlinear_conv(run: Importer, node: OnnxNode) -> None:
    """QLinearConv."""
    weights = given_weights(run, node, 3, 0)
    real = weighted.convolution(run, node, given(run, node, 0), weights, bias_codes(run, node, 8))
    rounded(run, node, real, 6)


def qlinear_matmul(run: Importer, node: OnnxNode) -> None:
    """QLinearMatMul with constant weights, or of two tensors."""
    if isinstance(run.value(node, 0), Constant):
        left = given_weights(run, node, 0, 0)
        rounded(run, node, matmul.from_the_left(run, node, left, given(run, node, 3)), 6)
        return
    if not isinstance(run.value(node, 3), Constant):
        rounded(run, node, matmul.product(run, node, given(run, node, 0), given(run, node, 3)), 6)
        return
    rounded(
        run,
        node,
        weighted.dense(run, node, given(run, node, 0), given_weights(run, node, 3, 1), None),
        6,
    )


def qgemm(run: Importer, node: OnnxNode) -> None:
    """com.microsoft QGemm, to codes or to floats."""
    turned = node.integer("transB", 0) != 0
    weights = given_weights(run, node, 3, 0 if turned else 1)
    weights = weighted.turned(weights) if turned else weights
    if node.integer("transA", 0):
        raise HwsimError(f"{node}: 'transA' must be 0")
    bias, alpha = bias_codes(run, node, 6), weighted.positive_alpha(node)
    real = weighted.dense(run, node, given(run, node, 0), weights, bias, alpha)
    if node.input(7):
        rounded(run, node, real, 7)
    else:
        run.values[node.output] = real


def matmul_to_float(run: Importer, node: OnnxNode) -> None:
    """com.microsoft MatMulIntegerToFloat with constant weights, or of two tensors."""
    real = leveled(run, node, 0, run.constant(node, 2), optional(run, node, 4))
    scale, zero = run.constant(node, 3), optional(run, node, 5)
    if node.input(6):
        raise HwsimError(f"{node}: its bias must be an Add behind it")
    if not isinstance(run.value(node, 1), Constant):
        other = leveled(run, node, 1, scale, zero)
        run.values[node.output] = matmul.product(run, node, real, other)
        return
    turned = replace(node, attributes={"axis": 1})
    weights = dequantized(turned, run.constant(node, 1), scale, zero)
    run.values[node.output] = weighted.dense(run, node, real, weights, None)


def qlinear_add(run: Importer, node: OnnxNode) -> None:
    """com.microsoft QLinearAdd of two tensors, or of a tensor and constant codes."""
    place = next((i for i in (3, 0) if isinstance(run.value(node, i), Constant)), None)
    if place is not None:
        codes, scale = run.constant(node, place), run.constant(node, place + 1)
        addend = dequantized(node, codes, scale, optional(run, node, place + 2))
        real = given(run, node, 3 - place)
        rounded(run, node, elementwise.sum_of_codes(run, node, real, addend), 6)
        return
    rounded(run, node, paired(run, node, given(run, node, 0), given(run, node, 3), "Add"), 6)


def qlinear_mul(run: Importer, node: OnnxNode) -> None:
    """com.microsoft QLinearMul of two tensors, or of a tensor and constant codes."""
    place = next((i for i in (3, 0) if isinstance(run.value(node, i), Constant)), None)
    if place is not None:
        codes, scale = run.constant(node, place), run.constant(node, place + 1)
        factors = dequantized(node, codes, scale, optional(run, node, place + 2))
        real = given(run, node, 3 - place)
        rounded(run, node, product_of_codes(run, node, real, factors), 6)
        return
    rounded(run, node, paired(run, node, given(run, node, 0), given(run, node, 3), "Mul"), 6)


def qlinear_concat(run: Importer, node: OnnxNode) -> None:
    """com.microsoft QLinearConcat: each input through its own table."""
    reals: list[Real | Constant] = []
    for i in range(2, len(node.inputs), 3):
        codes = run.value(node, i)
        if isinstance(codes, Constant):
            scale, zero = run.constant(node, i + 1), optional(run, node, i + 2)
            reals.append(dequantized(node, codes, scale, zero))
        else:
            reals.append(given(run, node, i))
    rounded(run, node, elementwise.concatenated(run, node, reals, node.integer("axis", 1)), 0)


def qlinear_pool(run: Importer, node: OnnxNode) -> None:
    """com.microsoft QLinearAveragePool and QLinearGlobalAveragePool."""
    if node.integer("channels_last", 0):
        raise HwsimError(f"{node}: 'channels_last' must be 0")
    whole = node.op == "QLinearGlobalAveragePool"
    rounded(run, node, pool.average(run, node, given(run, node, 0), whole=whole), 3)


def qlinear_unary(run: Importer, node: OnnxNode) -> None:
    """com.microsoft QLinearSigmoid and QLinearLeakyRelu."""
    rounded(run, node, given(run, node, 0).then(functions.function_of(node)), 3)


def qlinear_softmax(run: Importer, node: OnnxNode) -> None:
    """com.microsoft QLinearSoftmax."""
    real = given(run, node, 0)
    rank = len(real.layout.shape) + 1
    axes = softmax.softmax_axes(node, rank, node.integer("opset", 1))
    rounded(run, node, softmax.of_rows(run, node, real, axes), 3)


HANDLERS: dict[tuple[str, str], Handler] = {
    **FLOAT_HANDLERS,
    **{(MICROSOFT, name): functions.unary for name in functions.CONTRIBUTED},
    ("", "QuantizeLinear"): quantize_linear,
    ("", "DequantizeLinear"): dequantize_linear,
    (MICROSOFT, "QuantizeLinear"): quantize_linear,
    (MICROSOFT, "DequantizeLinear"): dequantize_linear,
    ("", "QLinearConv"): qlinear_conv,
    ("", "QLinearMatMul"): qlinear_matmul,
    (MICROSOFT, "MatMulIntegerToFloat"): matmul_to_float,
    (MICROSOFT, "QGemm"): qgemm,
    (MICROSOFT, "QLinearAdd"): qlinear_add,
    (MICROSOFT, "QLinearAveragePool"): qlinear_pool,
    (MICROSOFT, "QLinearConcat"): qlinear_concat,
    (MICROSOFT, "QLinearGlobalAveragePool"): qlinear_pool,
    (MICROSOFT, "QLinearLeakyRelu"): qlinear_unary,
    (MICROSOFT, "QLinearMul"): qlinear_mul,
    (MICROSOFT, "QLinearSigmoid"): qlinear_unary,
    (MICROSOFT, "QLinearSoftmax"): qlinear_softmax,
}


def read(model: OnnxModel, runtime: Runtime) -> Graph:
    """The Graph of a model in QDQ or QLinear form, with the integers of a runtime."""
    lacking = [(node.op, node.name) for node in model.nodes if node.op in runtime.lacks]
    if lacking:
        raise HwsimError(not_of(model.path, runtime.name, lacking))
    model, choices = fitting(model, lambda: runtime.prepared(with_norms(model)))
    apart = fitting(model, lambda: with_samples_apart(model))
    graph = read_graph(apart, HANDLERS, runtime, choices)
    if runtime.note:
        warn(f"{model.path}: {runtime.note}", RuntimeDifference)
    return graph
