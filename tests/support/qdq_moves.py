"""Blocks of random quantized networks that move the elements of a map."""

from __future__ import annotations

import numpy as np

from support.qdq_network import Network
from support.qdq_styles import Shape


def move(n: Network, name: str, shape: Shape) -> tuple[str, Shape]:
    """One operator that moves the elements of a map."""
    channels, height, width = shape
    kinds = ["Slice", "Slice all", "Gather", "Resize", "Pad", "Tile", "Transpose", "Expand"]
    if channels % 4 == 0:
        kinds.append("DepthToSpace")
    if height % 2 == 0 and width % 2 == 0:
        kinds.append("SpaceToDepth")
    match n.pick(tuple(kinds)):
        case "Slice":
            far, axis = n.ints((1 << 63) - 1), int(n.rng.integers(1, 4))
            name = n.do("Slice", name, n.ints(shape[axis - 1] // 2), far, n.ints(axis))
            sizes = list(shape)
            sizes[axis - 1] -= shape[axis - 1] // 2
            return name, tuple(sizes)
        case "Slice all":
            far = n.ints((1 << 63) - 1)
            return n.do("Slice", name, n.ints(0), far, n.ints(2)), shape
        case "Gather":
            places = n.rng.integers(0, channels, 3)
            name = n.do("Gather", name, n.ints(*places.tolist()), axis=1)
            return name, (3, height, width)
        case "Resize":
            scales = n.constant(n.new("scales"), np.array([1, 1, 2, 1.5], np.float32))
            name = n.do("Resize", name, "", scales, mode="nearest")
            return name, (channels, 2 * height, width * 3 // 2)
        case "Pad":
            value = n.constant(n.new("v"), np.float32(n.rng.choice([0, 0, 0.3, -9])))
            name = n.do("Pad", name, n.ints(0, 0, 1, 0, 0, 0, 1, 2), value)
            return name, (channels, height + 2, width + 2)
        case "Tile":
            return n.do("Tile", name, n.ints(1, 1, 1, 2)), (channels, height, 2 * width)
        case "Transpose":
            return n.do("Transpose", name, perm=[0, 1, 3, 2]), (channels, width, height)
        case "Expand":
            return n.do("Expand", name, n.ints(1, 1, 1, 1)), shape
        case "DepthToSpace":
            name = n.do("DepthToSpace", name, blocksize=2)
            return name, (channels // 4, 2 * height, 2 * width)
    name = n.do("SpaceToDepth", name, blocksize=2)
    return name, (channels * 4, height // 2, width // 2)
