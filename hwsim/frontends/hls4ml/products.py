"""Embedding, and the tensor products Einsum and EinsumDense.

Source: `nnet_embed.h`, `nnet_einsum.h`, `nnet_einsum_dense.h`, `nnet_transpose.h`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml.importer import LayerBuilder, accumulator
from hwsim.frontends.hls4ml.types import Precision, read_precision, read_weights
from hwsim.ops import Add, Concat, Dense, Mul, Reshape, Split, Table, Transpose


def read_embedding(build: LayerBuilder, layer: Any) -> None:
    """A row of the table for each code: a table of one column for each channel."""
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    kind = build.types[source]
    entries, precision = read_weights("embeddings", layer.weights["embeddings"])
    rows = int(layer.get_attr("vocab_size"))
    columns = entries.reshape(rows, -1)
    if kind.format.frac_bits or kind.lo < 0 or kind.hi >= rows:
        raise HwsimError(
            f"an embedding's input must hold whole numbers from 0 to {rows - 1}, not {kind.format} "
            f"from {kind.lo} to {kind.hi}: hls4ml's C++ reads past its table there"
        )
    places = build.add(f"{name}/places", Reshape(shape=(*kind.shape, 1)), source)
    parts = [
        build.add(f"{name}/{at}", Table(values=column, first=0, out=precision.format), places)
        for at, column in enumerate(columns.T)
    ]
    build.finish(layer, _joined(build, f"{name}/rows", parts, -1))


def vocabularies(model: Any) -> dict[str, int]:
    """How many codes from 0 on an embedding takes from a model's inputs, by the input's name.

    The C++ reads past the end of its table for others: the port refuses them.
    """
    found: dict[str, int] = {}
    for layer in model.get_layers():
        if layer.class_name == "Embedding":
            source, rows = layer.inputs[0], int(layer.get_attr("vocab_size"))
            found[source] = min(rows, found.get(source, rows))
    return found


def read_einsum_dense(build: LayerBuilder, layer: Any) -> None:
    """A dense layer for each index that input and kernel share, between two transposes."""
    name, source = layer.outputs[0], build.edge(layer.inputs[0])
    if str(layer.get_attr("strategy")) != "latency":
        raise HwsimError(
            f"an EinsumDense's strategy must be latency, not {layer.get_attr('strategy')}"
        )
    shared, rows, terms, outputs = (
        int(layer.get_attr(f"n_{what}"))
        for what in ("inplace", "free_data", "contract", "free_kernel")
    )
    weights, precision = read_weights("weight", layer.weights["weight"])
    bias, bias_precision = read_weights("bias", layer.weights["bias"])
    weights = weights.reshape(shared, terms, outputs)
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
                    weight_format=precision.format,
                    bias_frac=bias_precision.format.frac_bits,
                    accumulator=accumulator(layer),
                ),
                edge,
            )
            for line, edge in enumerate(lines)
        ]
        parts.append(_joined(build, f"{name}/{at}/rows", sums, 1))
    _placed(build, layer, _joined(build, f"{name}/all", parts, 0))


def read_einsum(build: LayerBuilder, layer: Any) -> None:
    """Sums of products of two tensors, between transposes.

    Each full product is added to the accumulator, and the sum assigned to `accum_t`.
    """
    name = layer.outputs[0]
    shared, terms = int(layer.get_attr("n_inplace")), int(layer.get_attr("n_contract"))
    sides = []
    for at, other in enumerate((2, 1)):
        rows = int(layer.get_attr(f"n_free{at}"))
        edge = _turned(
            build,
            f"{name}/{at}",
            build.edge(layer.inputs[at]),
            layer.get_attr(f"inp{at}_shape"),
            layer.get_attr(f"inp{at}_tpose_idxs"),
        )
        shape = [shared, rows, rows, terms]
        shape[other] = 1
        edge = build.add(f"{name}/{at}/rows", Reshape(shape=tuple(shape)), edge)
        sides.append(_pieces(build, f"{name}/{at}", edge, 3))
    accum = read_precision("the precision 'accum'", layer.get_attr("accum_t").precision)
    total = _chain(build, name, list(zip(*sides, strict=True)), accum)
    _placed(build, layer, total)


def _chain(
    build: LayerBuilder, name: str, pairs: Sequence[tuple[str, str]], accum: Precision
) -> str:
    """Products added one after the other, the sum assigned after each."""
    total = ""
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
