"""GATHER_ND: elements or parts of a tensor by their places."""

from __future__ import annotations

import math

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.importer import LiteImporter, reshaped
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.moving import check_indices
from hwsim.ops import Select


def gather_nd(run: LiteImporter, node: LiteNode) -> None:
    """GATHER_ND by constant indices, each of one element or of a part, into the first axes."""
    shape, indices = run.axes(run.tensor(node, 0)), run.constant(node, 1)
    depth = indices.shape[-1] if indices.ndim else 0
    rows = indices.reshape(-1, depth) if depth else indices
    if not 0 < depth <= len(shape) or indices.dtype.kind not in "iu":
        raise HwsimError(f"{node}: its indices must have 1 to {len(shape)} places each")
    if (rows < 0).any() or (rows >= np.array(shape[:depth])).any():
        raise HwsimError(f"{node}: its indices must lie within its input's axes {shape[:depth]}")
    check_indices(node, len(rows))
    flat = np.ravel_multi_index(tuple(rows.T), shape[:depth]).tolist()
    parts = (math.prod(shape[:depth]), math.prod(shape[depth:]))
    ops = [*reshaped(shape, parts), Select(axis=0, indices=tuple(map(int, flat)))]
    run.give(node, ops, run.seen(node, 0, 0))
