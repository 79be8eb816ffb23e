"""Random small TensorFlow Lite models of every operator that the front end reads.

Each step takes tensors that are there and makes new ones, or says that it cannot. Scales are powers
of two, random, or both in one model; zero points lie anywhere.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from support.tflite_models import Written
from support.tflite_net import Net, Step
from support.tflite_net_functions import (
    arg,
    curve,
    extreme,
    matmul,
    pair,
    prelu,
    reduction,
    resize,
    softmax,
    unary,
)
from support.tflite_net_layers import atrous, conv, dense, depthwise, pool, transpose_conv
from support.tflite_net_moves import (
    blocks,
    concat,
    gather,
    pack,
    pad,
    repeat,
    reshape,
    slices,
    split,
    turn,
    unpack,
)


def again(n: Net) -> bool:
    """What a delegate may fuse: pad and layer, layer and clamp, two moves, two functions."""
    kind = n.number(0, 4)
    if kind == 0:
        return pad(n) and (conv(n) or depthwise(n))
    if kind == 1:
        return (conv(n) or dense(n)) and unary(n)
    if kind == 2:
        return turn(n) and turn(n)
    if kind == 3:
        return unary(n) and unary(n)
    return reshape(n) and reshape(n)


def remember(n: Net) -> bool:
    """A variable that this step reads and assigns."""
    if n.lite.first:
        return False
    x = n.pick(lambda shape: math.prod(shape) <= 400)
    if x is None:
        return False
    shape, name = n.shape(x), "kept"
    low, high = (-32768, 32767) if n.wide else (-128, 127)
    n.lite.first = [(name, n.rng.integers(low, high + 1, (1, *shape)).astype(n.dtype))]
    handle = n.lite.add(Written("handle", (), "resource"))
    kept, y = n.y(shape, 1, like=x), n.y(shape, n.top(x) * 1.2)
    n.lite.node("VAR_HANDLE", [], [handle], name=name)
    n.lite.node("READ_VARIABLE", [handle], [kept])
    options = {"powers_of_two": False} if n.wide else {}
    n.node("ADD", [x, kept], y, activation="NONE", **options)
    n.lite.node("ASSIGN_VARIABLE", [handle, x], [])
    n.drawn += ["VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"]
    n.pool.append(kept)
    return True


STEPS: tuple[Step, ...] = (
    conv, conv, depthwise, depthwise, dense, dense, transpose_conv, pair, pair, pair, extreme, pool,
    pool, reduction, reduction, unary, unary, unary, curve, softmax, prelu, resize, concat, concat,
    pack, unpack, split, slices, gather, pad, turn, reshape, blocks, matmul, arg, again, again,
    repeat, atrous, remember,
)  # fmt: skip


def network(seed: int, *, wide: bool = False) -> tuple[Net, list[int]]:
    """A random model, and its outputs: what nothing reads, and some of what is read."""
    rng = np.random.default_rng(seed)
    n = Net(rng, wide, powers=float(rng.choice([0.0, 0.5, 1.0])))
    n.unlike = float(rng.choice([0.0, 0.0, 0.0, 0.2]))
    for _ in range(n.number(1, 3)):
        size = n.number(2, 8), n.number(2, 8), n.number(1, 10)
        shape = size if n.chance(0.7) else size[: n.number(1, 2)]
        x = n.y(shape, float(rng.uniform(0.5, 6)))
        n.inputs.append(x)
        n.pool.append(x)
    for _ in range(n.number(2, 9)):
        for _ in range(12):
            step = n.choice(STEPS)
            before = len(n.lite.nodes), len(n.lite.tensors), list(n.pool), len(n.drawn)
            if step(n):
                break
            undo(n, *before)
    used = {index for _, given, _, _ in n.lite.nodes for index in given}
    made = [index for index in n.pool if index not in n.inputs]
    outputs = [index for index in made if index not in used or n.chance(0.1)] + n.ends
    if not outputs:
        return network(seed + (1 << 40), wide=wide)
    n.inputs = [index for index in n.inputs if index in used]
    return n, list(dict.fromkeys(outputs))


def undo(n: Net, nodes: int, tensors: int, pool: list[int], drawn: int) -> None:
    """Take back what a step began and did not end."""
    if len(n.lite.nodes) == nodes:
        del n.lite.tensors[tensors:], n.drawn[drawn:]
        n.pool = pool


def codes(n: Net, rng: np.random.Generator, samples: int) -> dict[str, np.ndarray[Any, Any]]:
    """Random codes of the inputs; the first two samples have the outermost ones only."""
    low, high = (-32768, 32767) if n.wide else (-128, 127)
    found = {}
    for index in n.inputs:
        tensor = n.lite.tensors[index]
        values = rng.integers(low, high + 1, (samples, *tensor.shape[1:]))
        values[:2] = rng.choice([low, high], values[:2].shape)
        found[tensor.name] = values.astype(n.dtype)
    return found
