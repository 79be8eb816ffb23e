"""DepthToSpace and SpaceToDepth: bookkeeping, as long as no operator needs another order."""

from __future__ import annotations

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.shape import layout_of, relaid
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.ops.base import Shape


def depth_to_space(run: Importer, node: OnnxNode) -> None:
    """Blocks of channels become blocks of places, in either order of both (DCR, CRD)."""
    value = run.value(node, 0)
    channels, height, width = _map(node, layout_of(value, node).shape)
    size, mode = node.integer("blocksize", 0), node.text("mode", "DCR")
    if size < 1 or channels % (size * size):
        raise HwsimError(
            f"{node}: 'blocksize' must be 1 or more and its square divide {channels} channels, not "
            f"{size}"
        )
    if mode not in ("DCR", "CRD"):
        raise HwsimError(f"{node}: 'mode' must be DCR or CRD, not {mode!r}")
    deep = channels // size**2
    cut: Shape = (size, size, deep, height, width)
    order: Shape = (2, 3, 0, 4, 1)
    if mode == "CRD":
        cut, order = (deep, size, size, height, width), (0, 3, 1, 4, 2)
    wanted = (deep, height * size, width * size)
    run.values[node.output] = relaid(value, lambda old: _turned(old, cut, order, wanted))


def space_to_depth(run: Importer, node: OnnxNode) -> None:
    """Blocks of places become blocks of channels."""
    value = run.value(node, 0)
    channels, height, width = _map(node, layout_of(value, node).shape)
    size = node.integer("blocksize", 0)
    if size < 1 or height % size or width % size:
        raise HwsimError(
            f"{node}: 'blocksize' must be 1 or more and divide {height} and {width}, not {size}"
        )
    high, wide = height // size, width // size
    cut = channels, high, size, wide, size
    wanted = channels * size**2, high, wide
    run.values[node.output] = relaid(value, lambda old: _turned(old, cut, (2, 4, 0, 1, 3), wanted))


def _map(node: OnnxNode, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise HwsimError(
            f"{node}: its input must be (batch, channels, height, width), not of rank "
            f"{len(shape) + 1}"
        )
    channels, height, width = shape
    return channels, height, width


def _turned(old: Arrangement, cut: Shape, order: Shape, wanted: Shape) -> Arrangement:
    return old.reshaped(cut).transposed(order).reshaped(wanted)
