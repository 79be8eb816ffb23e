"""GarNet and GarNetStack, whose vertices become one row of means (`nnet_garnet.h`).

Each vertex has a weight for each aggregator, a table of its distance. The first vertices, as many
as the second input says, are averaged with their weights, group by group of the reuse factor.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.hls4ml.garnet_kernels import Kernels, Types, read_kernels, read_types
from hwsim.frontends.hls4ml.importer import LayerBuilder, result
from hwsim.frontends.hls4ml.lookup import converted
from hwsim.frontends.hls4ml.types import Precision, assigned, read_precision
from hwsim.ops import (
    Add,
    BatchNorm,
    Dense,
    Literal,
    Mul,
    Reduce,
    Reduction,
    Relu,
    Reshape,
    Select,
    Split,
    Stepwise,
    Sub,
    Table,
)
from hwsim.ops.base import IntArray

DISTANCE = Precision(Format(True, 4, 8), Rounding.TRN, Overflow.SAT)
SQUARE = Precision(Format(True, 9, 16), Rounding.TRN, Overflow.WRAP)
MOST_COUNTS = 18


def read_garnet(build: LayerBuilder, layer: Any) -> None:
    """All sublayers, then the means of the last one as one row."""
    name, source = layer.outputs[0], build.edge(layer.inputs[0])
    if layer.get_attr("collapse") != "mean" or layer.get_attr("mean_by_nvert") or layer.ref_impl:
        raise HwsimError(
            "a GarNet must collapse its vertices to the mean of all of them, whatever their number"
        )
    types, out = read_types(layer), result(layer)
    counted = build.edge(layer.inputs[1])
    mask = _mask(build, f"{name}/mask", counted, types)
    data = read_precision("the input's precision", layer.get_input_variable().type.precision)
    stacked = "n_sublayers" in layer.attributes
    layers = int(layer.get_attr("n_sublayers")) if stacked else 1
    for at in range(layers):
        part, kernels = f"{name}/{at}", read_kernels(layer, f"{at}_" if stacked else "")
        edges = _edges(build, part, source, kernels, types)
        shares, bases = _means(build, part, source, edges, mask, kernels, types, data)
        if at < layers - 1:
            source, data = _vertices(build, part, edges, bases, kernels, out), out
    total = build.cast(f"{name}/start", _bias(build, name, counted, kernels, types), out)
    for at, (share, base) in enumerate(zip(shares, bases, strict=True)):
        product = build.add(f"{name}/{at}/share", Mul(), share, base)
        total = build.add(f"{name}/{at}/full", Add(), total, product)
        total = build.cast(f"{name}/{at}/total", total, out)
    outputs = build.types[total].channels
    build.finish(layer, build.add(f"{name}/row", Reshape(shape=(outputs,)), total))


def _mask(build: LayerBuilder, edge: str, counted: str, types: Types) -> str:
    """1 for each vertex that is taken in, 0 for the others: (vertices, 1).

    The C++ ends a group at the vertex whose number is the count, and begins none from there on.
    """
    kind = build.types[counted]
    if kind.format.width > MOST_COUNTS:
        raise HwsimError(f"a number of vertices must have at most {MOST_COUNTS} bits")
    size = types.vertices // types.groups
    reals = np.arange(kind.format.min, kind.format.max + 1) * 2.0**-kind.format.frac_bits
    taken = np.where(reals % 1 == 0, reals, np.ceil(reals / size) * size)
    taken[reals < 0] = types.vertices  # C++ compares them as unsigned numbers
    count = Table(
        values=np.clip(taken, 0, types.vertices).astype(np.int64),
        out=Format.holding(0, types.vertices),
    )
    places = np.arange(types.vertices)[:, None]
    every = Select(axis=0, indices=(0,) * types.vertices)
    found = build.add(
        f"{edge}/count", count, build.add(f"{edge}/one", Reshape(shape=(1, 1)), counted)
    )
    found = build.add(f"{edge}/every", every, found)
    place = Literal(values=places, out=Format.holding(0, types.vertices))
    left = build.add(f"{edge}/left", Sub(), found, build.add(f"{edge}/place", place, found))
    return build.add(edge, Relu(maximum=1), left)


def _edges(build: LayerBuilder, name: str, source: str, kernels: Kernels, types: Types) -> str:
    """The weight of each vertex for each aggregator: (vertices, aggregators)."""
    (weights, precision), (bias, bias_precision) = kernels.distance, kernels.distance_bias
    terms = build.types[source].channels
    distance = Dense(
        weights=weights.reshape(-1, terms).T,
        bias=bias.reshape(-1),
        weight_format=precision.format,
        bias_frac=bias_precision.format.frac_bits,
        accumulator=Stepwise(
            format=DISTANCE.format, rounding=DISTANCE.rounding, overflow=DISTANCE.overflow
        ),
    )
    fmt = DISTANCE.format
    reals = np.arange(fmt.min, fmt.max + 1) * 2.0**-fmt.frac_bits
    entries = assigned(np.array([math.exp(-x * x) for x in reals.tolist()]), SQUARE)
    values = converted(entries, SQUARE, types.edge)
    most = Precision(Format(False, 0, types.edge.format.width), Rounding.TRN, Overflow.SAT)
    values[-fmt.min] = converted(assigned(np.array([1.0]), most), most, types.edge)[0]
    edge = build.add(f"{name}/distance", distance, source)
    return build.add(f"{name}/edges", Table(values=values, out=types.edge.format), edge)


def _means(
    build: LayerBuilder,
    name: str,
    source: str,
    edges: str,
    mask: str,
    kernels: Kernels,
    types: Types,
    data: Precision,
) -> tuple[list[str], list[str]]:
    """Each aggregator's mean weight (1, 1) and what it gives to the outputs (1, outputs)."""
    vertices, features = build.types[source].shape
    aggregators = build.types[edges].channels
    taken = build.add(f"{name}/taken", Mul(), edges, mask)
    mean = _averaged(build, f"{name}/weight", taken, types.edge_sum, types)
    mean = build.cast(f"{name}/weight/mean", mean, types.edge)
    rows = build.add(f"{name}/rows", Reshape(shape=(vertices, 1, features)), source)
    shares = build.add(f"{name}/columns", Reshape(shape=(vertices, aggregators, 1)), edges)
    weighted = build.add(f"{name}/weighted/full", Mul(), rows, shares)
    weighted = build.cast(f"{name}/weighted", weighted, data)
    flat = Reshape(shape=(vertices, aggregators * features))
    flat_edge = build.add(f"{name}/flat", flat, weighted)
    taken = build.add(f"{name}/features/taken", Mul(), flat_edge, mask)
    found = _averaged(build, f"{name}/features", taken, types.features, types)
    weights = _columns(build, mean, (1,) * aggregators)
    parts = _columns(build, found, (features,) * aggregators)
    bases = [
        _base(build, f"{name}/{at}", pair, kernels, types, at)
        for at, pair in enumerate(zip(weights, parts, strict=True))
    ]
    return weights, bases


def _averaged(
    build: LayerBuilder, edge: str, source: str, precision: Precision, types: Types
) -> str:
    """The sums of each group, divided by its vertices, then theirs, divided by their number."""
    vertices, channels = build.types[source].shape
    if precision.cuts_and_wraps:  # such sums take any order
        source = build.cast(f"{edge}/terms", source, precision)
    shape = (types.groups, vertices // types.groups, channels)
    grouped = build.add(f"{edge}/groups", Reshape(shape=shape), source)
    for axis, bits in ((1, types.group_bits), (0, int(math.log2(types.groups)))):
        grouped = _sum(build, f"{edge}/{axis}", grouped, axis, precision)
        grouped = _shifted(build, f"{edge}/{axis}", grouped, bits, precision)
    return build.add(f"{edge}/row", Reshape(shape=(1, channels)), grouped)


def _sum(build: LayerBuilder, edge: str, source: str, axis: int, precision: Precision) -> str:
    """The sums along an axis; each sum of the last step and a full term is assigned to the type."""
    kind = build.types[source]
    if precision.cuts_and_wraps:
        total = Reduce(reduction=Reduction.SUM, axes=(axis,))
        return build.cast(f"{edge}/sum", build.add(f"{edge}/full", total, source), precision)
    if precision.holds(kind.lo, kind.hi, kind.format.frac_bits):  # as a step assigns its term
        stepped = Reduce(reduction=Reduction.SUM, axes=(axis,), accumulator=_steps(precision))
        return build.add(f"{edge}/sum", stepped, source)
    first, *others = _parts(build, source, (1,) * kind.shape[axis], axis)
    found = build.cast(f"{edge}/0/sum", first, precision)
    for at, part in enumerate(others, 1):
        full = build.add(f"{edge}/{at}/full", Add(), found, part)
        found = build.cast(f"{edge}/{at}/sum", full, precision)
    return found


def _steps(precision: Precision) -> Stepwise:
    return Stepwise(
        format=precision.format, rounding=precision.rounding, overflow=precision.overflow
    )


def _shifted(build: LayerBuilder, edge: str, source: str, bits: int, precision: Precision) -> str:
    """A right shift within a type: C++ cuts off what goes out, whatever the type's rounding."""
    channels = build.types[source].channels
    share = BatchNorm(
        scale=np.ones(channels, np.int64),
        bias=np.zeros(channels, np.int64),
        scale_format=Format(True, 2 - bits, bits),
    )
    cut = Precision(precision.format, Rounding.TRN, Overflow.WRAP)
    return build.cast(f"{edge}/shifted", build.add(f"{edge}/share", share, source), cut)


def _base(
    build: LayerBuilder,
    edge: str,
    pair: tuple[str, str],
    kernels: Kernels,
    types: Types,
    at: int,
) -> str:
    """What an aggregator gives to all outputs."""
    if not types.features.cuts_and_wraps:
        return _base_by_steps(build, edge, pair, kernels, types, at)
    found = []
    for (codes, precision), source, what in zip(
        (kernels.edges, kernels.features), pair, ("edge", "features"), strict=True
    ):
        op = Dense(
            weights=_of_aggregator(codes, kernels, build.types[source].channels, at),
            bias=np.zeros(kernels.outputs, np.int64),
            weight_format=precision.format,
            accumulator=_steps(types.features),  # in any order
        )
        found.append(build.add(f"{edge}/{what}", op, source))
    return build.cast(f"{edge}/base", build.add(f"{edge}/both", Add(), *found), types.features)


def _base_by_steps(
    build: LayerBuilder,
    edge: str,
    pair: tuple[str, str],
    kernels: Kernels,
    types: Types,
    at: int,
) -> str:
    """The same where the sum of the last step and a full product is assigned each time."""
    weight, features = pair
    terms = build.types[features].channels
    columns = [weight, *_columns(build, features, (1,) * terms)]
    rows = [
        (row, precision)
        for codes, precision, many in ((*kernels.edges, 1), (*kernels.features, terms))
        for row in _of_aggregator(codes, kernels, many, at)
    ]
    total = ""
    for step, (column, (row, precision)) in enumerate(zip(columns, rows, strict=True)):
        product = Dense(
            weights=row[None],
            bias=np.zeros(kernels.outputs, np.int64),
            weight_format=precision.format,
        )
        full = build.add(f"{edge}/{step}/product", product, column)
        if total:
            full = build.add(f"{edge}/{step}/full", Add(), total, full)
        total = build.cast(f"{edge}/{step}/base", full, types.features)
    return total


def _of_aggregator(codes: IntArray, kernels: Kernels, terms: int, at: int) -> IntArray:
    """The weights with which one of the aggregators counts: (terms, outputs)."""
    return codes.reshape(kernels.outputs, -1, terms)[:, at, :].T


def _vertices(
    build: LayerBuilder, name: str, edges: str, bases: list[str], kernels: Kernels, out: Precision
) -> str:
    """The features of each vertex for the next sublayer: (vertices, outputs)."""
    codes, precision = kernels.bias
    bias = converted(codes.reshape(-1), precision, out)
    total = ""
    aggregators = build.types[edges].channels
    for at, column in enumerate(_columns(build, edges, (1,) * aggregators)):
        term = build.add(f"{name}/{at}/out/full", Mul(), column, bases[at])
        term = build.cast(f"{name}/{at}/out", term, out)
        if total:
            full = build.add(f"{name}/{at}/sum/full", Add(), total, term)
        else:
            start = Literal(values=bias, out=out.format)
            start_edge = build.add(f"{name}/out/bias", start, term)
            full = build.add(f"{name}/{at}/sum/full", Add(), start_edge, term)
        total = build.cast(f"{name}/{at}/sum", full, out)
    return total


def _bias(build: LayerBuilder, name: str, counted: str, kernels: Kernels, types: Types) -> str:
    """The output's biases times the share of vertices that is taken in: (1, outputs)."""
    codes, precision = kernels.bias
    scale = converted(codes.reshape(-1), precision, types.features)
    times = BatchNorm(
        scale=scale, bias=np.zeros(scale.size, np.int64), scale_format=types.features.format
    )
    one = build.add(f"{name}/counted", Reshape(shape=(1, 1)), counted)
    wide = build.add(f"{name}/counted/wide", Select(axis=1, indices=(0,) * scale.size), one)
    full = build.add(f"{name}/bias/full", times, wide)
    full = build.cast(f"{name}/bias/times", full, types.features)
    bits = int(math.log2(types.vertices))
    return build.cast(
        f"{name}/bias", _shifted(build, f"{name}/bias", full, bits, types.features), precision
    )


def _columns(build: LayerBuilder, edge: str, sizes: tuple[int, ...]) -> list[str]:
    return _parts(build, edge, sizes, 1)


def _parts(build: LayerBuilder, edge: str, sizes: tuple[int, ...], axis: int) -> list[str]:
    """One edge for each of the sizes along an axis."""
    if len(sizes) == 1:
        return [edge]
    edges = [f"{edge}.{part}" for part in range(len(sizes))]
    return list(build.emit_all(f"{edge}/parts", Split(axis=axis, sizes=sizes), [edge], edges))
