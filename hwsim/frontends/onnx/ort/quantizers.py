"""Rewrites that move, double and drop quantizers and what they make superfluous."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.frontends.onnx.ort.graph_copy import CLAMPS, DQ, CopiedNode, Copy, Q


def _propagates(copy: Copy, step: CopiedNode) -> bool:
    if step.op == "MaxPool":
        return copy.opset >= 12
    return step.op in ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice")


def quantizers_backward(copy: Copy) -> None:
    """A pair Q, DQ before each shape operator or max pool that ends in a quantizer."""
    for step in copy.each(Q):
        if not _scalar_parameters(copy, step):
            continue
        tensor = step.inputs[0]
        while copy.only_reader(tensor) is not None:
            mover = copy.maker(tensor)
            if mover is None or not _propagates(copy, mover):
                break
            tensor = mover.inputs[0]
            maker = copy.maker(tensor)
            if maker is None or maker.op == DQ or copy.only_reader(tensor) is not mover:
                break
            _insert_pair(copy, tensor, [mover], step)


def _scalar_parameters(copy: Copy, step: CopiedNode) -> bool:
    return copy.scalar(step.input(1)) is not None and (
        not step.input(2) or copy.scalar(step.input(2)) is not None
    )


def _insert_pair(copy: Copy, tensor: str, readers: Sequence[CopiedNode], like: CopiedNode) -> None:
    """Between a tensor and its readers; one that is an output of the graph then comes from a DQ."""
    given, code = like.inputs[1:], copy.fresh(tensor)
    source, shown = tensor, list[CopiedNode]()
    maker = copy.maker(tensor)
    if tensor in copy.outputs and maker is not None:
        source = maker.output = copy.fresh(tensor)
        copy.ranks[source] = copy.ranks.get(tensor, 0)
        shown = [CopiedNode(DQ, [code, *given], tensor)]
        position = copy.steps.index(maker) + 1
    else:
        position = min(copy.steps.index(reader) for reader in readers)
    kept = like.node if not like.input(2) else None
    new = [CopiedNode(Q, [source, *given], code, kept), *shown]
    for reader in readers:
        real = copy.fresh(tensor)
        new.append(CopiedNode(DQ, [code, *given], real))
        reader.inputs = [real if name == tensor else name for name in reader.inputs]
        copy.ranks[real] = copy.ranks.get(tensor, 0)
    copy.steps[position:position] = new
    copy.index()


def dequantizers_forward(copy: Copy) -> None:
    """A pair Q, DQ behind each shape operator or max pool that starts at a dequantizer.

    None, nor any further on, where a quantizer is among the readers of its result. A graph's output
    is a reader like others.
    """
    for step in copy.each(DQ):
        mover = copy.only_reader(step.output)
        if mover is None or step.inputs[0] in copy.constants:
            continue
        if not _scalar_parameters(copy, step):
            continue
        movers = [mover]
        while movers:
            mover = movers.pop()
            readers = list(copy.readers(mover.output))
            if not _propagates(copy, mover) or any(reader.op == Q for reader in readers):
                continue
            if readers or mover.output in copy.outputs:
                _insert_pair(copy, mover.output, readers, step)
            movers += readers


def unique_dequantizers(copy: Copy) -> None:
    """One DequantizeLinear for each reader."""
    for step in copy.each(DQ):
        readers = list(copy.readers(step.output))
        kept = 0 if step.output in copy.outputs else 1
        for reader in readers[kept:]:
            real = copy.fresh(step.output)
            first = reader.inputs.index(step.output)
            if kept and reader is readers[0]:  # the same step reads it twice
                first = len(reader.inputs) - 1 - reader.inputs[::-1].index(step.output)
            reader.inputs[first] = real
            new = CopiedNode(DQ, list(step.inputs), real, step.node, axis=step.axis)
            copy.steps.insert(copy.steps.index(step) + 1, new)
            copy.ranks[real] = copy.ranks.get(step.output, 0)
        if len(readers) > kept:
            copy.index()


def cancelled(copy: Copy) -> None:
    """A quantizer that gives the very codes that its dequantizer had: they are read again."""
    for step in copy.each(Q):
        source = copy.maker(step.inputs[0], DQ)
        if source is None or step.output in copy.outputs or source.inputs[0] in copy.constants:
            continue
        if _same_codes(copy, step, source):
            copy.rename(step.output, source.inputs[0])
            copy.steps.remove(step)
            copy.index()


def _same_codes(copy: Copy, step: CopiedNode, source: CopiedNode) -> bool:
    if copy.dtype(step) != copy.dtype(source):
        return False
    given = [[copy.scalar(s.input(k)) for k in (1, 2)] for s in (step, source)]
    if given[0][0] is None or given[1][0] is None:
        return False
    zeros = [0 if zero is None else int(zero.ravel()[0]) for _, zero in given]
    scales = [float(scale.ravel()[0]) for scale, _ in given if scale is not None]
    return zeros[0] == zeros[1] and scales[0] == scales[1]


def repeated_clamps(copy: Copy) -> None:
    """A ReLU or Clip that the quantizer behind it repeats goes.

    The quantizer is then taken over a Transpose before it, and over nothing else.
    """
    for step in copy.each(*CLAMPS):
        reader = copy.only_reader(step.output)
        if reader is None or reader.op != Q or not repeated(copy, step, reader):
            continue
        copy.drop(step)
        turned = copy.maker(reader.inputs[0], "Transpose")
        if turned is None or copy.only_reader(turned.output) is not reader:
            continue
        tensor = turned.inputs[0]
        maker = copy.maker(tensor)
        alone = maker is not None and maker.op != DQ and copy.only_reader(tensor) is turned
        if alone and _scalar_parameters(copy, reader):
            _insert_pair(copy, tensor, [turned], reader)


def repeated(copy: Copy, step: CopiedNode, quantizer: CopiedNode) -> bool:
    """Whether a quantizer gives every code of a ReLU or Clip before it alone."""
    scale, zero = copy.scalar(quantizer.input(1)), copy.scalar(quantizer.input(2))
    if scale is None or (quantizer.input(2) and zero is None):
        return False
    info, point = np.iinfo(copy.dtype(quantizer)), int(zero.ravel()[0]) if zero is not None else 0
    if step.op == "Relu":
        return point == int(info.min)
    limits = clip_limits(copy, step)
    if limits is None or scale.ndim or (zero is not None and zero.ndim):
        return False
    low, high = (np.rint(np.float32(v) / np.float32(scale.ravel()[0])) + point for v in limits)
    return bool(low <= info.min and high >= info.max)


def clip_limits(copy: Copy, step: CopiedNode) -> tuple[float, float] | None:
    """The constants between which a Clip keeps its input."""
    top = float(np.finfo(np.float32).max)
    limits = [-top, top]
    for i, name in enumerate(("min", "max")):
        if step.input(i + 1):
            value = copy.constants.get(step.input(i + 1))
            if value is None or value.size != 1:
                return None
            limits[i] = float(value.ravel()[0])
        elif step.node is not None and name in step.node.attributes:
            limits[i] = step.node.real(name, limits[i])
    return limits[0], limits[1]


def as_unsigned(copy: Copy) -> None:
    """int8 becomes uint8 between a quantizer and the one dequantizer that alone reads it."""
    for step in copy.each(Q):
        reader = copy.only_reader(step.output)
        if reader is None or reader.op != DQ:
            continue
        zeros = [copy.scalar(s.input(2)) for s in (step, reader)]
        if zeros[0] is not None and not reader.input(2):
            zeros[1] = np.zeros_like(zeros[0])
        given = [z for z in zeros if z is not None and z.dtype == np.int8]
        if len(given) == 2 and int(given[0].ravel()[0]) == int(given[1].ravel()[0]):
            name = copy.fresh(step.inputs[2])
            copy.constants[name] = np.array(int(given[0].ravel()[0]) + 128, np.uint8)
            step.inputs[2] = name
            reader.inputs[2:] = [name]
