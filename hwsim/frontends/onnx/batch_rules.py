"""How each operator reads a tensor whose batch is not the first axis, as `batch.py` has it.

A rule gives the node with its axes one on, as if a batch axis stood before all others, and where
the batch is in what the node makes; or it refuses, where samples would mix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.batch_reading import NOWHERE, Reading
from hwsim.frontends.onnx.constants import slices
from hwsim.frontends.onnx.functions import CONTRIBUTED, FUNCTIONS
from hwsim.frontends.onnx.importer import Place
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.selecting import is_all
from hwsim.frontends.onnx.shape import BATCH, axes, layout_of
from hwsim.frontends.onnx.softmax import ONE_AXIS
from hwsim.frontends.shared.values import Constant
from hwsim.ops.base import Shape

Rule = Callable[[Reading], tuple[OnnxNode, Place]]


def _each(found: Reading) -> tuple[OnnxNode, Place]:
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


def _check_alike(found: Reading, name: str) -> None:
    shape = layout_of(found.run.value(found.node, found.node.inputs.index(name)), found.node).shape
    place, axis = found.run.places.get(name), found.place.axis
    alike = place == found.place and len(shape) == found.rank
    if not alike or (place != NOWHERE and shape[axis] != found.shape[axis]):
        raise found.refusal(f"its tensors must hold their batch alike, which {name!r} does not")


def _quantized(found: Reading) -> tuple[OnnxNode, Place]:
    """QuantizeLinear and DequantizeLinear, by one scale or one for each index of an axis."""
    if found.run.constant(found.node, 1).array.size == 1:
        return found.node, found.place
    return _along(found, 1)


def _transpose(found: Reading) -> tuple[OnnxNode, Place]:
    order = found.node.integers("perm", range(found.rank - 1, -1, -1))
    if sorted(order) != list(range(found.rank)):
        raise HwsimError(
            f"{found.node}: attribute 'perm' must permute {found.rank} axes, not be {order}"
        )
    node = replace(found.node, attributes={"perm": [0, *(axis + 1 for axis in order)]})
    return node, found.became([order.index(axis) for axis in range(found.rank)])


def _reshape(found: Reading) -> tuple[OnnxNode, Place]:
    target = [int(d) for d in found.run.constant(found.node, 1).array.ravel()]
    if found.node.integer("allowzero", 0) and 0 in target:
        raise HwsimError(f"{found.node}: with 'allowzero' 1 its target shape must have no 0")
    old = found.counted
    target = [old[i] if d == 0 and i < len(old) else d for i, d in enumerate(target)]
    return _reshaped(found, target)


def _reshaped(found: Reading, target: Sequence[int]) -> tuple[OnnxNode, Place]:
    """Elements in the same order under a shape in which the batch is in one axis again."""
    batch, place = found.run.model.batch, found.place
    inside = place.inner * math.prod(found.shape[place.axis + 1 :])
    ways = set()
    for axis, shape in _targets(target, math.prod(found.shape), batch):
        inner, rest = divmod(inside, math.prod(shape[axis + 1 :]))
        if place == NOWHERE:
            ways.add((shape, NOWHERE))
        elif not rest and inner and shape[axis] % inner == 0:
            ways.add((shape, Place(axis, inner)))
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


def _flatten(found: Reading) -> tuple[OnnxNode, Place]:
    axis, sizes = found.node.integer("axis", 1), found.counted
    axis = axis + found.rank if axis < 0 else axis
    return _reshaped(found, (math.prod(sizes[:axis]), math.prod(sizes[axis:])))


def _squeeze(found: Reading) -> tuple[OnnxNode, Place]:
    gone = axes(found.node, found.run, found.rank)
    if not gone:
        raise found.refusal("its 'axes' must be given")
    gone = tuple(found.apart(axis, found.rank) for axis in gone)
    return _with_axes(found, gone), _without(found.place, gone)


def _unsqueeze(found: Reading) -> tuple[OnnxNode, Place]:
    node = found.node
    count = found.run.constant(node, 1).array.size if node.input(1) else len(node.integers("axes"))
    rank = found.rank + count
    new = axes(node, found.run, rank)
    kept = [axis for axis in range(rank) if axis not in new]
    if len(kept) != found.rank:
        raise HwsimError(f"{node}: its new axes must differ, not be {new}")
    return _with_axes(found, new), found.became(kept)


def _with_axes(found: Reading, given: Sequence[int]) -> OnnxNode:
    """The node with its axes one on, where it has them: as an attribute or as an input."""
    on = [axis + 1 for axis in given]
    if found.node.input(1):
        return found.with_inputs(found.constant("axes", on))
    return replace(found.node, attributes={**found.node.attributes, "axes": on})


def _without(place: Place, gone: Sequence[int]) -> Place:
    return Place(place.axis - sum(axis < place.axis for axis in gone), place.inner)


def _gather(found: Reading) -> tuple[OnnxNode, Place]:
    axis, place = found.apart(found.node.integer("axis", 0), found.rank), found.place
    more = found.run.constant(found.node, 1).array.ndim - 1
    behind = axis < place.axis
    return found.with_axis(axis), Place(place.axis + more * behind, place.inner)


def _slice(found: Reading) -> tuple[OnnxNode, Place]:
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


def _along(found: Reading, default: int = -1) -> tuple[OnnxNode, Place]:
    """Along one axis, which stays."""
    return found.with_axis(
        found.apart(found.node.integer("axis", default), found.rank)
    ), found.place


def _split(found: Reading) -> tuple[OnnxNode, Place]:
    return _along(found, 0)


def _concat(found: Reading) -> tuple[OnnxNode, Place]:
    for name in found.node.inputs:
        if not isinstance(found.run.values.get(name), Constant):
            _check_alike(found, name)
    return _along(found)


def _softmax(found: Reading) -> tuple[OnnxNode, Place]:
    if found.node.integer("opset", found.run.model.opset) < ONE_AXIS:
        if found.node.integer("axis", 1) % found.rank <= found.place.axis:
            raise found.refusal("it must not be along samples")
        return _along(found, 1)
    return _along(found)


def _norm(found: Reading) -> tuple[OnnxNode, Place]:
    axis = found.apart(found.node.integer("axis", -1), found.rank)
    if axis < found.place.axis:
        raise found.refusal("it must not normalize along samples")
    return found.with_axis(axis), found.place


def _batch_norm(found: Reading) -> tuple[OnnxNode, Place]:
    """Of rows (batch * length, channels), as of a token's features."""
    if found.rank < 2 or found.place.axis == 1:
        raise found.refusal("its channels must not hold the batch")
    return replace(found.node, attributes={**found.node.attributes, "axis": 2}), found.place


def _reduce(found: Reading) -> tuple[OnnxNode, Place]:
    given = axes(found.node, found.run, found.rank)
    if not given:
        raise found.refusal("it must keep samples apart, so its 'axes' must be given")
    gone = sorted({found.apart(axis, found.rank) for axis in given})
    kept = found.node.integer("keepdims", 1)
    return _with_axes(found, gone), found.place if kept else _without(found.place, gone)


def _arg_max(found: Reading) -> tuple[OnnxNode, Place]:
    axis = found.apart(found.node.integer("axis", 0), found.rank)
    kept = found.node.integer("keepdims", 1)
    return found.with_axis(axis), found.place if kept else _without(found.place, [axis])


def _matmul(found: Reading) -> tuple[OnnxNode, Place]:
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


def _gemm(found: Reading) -> tuple[OnnxNode, Place]:
    if found.position != 0 or found.rank != 2 or found.place.axis > 0:
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
    "ArgMin": _arg_max,
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "DequantizeLinear": _quantized,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "LayerNormalization": _norm,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "MatMulIntegerToFloat": _matmul,
    "QGemm": _gemm,
    "QLinearConcat": _concat,
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
