"""Adaptive rounding: each weight up or down, so that its layer errs least in its sums.

Nagel, Amjad, van Baalen, Louizos, Blankevoort: Up or down? Adaptive rounding for post-training
quantization, ICML 2020 (arXiv 2004.10568): a soft step between both codes is learned by gradients,
and a growing penalty drives it to one of them. Layers follow one another, and each sees the inputs
that the rounded layers before it leave.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.linear import Formats, along
from hwsim.compress.quantize.qonnx_file import QuantNode
from hwsim.compress.quantize.sampled import LayerNode, in_codes
from hwsim.extras import library

Reals = npt.NDArray[np.float32]
PART, STEPS, RATE = 32, 600, 1e-2
MOST_NUMBERS = 1 << 25
"""Of a layer's inputs that are held; a layer with more takes fewer samples."""
STRETCH = (-0.1, 1.1)
"""The ends of the soft step, beyond 0 and 1, so that it reaches both (equation 23 of the paper)."""
SHARE = 0.01
FIRST_POWER, LAST_POWER = 20.0, 2.0
FREE = 0.2
"""The part of the steps ahead of the penalty."""


def adapted(
    model: FloatModel, batches: Iterable[Batch], made: Formats, seed: int = 0
) -> FloatModel:
    """The model with weights that are reals of their codes; transposed convolutions stay.

    Weights of one bit stay as well, which have no code between. `batches` are gone through once a
    layer, as far as its samples reach. HwsimError without PyTorch.
    """
    torch = library("torch", '"hwsim[train]"', "adaptive rounding")
    torch.manual_seed(seed)
    rng, constants = np.random.default_rng(seed), model.constants
    shown, now, done = model, in_codes(model, made.tensors), set[str]()
    for layer in made.found.layers:
        by, work = made.weights[layer.name], LayerNode(model, layer)
        if not work.known or by.bits == 1 or layer.weights in done:
            continue
        done.add(layer.weights)
        parts = list(work.read_and_given(now, model, batches, MOST_NUMBERS))
        inputs, sums = (np.concatenate(each) for each in zip(*parts, strict=True))
        codes = _learned(torch, work, constants[layer.weights], by, inputs, sums, rng)
        new = {layer.weights: codes}
        now, shown = now.with_constants(new), shown.with_constants(new)
    return shown


def _grid(by: QuantNode, rank: int) -> tuple[Any, Any, Any]:
    """The scale and both ends, to go with the weights."""
    scale, (low, high) = along(by, rank)
    return scale, low, high


def _sums(torch: Any, work: LayerNode, x: Any, weights: Any) -> Any:
    """What the layer makes of a batch, without its bias."""
    if work.layer.op != "Conv":
        return x @ (weights if work.layer.axis == 1 else weights.T)
    rank, kernel = x.ndim - 2, tuple(weights.shape[2:])
    pads = [end for both in reversed(work.padding(x.shape[2:], kernel)) for end in both]
    padded = torch.nn.functional.pad(x, pads)
    run = getattr(torch.nn.functional, f"conv{rank}d")
    strides, dilations = work.along("strides", rank), work.along("dilations", rank)
    return run(padded, weights, None, strides, 0, dilations, work.attributes.get("group", 1))


def _learned(
    torch: Any,
    work: LayerNode,
    weights: npt.NDArray[Any],
    by: QuantNode,
    inputs: Reals,
    sums: Reals,
    rng: np.random.Generator,
) -> Reals:
    """Weights on their grid; those that are 0 stay so: they were pruned."""
    scale, low, high = (torch.tensor(np.asarray(a, np.float32)) for a in _grid(by, weights.ndim))
    steps = torch.tensor(np.asarray(weights, np.float32)) / scale
    signs = high == 0  # of one bit, which has no code between
    floor = torch.where(signs, torch.sign(steps), torch.floor(steps))
    low, high = torch.where(signs, -1.0, low), torch.where(signs, 1.0, high)
    first, last = STRETCH
    free = (steps != 0) & ~signs
    rest = (steps - torch.floor(steps)).clip(1e-3, 1 - 1e-3)
    soft = torch.logit((rest - first) / (last - first)).requires_grad_()
    optimizer = torch.optim.Adam([soft], lr=RATE)
    x, wanted = torch.from_numpy(inputs), torch.from_numpy(sums)
    spread = float((wanted**2).mean()) + 1e-12
    for step in range(STEPS):
        part = torch.from_numpy(rng.integers(0, len(x), PART))
        up = (torch.sigmoid(soft) * (last - first) + first).clip(0, 1) * free
        error = _sums(torch, work, x[part], (floor + up).clip(low, high) * scale) - wanted[part]
        loss = (error**2).mean() / spread
        if step >= FREE * STEPS:
            done = (step - FREE * STEPS) / ((1 - FREE) * STEPS)
            power = LAST_POWER + (FIRST_POWER - LAST_POWER) * (1 - done)
            loss = loss + SHARE * (1 - (2 * up - 1).abs() ** power).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        up = (torch.sigmoid(soft) * (last - first) + first).clip(0, 1) * free
        codes = (floor + (up >= 0.5)).clip(low, high)
        return np.asarray((codes * scale).numpy(), np.float32)
