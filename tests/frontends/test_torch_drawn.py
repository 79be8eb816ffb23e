"""Random networks that FX quantizes, against each engine of PyTorch: equal, or announced."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
from support import torch_drawn as drawn  # noqa: E402
from support import torch_modules as made  # noqa: E402

import hwsim  # noqa: E402
from hwsim.frontends.shared.builder import RuntimeDifference  # noqa: E402
from hwsim.frontends.torch_modules.eager import engines  # noqa: E402

pytestmark = [
    pytest.mark.needs("torch"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]

SAMPLES = 20
IN_CI, IN_ALL = 20, 500
SHUFFLED = 7  # the seed of a network with a shuffle behind a cat
UNABLE = ("createStatus", "QNNPACK", "required rank 4 tensor to use channels_last")
"""What PyTorch says where it cannot run what it has converted itself."""


@dataclass(frozen=True)
class Outcome:
    """Numbers compared and different, and what was announced."""

    compared: int
    different: int
    announced: tuple[str, ...]


def outcome(seed: int, engine: str) -> Outcome | None:
    """A drawn network on its engine, one sample after the other; None where PyTorch cannot."""
    rng = np.random.default_rng(seed)
    module, shape = drawn.quantized(rng, engine)
    x = rng.normal(0, 1, (SAMPLES, *shape)).astype(np.float32)
    with made.engine(engine):
        try:
            wanted = np.concatenate([module(torch.from_numpy(one[None])).numpy() for one in x])
        except RuntimeError as error:
            if any(text in str(error) for text in UNABLE):
                return None
            raise
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        graph = hwsim.load(module, like=engine, example=x[:1])
    told = [str(w.message) for w in said if issubclass(w.category, RuntimeDifference)]
    different = int((np.asarray(hwsim.emulate(graph, x)) != wanted).sum())
    return Outcome(wanted.size, different, tuple(told))


@pytest.mark.parametrize("place", range(IN_CI))
def test_a_drawn_network_gives_the_numbers_of_its_engine(place, seed):
    found = outcome(seed + place, made.ENGINES[place % len(made.ENGINES)])
    assert found is None or not found.different or found.announced


def test_a_module_is_run_by_the_engine_that_is_named_whichever_is_set():
    """PyTorch's x86 engine, which is set here, cannot mix the channels of this network."""
    found = outcome(SHUFFLED, "qnnpack")
    assert found is not None
    assert not found.different
    assert outcome(SHUFFLED, "x86") is None


@pytest.mark.slow
@pytest.mark.parametrize("engine", made.ENGINES)
def test_500_drawn_networks_give_the_numbers_of_each_engine(engine, seed):
    found = [outcome(seed + place, engine) for place in range(IN_ALL)]
    run = [each for each in found if each is not None]
    silent = [i for i, f in enumerate(found) if f and f.different and not f.announced]
    print(
        f"{engine}: {len(run)} run, {sum(each.compared for each in run):,} numbers, announced "
        f"{sum(bool(each.announced) for each in run)}, different in "
        f"{sum(bool(each.different) for each in run)} of them, in silence {silent}"
    )
    assert not silent


def test_an_engine_that_rounds_otherwise_is_noticed(seed, monkeypatch):
    """A mutant: sums are cut where qnnpack rounds them to the nearest."""
    right = engines.RULES[engines.LayerKernel.QNNPACK]

    def cut(layer):
        rule = right(layer)
        return lambda sums: rule(sums) - (sums % 7 == 0)

    monkeypatch.setitem(engines.RULES, engines.LayerKernel.QNNPACK, cut)
    found = [outcome(seed + place, "qnnpack") for place in range(3)]
    assert any(each is not None and each.different for each in found)
