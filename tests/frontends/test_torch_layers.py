"""Quantized layers of PyTorch, each alone, against the engine that it was packed for."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
from support import torch_modules as made  # noqa: E402
from torch.ao.nn import quantized as nnq  # noqa: E402
from torch.ao.nn.intrinsic import quantized as nniq  # noqa: E402

from hwsim.frontends.shared.builder import RuntimeDifference  # noqa: E402

pytestmark = [
    pytest.mark.needs("torch"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]


def _with(layer: Any, rng: Any, setting: str, *, by_channel: bool, biased: bool) -> Any:
    """A layer's weights and bias drawn, and the layer behind a quantizer."""
    shape = tuple(layer.weight().shape)
    turned = "Transpose" in type(layer).__name__
    held = made.weights(rng, setting, shape, axis=1 if turned else 0, by_channel=by_channel)
    outputs = shape[1] * layer.groups if turned else shape[0]
    bias = made.bias(rng, setting, outputs, 2.0**-12) if biased else None
    layer.set_weight_bias(held, bias)
    terms = int(np.prod(shape)) // (shape[1] if turned else shape[0])
    return made.placed(layer, rng, setting, terms)


LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda: nnq.Linear(24, 13), (24,)),
    "linear relu": (lambda: nniq.LinearReLU(24, 16), (24,)),
    "linear on rows": (lambda: nnq.Linear(12, 9), (5, 12)),
    "conv": (lambda: nnq.Conv2d(6, 10, 3, padding=1), (6, 7, 9)),
    "conv relu, strides": (
        lambda: nniq.ConvReLU2d(4, 12, (3, 5), stride=(2, 1), padding=(1, 2)),
        (4, 9, 8),
    ),
    "conv in groups, dilated": (
        lambda: nnq.Conv2d(6, 9, 3, padding=2, dilation=2, groups=3),
        (6, 8, 8),
    ),
    "depthwise": (lambda: nnq.Conv2d(8, 8, 3, padding=1, groups=8), (8, 6, 6)),
    "wide padding": (lambda: nnq.Conv2d(3, 5, 2, padding=3), (3, 5, 5)),
    "reflected": (lambda: nnq.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"), (3, 6, 5)),
    "conv along one axis": (lambda: nnq.Conv1d(5, 8, 3, padding=1, stride=2), (5, 17)),
    "conv relu along one axis, dilated": (
        lambda: nniq.ConvReLU1d(4, 8, 3, padding=2, dilation=2, groups=2),
        (4, 15),
    ),
}


@pytest.mark.parametrize("setting", made.SETTINGS[:2])
@pytest.mark.parametrize("engine", made.ENGINES)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_gives_the_codes_of_its_engine(kind, engine, setting, rng):
    build, shape = LAYERS[kind]
    for by_channel, biased in ((True, True), (True, False), (False, True)):
        with made.engine(engine):
            module = _with(build(), rng, setting, by_channel=by_channel, biased=biased)
        reach = 127 if kind == "depthwise" and engine == "fbgemm" else 275
        x = made.inputs(rng, module, (16, *shape), reach)
        compared, different, _ = made.compare(module, engine, x, engine)
        assert compared > 200
        assert not different, (by_channel, biased)


def test_pairs_of_products_that_saturate_are_announced_with_the_code_from_which_on(rng):
    build, shape = LAYERS["depthwise"]
    with made.engine("fbgemm"):
        module = _with(build(), rng, "random", by_channel=True, biased=True)
    text = r"may saturate where input codes are above (\d+)"
    with pytest.warns(RuntimeDifference, match=text) as said:
        compared, different, _ = made.compare(
            module, "fbgemm", made.inputs(rng, module, (64, *shape)), "fbgemm"
        )
    assert compared > different > 0
    found = [re.search(text, str(warning.message)) for warning in said]
    (most,) = {int(match.group(1)) for match in found if match}
    assert 127 <= most < 255
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = made.inputs(rng, module, (64, *shape), most)
        assert made.compare(module, "fbgemm", x, "fbgemm")[1] == 0
