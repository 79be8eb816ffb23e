"""Layer normalization, with its accumulators and its table of 1/sqrt (`nnet_layernorm.h`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.hls4ml.factors import is_sign, is_ternary, narrowed
from hwsim.frontends.hls4ml.importer import LayerBuilder
from hwsim.frontends.hls4ml.lookup import check_size, index, table_from
from hwsim.frontends.hls4ml.types import Precision, assigned, read_precision, read_weights
from hwsim.ops import BatchNorm, Dense, Mul, Op, Reshape, Stepwise, Sub, TensorType


def read_layernorm(build: LayerBuilder, layer: Any) -> None:
    """Mean, differences and variance in `accum_t`; 1/sqrt of the variance from a table."""
    if build.stream:
        raise HwsimError(
            "a layer normalization must have io_type io_parallel: hls4ml 1.3 has no other"
        )
    name, source = layer.outputs[0], build.edge(layer.inputs[0])
    shape, rows = build.types[source].shape, int(layer.get_attr("seq_len"))
    size = math.prod(shape)
    if rows < 1 or size % rows:
        raise HwsimError(f"a layer normalization's seq_len must divide {size}, not be {rows}")
    terms = size // rows
    _check_product(layer)
    accum = read_precision("the precision 'accum'", layer.get_attr("accum_t").precision)
    if (rows, terms) != shape:
        source = build.add(f"{name}/rows", Reshape(shape=(rows, terms)), source)
    x = build.cast(f"{name}/input", source, accum)
    mean = _mean(build, f"{name}/mean", x, accum)
    apart = build.cast(f"{name}/apart", build.add(f"{name}/apart/full", Sub(), x, mean), accum)
    square = build.cast(f"{name}/sq", build.add(f"{name}/sq/full", Mul(), apart, apart), accum)
    variance = _mean(build, f"{name}/variance", square, accum)
    inverse = build.chain(
        f"{name}/inverse", variance, _inverse_root(layer, build.types[variance]), f"{name}/inverse"
    )
    scaled = build.add(f"{name}/scaled", Mul(), apart, inverse)
    edge = build.add(f"{name}/full", _affine(layer, terms), scaled)
    if (rows, terms) != shape:
        edge = build.add(f"{name}/shape", Reshape(shape=shape), edge)
    build.finish(layer, edge)


def _check_product(layer: Any) -> None:
    """The C++ takes means by the product that the types of input and scale ask for."""
    given = layer.get_input_variable().type.precision
    scale = layer.weights["scale"].type.precision
    if is_sign(given) or is_sign(scale) or is_ternary(scale):
        raise HwsimError(
            f"a layer normalization's input and scale must be numbers, not {given} and {scale}: "
            "the C++ of hls4ml 1.3 takes no means of others"
        )


def _mean(build: LayerBuilder, edge: str, source: str, accum: Precision) -> str:
    """The sum of a row, cast at each step, times the rounded 1 / length."""
    terms = build.types[source].channels
    sums = Dense(
        weights=np.ones((terms, 1), np.int64),
        bias=np.zeros(1, np.int64),
        weight_format=Format.int(2),
        accumulator=Stepwise(format=accum.format, rounding=accum.rounding, overflow=accum.overflow),
    )
    part = narrowed("1 / length in accum_t", assigned(np.array([1.0 / terms]), accum), accum.format)
    share = BatchNorm(scale=part.codes, bias=np.zeros(1, np.int64), scale_format=part.format)
    total = build.add(f"{edge}/sum", sums, source)
    return build.cast(edge, build.add(f"{edge}/full", share, total), accum)


def _inverse_root(layer: Any, variance: TensorType) -> tuple[Op, ...]:
    """From a variance to 1/sqrt: the index `int(variance * table_size * 2**power)`, and the table.

    The index is cut to the table's ends.
    """
    size, power = int(layer.get_attr("table_size")), int(layer.get_attr("table_range_power2"))
    check_size(size)
    table = read_precision("the precision 'table'", layer.get_attr("table_t").precision)
    entries = assigned(_inverse_roots(layer, size, power), table)
    chain = index(variance, size << power, 1, 0, size - 1)
    return (*chain, table_from(variance, chain, entries, 0, table))


def _inverse_roots(layer: Any, size: int, power: int) -> npt.NDArray[np.float64]:
    """1/sqrt in the steps of the C++: float32 but for the last division."""
    least = np.float32(10.0 ** -int(layer.get_attr("epsilon_power_of_10")))
    step = np.float32(2.0**-power) / np.float32(size)
    places = least + step * np.arange(size, dtype=np.float32)
    roots: npt.NDArray[np.float32] = np.sqrt(places, dtype=np.float32)
    return 1.0 / roots.astype(np.float64)


def _affine(layer: Any, terms: int) -> BatchNorm:
    scale, precision = read_weights("scale", layer.weights["scale"])
    bias, bias_precision = read_weights("bias", layer.weights["bias"])
    if scale.size != terms or bias.size != terms:
        raise HwsimError(
            f"a layer normalization's scale and bias must have {terms} entries, not {scale.size} "
            f"and {bias.size}"
        )
    factors = narrowed("scale", scale.reshape(-1), precision.format)
    return BatchNorm(
        scale=factors.codes,
        bias=bias.reshape(-1),
        scale_format=factors.format,
        bias_frac=bias_precision.format.frac_bits,
    )
