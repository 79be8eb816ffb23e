"""Adaptive rounding: each weight up or down, so that its layer errs least in its sums.

Nagel, Amjad, van Baalen, Louizos, Blankevoort: Up or down? Adaptive rounding for post-training
quantization, ICML 2020 (arXiv 2004.10568): a soft step between both codes is learned by gradients,
and a growing penalty drives it to one of them. Layers follow one another, and each sees the inputs
that the rounded layers before it leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.linear import Formats, ends_of
from hwsim.compress.quantize.places import FloatLayer
from hwsim.compress.quantize.qonnx_file import QuantNode
from hwsim.errors import HwsimError
from hwsim.extras import library

Reals = npt.NDArray[np.float32]
SAMPLES, PART, STEPS, RATE = 1024, 32, 600, 1e-2
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
    rng, now, constants = np.random.default_rng(seed), model, model.constants
    for layer in made.found.layers:
        by = made.weights[layer.name]
        if layer.op == "ConvTranspose" or by.bits == 1:
            continue
        work = LayerInTorch(model, layer)
        inputs, sums = _samples(now, model, batches, layer, made)
        codes = _learned(torch, work, constants[layer.weights], by, inputs, sums, rng)
        now = now.with_constants({layer.weights: codes})
    return now


def _samples(
    now: FloatModel, model: FloatModel, batches: Iterable[Batch], layer: FloatLayer, made: Formats
) -> tuple[Reals, Reals]:
    """What the layer reads behind rounded layers, as reals of codes, and the float model's sums."""
    inputs, sums, count = list[Reals](), list[Reals](), 0
    read, give = now.runner([layer.input]), model.runner([layer.output])
    for batch in batches:
        x = np.asarray(read(batch)[layer.input], np.float32)
        inputs.append(_as_codes(x, [made.tensors[t] for t in layer.reads if t in made.tensors]))
        sums.append(np.asarray(give(batch)[layer.output], np.float32))
        count += len(x)
        if count >= min(SAMPLES, MOST_NUMBERS // max(1, x[0].size)):
            break
    if not inputs:
        raise HwsimError("calibration data must have at least one sample, not none")
    return np.concatenate(inputs), np.concatenate(sums)


def _as_codes(x: Reals, quantizers: Sequence[QuantNode]) -> Reals:
    """Reals as their one quantizer gives them back; of several, as they are."""
    if len(quantizers) != 1 or quantizers[0].axis is not None:
        return x
    (by,) = quantizers
    low, high = (end - by.zero_point for end in ends_of(by))
    scale = np.float32(np.asarray(by.scale).reshape(()))
    return np.asarray(np.clip(np.round(x / scale), low, high) * scale, np.float32)


@dataclass(slots=True)
class LayerInTorch:
    """A layer as a function of inputs and weights, in PyTorch, without its bias."""

    model: FloatModel
    layer: FloatLayer
    attributes: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        from onnx import helper

        node = next(n for n in self.model.nodes if self.layer.output in n.output)
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}

    @property
    def bias(self) -> Reals | float:
        """What the node itself adds."""
        node = next(n for n in self.model.nodes if self.layer.output in n.output)
        if len(node.input) < 3 or not node.input[2]:
            return 0.0
        bias = np.asarray(self.model.constants[node.input[2]], np.float32)
        if self.layer.op != "Conv":
            return bias
        return bias.reshape(-1, *(1,) * len(self.attributes.get("kernel_shape", (1, 1))))

    def sums(self, torch: Any, x: Any, weights: Any) -> Any:
        """Of a batch."""
        if self.layer.op != "Conv":
            matrix = weights.T if self.attributes.get("transB") else weights
            return x @ matrix
        rank = x.ndim - 2
        pads = self.attributes.get("pads", [0] * (2 * rank))
        if self.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise HwsimError(
                f"layer {self.layer.name!r} must say its padding to be rounded adaptively, not "
                f"{self.attributes['auto_pad'].decode()}"
            )
        ends = [pads[k + rank * last] for k in reversed(range(rank)) for last in (0, 1)]
        padded = torch.nn.functional.pad(x, ends)
        run = (torch.nn.functional.conv1d, torch.nn.functional.conv2d)[rank - 1]
        strides = list(self.attributes.get("strides", [1] * rank))
        dilations = list(self.attributes.get("dilations", [1] * rank))
        return run(padded, weights, None, strides, 0, dilations, self.attributes.get("group", 1))


def _learned(
    torch: Any,
    work: LayerInTorch,
    weights: npt.NDArray[Any],
    by: QuantNode,
    inputs: Reals,
    sums: Reals,
    rng: np.random.Generator,
) -> Reals:
    """Weights on their grid."""
    shape = [1] * weights.ndim
    if by.axis is not None:
        shape[by.axis] = -1
    scale = torch.tensor(np.asarray(by.scale, np.float32).reshape(shape))
    low, high = ends_of(by)
    steps = torch.tensor(np.asarray(weights, np.float32)) / scale
    floor = torch.floor(steps)
    first, last = STRETCH
    rest = (steps - floor).clip(1e-3, 1 - 1e-3)
    soft = torch.logit((rest - first) / (last - first)).requires_grad_()
    optimizer = torch.optim.Adam([soft], lr=RATE)
    x, wanted = torch.from_numpy(inputs), torch.from_numpy(sums - work.bias)
    spread = float((wanted**2).mean()) + 1e-12
    for step in range(STEPS):
        part = torch.from_numpy(rng.integers(0, len(x), PART))
        up = (torch.sigmoid(soft) * (last - first) + first).clip(0, 1)
        error = work.sums(torch, x[part], (floor + up).clip(low, high) * scale) - wanted[part]
        loss = (error**2).mean() / spread
        if step >= FREE * STEPS:
            done = (step - FREE * STEPS) / ((1 - FREE) * STEPS)
            power = LAST_POWER + (FIRST_POWER - LAST_POWER) * (1 - done)
            loss = loss + SHARE * (1 - (2 * up - 1).abs() ** power).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        up = (torch.sigmoid(soft) * (last - first) + first).clip(0, 1)
        codes = (floor + (up >= 0.5)).clip(low, high)
        return np.asarray((codes * scale).numpy(), np.float32)
