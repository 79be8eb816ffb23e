"""Embedding, and the tensor products Einsum and EinsumDense.

Source: `nnet_embed.h`, `nnet_einsum.h`, `nnet_einsum_dense.h`, `nnet_transpose.h`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow
from hwsim.frontends.hls4ml.factors import SIGN, is_bit, is_ternary, read_factors
from hwsim.frontends.hls4ml.importer import LayerBuilder, accumulator
from hwsim.frontends.hls4ml.types import Precision, read_precision, read_weights
from hwsim.ops import (
    Add,
    ChannelTable,
    Concat,
    Dense,
    MatMul,
    Mul,
    Reshape,
    Select,
    Split,
    Table,
    Transpose,
)
from hwsim.ops.base import MOST_BITS


def read_embedding(build: LayerBuilder, layer: Any) -> None:
    """A row of the table for each code: a table of one column for each channel."""
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    kind = build.types[source]
    entries, precision = read_weights("embeddings", layer.weights["embeddings"])
    rows = int(layer.get_attr("vocab_size"))
    if kind.format.frac_bits or kind.lo < 0 or kind.hi >= rows:
        raise HwsimError(
            f"an embedding's input must hold whole numbers from 0 to {rows - 1}, not {kind.format} "
            f"from {kind.lo} to {kind.hi}: hls4ml's C++ reads past its table there"
        )
    columns = entries.reshape(rows, -1).T
    axis = len(kind.shape)
    places = build.add(f"{name}/places", Reshape(shape=(*kind.shape, 1)), source)
    wide = Select(axis=axis, indices=(0,) * len(columns))
    places = build.add(f"{name}/wide", wide, places)
    table = ChannelTable(values=columns, first=0, out=precision.format)
    build.finish(layer, build.add(f"{name}/rows", table, places))


def vocabularies(model: Any) -> dict[str, int]:
    """How many codes from 0 on an embedding takes from a model's inputs, by the input's name.

    The C++ reads past the end of its table for others: the port refuses them.
    """
    found: dict[str, int] = {}
    for layer in model.get_layers():
        if layer.class_name == "Embedding":
            source, rows = _origin(model, layer.inputs[0]), int(layer.get_attr("vocab_size"))
            found[source] = min(rows, found.get(source, rows))
    return found


def _origin(model: Any, name: str) -> str:
    """The tensor that a stream's copies come from."""
    copies = {
        out: layer.inputs[0]
        for layer in model.get_layers()
        if layer.class_name == "Clone"
        for out in layer.outputs
    }
    while name in copies:
        name = copies[name]
    return name


def read_einsum_dense(build: LayerBuilder, layer: Any) -> None:
    """A dense layer for each index that input and kernel share, between two transposes."""
    name, source = layer.outputs[0], build.edge(layer.inputs[0])
    _check_kind(layer, build)
    shared, rows, terms, outputs = (
        int(layer.get_attr(f"n_{what}"))
        for what in ("inplace", "free_data", "contract", "free_kernel")
    )
    _check_numbers(layer, layer.inputs[0])
    factors = read_factors(layer, "weight", build.types[source])
    bias, precision = read_weights("bias", layer.weights["bias"])
    weights = factors.codes.reshape(shared, terms, outputs)
    biases = bias.reshape(shared, rows, outputs)
    x = _turned(
        build, f"{name}/x", source, layer.get_attr("inp_shape"), layer.get_attr("inp_tpose_idxs")
    )
    x = build.add(f"{name}/x/rows", Reshape(shape=(shared, rows, terms)), x)
    parts = []
    for at, block in enumerate(_pieces(build, f"{name}/x", x, 0)):
        same = bool((biases[at] == biases[at][:1]).all())
        lines = [block] if same else _pieces(build, f"{name}/x/{at}", block, 1)
        sums = [
            build.add(
                f"{name}/{at}/{line}",
                Dense(
                    weights=weights[at],
                    bias=biases[at][line],
                    weight_format=factors.format,
                    bias_frac=precision.format.frac_bits,
                    accumulator=accumulator(layer),
                ),
                edge,
            )
            for line, edge in enumerate(lines)
        ]
        parts.append(_joined(build, f"{name}/{at}/rows", sums, 1))
    _placed(build, layer, _joined(build, f"{name}/all", parts, 0))


def read_einsum(build: LayerBuilder, layer: Any) -> None:
    """Sums of products of two tensors, between transposes."""
    name = layer.outputs[0]
    _check_kind(layer, build)
    shared = int(layer.get_attr("n_inplace"))
    sides = []
    for at in (0, 1):
        _check_numbers(layer, layer.inputs[at])
        edge = _turned(
            build,
            f"{name}/{at}",
            build.edge(layer.inputs[at]),
            layer.get_attr(f"inp{at}_shape"),
            layer.get_attr(f"inp{at}_tpose_idxs"),
        )
        shape = (shared, int(layer.get_attr(f"n_free{at}")), int(layer.get_attr("n_contract")))
        sides.append(build.add(f"{name}/{at}/rows", Reshape(shape=shape), edge))
    if is_ternary(layer.get_input_variable(layer.inputs[1]).type.precision):
        signs = Table(values=np.array([1, -1, 0, 1]), first=-2, out=SIGN)  # as C++ takes -2
        sides[1] = build.add(f"{name}/signs", signs, sides[1])
    accum = read_precision("the precision 'accum'", layer.get_attr("accum_t").precision)
    _placed(build, layer, _products(build, name, sides[0], sides[1], accum))


def _check_kind(layer: Any, build: LayerBuilder) -> None:
    """HwsimError for an io_type or a strategy that hls4ml 1.3 has no C++ for."""
    told = f"an {layer.class_name}'s"
    if build.stream:
        raise HwsimError(f"{told} io_type must be io_parallel: hls4ml 1.3 has no other")
    if str(layer.get_attr("strategy")).lower() != "latency":
        raise HwsimError(f"{told} strategy must be latency, not {layer.get_attr('strategy')}")


def _check_numbers(layer: Any, source: str) -> None:
    """One bit has products of its own (`nnet_mult.h`)."""
    precision = layer.get_input_variable(source).type.precision
    if is_bit(precision):
        raise HwsimError(f"the input {source!r} must have more than one bit, not {precision}")


def _products(build: LayerBuilder, name: str, a: str, b: str, accum: Precision) -> str:
    """Each full product added to the accumulator, and the sum assigned to `accum_t`.

    `a` is (shared, m, terms), `b` (shared, n, terms); gives (shared, m, n). One matrix product
    where no assignment can change anything, or all of them only wrap.
    """
    x, y = build.types[a], build.types[b]
    shared, terms = x.shape[0], x.channels
    frac, most = x.format.frac_bits + y.format.frac_bits, terms * x.magnitude * y.magnitude
    wraps = accum.overflow is Overflow.WRAP and accum.format.frac_bits >= frac
    if most < 1 << MOST_BITS and (wraps or accum.holds(-most, most, frac)):
        columns = build.add(f"{name}/columns", Transpose(axes=(0, 2, 1)), b)
        return build.cast(f"{name}/sum", build.add(f"{name}/exact", MatMul(), a, columns), accum)
    a = build.add(f"{name}/m", Reshape(shape=(shared, x.shape[1], 1, terms)), a)
    b = build.add(f"{name}/n", Reshape(shape=(shared, 1, y.shape[1], terms)), b)
    total = ""
    pairs = zip(*(_pieces(build, edge, edge, 3) for edge in (a, b)), strict=True)
    for at, pair in enumerate(pairs):
        edge = build.add(f"{name}/{at}/product", Mul(), *pair)
        if total:
            edge = build.add(f"{name}/{at}/full", Add(), total, edge)
        total = build.cast(f"{name}/{at}/sum", edge, accum)
    return total


def _turned(
    build: LayerBuilder, edge: str, source: str, shape: Sequence[int], axes: Sequence[int]
) -> str:
    """The codes as `shape`, and its axes in another order."""
    whole = build.add(f"{edge}/shape", Reshape(shape=tuple(int(n) for n in shape)), source)
    return build.add(f"{edge}/turned", Transpose(axes=tuple(int(a) for a in axes)), whole)


def _placed(build: LayerBuilder, layer: Any, edge: str) -> None:
    """The result's axes in their own order and its own shape."""
    name = layer.outputs[0]
    shape = tuple(int(n) for n in layer.variables[name].shape)
    before, axes = layer.get_attr("out_interpert_shape"), layer.get_attr("out_tpose_idxs")
    turned = _turned(build, f"{name}/out", edge, before, axes)
    if math.prod(shape) != build.types[turned].size:
        raise HwsimError(
            f"an einsum's result must have {build.types[turned].size} codes, not {shape}"
        )
    build.finish(layer, build.add(f"{name}/shape", Reshape(shape=shape), turned))


def _pieces(build: LayerBuilder, edge: str, source: str, axis: int) -> list[str]:
    """One edge for each index along an axis, which stays with length 1."""
    length = build.types[source].shape[axis]
    if length == 1:
        return [source]
    edges = [f"{edge}/{at}/part" for at in range(length)]
    cut = Split(axis=axis, sizes=(1,) * length)
    return list(build.emit_all(f"{edge}/parts", cut, [source], edges))


def _joined(build: LayerBuilder, edge: str, parts: Sequence[str], axis: int) -> str:
    """The parts one after the other along an axis."""
    return parts[0] if len(parts) == 1 else build.add(edge, Concat(axis=axis), *parts)
