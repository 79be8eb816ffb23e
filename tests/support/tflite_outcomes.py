"""Random TensorFlow Lite models in hwsim and in a kernel set: how many codes differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import hwsim
from hwsim.frontends.tflite.read import read
from support import tflite_run
from support.tflite_forms import WRONG
from support.tflite_net import Net
from support.tflite_networks import codes

SAMPLES = 5
OVERWRITTEN = "which is read later"  # as LiteRT does it now and then


@dataclass(frozen=True, slots=True)
class Compared:
    """Codes of all outputs, and how many of them differ."""

    codes: int
    different: int


def outcome(n: Net, outputs: list[int], seed: int, like: str, path: Path) -> Compared | None:
    """One model in both; None where the runtime cannot run it, or is wrong."""
    model = n.lite.build(n.inputs, outputs)
    path.write_bytes(model)
    inputs = codes(n, np.random.default_rng(seed), SAMPLES)
    try:
        want = tflite_run.ran(model, like, inputs)
    except (tflite_run.NotRunError, RuntimeError):
        return None
    try:
        graph = read(path, like)
    except hwsim.HwsimError as error:
        if any((op, like) in WRONG for op in n.drawn) or OVERWRITTEN in str(error):
            return None
        raise
    feeds = {name: x[None] for name, x in inputs.items()} if graph.state else inputs
    got = hwsim.emulate(graph, feeds)
    found = list(got.values()) if isinstance(got, dict) else [got]
    found = [x[0] for x in found] if graph.state else found
    assert [x.shape for x in found] == [x.shape for x in want]
    different = sum(int((a != b).sum()) for a, b in zip(found, want, strict=True))
    return Compared(sum(x.size for x in want), different)
