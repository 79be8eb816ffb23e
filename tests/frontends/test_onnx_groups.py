"""GroupNormalization: ONNX Runtime's codes, but for those that are announced."""

from __future__ import annotations

import numpy as np
import pytest
from support.onnx_builder import Q
from support.onnx_compare import load
from support.onnx_nets import Net, feed, typed
from support.onnx_run import run_ort

import hwsim
from hwsim import HwsimError
from hwsim.frontends.shared.builder import RuntimeDifference

pytestmark = pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")


@pytest.mark.parametrize(("opset", "groups"), [(18, 2), (18, 4), (21, 2), (21, 8), (21, 1)])
@pytest.mark.parametrize("shape", [(8, 5, 4), (8, 9)])
def test_group_normalization_is_one_of_each_group(opset, groups, shape, tmp_path, seed):
    """Factors and offsets are one a channel, or one a group before opset 21."""
    n = Net(seed=seed)
    x = n.qdq(n.input("x", shape), Q("uint8", 0.03, 100))
    count = groups if opset < 21 else 8
    factor, offset = (
        n.constant(name, n.rng.normal(1, 0.5, count).astype(np.float32)) for name in ("f", "o")
    )
    y = n.do("GroupNormalization", x, factor, offset, num_groups=groups)
    model = typed(n, (n.round(y, 0.03), len(shape) + 1, "float32"))
    model.opset_import[0].version = opset
    with pytest.warns(RuntimeDifference, match="subtracts two float32 means"):
        graph = load(model, tmp_path)
    data = feed(model, seed, batch=200)
    (want,) = run_ort(model, data).outputs.values()
    off = np.rint(np.abs(hwsim.emulate(graph, data) - want) / 0.03)
    assert off.max() <= 1 and (off > 0).mean() <= 1e-3


def test_groups_that_do_not_divide_the_channels_are_refused(tmp_path):
    n = Net()
    x = n.qdq(n.input("x", (8, 5)), Q("uint8", 0.03, 100))
    ones = n.constant("ones", np.ones(8, np.float32))
    y = n.round(n.do("GroupNormalization", x, ones, ones, num_groups=3), 0.03)
    with pytest.raises(HwsimError, match="a multiple of 'num_groups', not 3 groups of"):
        load(typed(n, (y, 3, "float32")), tmp_path)
