"""Networks that NNCF has quantized give the very floats of OpenVINO's CPU plugin."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("openvino")
pytest.importorskip("nncf")
pytest.importorskip("torch")

from support import openvino_models as ov
from support.nncf_networks import NETWORKS, quantized
from support.seeds import seeded

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference

EARLY = (("residual", "MIXED"), ("mobile", "PERFORMANCE"), ("autoencoder", "MIXED"))
ALL = [(name, preset) for name in NETWORKS for preset in ("PERFORMANCE", "MIXED")]


def check(name: str, preset: str) -> None:
    """Compare a network with its runtime, sample by sample."""
    given, x = quantized(name, preset, seeded(5) % 1000)
    (want,) = ov.run(given, x)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        graph = hwsim.load(given)
    told = [str(w.message) for w in said if issubclass(w.category, RuntimeDifference)]
    away = np.abs(np.asarray(hwsim.emulate(graph, x), np.float32) - want)
    bits = any("last bits" in text for text in told)
    samples = int((away.reshape(len(x), -1).max(axis=1) > (1e-6 if bits else 0)).sum())
    print(f"{name} {preset}: {samples} of {len(x)} samples differ, by {away.max():.2g}")
    steps = any("one step" in text for text in told)
    assert samples <= (len(x) // 20 if steps else 0)


@pytest.mark.parametrize(("name", "preset"), EARLY)
def test_a_network_gives_the_runtimes_floats_or_warns(name: str, preset: str) -> None:
    check(name, preset)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "preset"), ALL)
def test_all_networks_give_the_runtimes_floats_or_warn(name: str, preset: str) -> None:
    check(name, preset)
