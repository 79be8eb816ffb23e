"""Bits of weights and activations as questions: what each option loses alone, and what it costs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hwsim.compress.calibration import Histogram, observe
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.options import LinearScheme, Some, Widths
from hwsim.compress.quantize.places import FloatLayer, Quantizable, places
from hwsim.compress.quantize.run import run
from hwsim.compress.samples import Batches, BatchStream
from hwsim.graph import Graph
from hwsim.ops import Weighted


@dataclass(frozen=True, slots=True)
class BitPlace:
    """Layers whose weights, or tensors whose codes, have one number of bits."""

    names: tuple[str, ...]
    weights: bool
    numbers: int

    @property
    def name(self) -> str:
        """What it is called."""
        return " + ".join(self.names)

    @property
    def kind(self) -> str:
        """Whose bits they are."""
        return "weights" if self.weights else "activations"


@dataclass(frozen=True, slots=True)
class Range:
    """The fewest and the most bits of weights and of activations."""

    least: Widths
    most: Widths

    def of(self, place: BitPlace) -> range:
        """What a place can have."""
        low, high = self.least, self.most
        if place.weights:
            return range(low.weights, high.weights + 1)
        return range(low.activations, high.activations + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """A float model, what may have which bits, and what the layers take.

    `sizes` are numbers of weights by their tensor, `products` those of each layer for a sample: as
    the Graph has them, where a dilated convolution has zeros between its weights, and each layer
    weights of its own.
    """

    model: FloatModel
    found: Quantizable
    seen: Mapping[str, Histogram]
    linear: LinearScheme
    places: tuple[BitPlace, ...]
    sizes: Mapping[str, int]
    products: Mapping[str, int]

    @classmethod
    def of(
        cls,
        model: FloatModel,
        batches: Batches | BatchStream,
        linear: LinearScheme,
        *,
        tensors: bool,
    ) -> Room:
        """The places that `linear` does not name itself; without `tensors` layers' weights alone.

        Inputs stay as they are.
        """
        found = places(model)
        seen = observe(model, batches, found.tensors)
        plain = replace(linear, rounding="nearest", correct_bias=False)
        graph = run(model, batches, plain, seen=seen).graph
        work = _products(model, found.layers, next(iter(batches)))
        sizes, work = _counted(model, found.layers, work, graph)
        free = _free(found, model, linear)
        every = (*_weights(found, sizes, free[0]), *(_tensors(found, free[1]) if tensors else ()))
        return cls(model, found, seen, linear, every, sizes, work)

    def shrunk(self, graph: Graph) -> Room:
        """With the sizes and products of a Graph of fewer channels."""
        sizes, work = _counted(self.model, self.found.layers, self.products, graph)
        weights = {layer.name: layer.weights for layer in self.found.layers}
        every = tuple(
            replace(place, numbers=sizes[weights[place.names[0]]]) if place.weights else place
            for place in self.places
        )
        return replace(self, places=every, sizes=sizes, products=work)

    def scheme(self, bits: Mapping[BitPlace, int]) -> LinearScheme:
        """What is asked of `quantize` to give places these bits."""
        layers = [
            (_literal(name), Some(n, None) if place.weights else Some(None, n))
            for place, n in bits.items()
            for name in place.names
        ]
        return replace(self.linear, layers=(*self.linear.layers, *layers))


def _counted(
    model: FloatModel, layers: Sequence[FloatLayer], work: Mapping[str, int], graph: Graph
) -> tuple[dict[str, int], dict[str, int]]:
    """Numbers of weights and products as a Graph has them, where it has the layer."""
    macs, constants, work = graph.work(), model.constants, dict(work)
    ops = {node.name: node.op for node in graph.nodes if isinstance(node.op, Weighted)}
    sizes: dict[str, int] = {}
    for layer in layers:
        op = ops.get(layer.name)
        size = constants[layer.weights].size if op is None else op.weights.size
        sizes[layer.weights] = sizes.get(layer.weights, 0) + int(size)
        if op is not None:
            work[layer.name] = macs[layer.name].macs
    return sizes, work


def _weights(
    found: Quantizable, sizes: Mapping[str, int], free: Collection[str]
) -> Iterator[BitPlace]:
    """Layers that read one tensor of weights have one number of bits."""
    shared: dict[str, list[str]] = {}
    for layer in found.layers:
        shared.setdefault(layer.weights, []).append(layer.name)
    for tensor, names in shared.items():
        if {*names} <= {*free}:
            yield BitPlace(tuple(names), True, sizes[tensor])


def _tensors(found: Quantizable, free: Collection[str]) -> Iterator[BitPlace]:
    """Tensors that are joined have one number of bits."""
    done = set[str]()
    for tensor in found.tensors:
        group = next((g for g in found.joined if tensor in g), (tensor,))
        if tensor not in done and {*group} <= {*free}:
            done.update(group)
            yield BitPlace(tuple(group), False, 0)


def _free(found: Quantizable, model: FloatModel, linear: LinearScheme) -> tuple[set[str], set[str]]:
    """Layers, and tensors, that have the bits of all: those that no pattern names."""
    (weights, tensors), (more, others) = (
        replace(linear, widths=Widths(weights=n, activations=n)).bits(found, model.inputs)
        for n in (2, 3)
    )
    layers = {name for name in weights if weights[name] != more[name]}
    return layers, {name for name in tensors if tensors[name] != others[name]}


def _products(model: FloatModel, layers: Sequence[FloatLayer], batch: Batch) -> dict[str, int]:
    """Of each layer's weights for a sample: each weight once a place of the output."""
    wanted = [t for layer in layers for t in (layer.input, layer.output)]
    (reals,) = model.run([batch], wanted)
    constants, found = model.constants, {}
    for layer in layers:
        held = constants[layer.weights]
        back = layer.op == "ConvTranspose"
        array = reals[layer.input if back else layer.output]
        channels = held.shape[0 if back else layer.axis]
        found[layer.name] = held.size * array[0].size // channels
    return found


def _literal(name: str) -> str:
    """A pattern that only this name fits."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
