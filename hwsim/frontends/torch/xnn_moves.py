"""The delegate's movers: what takes, turns, pads and joins elements."""

from __future__ import annotations

from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.torch.program import TensorName
from hwsim.frontends.torch.xnn_file import XnnNode
from hwsim.frontends.torch.xnn_writer import Delegate, meaning_of


def _moved(run: Delegate, node: XnnNode, op: str, **args: Any) -> None:
    """A mover: of codes, whose meaning stays, or of reals."""
    given, made = (run.value(node, node.fields[end]) for end in ("input", "output"))
    if run.quantized(node, given) and meaning_of(node, given) != meaning_of(node, made):
        raise HwsimError(f"{node}: its input and output must have one scale and zero point")
    dtype = "int8" if run.quantized(node, given) else "float32"
    x = run.name(node, given.number)
    run.names[made.number] = run.writer.add(op, node.name, made.shape, dtype, self=x, **args)


def transpose(run: Delegate, node: XnnNode) -> None:
    """Axes in another order."""
    _moved(run, node, "aten.permute", dims=node.fields["perm"])


def reshape(run: Delegate, node: XnnNode) -> None:
    """The shape that its result has."""
    _moved(run, node, "aten.view")


def slice_(run: Delegate, node: XnnNode) -> None:
    """Each axis from an offset on."""
    given = run.value(node, node.fields["input"])
    made = run.value(node, node.fields["output"])
    offsets, sizes = node.fields["offsets"], node.fields["sizes"]
    if not len(offsets) == len(sizes) == len(given.shape):
        raise HwsimError(f"{node}: it must have an offset and a size for each axis")
    dtype = "int8" if run.quantized(node, given) else "float32"
    x, shape = run.name(node, given.number), list(given.shape)
    for axis, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
        if size in (0, shape[axis]):
            continue
        shape[axis] = size
        x = TensorName(
            run.writer.add(
                "aten.slice", f"{node.name}.{axis}", tuple(shape), dtype,
                self=x, dim=axis, start=offset, end=offset + size,
            )
        )  # fmt: skip
    run.names[made.number] = x.name


def pad(run: Delegate, node: XnnNode) -> None:
    """A constant around a tensor."""
    before, after = node.fields["before"], node.fields["after"]
    pads = tuple(each for pair in reversed(list(zip(before, after, strict=False))) for each in pair)
    x = run.reals(node, node.fields["input"], "reals")
    run.give(node, "aten.constant_pad_nd", self=x, pad=pads, value=float(node.fields["value"]))


def cat(run: Delegate, node: XnnNode) -> None:
    """Tensors one after the other."""
    parts = tuple(
        run.reals(node, number, f"reals{place}") for place, number in enumerate(node.inputs)
    )
    run.give(node, "aten.cat", tensors=parts, dim=node.fields["axis"])


def copy(run: Delegate, node: XnnNode) -> None:
    """Its input again."""
    run.names[node.fields["output"]] = run.name(node, node.fields["input"]).name
