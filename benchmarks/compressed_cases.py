"""The cases of the compression table: how a float network becomes each small integer one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from compressed_float import Samples, moved, teacher

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.nonlinear import WeightSet, encoded
from hwsim.compress.quantize.options import LinearScheme
from hwsim.compress.quantize.run import run as quantize
from hwsim.compress.training.loop import Epoch, Training, expect_equal, finetune
from hwsim.compress.training.network import TrainableGraph
from hwsim.compress.training.start import float_weights
from hwsim.graph import Graph
from hwsim.ops import Weighted

CHECKED = 500  # images at a time whose codes are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a case is made of the float network `start`; without epochs it is not trained.

    What the float network has at 0 stays so. The dense float network teaches, with a share `distil`
    of the loss.
    """

    bits: str
    start: str = "float"
    scheme: str = "power-of-two"
    rounding: str = "nearest"
    weights: str = ""
    epochs: int = 0
    batch: int = 128
    rate: float = 3e-3
    distil: float = 0.7
    temperature: float = 4.0
    wanted: str = ""


CASES: Mapping[str, Recipe] = {
    "w8a8": Recipe(bits="w8a8", wanted="float - 0.2"),
    "w4a8": Recipe(bits="w4a8", rounding="adaptive", wanted="float - 0.5"),
    "w4a4": Recipe(bits="w4a4", rounding="feedback", wanted="91.0"),
    "w4a4-symmetric": Recipe(bits="w4a4", scheme="symmetric", rounding="feedback", wanted="91.0"),
    "w4a4-trained": Recipe(bits="w4a4", epochs=6, wanted="91.0"),
    "ternary": Recipe(bits="w8a4", weights="ternary", epochs=3, wanted="89.5"),
    "pruned": Recipe(bits="w4a4", start="float-sparse", rounding="feedback", wanted="float - 1.0"),
    "channels": Recipe(bits="w8a8", start="float-half", wanted="float - 1.5"),
}


def recipe(text: str) -> Recipe:
    """The recipe of `w4a4`, or of `w4a4:rate=0.005,distil=0.5` with other settings."""
    name, _, more = text.partition(":")
    found, kinds = CASES[name], {one.name: one.type for one in fields(Recipe)}
    for part in filter(None, more.split(",")):
        key, _, value = part.partition("=")
        found = replace(
            found, **{key: {"int": int, "float": float}.get(str(kinds[key]), str)(value)}
        )
    return found


def made(
    how: Recipe,
    floats: Mapping[str, Path],
    data: Samples,
    *,
    seed: int,
    device: str,
    checkpoint: Path,
    say: Callable[[Epoch], None],
) -> Graph:
    """The integer network of a recipe; `floats` are the float networks' files by name."""
    model = FloatModel.read(floats[how.start])
    scheme = LinearScheme.parse(how.bits, {}, scheme=how.scheme, rounding=how.rounding)
    graph = quantize(model, data.calibration(model.inputs[0]), scheme).graph
    if not how.epochs:
        return graph
    reals = float_weights(graph, model)
    if how.weights:
        graph = encoded(graph, WeightSet.parse(how.weights), reals)
    training = Training(
        epochs=how.epochs,
        batch=how.batch,
        rate=how.rate,
        distil=how.distil,
        temperature=how.temperature,
        seed=seed,
        device=device,
    )
    return finetune(
        graph,
        data.x,
        data.y,
        training,
        reals=reals,
        masks={name: parts["weights"] != 0 for name, parts in reals.items()},
        learn_steps=True,
        teacher=teacher(floats["float"], data.x.shape[-1], device),
        augment=moved,
        checkpoint=checkpoint,
        say=say,
    )


def figures(graph: Graph, data: Samples, device: str) -> dict[str, Any]:
    """What a network came to on all test images, and that training's codes are the emulator's.

    Every code of every edge of every test image is compared; a difference ends the program.
    """
    network, right = TrainableGraph(graph, device=device), 0
    for at in range(0, len(data.xt), CHECKED):
        codes = network.encode(data.xt[at : at + CHECKED])
        expect_equal(network, codes)
        scores = np.asarray(network(codes).detach().cpu())
        right += int((scores.argmax(1) == data.yt[at : at + CHECKED]).sum())
    found = hwsim.accuracy(graph, data.xt, data.yt)
    if network.frozen().hash() != graph.hash() or right != found.right:
        print("error: training's forward pass must be the emulator's", file=sys.stderr)
        raise SystemExit(1)
    ops = [node.op for node in graph.nodes if isinstance(node.op, Weighted)]
    return {
        "accuracy": found.top1,
        "right": found.right,
        "images": found.samples,
        "codes_equal_on": len(data.xt),
        "weights": sum(op.weights.size for op in ops),
        "zeros": sum(int((op.weights == 0).sum()) for op in ops),
        "weight_bits": sum(op.weights.size * op.weight_bits for op in ops),
        "channels": [op.outputs for op in ops],
        "macs": sum(one.macs for one in graph.work().values()),
        "hash": graph.hash(),
    }
