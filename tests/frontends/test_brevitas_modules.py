"""Modules of Brevitas in memory against their own forward pass."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch")
qnn = pytest.importorskip("brevitas.nn", reason="needs brevitas")
import torch  # noqa: E402
from support import brevitas_networks as networks  # noqa: E402

import hwsim  # noqa: E402
from hwsim import HwsimError  # noqa: E402
from hwsim.frontends.shared.builder import RuntimeDifference  # noqa: E402

pytestmark = [
    pytest.mark.needs("torch", "brevitas"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_module_gives_the_numbers_of_its_forward_pass(name, seed, rng):
    module, shape = networks.trained(name, seed), networks.NETWORKS[name][1]
    x = rng.normal(0, 1, (200, *shape)).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x))
    wanted = (wanted.value if hasattr(wanted, "value") else wanted).numpy()
    got = hwsim.emulate(hwsim.load(module, example=(1, *shape)), x)
    assert np.unique(wanted).size > 1
    assert int((got != wanted).sum()) == 0


@pytest.mark.parametrize("name", networks.FUNCTIONS)
def test_a_function_between_quantizers_is_pytorchs_own(name, seed, rng):
    torch.manual_seed(seed)
    module = networks.between(networks.FUNCTIONS[name]).train()
    for _ in range(3):
        module(torch.randn(64, 4, 3, 3))
    x = rng.normal(0, 1.2, (200, 4, 3, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = module.eval()(torch.from_numpy(x)).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeDifference)
        graph = hwsim.load(module, example=x[:1])
    assert np.unique(wanted).size > 10
    assert int((hwsim.emulate(graph, x) != wanted).sum()) == 0


def test_a_function_of_reals_at_the_end_is_pytorchs_own_or_announced(seed, rng):
    torch.manual_seed(seed)
    x = rng.normal(0, 1.2, (500, 6)).astype(np.float32)
    for codes in (True, False):
        last = [qnn.QuantIdentity(bit_width=8)] if codes else []
        module = torch.nn.Sequential(
            qnn.QuantIdentity(bit_width=8), qnn.QuantLinear(6, 4), *last, torch.nn.Sigmoid()
        ).train()
        module(torch.randn(64, 6))
        with torch.no_grad():
            wanted = module.eval()(torch.from_numpy(x)).numpy()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            got = np.asarray(hwsim.emulate(hwsim.load(module, example=x[:1]), x))
        announced = any("a sigmoid in float32 may have other" in str(w.message) for w in said)
        assert announced == (not codes)
        assert codes or np.abs(got - wanted).max() < 1e-6
        assert not codes or int((got != wanted).sum()) == 0


def _disabled() -> torch.nn.Module:
    module = networks.NETWORKS["dense 4 bits"][0]().eval()
    module[3].act_quant.disable_quant = True
    return module


def _observing() -> torch.nn.Module:
    module = networks.NETWORKS["dense 4 bits"][0]().eval()
    module[3].act_quant.fused_activation_quant_proxy.tensor_quant.observer_only = True
    return module


def test_a_module_is_left_as_it_was(seed):
    module = networks.trained("truncated", seed)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    caches = [getattr(part, "_cached_act", None) for part in module.modules()]
    flags = [part.training for part in module.modules()]
    hwsim.load(module, example=(1, 4, 8, 8))
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    now = [getattr(part, "_cached_act", None) for part in module.modules()]
    assert all(old is new for old, new in zip(caches, now, strict=True))
    assert flags == [part.training for part in module.modules()]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


REFUSED = {
    "in training": (
        lambda: networks.NETWORKS["dense 4 bits"][0]().train(),
        {"example": (1, 16)},
        "must be in evaluation mode, but it is in training",
    ),
    "without an example": (
        lambda: networks.NETWORKS["dense 4 bits"][0]().eval(),
        {},
        "needs an example of its input",
    ),
    "like an engine": (
        lambda: networks.NETWORKS["dense 4 bits"][0]().eval(),
        {"example": (1, 16), "like": "fbgemm"},
        "must be left out: its own forward pass says it, not 'fbgemm'",
    ),
    "an example of another shape": (
        lambda: networks.NETWORKS["dense 4 bits"][0]().eval(),
        {"example": (1, 17)},
        "must run on its example of shape (1, 17), but it raised RuntimeError",
    ),
    "a disabled quantizer": (
        _disabled,
        {"example": (1, 16)},
        "the quantizer '3.act_quant' must be enabled, but its disable_quant is set",
    ),
    "a quantizer that observes": (
        _observing,
        {"example": (1, 16)},
        "the quantizer '3.act_quant' must quantize, but it only observes; set observer_only of",
    ),
    "a recurrent layer": (
        lambda: qnn.QuantLSTM(4, 5).eval(),
        {"example": (1, 3, 4)},
        "a module must have no recurrent layer, but it is one (QuantLSTM)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_module_that_is_not_read_is_a_sentence(name):
    build, how, wanted = REFUSED[name]
    with pytest.raises(HwsimError) as refused:
        hwsim.load(build(), **how)
    assert wanted in str(refused.value)
    assert "\n" not in str(refused.value)
