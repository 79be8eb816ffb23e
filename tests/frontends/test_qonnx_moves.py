"""What moves elements between Quant nodes: the values of QONNX's executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from support.qonnx_nets import Net, differences, on_grid

import hwsim

pytest.importorskip("qonnx")

Move = Callable[[Net, str], str]
FAR = 2**63 - 1


def ints(n: Net, *values: int) -> str:
    return n.constant(values, np.int64)


def resized(n: Net, x: str, *scales: float, **modes: Any) -> str:
    return n.do("Resize", [x, n.constant([]), n.constant(scales)], **modes)


MOVES: dict[str, tuple[Move, tuple[int, ...]]] = {
    "slice": (
        lambda n, x: n.do("Slice", [x, ints(n, 1), ints(n, FAR), ints(n, 2), ints(n, 2)]),
        (4, 3, 4),
    ),
    "gather": (lambda n, x: n.do("Gather", [x, ints(n, 2, 0, 2)], axis=1), (3, 6, 4)),
    "pad": (lambda n, x: n.do("Pad", [x, ints(n, 0, 0, 1, 0, 0, 0, 0, 2)]), (4, 7, 6)),
    "pad-a-value": (
        lambda n, x: n.do("Pad", [x, ints(n, 0, 0, 1, 0, 0, 0, 0, 2), n.constant(0.25)]),
        (4, 7, 6),
    ),
    "reflect": (
        lambda n, x: n.do("Pad", [x, ints(n, 0, 0, 2, 1, 0, 0, 1, 1)], mode="reflect"),
        (4, 9, 6),
    ),
    "upsample": (
        lambda n, x: n.do("Upsample", [x, n.constant([1, 1, 2, 2])], mode="nearest"),
        (4, 12, 8),
    ),
    "nearest": (lambda n, x: resized(n, x, 1, 1, 1.5, 2, mode="nearest"), (4, 9, 8)),
    "linear": (lambda n, x: resized(n, x, 1, 1, 2, 2, mode="linear"), (4, 12, 8)),
    "depth-to-space": (lambda n, x: n.do("DepthToSpace", [x], blocksize=2), (1, 12, 8)),
    "space-to-depth": (lambda n, x: n.do("SpaceToDepth", [x], blocksize=2), (16, 3, 2)),
    "tile": (lambda n, x: n.do("Tile", [x, ints(n, 1, 1, 2, 1)]), (4, 12, 4)),
    "transposed": (
        lambda n, x: n.do("ConvTranspose", [x, n.weights((4, 2, 2, 2))], strides=[2, 2]),
        (2, 12, 8),
    ),
}
OLD = ("upsample",)  # of opset 9


def net(name: str, source: str) -> onnx.ModelProto:
    move, shape = MOVES[name]
    n = Net(5, opset=9 if name in OLD else 13)
    if source == "input":
        n.shape, x = (4, 6, 4), "x"
    else:
        x = n.start(4, 6, 4)
    if source == "sum":
        x = n.do("Conv", [x, n.weights((4, 4, 1, 1))], kernel_shape=[1, 1])
    return n.model(n.quant(move(n, x), 2.0**-4, 7), *shape)


SUMS = ("linear", "transposed")
"""Which need a quantizer before them."""
DRAWN = [
    (name, source)
    for name in MOVES
    for source in ("codes", "sum", "input")
    if source == "codes" or name not in SUMS
]


@pytest.mark.parametrize(("name", "source"), DRAWN)
def test_what_moves_gives_the_executors_values(name, source, tmp_path, seed):
    model = net(name, source)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    assert differences(hwsim.load(path), model, on_grid((4, 6, 4), seed)) == 0
