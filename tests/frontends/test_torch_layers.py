"""Quantized layers of PyTorch, each alone, against the engine that it was packed for."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
from support import torch_forms as forms  # noqa: E402
from support import torch_modules as made  # noqa: E402
from torch.ao.nn import quantized as nnq  # noqa: E402

import hwsim  # noqa: E402
from hwsim import HwsimError  # noqa: E402
from hwsim.frontends.shared.builder import RuntimeDifference  # noqa: E402

pytestmark = [
    pytest.mark.needs("torch"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]


@pytest.mark.parametrize("setting", made.SETTINGS[:2])
@pytest.mark.parametrize("engine", made.ENGINES)
@pytest.mark.parametrize("kind", forms.LAYERS)
def test_a_layer_gives_the_codes_of_its_engine(kind, engine, setting, rng):
    build, shape = forms.LAYERS[kind]
    if kind == "transposed, longer" and engine == "onednn":
        return  # which refuses it
    for by_channel, biased in ((True, True), (True, False), (False, True)):
        by_channel = by_channel and not kind.startswith("transposed")  # which PyTorch has not
        with made.engine(engine):
            module = forms.layer(build(), rng, setting, by_channel=by_channel, biased=biased)
        reach = 127 if kind.startswith("depthwise") and engine in ("fbgemm", "x86") else 275
        x = made.inputs(rng, module, (16, *shape), reach)
        if kind == "transposed in groups" and engine in ("onednn", "x86"):
            with pytest.raises(HwsimError, match="weights of a transposed convolution in a wrong"):
                made.compare(module, engine, x, engine)
            continue
        compared, different, _ = made.compare(module, engine, x, engine)
        assert compared > 200
        assert not different, (by_channel, biased)


def test_the_rule_of_another_engine_would_be_noticed(rng):
    """A mutant of each comparison: the rounding, and the bias, of another engine."""
    for kind, engine, other, biased in (
        ("conv", "x86", "fbgemm", False),
        ("conv", "fbgemm", "onednn", False),
        ("linear", "qnnpack", "fbgemm", True),
    ):
        build, shape = forms.LAYERS[kind]
        setting = "random" if biased else "ties"
        with made.engine(engine):
            module = forms.layer(build(), rng, setting, by_channel=True, biased=biased)
        x = made.inputs(rng, module, (64, *shape))
        assert made.compare(module, engine, x, engine)[1] == 0
        assert made.compare(module, engine, x, other)[1] > 0


def test_a_layer_with_more_thresholds_than_an_operator_holds_is_read_in_parts(rng):
    with made.engine("onednn"):
        module = forms.layer(nnq.Linear(8, 2100), rng, "random", by_channel=True, biased=True)
    x = made.inputs(rng, module, (30, 8))
    _, different, graph = made.compare(module, "onednn", x, "onednn")
    assert not different
    assert sum(node.op.kind == "thresholds" for node in graph.nodes) == 3


def test_pairs_of_products_that_saturate_are_announced_with_the_code_from_which_on(rng):
    build, shape = forms.LAYERS["depthwise"]
    with made.engine("fbgemm"):
        module = forms.layer(build(), rng, "random", by_channel=True, biased=True)
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


@pytest.mark.parametrize("setting", made.SETTINGS[:2])
@pytest.mark.parametrize("engine", ["qnnpack", "x86"])
@pytest.mark.parametrize("kind", forms.FUNCTIONS)
def test_a_function_gives_the_codes_of_its_engine(kind, engine, setting, rng):
    if kind == "sigmoid, its own scale" and engine == "qnnpack":
        return  # which refuses it
    for shape in ((64,), (3, 5, 7), (4, 8)):
        module = forms.alone(forms.FUNCTIONS[kind], shape, rng, setting)
        for sample in range(3):  # of a batch of one
            x = made.inputs(rng, module, (1, *shape))
            _, different, _ = made.compare(module, engine, x, engine)
            assert not different, (shape, sample)


@pytest.mark.parametrize("engine", ["qnnpack", "x86"])
@pytest.mark.parametrize("kind", forms.SOFTMAXES)
def test_a_softmax_of_codes_is_qnnpacks_or_announced(kind, engine, rng):
    for shape in ((10,), (7, 3, 5), (150,)):
        module = forms.alone(forms.SOFTMAXES[kind], shape, rng, "random")
        x = made.inputs(rng, module, (200, *shape))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            compared, different, _ = made.compare(module, engine, x, engine)
        announced = any("computes this softmax in float32" in str(w.message) for w in said)
        assert announced == (engine != "qnnpack" or kind == "softmax, its own scale")
        assert not different or (announced and different * 1000 < compared), shape


@pytest.mark.parametrize("setting", made.SETTINGS[:2])
@pytest.mark.parametrize("engine", ["qnnpack", "x86"])
@pytest.mark.parametrize("kind", forms.PAIRS)
def test_two_tensors_give_the_codes_of_their_engine(kind, engine, setting, rng):
    for shape in ((4, 4, 8), (7, 3, 5), (20, 2, 3)):
        module = forms.two(forms.PAIRS[kind], shape, rng, setting)
        if kind == "cat of codes":
            module.second = module.first
        for sample in range(3):  # of a batch of one
            x = made.inputs(rng, module, (1, *shape))
            try:
                _, different, _ = made.compare(module, engine, x, engine)
            except RuntimeError as error:  # of scales too far apart for a kernel
                if "QNNPACK" not in str(error) or engine != "qnnpack":
                    raise
                continue
            assert not different, (shape, sample)


@pytest.mark.parametrize("engine", ["qnnpack", "x86"])
@pytest.mark.parametrize("kind", forms.POOLS)
def test_a_pool_gives_the_codes_of_its_engine(kind, engine, rng):
    for shape in ((4, 6, 6), (16, 6, 10), (21, 12, 6)):
        module = forms.alone(forms.POOLS[kind], shape, rng, "random")
        x = made.inputs(rng, module, (64, *shape))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            compared, different, _ = made.compare(module, engine, x, engine)
        announced = any("averages reals in float32" in str(w.message) for w in said)
        assert not announced or kind.startswith("mean")
        assert not different or (announced and different < compared / 6), shape


class _Normalized(torch.nn.Module):
    """Pixels less a mean, by a deviation, as torchvision's Normalize does it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled = (x / 255 - self.mean) / self.deviation
        return torch.quantize_per_tensor(scaled, 0.0186, 114, torch.quint8)


def test_arithmetic_before_the_quantizer_is_a_step_of_the_port(rng):
    x = rng.integers(0, 256, (50, 3, 9, 7)).astype(np.float32)
    module = _Normalized().eval()
    wanted = module(torch.from_numpy(x)).int_repr().numpy()
    got = hwsim.emulate(hwsim.load(module, example=x[:1]), x)
    assert np.array_equal(got, wanted)
