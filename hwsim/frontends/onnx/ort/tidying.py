"""Rewrites that only take steps away: folded constants, nothings, paddings, equal steps, shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.frontends.onnx.ort.graph_copy import DQ, NEUTRAL, Array, CopiedNode, Copy, Q, passed_on


def folded(copy: Copy) -> None:
    """What is computed of constants alone becomes one; only its type and shape matter here."""
    for step in copy.each(Q, "Cast", "Clip", "Transpose", "Reshape", "Squeeze", "Unsqueeze"):
        value = copy.constants.get(step.inputs[0]) if step.inputs else None
        if value is None or step.output in copy.outputs:
            continue
        copy.constants[step.output] = _moved(copy, step, value)
        copy.steps.remove(step)
    copy.index()
    for step in copy.each("Transpose"):
        source = copy.maker(step.inputs[0], DQ)
        if source is None or copy.only_reader(source.output) is not step:
            continue
        codes = copy.constants.get(source.inputs[0])
        if codes is not None and source.input(2):  # else the runtime keeps the Transpose
            _turn(copy, source, step, codes)


def _moved(copy: Copy, step: CopiedNode, value: Array) -> Array:
    if step.op == Q:
        return _quantized(copy, step, value)
    target = copy.constants.get(step.input(1))
    match step.op:
        case "Transpose":
            return value.transpose(_order(step, value.ndim))
        case "Reshape" if target is not None:
            return value.reshape([int(d) for d in target.ravel()])
        case "Squeeze" if target is not None:
            return value.squeeze(tuple(int(a) for a in target.ravel()))
        case "Unsqueeze" if target is not None:
            return np.expand_dims(value, tuple(int(a) for a in target.ravel()))
    return value


def _quantized(copy: Copy, step: CopiedNode, value: Array) -> Array:
    """The codes of constant weights."""
    given = [copy.constants.get(step.input(i)) for i in (1, 2)]
    scale, zero = (np.ones(1) if v is None else v for v in given)
    if not step.input(2):
        zero = np.zeros(1)
    if scale.size > 1 and value.ndim:
        shape = [1] * value.ndim
        shape[step.integer("axis", 1) % value.ndim] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape) if zero.size > 1 else zero
    dtype = np.dtype(copy.dtype(step))
    info = np.iinfo(dtype)
    with np.errstate(all="ignore"):
        codes = np.rint(value / scale) + zero.astype(np.int64)
    bounded: Array = np.nan_to_num(np.clip(codes, info.min, info.max)).astype(dtype)
    return bounded


def _order(step: CopiedNode, rank: int) -> tuple[int, ...]:
    given = step.node.integers("perm") if step.node is not None else ()
    return given or tuple(range(rank - 1, -1, -1))


def _turn(copy: Copy, source: CopiedNode, step: CopiedNode, codes: Array) -> None:
    """Codes transposed in front of their dequantizer, its axis too."""
    order, name = _order(step, codes.ndim), copy.fresh(source.inputs[0])
    copy.constants[name] = codes.transpose(order)
    axis = source.integer("axis", 1) % max(codes.ndim, 1)
    source.inputs[0] = name
    source.axis = order.index(axis) if copy.scalar(source.input(1)) is None else axis
    copy.drop(step)
    copy.index()


def nothings(copy: Copy) -> None:
    """What changes nothing goes (Identity, a Slice of all, x + 0 …), and a ReLU before a Clip."""
    for step in copy.each("Slice", "Expand", *NEUTRAL):
        if step.node is None or step.output in copy.outputs:
            continue
        node = replace(step.node, inputs=tuple(step.inputs))
        kept = passed_on(node, copy.constants, copy.ranks)
        if kept >= 0:
            step.inputs = [step.inputs[kept]]
            copy.drop(step)
            copy.index()
    for step in copy.each("Identity", "Dropout", "Cast"):
        real = step.op != "Cast" or (step.integer("to", 0) == 1 and _is_real(copy, step.inputs[0]))
        if step.output not in copy.outputs and real:
            copy.drop(step)
    for step in copy.each("Relu"):
        reader = copy.only_reader(step.output)
        limits = reader is not None and reader.op == "Clip" and reader.input(1) in copy.constants
        if limits and reader is not None:
            low = np.maximum(copy.constants[reader.inputs[1]], 0)
            name = copy.fresh(reader.inputs[1])
            copy.constants[name] = low
            reader.inputs[1] = name
            copy.drop(step)
            copy.index()


def _is_real(copy: Copy, tensor: str) -> bool:
    maker = copy.makers.get(tensor)
    return maker is not None and maker.op not in (Q, "Shape", "ArgMax", "Cast")


def padding(copy: Copy) -> None:
    """A Pad by nothing goes, others into the convolution or pool that alone reads them."""
    for step in copy.each("Pad"):
        pads = copy.constants.get(step.input(1))
        if pads is not None and not pads.any() and step.output not in copy.outputs:
            copy.drop(step)
            continue
        reader = copy.only_reader(step.output)
        if reader is None or reader.node is None:
            continue
        plain = str(reader.node.attributes.get("auto_pad", "NOTSET")) == "NOTSET"
        counted = reader.integer("count_include_pad", 0) or not any(reader.node.integers("pads"))
        pooled = reader.op == "AveragePool" and counted  # which then counts the padding
        if plain and _is_zeros(copy, step) and (reader.op == "Conv" or pooled):
            copy.drop(step)


def _is_zeros(copy: Copy, step: CopiedNode) -> bool:
    """Whether a Pad brings zeros around places only, and takes nothing away."""
    value, pads = copy.constants.get(step.input(2)), copy.constants.get(step.input(1))
    mode = "constant" if step.node is None else step.node.text("mode", "constant")
    if pads is None or mode != "constant" or step.input(3):
        return False
    half = pads.size // 2
    others = (*pads[:2], *pads[half : half + 2])  # of the batch and the channels
    return not any(others) and not (pads < 0).any() and (value is None or not value.any())


def shared(copy: Copy) -> None:
    """Steps that compute the same become one; float scalars count by value, others by name."""
    known: dict[object, CopiedNode] = {}
    for step in list(copy.steps):
        if step.op == DQ:
            continue
        names = tuple(_value_name(copy, name) for name in step.inputs)
        attributes = str(sorted((step.node.attributes if step.node else {}).items(), key=str))
        key = (step.op, names, attributes, copy.dtype(step) if step.op == Q else "")
        other = known.setdefault(key, step)
        if other is not step:
            copy.rename(step.output, other.output)
            if step.output not in copy.outputs:
                copy.steps.remove(step)
    copy.index()


def _value_name(copy: Copy, name: str) -> object:
    value = copy.constants.get(name)
    if value is not None and value.size == 1 and value.dtype in (np.float32, np.int64):
        return (value.dtype.name, value.shape, value.tobytes())
    return name


def known_shapes(copy: Copy) -> None:
    """The target of a Reshape that is made from its own input's shape counts as constant."""
    for step in copy.each("Reshape"):
        chain = _shape_chain(copy, step.input(1), step.inputs[0])
        apart = any(part.op == "Shape" and part.inputs[0] != step.inputs[0] for part in chain)
        if apart and _loses_batch(copy, step.inputs[0]):
            continue  # the runtime finds both shapes alike by the name of their batch only
        if chain:
            step.inputs[1] = copy.fresh(step.inputs[1])
            copy.constants[step.inputs[1]] = np.zeros(copy.ranks.get(step.output, 0), np.int64)
            copy.index()
            sources = [s for part in chain if (s := copy.maker(part.inputs[0], DQ)) is not None]
            for part in [*reversed(chain), *sources]:  # what nothing else reads
                read = copy.readers(part.output) or part.output in copy.outputs
                if part in copy.steps and not read:
                    copy.steps.remove(part)
                    copy.index()


def _loses_batch(copy: Copy, tensor: str) -> bool:
    """Whether the name of a free batch is lost on the way to a tensor, in the runtime's shapes."""
    while not copy.batch and (maker := copy.makers.get(tensor)) is not None and maker.inputs:
        first = copy.constants.get(maker.input(1))
        match maker.op:
            case "Tile" | "Upsample":
                return True
            case "Resize" if not maker.input(3):
                return True
            case "Reshape" if first is not None and first.size and int(first.ravel()[0]) == -1:
                return True
            case "Slice" if _cuts_batch(copy, maker):
                return True
        tensor = maker.inputs[0]
    return False


def _cuts_batch(copy: Copy, step: CopiedNode) -> bool:
    """Whether the first axis is among those of a Slice."""
    axes = copy.constants.get(step.input(3))
    if axes is not None:
        return bool((axes == 0).any())
    given = step.node.integers("axes") if step.node is not None else ()
    return not given or 0 in given


def _codes_of(copy: Copy, tensor: str) -> str:
    """What stands before a DequantizeLinear, of which each reader has one of its own."""
    maker = copy.maker(tensor, DQ)
    return maker.inputs[0] if maker is not None else tensor


def _shape_chain(copy: Copy, tensor: str, root: str, depth: int = 6) -> list[CopiedNode]:
    """The steps from the shape of `root` to `tensor`, in order; empty where others help."""
    maker = copy.makers.get(tensor)
    if (
        not depth
        or maker is None
        or maker.op not in ("Shape", "Gather", "Unsqueeze", "Slice", "Concat", "Cast")
    ):
        return []
    if maker.op == "Shape":
        return [maker] if _codes_of(copy, maker.inputs[0]) == _codes_of(copy, root) else []
    chain: list[CopiedNode] = []
    for name in maker.inputs[: 6 if maker.op == "Concat" else 1]:
        part = [] if name in copy.constants else _shape_chain(copy, name, root, depth - 1)
        if not part and name not in copy.constants:
            return []
        chain += part
    return [*chain, maker]
