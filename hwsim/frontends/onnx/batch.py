"""Tensors whose batch is not the first axis: attention that PyTorch computes as (time, batch, ...).

The batch never is part of a layout: a sample's elements are the same wherever the model keeps its
batch. So a tensor whose batch has moved is held as all of the model's axes for ONE sample, and its
`Place` says which of them the batch is in. A node that reads such a tensor is read as if a batch
axis stood before all others: its rule here moves the axes that it names one on, finds where the
batch is behind it, and refuses what would mix samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.constants import slices
from hwsim.frontends.onnx.functions import CONTRIBUTED, FUNCTIONS
from hwsim.frontends.onnx.importer import Handler, Importer, Place
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.selecting import is_all
from hwsim.frontends.onnx.shape import BATCH, axes, layout_of, relaid, shape_part
from hwsim.frontends.onnx.softmax import ONE_AXIS
from hwsim.frontends.shared.values import Constant
from hwsim.ops.base import Shape

FIRST = Place(0, 1)


@dataclass(frozen=True, slots=True)
class Moved:
    """A node whose first tensor holds its batch at `place`; `shape` is that of one sample."""

    run: Importer
    node: OnnxNode
    position: int  # of that tensor among the node's inputs
    place: Place
    shape: Shape

    @property
    def rank(self) -> int:
        """How many axes the tensor has in the model."""
        return len(self.shape)

    def refusal(self, must: str) -> HwsimError:
        """What to say of a node that would mix samples, or that no rule reads."""
        axis = f"axis {self.place.axis} of {self.node.input(self.position)!r}"
        return HwsimError(f"{self.node}: {must}; its batch is in {axis}")

    def apart(self, given: int, rank: int) -> int:
        """An axis of a tensor of that rank, counted from 0, that does not hold the batch."""
        if not -rank <= given < rank:
            raise HwsimError(
                f"{self.node}: its axes must lie in a tensor of rank {rank}, not {given}"
            )
        if given % rank == self.place.axis:
            raise self.refusal(f"it must keep samples apart, not work along axis {given}")
        return given % rank

    def constant(self, what: str, values: Sequence[int]) -> str:
        """The name of new integers for the node."""
        name = f"{self.node.output}\0{what}"
        self.run.values[name] = Constant(np.array(values, np.int64))
        return name

    def with_inputs(self, *names: str) -> OnnxNode:
        """The node with other inputs behind the first, and no attribute that they stand for."""
        kept = {k: v for k, v in self.node.attributes.items() if k in ("keepdims", "axis")}
        return replace(self.node, inputs=(self.node.inputs[0], *names), attributes=kept)

    def with_axis(self, axis: int) -> OnnxNode:
        """The node along an axis of the model's tensor, the batch before all others."""
        return replace(self.node, attributes={**self.node.attributes, "axis": axis + 1})


Rule = Callable[[Moved], tuple[OnnxNode, Place]]


def read_node(run: Importer, node: OnnxNode, handler: Handler) -> None:
    """Read a node by its handler, wherever the tensors that it reads hold their batch."""
    found = _moved(run, node)
    if found is None:
        handler(run, node)
        return
    if node.op == "Shape":
        run.values[node.output] = _shape(found)
        return
    rule = RULES.get(node.op)
    if rule is None:
        raise found.refusal("it must have its batch as the first axis")
    node, place = rule(found)
    handler(run, node)
    for name in filter(None, node.outputs):
        _settle(run, node, name, place)


def _moved(run: Importer, node: OnnxNode) -> Moved | None:
    """The node, if its batch is not the first axis, or will not be."""
    for position, name in enumerate(node.inputs):
        if name in run.places:
            shape = layout_of(run.values[name], node).shape
            return Moved(run, node, position, run.places[name], shape)
    value = run.values.get(node.input(0))
    if node.op not in ("Transpose", "Reshape") or value is None or isinstance(value, Constant):
        return None
    shape = (1, *layout_of(value, node).shape)
    if node.op == "Transpose":
        order = node.integers("perm", range(len(shape) - 1, -1, -1))
        moves = sorted(order) == list(range(len(shape))) and order[0] != 0
    else:
        moves = _merges(run, node, math.prod(shape))
    if not moves:
        return None
    # The same elements, their batch an axis of length 1 like any other.
    viewed = f"{node.output}\0viewed"
    run.values[viewed] = relaid(value, lambda layout: layout.reshaped((1, *layout.shape)))
    node = replace(node, inputs=(viewed, *node.inputs[1:]))
    return Moved(run, node, 0, FIRST, shape)


def _merges(run: Importer, node: OnnxNode, size: int) -> bool:
    """Whether a Reshape makes one axis of the batch and axes behind it."""
    target = run.values.get(node.input(1))
    if not isinstance(target, Constant) or not target.array.size:
        return False
    first, *rest = (int(d) for d in target.array.ravel())
    return first < 0 and all(d > 0 for d in rest) and math.prod(rest) < size


def _settle(run: Importer, node: OnnxNode, name: str, place: Place) -> None:
    """Remember where a tensor holds its batch; as the first axis it needs no place."""
    shape = layout_of(run.values[name], node).shape
    if place == FIRST and shape[0] == 1:
        run.values[name] = relaid(run.values[name], lambda layout: layout.reshaped(shape[1:]))
    else:
        run.places[name] = place


def _shape(found: Moved) -> Constant:
    """Shape: below 0 where it counts samples."""
    sizes = list(found.shape)
    sizes[found.place.axis] *= BATCH
    return Constant(np.array(sizes[shape_part(found.node)], np.int64))


def _each(found: Moved) -> tuple[OnnxNode, Place]:
    """Elements by themselves: all tensors hold their batch alike, and constants have none."""
    run, axis = found.run, found.place.axis
    for name in filter(None, found.node.inputs):
        value = run.values.get(name)
        if isinstance(value, Constant):
            across = value.array.ndim - found.rank + axis
            if value.array.ndim > found.rank or (across >= 0 and value.array.shape[across] != 1):
                raise found.refusal(
                    f"its constant {name!r} of shape {value.array.shape} must broadcast to all "
                    "samples"
                )
        elif value is not None:
            _check_alike(found, name)
    return found.node, found.place


def _check_alike(found: Moved, name: str) -> None:
    shape = layout_of(found.run.value(found.node, found.node.inputs.index(name)), found.node).shape
    place, axis = found.run.places.get(name), found.place.axis
    alike = place == found.place and len(shape) == found.rank
    if not alike or shape[axis] != found.shape[axis]:
        raise found.refusal(f"its tensors must hold their batch alike, which {name!r} does not")


def _quantized(found: Moved) -> tuple[OnnxNode, Place]:
    """QuantizeLinear and DequantizeLinear, by one scale or one for each index of an axis."""
    if found.run.constant(found.node, 1).array.size == 1:
        return found.node, found.place
    return _along(found, 1)


def _transpose(found: Moved) -> tuple[OnnxNode, Place]:
    order = found.node.integers("perm", range(found.rank - 1, -1, -1))
    if sorted(order) != list(range(found.rank)):
        raise HwsimError(
            f"{found.node}: attribute 'perm' must permute {found.rank} axes, not be {order}"
        )
    node = replace(found.node, attributes={"perm": [0, *(axis + 1 for axis in order)]})
    return node, Place(order.index(found.place.axis), found.place.inner)


def _reshape(found: Moved) -> tuple[OnnxNode, Place]:
    target = [int(d) for d in found.run.constant(found.node, 1).array.ravel()]
    if found.node.integer("allowzero", 0) and 0 in target:
        raise HwsimError(f"{found.node}: with 'allowzero' 1 its target shape must have no 0")
    old = list(found.shape)
    old[found.place.axis] *= BATCH
    target = [old[i] if d == 0 and i < len(old) else d for i, d in enumerate(target)]
    return _reshaped(found, target)


def _reshaped(found: Moved, target: Sequence[int]) -> tuple[OnnxNode, Place]:
    """Elements in the same order under a shape in which the batch is in one axis again."""
    batch, place = found.run.model.batch, found.place
    inside = place.inner * math.prod(found.shape[place.axis + 1 :])
    ways = set()
    for axis, shape in _targets(target, math.prod(found.shape), batch):
        inner, rest = divmod(inside, math.prod(shape[axis + 1 :]))
        if not rest and inner and shape[axis] % inner == 0:
            ways.add((shape, Place(axis, inner)))
    if batch == 1 and len(ways) > 1:  # any is right for one sample: best an axis of its own
        ways = {min(ways, key=lambda way: (way[0][way[1].axis], way[1].axis))}
    if len(ways) != 1:
        raise found.refusal(
            f"its target shape must keep the batch whole in one axis, not be {list(target)}"
        )
    shape, place = ways.pop()
    name = found.constant("shape", [BATCH, *shape])
    return replace(found.with_inputs(name), op="Reshape", attributes={}), place


def _targets(target: Sequence[int], size: int, batch: int | None) -> Iterator[tuple[int, Shape]]:
    """Which axis of a target may hold the batch, and the target's shape for one sample then."""
    for axis, given in enumerate(target):
        counted = -given if given < 0 else given // batch if batch and not given % batch else 0
        for own in {counted, -1 if given == -1 else counted}:
            shape = [own if i == axis else d for i, d in enumerate(target)]
            known = math.prod(d for d in shape if d != -1)
            if shape.count(-1) == 1 and known > 0 and size % known == 0:
                shape[shape.index(-1)] = size // known
            if min(shape) > 0 and math.prod(shape) == size:
                yield axis, tuple(shape)


def _flatten(found: Moved) -> tuple[OnnxNode, Place]:
    axis, sizes = found.node.integer("axis", 1), list(found.shape)
    axis = axis + found.rank if axis < 0 else axis
    sizes[found.place.axis] *= BATCH
    return _reshaped(found, (math.prod(sizes[:axis]), math.prod(sizes[axis:])))


def _squeeze(found: Moved) -> tuple[OnnxNode, Place]:
    gone = axes(found.node, found.run, found.rank)
    if not gone:
        raise found.refusal("its 'axes' must be given")
    gone = tuple(found.apart(axis, found.rank) for axis in gone)
    return _with_axes(found, gone), _without(found.place, gone)


def _unsqueeze(found: Moved) -> tuple[OnnxNode, Place]:
    node = found.node
    count = found.run.constant(node, 1).array.size if node.input(1) else len(node.integers("axes"))
    rank = found.rank + count
    new = axes(node, found.run, rank)
    kept = [axis for axis in range(rank) if axis not in new]
    if len(kept) != found.rank:
        raise HwsimError(f"{node}: its new axes must differ, not be {new}")
    return _with_axes(found, new), Place(kept[found.place.axis], found.place.inner)


def _with_axes(found: Moved, given: Sequence[int]) -> OnnxNode:
    """The node with its axes one on, where it has them: as an attribute or as an input."""
    on = [axis + 1 for axis in given]
    if found.node.input(1):
        return found.with_inputs(found.constant("axes", on))
    return replace(found.node, attributes={**found.node.attributes, "axes": on})


def _without(place: Place, gone: Sequence[int]) -> Place:
    return Place(place.axis - sum(axis < place.axis for axis in gone), place.inner)


def _gather(found: Moved) -> tuple[OnnxNode, Place]:
    axis = found.apart(found.node.integer("axis", 0), found.rank)
    more = found.run.constant(found.node, 1).array.ndim - 1
    place = found.place if axis > found.place.axis else _without(found.place, [axis] * -more)
    if axis < found.place.axis and more > 0:
        place = Place(place.axis + more, place.inner)
    return found.with_axis(axis), place


def _slice(found: Moved) -> tuple[OnnxNode, Place]:
    run, node = found.run, found.node
    arrays = [
        run.constant(node, i).array if name else None
        for i, name in enumerate(node.inputs[1:], start=1)
    ]
    cuts = [
        (found.apart(axis, found.rank), cut)
        for axis, cut in slices(node, arrays)
        if axis % found.rank != found.place.axis or not is_all(cut, run.model.batch)
    ]
    names = [
        found.constant(what, values)
        for what, values in {
            "starts": [cut.start for _, cut in cuts],
            "ends": [cut.stop for _, cut in cuts],
            "axes": [axis + 1 for axis, _ in cuts],
            "steps": [cut.step for _, cut in cuts],
        }.items()
    ]
    return found.with_inputs(*names), found.place


def _along(found: Moved, default: int = -1) -> tuple[OnnxNode, Place]:
    """Along one axis, which stays."""
    return found.with_axis(
        found.apart(found.node.integer("axis", default), found.rank)
    ), found.place


def _split(found: Moved) -> tuple[OnnxNode, Place]:
    return _along(found, 0)


def _concat(found: Moved) -> tuple[OnnxNode, Place]:
    for name in found.node.inputs:
        if not isinstance(found.run.values.get(name), Constant):
            _check_alike(found, name)
    return _along(found)


def _softmax(found: Moved) -> tuple[OnnxNode, Place]:
    if found.node.integer("opset", found.run.model.opset) < ONE_AXIS:
        if found.node.integer("axis", 1) % found.rank <= found.place.axis:
            raise found.refusal("it must not be along samples")
        return _along(found, 1)
    return _along(found)


def _norm(found: Moved) -> tuple[OnnxNode, Place]:
    axis = found.apart(found.node.integer("axis", -1), found.rank)
    if axis < found.place.axis:
        raise found.refusal("it must not normalize along samples")
    return found.with_axis(axis), found.place


def _reduce(found: Moved) -> tuple[OnnxNode, Place]:
    given = axes(found.node, found.run, found.rank)
    if not given:
        raise found.refusal("it must keep samples apart, so its 'axes' must be given")
    gone = sorted({found.apart(axis, found.rank) for axis in given})
    kept = found.node.integer("keepdims", 1)
    return _with_axes(found, gone), found.place if kept else _without(found.place, gone)


def _arg_max(found: Moved) -> tuple[OnnxNode, Place]:
    axis = found.apart(found.node.integer("axis", 0), found.rank)
    kept = found.node.integer("keepdims", 1)
    return found.with_axis(axis), found.place if kept else _without(found.place, [axis])


def _matmul(found: Moved) -> tuple[OnnxNode, Place]:
    """A product with weights keeps rows apart; one of two tensors what is ahead of the matrices."""
    node, run = found.node, found.run
    first, second = (node.input(i) for i in ((0, 3) if node.op == "QLinearMatMul" else (0, 1)))
    weights = run.values.get(second)
    if isinstance(weights, Constant):
        rows = weights.array.ndim == 2 and found.place.axis < found.rank - 1
    else:
        rows = found.place.axis < found.rank - 2
        for name in (first, second):
            _check_alike(found, name)
    if not rows:
        raise found.refusal("its product must keep samples apart")
    return node, found.place


def _gemm(found: Moved) -> tuple[OnnxNode, Place]:
    if found.position != 0 or found.rank != 2 or found.place.axis != 0:
        raise found.refusal("its product must keep samples apart, as rows of a first matrix")
    return found.node, found.place


EACH = (
    "Add", "And", "BipolarQuant", "Cast", "Clip", "Div", "Dropout", "Equal", "Greater",
    "GreaterOrEqual", "Identity", "IntQuant", "Less", "LessOrEqual", "Max", "Min", "Mul", "Not",
    "Or", "PRelu", "Pow", "QLinearAdd", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "Quant",
    "Sub", "Sum", "Where", "Xor", *FUNCTIONS, *CONTRIBUTED,
)  # fmt: skip

RULES: dict[str, Rule] = {
    **dict.fromkeys(EACH, _each),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), _reduce),
    "ArgMax": _arg_max,
    "Concat": _concat,
    "DequantizeLinear": _quantized,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "LayerNormalization": _norm,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "QGemm": _gemm,
    "QLinearMatMul": _matmul,
    "QLinearSoftmax": _softmax,
    "QuantizeLinear": _quantized,
    "Reshape": _reshape,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""The rule of each operator; one without a rule needs its batch first."""
