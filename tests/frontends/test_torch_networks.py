"""Whole quantized PyTorch networks against PyTorch: each of its engines, modules of both ways."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
from support import torch_modules as made  # noqa: E402
from support import torch_networks as networks  # noqa: E402

import hwsim  # noqa: E402

pytestmark = [
    pytest.mark.needs("torch"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]


@pytest.mark.parametrize("engine", made.ENGINES)
@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_network_gives_the_numbers_of_its_engine(name, engine, seed, rng):
    module, shape = networks.quantized(name, engine, seed), networks.NETWORKS[name][1]
    x = rng.normal(0, 1, (100, *shape)).astype(np.float32)
    with made.engine(engine):
        singles = [module(torch.from_numpy(x[i : i + 1])).numpy() for i in range(100)]
        graph = hwsim.load(module, example=(1, *shape))
    wanted, got = np.concatenate(singles), hwsim.emulate(graph, x)
    assert np.unique(wanted).size > 20
    assert got.shape == wanted.shape
    assert int((got != wanted).sum()) == 0
