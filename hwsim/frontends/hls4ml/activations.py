"""Activations of one code each (`nnet_activation.h`, `nnet_activation_stream.h`).

Where the parallel and the streamed C++ differ, each is followed. A function of few codes becomes
one table (`folding`); one of many is composed of general operators. Those with two branches are
the sum of both, each with 0 where the other one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.hls4ml import tables
from hwsim.frontends.hls4ml.factors import is_bit, narrowed
from hwsim.frontends.hls4ml.folding import folded
from hwsim.frontends.hls4ml.importer import LayerBuilder, result
from hwsim.frontends.hls4ml.lookup import check_size, converted, index, lookup, table_from
from hwsim.frontends.hls4ml.types import Precision, assigned, read_precision, read_weights
from hwsim.ops import Add, BatchNorm, Cast, Flatten, Mul, Op, Relu, Reshape, Table
from hwsim.ops.base import IntArray

LOOKED_UP = ("sigmoid", "tanh", "softplus", "softsign")
SELU_SCALE = 1.0507009873554805
# What elu's alpha is in a layer that has no parameter
ONE = Precision(Format.uint(1), Rounding.TRN, Overflow.WRAP)


@dataclass(frozen=True, slots=True)
class ActivationLayer:
    """One layer: its attributes, and the types of what it reads and gives."""

    layer: Any
    stream: bool
    given: Precision
    result: Precision

    @property
    def name(self) -> str:
        """What its nodes are called after."""
        return str(self.layer.outputs[0])

    def type(self, name: str) -> Precision:
        """Another type of the layer."""
        held = self.layer.get_attr(f"{name}_t")
        if held is None:  # hard_sigmoid in an Activation, say, where hls4ml has a HardActivation
            raise HwsimError(f"{function(self.layer)} must have its type {name}_t, and has none")
        return read_precision(f"the precision {name!r}", held.precision)

    def number(self, name: str, kind: Precision, default: float = 1.0) -> int:
        """The code of an attribute that the C++ holds in a type."""
        value = float(self.layer.get_attr(name, default))
        return int(assigned(np.array([value]), kind)[0])


Rule = Callable[[ActivationLayer, LayerBuilder, str], str]


def function(layer: Any) -> str:
    """The function of an activation in lower case: hls4ml's readers write relu, ReLU and Relu.

    A ReLU above a threshold of 0, which is what Keras's ReLU layer becomes, is a ReLU.
    """
    name = str(layer.get_attr("activation")).lower()
    return "relu" if name == "thresholdedrelu" and layer.get_attr("activ_param") == 0 else name


def read_activation(build: LayerBuilder, layer: Any) -> None:
    """A layer whose codes each depend on one code."""
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    kind = function(layer)
    if kind == "relu":
        build.finish(layer, build.add(f"{name}/relu", Relu(), source))
    elif kind == "linear":
        build.finish(layer, source)
    elif kind == "prelu":
        build.finish(layer, prelu(unary(build, layer), build, source))
    else:
        one = unary(build, layer)
        made = folded(build, name, source, lambda b, edge: FUNCTIONS[kind](one, b, edge))
        build.finish(layer, made)


def unary(build: LayerBuilder, layer: Any) -> ActivationLayer:
    """An activation with its types."""
    given = read_precision("the input's precision", layer.get_input_variable().type.precision)
    return ActivationLayer(layer, build.stream, given, result(layer))


def looked_up(one: ActivationLayer, build: LayerBuilder, source: str) -> str:
    """sigmoid, tanh, softplus, softsign: an index and an entry."""
    size = int(one.layer.get_attr("table_size"))
    name, table = function(one.layer), one.type("table")
    ops = lookup(name, size, table, one.result, build.types[source])
    return chain(build, f"{one.name}/{name}", source, ops)


def chain(build: LayerBuilder, name: str, source: str, ops: tuple[Op, ...]) -> str:
    """Operators one after the other."""
    for place, op in enumerate(ops):
        source = build.add(f"{name}/{place}", op, source)
    return source


def scaled(build: LayerBuilder, name: str, source: str, factor: int, fmt: Format) -> str:
    """A tensor times one code of a format."""
    return affine(build, name, source, factor, fmt, 0, 0)


def affine(
    build: LayerBuilder, name: str, source: str, factor: int, fmt: Format, offset: int, frac: int
) -> str:
    """A tensor times one code of `fmt`, and one code with `frac` fraction bits added."""
    channels = build.types[source].channels
    factors = narrowed("param", np.full(channels, factor), fmt)
    op = BatchNorm(
        scale=factors.codes,
        bias=np.full(channels, offset),
        scale_format=factors.format,
        bias_frac=frac,
    )
    return build.add(name, op, source)


def above(build: LayerBuilder, name: str, source: str) -> str:
    """Codes below 0 become 0."""
    return build.add(f"{name}/above", Relu(), source)


def below(build: LayerBuilder, name: str, source: str) -> str:
    """Codes above 0 become 0."""
    least = build.types[source].format.min
    return build.add(f"{name}/below", Relu(zero_point=least, maximum=0), source)


def joined(one: ActivationLayer, build: LayerBuilder, up: str, down: str) -> str:
    """The sum of two branches of the result's type, one of which is 0."""
    total = build.add(f"{one.name}/both", Add(), up, down)
    return build.cast(
        f"{one.name}/result", total, Precision(one.result.format, Rounding.TRN, Overflow.WRAP)
    )


def leaky_relu(one: ActivationLayer, build: LayerBuilder, source: str) -> str:
    """`x > 0 ? x : alpha * x`, each assigned to the result."""
    kind = one.type("param")
    alpha = one.number("activ_param", kind)
    down = scaled(build, f"{one.name}/slope", below(build, one.name, source), alpha, kind.format)
    return joined(
        one,
        build,
        build.cast(f"{one.name}/up", above(build, one.name, source), one.result),
        build.cast(f"{one.name}/down", down, one.result),
    )


def prelu(one: ActivationLayer, build: LayerBuilder, source: str) -> str:
    """As leaky ReLU, with a factor for each code of the tensor."""
    kind = build.types[source]
    alpha, precision = read_weights("param", one.layer.weights["param"])
    if alpha.size != kind.size:
        raise HwsimError(
            f"a PReLU must have a factor for each of {kind.size} codes, not {alpha.size}"
        )
    flat = len(kind.shape) > 1
    if flat:
        source = build.add(f"{one.name}/flat", Flatten(), source)
    factors = narrowed("param", alpha.reshape(-1), precision.format)
    op = BatchNorm(
        scale=factors.codes,
        bias=np.zeros(alpha.size, np.int64),
        scale_format=factors.format,
    )
    down = build.add(f"{one.name}/slope", op, below(build, one.name, source))
    made = joined(
        one,
        build,
        build.cast(f"{one.name}/up", above(build, one.name, source), one.result),
        build.cast(f"{one.name}/down", down, one.result),
    )
    return build.add(f"{one.name}/shape", Reshape(shape=kind.shape), made) if flat else made


def thresholded_relu(one: ActivationLayer, build: LayerBuilder, source: str) -> str:
    """`x > theta ? x : 0`: the product of x with whether it is above."""
    kind = one.type("param")
    theta = one.number("activ_param", kind)
    past = affine(
        build, f"{one.name}/past", source, 1, Format.uint(1), -theta, kind.format.frac_bits
    )
    most = min(1, build.types[past].format.max)
    whether = build.add(f"{one.name}/whether", Relu(maximum=most), past)
    bit = build.add(
        f"{one.name}/bit", Table(values=np.arange(2), out=Format.uint(1), first=0), whether
    )
    return build.cast(
        f"{one.name}/result", build.add(f"{one.name}/kept", Mul(), source, bit), one.result
    )


def elu(one: ActivationLayer, build: LayerBuilder, source: str) -> str:
    """`x >= 0 ? x : alpha * table[x * size / -8]`."""
    kind = ONE if one.layer.get_attr("param_t") is None else one.type("param")
    alpha = one.number("activ_param", kind)
    table = one.type("table")

    def grown(entries: IntArray) -> IntArray:
        frac = table.format.frac_bits + kind.format.frac_bits
        products = entries * alpha
        fmt = Format.holding(int(products.min()), int(products.max()), frac)
        return converted(products, Precision(fmt, Rounding.TRN, Overflow.WRAP), one.result)

    up = build.cast(f"{one.name}/up", above(build, one.name, source), one.result)
    return joined(one, build, up, negative(one, build, source, "elu", table, grown))


def selu(one: ActivationLayer, build: LayerBuilder, source: str) -> str:
    """`x >= 0 ? lambda * x : table[x * size / -8]`; lambda has the input's type in a stream."""
    kind = one.given if one.stream else Precision(Format(False, 1, 15), Rounding.TRN, Overflow.WRAP)
    factor = int(assigned(np.array([SELU_SCALE]), kind)[0])
    table = one.type("table")
    up = scaled(build, f"{one.name}/scale", above(build, one.name, source), factor, kind.format)
    down = negative(
        one, build, source, "selu", table, lambda codes: converted(codes, table, one.result)
    )
    return joined(one, build, build.cast(f"{one.name}/up", up, one.result), down)


def negative(
    one: ActivationLayer,
    build: LayerBuilder,
    source: str,
    name: str,
    table: Precision,
    grown: Callable[[IntArray], IntArray],
) -> str:
    """The branch below 0 of elu and selu: entries of `table`, then what `grown` makes of them."""
    size = int(one.layer.get_attr("table_size"))
    check_size(size)
    entries = grown(assigned(tables.ENTRIES[name](size), table))
    kind = build.types[low := below(build, one.name, source)]
    ops = index(kind, size, 8, 1 - size, size - 1)
    last = table_from(kind, ops, entries[::-1], 1 - size, one.result)
    return chain(build, f"{one.name}/{name}", low, (*ops, last))


def clipped_relu(most: int) -> Rule:
    """relu6 and relu1: `most` where x is above it, in parallel only."""

    def rule(one: ActivationLayer, build: LayerBuilder, source: str) -> str:
        if one.stream:
            raise HwsimError(f"relu{most} must be in io_parallel: hls4ml has no streamed one")
        kind = build.types[source]
        if kind.format.frac_bits < 0:
            source = build.add(
                f"{one.name}/units",
                Cast(out=Format(kind.format.signed, kind.format.int_bits)),
                source,
            )
            kind = build.types[source]
        top = min(most << kind.format.frac_bits, kind.format.max)
        clipped = build.add(f"{one.name}/clip", Relu(maximum=top), source)
        return build.cast(f"{one.name}/result", clipped, one.result)

    return rule


def hard(doubled: int) -> Rule:
    """`clip(slope * x + shift, 0, 1)`; doubled and one less, from -1 to 1, for the tangent."""

    def rule(one: ActivationLayer, build: LayerBuilder, source: str) -> str:
        slope, shift = one.type("slope"), one.type("shift")
        frac = max(slope.format.frac_bits, shift.format.frac_bits, 0)
        factor = one.number("slope", slope) << doubled
        offset = (one.number("shift", shift) << frac - shift.format.frac_bits << doubled) - (
            doubled << frac
        )
        fmt = Format.holding(min(factor, 0), max(factor, 1), slope.format.frac_bits)
        line = affine(build, f"{one.name}/line", source, factor, fmt, offset, frac)
        kind = build.types[line]
        unit = 1 << kind.format.frac_bits
        lowest = max(-unit if doubled else 0, kind.format.min)
        clip = Relu(zero_point=lowest, maximum=max(min(unit, kind.format.max), lowest))
        clipped = build.add(f"{one.name}/clip", clip, line)
        return build.cast(f"{one.name}/result", clipped, one.result)

    return rule


def binary_tanh(one: ActivationLayer, build: LayerBuilder, source: str) -> str:
    """1 from 0 on, else -1; of an ap_uint<1>, 0."""
    fmt = build.types[source].format
    lowest = max(fmt.min, -1)
    ends = np.array([-1, 1])
    bit = is_bit(one.layer.get_output_variable().type.precision)  # no ap_ufixed<1,1>
    values = np.array([0, 1]) if bit else _integers(ends, one.result)
    sign = build.add(f"{one.name}/sign", Relu(zero_point=lowest, maximum=0), source)
    table = Table(values=values[lowest + 1 :], out=one.result.format, first=lowest)
    return build.add(f"{one.name}/ends", table, sign)


def ternary_tanh(one: ActivationLayer, build: LayerBuilder, source: str) -> str:
    """1 above 1, -1 from -1 down, else 0: of 2 x in the input's type, of x itself in a stream."""
    if not one.stream:
        twice = scaled(build, f"{one.name}/twice", source, 2, Format.uint(2))
        source = build.cast(f"{one.name}/doubled", twice, one.given)
    # Rounded up to a whole number, what is above 1 is 2 or more, and what is up to -1 is -1 or less
    whole = Cast(out=Format.int(3), rounding=Rounding.CEIL, overflow=Overflow.SAT)
    values = _integers(np.array([-1, -1, -1, -1, 0, 0, 1, 1]), one.result)
    rounded = build.add(f"{one.name}/whole", whole, source)
    return build.add(f"{one.name}/ends", Table(values=values, out=one.result.format), rounded)


def _integers(values: IntArray, kind: Precision) -> IntArray:
    """Small whole numbers assigned to a type."""
    return converted(values, Precision(Format.int(3), Rounding.TRN, Overflow.WRAP), kind)


FUNCTIONS: Mapping[str, Rule] = {
    **dict.fromkeys(LOOKED_UP, looked_up),
    "relu1": clipped_relu(1),
    "relu6": clipped_relu(6),
    "leakyrelu": leaky_relu,
    "leaky_relu": leaky_relu,
    "thresholdedrelu": thresholded_relu,
    "thresholded_relu": thresholded_relu,
    "elu": elu,
    "selu": selu,
    "hard_sigmoid": hard(0),
    "hard_tanh": hard(1),
    "binary_tanh": binary_tanh,
    "ternary_tanh": ternary_tanh,
}
"""What is composed after one code, by hls4ml's name in lower case."""

KNOWN = ("linear", "relu", "prelu", *FUNCTIONS)


def read_unary_lut(build: LayerBuilder, layer: Any) -> None:
    """A table over the raw bits of a code."""
    source, one = build.edge(layer.inputs[0]), unary(build, layer)
    fmt: Format = build.types[source].format
    codes, table = read_weights("table", layer.weights["table"])
    entries = 1 << fmt.width
    if codes.size != entries:
        raise HwsimError(
            f"a unary table must have an entry for each of {entries} codes, not {codes.size}"
        )
    order = np.arange(fmt.min, fmt.max + 1) & (entries - 1)
    values = converted(codes.reshape(-1)[order], table, one.result)
    made = build.add(f"{one.name}/table", Table(values=values, out=one.result.format), source)
    build.finish(layer, made)
