"""A normalization that an exporter wrote as its parts, as the one node that it is.

Exporters of opset 16 and below write a layer's as mean, difference, square, mean, offset, root and
quotient, and then a factor and an offset; ONNX Runtime makes the same node of them. Without the
mean that is a root mean square's, with the length of a row in place of the root an L2 norm. Along
the channels of a map they stand between two transposes; one of groups is an instance's between two
reshapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.frontends.onnx.model import OnnxModel, OnnxNode

Array = npt.NDArray[Any]


def with_norms(model: OnnxModel) -> OnnxModel:
    """The model with a normalization for each group of nodes that computes one."""
    found = norms(model)
    if not found:
        return model
    gone = frozenset().union(*(one.gone for one in found))
    made = {one.last: one.nodes for one in found}
    constants = {name: array for one in found for name, array in one.constants.items()}
    nodes = [one for node in model.nodes for one in made.get(node.output, (node,))]
    kept = tuple(node for node in nodes if node.output not in gone)
    return replace(model, nodes=kept, constants={**model.constants, **constants})


def norms(model: OnnxModel) -> tuple[Norm, ...]:
    """The groups of nodes that compute a normalization, in order."""
    graph = Readers(model)
    found = (_norm(graph, node) for node in model.nodes if not node.domain)
    return tuple(one for one in found if one is not None)


@dataclass(frozen=True, slots=True)
class Norm:
    """A group: what it reads, the tensor that it makes, all others that are made in it.

    `nodes` are in its place, with `constants` of their own.
    """

    reads: str
    last: str
    gone: frozenset[str]
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, Array] = field(default_factory=dict)


class Readers:
    """Who makes and who reads each tensor of a model."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.makers = {out: node for node in model.nodes for out in node.outputs if out}
        self.outputs = {port.name for port in model.outputs}
        self.readers: dict[str, list[OnnxNode]] = {}
        for node in model.nodes:
            for name in filter(None, node.inputs):
                self.readers.setdefault(name, []).append(node)

    def made_by(self, tensor: str, op: str, readers: int = 1) -> OnnxNode | None:
        """The node of that operator that makes a tensor which so many others read, and no port."""
        node = self.makers.get(tensor)
        alone = len(self.readers.get(tensor, [])) == readers and tensor not in self.outputs
        return node if node is not None and node.op == op and not node.domain and alone else None

    def constant(self, tensor: str) -> npt.NDArray[Any] | None:
        """A constant, given or behind a DequantizeLinear."""
        found = self.model.constants.get(tensor)
        maker = self.makers.get(tensor)
        if found is None and maker is not None and maker.op == "DequantizeLinear":
            found = self.model.constants.get(maker.input(0))
        return found

    def number(self, tensor: str) -> float | None:
        """A constant of one element."""
        found = self.model.constants.get(tensor)
        return float(found.reshape(-1)[0]) if found is not None and found.size == 1 else None

    def reduced(self, tensor: str, op: str) -> tuple[OnnxNode, int] | None:
        """The node that reduces one axis, which stays, and makes a tensor; and that axis."""
        node = self.made_by(tensor, op)
        if node is None or not node.integer("keepdims", 1):
            return None
        given = self.model.constants.get(node.input(1))
        axes = node.integers("axes") if given is None else tuple(int(a) for a in given.ravel())
        return (node, axes[0]) if len(axes) == 1 else None

    def behind(self, tensor: str, op: str) -> Iterator[tuple[OnnxNode, str]]:
        """The one reader of a tensor, of that operator, and its other input, if it is constant."""
        readers = self.readers.get(tensor, [])
        if len(readers) == 1 and readers[0].op == op and tensor not in self.outputs:
            inputs = readers[0].inputs
            other = inputs[1] if inputs[0] == tensor else inputs[0]
            if self.constant(other) is not None and inputs[0] != inputs[1]:
                yield readers[0], other


def _norm(graph: Readers, node: OnnxNode) -> Norm | None:
    if node.op == "InstanceNormalization":
        return _of_groups(graph, node)
    if node.op in ("Div", "Mul"):
        return _by_root(graph, node) or _by_length(graph, node)
    return None


def _by_root(graph: Readers, quotient: OnnxNode) -> Norm | None:
    """The normalization that ends in a quotient, or in a Mul and an Add behind it."""
    parts = _quotient(graph, quotient)
    root = graph.made_by(parts[1], "Sqrt") if parts is not None else None
    shifted = graph.made_by(root.input(0), "Add") if root is not None else None
    if parts is None or root is None or shifted is None:
        return None
    numbers = [graph.number(name) for name in shifted.inputs]
    if numbers.count(None) != 1:
        return None
    epsilon = next(number for number in numbers if number is not None)
    averaged = graph.reduced(shifted.inputs[numbers.index(None)], "ReduceMean")
    square = _square(graph, averaged[0].input(0), parts[0]) if averaged is not None else None
    if averaged is None or square is None:
        return None
    gone = {n.output for n in (*parts[2], root, shifted, averaged[0], square)}
    whole = _Rest(graph, quotient, averaged[1], {"epsilon": float(np.float32(epsilon))})
    difference = graph.makers.get(parts[0])
    if difference is not None and difference.op == "Sub" and _alone(graph, square, parts[0]):
        mean = graph.reduced(difference.input(1), "ReduceMean")
        if mean is not None and mean[0].input(0) == difference.input(0) and mean[1] == whole.axis:
            centred = gone | {difference.output, mean[0].output}
            return whole.norm("LayerNormalization", difference.input(0), centred)
    return whole.norm("RMSNormalization", parts[0], gone)


def _by_length(graph: Readers, quotient: OnnxNode) -> Norm | None:
    """The division by the length of a row, kept above 0."""
    if quotient.op != "Div":
        return None
    spread, gone = quotient.input(1), set[str]()
    for op in ("Expand", "Clip", "Max"):
        node = graph.made_by(spread, op)
        if node is not None:
            if op != "Expand" and not _keeps_above_0(graph, node):
                return None
            gone.add(spread)
            spread = next((n for n in node.inputs if n not in graph.model.constants), "")
    length = graph.reduced(spread, "ReduceL2")
    if length is None or length[0].input(0) != quotient.input(0):
        return None
    gone.add(spread)
    rest = _Rest(graph, quotient, length[1], {"p": 2})
    return rest.norm("LpNormalization", quotient.input(0), gone, followed=False)


LEAST_LENGTH = 1e-6
"""What a row's length is kept above, at most: shorter rows of codes are all 0."""


def _keeps_above_0(graph: Readers, node: OnnxNode) -> bool:
    """Whether a Clip or a Max of a length has one limit alone, the lower, and that near 0."""
    given = [name for name in node.inputs if name]
    numbers = [n for name in given if (n := graph.number(name)) is not None]
    lower = node.op == "Max" or graph.number(node.input(1)) is not None
    return len(given) == 2 and lower and len(numbers) == 1 and 0 <= numbers[0] <= LEAST_LENGTH


def _of_groups(graph: Readers, node: OnnxNode) -> Norm | None:
    """The normalization of groups of channels, which stand in the place of channels."""
    apart = graph.made_by(node.input(0), "Reshape")
    behind = graph.readers.get(node.output, [])
    sizes = graph.constant(apart.input(1)) if apart is not None else None
    plain = [graph.constant(node.input(place)) for place in (1, 2)]
    known = all(a is not None and (a == n).all() for a, n in zip(plain, (1, 0), strict=True))
    if apart is None or sizes is None or sizes.size != 3 or not known or len(behind) != 1:
        return None
    whole, groups = behind[0], plain[0]
    if whole.op != "Reshape" or node.output in graph.outputs or groups is None:
        return None
    last, found = whole.output, [np.ones(1), np.zeros(1)]
    gone = {apart.output, node.output}
    shape = _shape_of(graph, whole, apart.input(0))
    for op, place in (("Mul", 0), ("Add", 1)):
        for reader, name in graph.behind(last, op):
            constant = graph.constant(name)
            if constant is not None and _a_channel(constant, shape):
                gone.add(last)
                last, found[place] = reader.output, constant.ravel()
    if max(a.size for a in found) < 2:
        return None
    channels = max(a.size for a in found)
    names = tuple(f"{last}.{part}" for part in ("factor", "offset"))
    held = {n: np.broadcast_to(a, channels) for n, a in zip(names, found, strict=True)}
    made = OnnxNode(
        name=node.name,
        op="GroupNormalization",
        domain="",
        inputs=(apart.input(0), *names),
        outputs=(f"{last}.groups" if shape else last,),
        attributes={"num_groups": groups.size, "epsilon": node.real("epsilon", 1e-5)},
    )
    back = replace(whole, inputs=(made.output, whole.input(1)), outputs=(last,))
    return Norm(apart.input(0), last, frozenset(gone), (made, back) if shape else (made,), held)


def _shape_of(graph: Readers, reshape: OnnxNode, base: str) -> tuple[int, ...] | None:
    """The shape that a Reshape gives, empty where it is not known.

    None where it is that of a tensor, `base`, as the model computes it.
    """
    given = graph.constant(reshape.input(1))
    if given is not None:
        return tuple(int(n) for n in given.ravel())
    maker = graph.makers.get(reshape.input(1))
    return None if maker is not None and maker.op == "Shape" and maker.inputs == (base,) else ()


def _a_channel(constant: Array, shape: tuple[int, ...] | None) -> bool:
    """Whether a constant has a number for each channel of a tensor of that shape."""
    alone = constant.ndim > 1 and constant.size == len(constant)
    if not alone or shape is None:
        return alone
    kept = 0 not in shape[1:]  # a 0 stands for the length before, which is another one here
    return kept and len(shape) == constant.ndim + 1 and shape[1] == constant.size


@dataclass(frozen=True, slots=True)
class _Rest:
    """What a quotient of a normalization along an axis is followed by."""

    graph: Readers
    quotient: OnnxNode
    axis: int
    attributes: dict[str, Any]

    def norm(self, op: str, reads: str, gone: set[str], *, followed: bool = True) -> Norm | None:
        """The normalization with a factor and an offset behind it; None along another axis."""
        last, names, gone = self.quotient.output, ["", ""], set(gone)
        kinds = ("Mul", "Add") if op == "LayerNormalization" else ("Mul",)
        for place, kind in enumerate(kinds if followed else ()):
            for reader, constant in self.graph.behind(last, kind):
                if not self._by_element(constant):
                    break
                gone.add(last)
                last, names[place] = reader.output, constant
        inputs = tuple([reads, *names][: len(kinds) + 1] if followed else [reads])
        node = OnnxNode(
            name=self.quotient.name,
            op=op,
            domain="",
            inputs=inputs,
            outputs=(last,),
            attributes={"axis": -1, **self.attributes},
        )
        if self.axis == -1:
            return Norm(reads, last, frozenset(gone), (node,))
        return _turned(self.graph, node, self.axis, frozenset(gone))

    def _by_element(self, constant: str) -> bool:
        """Whether a constant is one number, or one for each element of a row."""
        array = self.graph.constant(constant)
        return array is not None and (self.axis != -1 or array.size in (1, *array.shape[-1:]))


def _turned(graph: Readers, node: OnnxNode, axis: int, gone: frozenset[str]) -> Norm | None:
    """The same along the channels of a map, between transposes; its factor tells the axes."""
    arrays = {name: graph.constant(name) for name in node.inputs[1:] if name}
    sizes = {a.shape for a in arrays.values() if a is not None and a.size > 1}
    shape = next(iter(sizes), ())
    if axis != 1 or len(sizes) != 1 or shape[-1] != 1 or len(shape) < 2:
        return None
    rank = len(shape) + (shape[0] != 1)
    if max(shape) != shape[1 - rank]:
        return None
    places = list(range(rank))
    way, back = [0, *places[2:], 1], [0, rank - 1, *places[1:-1]]
    reads, last = node.inputs[0], node.output
    inner, out = f"{last}.rows", f"{last}.normal"
    held = {f"{last}.{name}": a.ravel() for name, a in arrays.items() if a is not None}
    names = tuple(f"{last}.{name}" if name else "" for name in node.inputs[1:])

    def moved(name: str, x: str, y: str, permutation: list[int]) -> OnnxNode:
        attributes = {"perm": permutation}
        return OnnxNode(f"{node.name}.{name}", "Transpose", "", (x,), (y,), attributes)

    made = (
        moved("rows", reads, inner, way),
        replace(node, inputs=(inner, *names), outputs=(out,)),
        moved("back", out, last, back),
    )
    return Norm(reads, last, gone, made, held)


def _quotient(graph: Readers, node: OnnxNode) -> tuple[str, str, list[OnnxNode]] | None:
    """What is divided, by which root, and the nodes in between."""
    if node.op == "Div":
        return node.input(0), node.input(1), []
    for place in (0, 1):
        other = node.input(1 - place)
        inverse = graph.made_by(other, "Reciprocal") or graph.made_by(other, "Div")
        if inverse is not None and inverse.op == "Reciprocal":
            return node.input(place), inverse.input(0), [inverse]
        if inverse is not None and graph.number(inverse.input(0)) == 1:
            return node.input(place), inverse.input(1), [inverse]
    return None


def _square(graph: Readers, tensor: str, base: str) -> OnnxNode | None:
    """The node that makes a tensor as the square of another."""
    power = graph.made_by(tensor, "Pow")
    if power is not None and power.input(0) == base and graph.number(power.input(1)) == 2:
        return power
    product = graph.made_by(tensor, "Mul")
    return product if product is not None and product.inputs == (base, base) else None


def _alone(graph: Readers, square: OnnxNode, base: str) -> bool:
    """Whether a square and a quotient alone read a tensor."""
    count = 2 if square.op == "Pow" else 3
    return len(graph.readers[base]) == count and base not in graph.outputs
