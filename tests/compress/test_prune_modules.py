"""A PyTorch module without some channels, by torch-pruning: smaller, and ready to be quantized."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.compress.prune.modules import last_layers, prune_module
from hwsim.errors import HwsimError

pytestmark = pytest.mark.needs("torch", "torch_pruning")
torch = pytest.importorskip("torch")
nn = torch.nn


class Residual(nn.Module):
    """Two convolutions around a sum, a depthwise one, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8 * 4 * 4, 10)

    def forward(self, x):
        x = self.first(x)
        x = torch.relu(x + self.inner(x))
        x = torch.max_pool2d(torch.relu(self.depthwise(x)), 2)
        return self.head(x.flatten(1))


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_half_of_a_residual_modules_channels_go_where_branches_meet_together(scope, seed):
    torch.manual_seed(seed)
    module, example = Residual().train(), torch.rand(2, 1, 8, 8)
    small = prune_module(module, example, 0.5, scope=scope)
    kept = small.inner.out_channels
    assert kept == 4 and small.first[0].out_channels == small.depthwise.groups == kept
    assert small.head.in_features == kept * 16 and small.head.out_features == 10
    assert small.training and module.inner.out_channels == 8
    left = small.inner.bias.tolist()
    gone = [c for c, bias in enumerate(module.inner.bias.tolist()) if bias not in left]
    assert len(gone) == 4
    with torch.no_grad():  # whatever reads those channels finds 0
        module.inner.weight[:, gone] = 0
        module.head.weight.reshape(10, 8, 16)[:, gone] = 0
        whole, less = module.eval()(example), small.eval()(example)
    np.testing.assert_allclose(whole, less, rtol=1e-4, atol=1e-5)


def test_a_small_module_gives_what_the_whole_one_gives_with_zeros_in_those_channels(seed):
    torch.manual_seed(seed)
    whole = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    example = torch.rand(5, 6)
    small = prune_module(whole, example, 0.25)
    rows = {tuple(row) for row in small[0].weight.tolist()}
    gone = [k for k, row in enumerate(whole[0].weight.tolist()) if tuple(row) not in rows]
    assert len(gone) == 3
    with torch.no_grad():
        whole[2].weight[:, gone] = 0
        np.testing.assert_allclose(whole(example), small(example), rtol=1e-5, atol=1e-6)


def test_the_layers_that_make_a_modules_outputs_are_found():
    module = Residual()
    assert list(last_layers(module, torch.rand(1, 1, 8, 8))) == [module.head]


def test_a_module_without_layers_and_amounts_out_of_reach_are_told():
    with pytest.raises(HwsimError, match="must have linear layers or convolutions, not be a ReLU"):
        prune_module(nn.ReLU(), torch.rand(1, 2), 0.5)
    with pytest.raises(HwsimError, match="an amount must be from 0 to below 1, not 2"):
        prune_module(nn.Linear(2, 2), torch.rand(1, 2), 2)
    with pytest.raises(HwsimError, match="a scope must be one of layer, global, not 'all'"):
        prune_module(nn.Linear(2, 2), torch.rand(1, 2), 0.5, scope="all")
