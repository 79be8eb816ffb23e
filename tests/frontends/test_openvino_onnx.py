"""QDQ files like OpenVINO: the numbers of its CPU plugin, from the generator of such files."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("openvino")

from support import openvino_models as ov
from support.qdq_graphs import feeds, network

import hwsim
from hwsim.errors import HwsimError

NUMBERS = (2, 3, 6, 9, 10, 12, 16, 20)  # dense layers, convolutions, a residual, concatenations


@pytest.mark.parametrize("number", NUMBERS)
def test_a_file_gives_the_very_floats(number: int) -> None:
    from openvino import Core

    model = network(number)
    (x,) = feeds(model, number).values()
    (want,) = ov.run(Core().read_model(model.SerializeToString()), x)
    got = np.asarray(hwsim.emulate(hwsim.load(model, like="openvino"), x), np.float32)
    assert np.array_equal(got, want)


def test_a_file_without_quantizers_is_a_sentence() -> None:
    model = network(2)
    kept = [n for n in model.graph.node if "uantizeLinear" not in n.op_type]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    with pytest.raises(HwsimError, match="must be quantized"):
        hwsim.load(model, like="openvino")
