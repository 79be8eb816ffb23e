"""An hls4ml model read by hwsim beside the same model in hls4ml's compiled simulation."""

from __future__ import annotations

import numpy as np

import hwsim
from hwsim.graph import Graph
from support.hls4ml_models import Model, csim

SAMPLES = 2000


def codes_of(graph: Graph, values: dict) -> dict:
    """csim's exact floats as codes."""
    found = {}
    for port in graph.outputs:
        frac = graph.types()[port.tensor].format.frac_bits
        found[port.name] = np.ldexp(values[port.name].astype(np.float64), frac)
    return found


def emulated(graph: Graph, x) -> dict:
    from hwsim.emulator.run import planned

    emulator = planned(graph)
    out = emulator.run_chunked(emulator.encode(x))
    return {port.name: out[port.tensor] for port in graph.outputs}


def check(model: Model, folder, **options) -> None:
    """Every output of the model equals csim's, code by code."""
    built = model.build(folder, **options)
    graph, x = hwsim.load(built), model.data(SAMPLES)
    # float64, because results of more than 24 bits would come back from csim rounded to float32
    want, got = codes_of(graph, csim(built, x.astype(np.float64))), emulated(graph, x)
    for name in want:
        assert (want[name] == got[name]).all(), (
            f"{name}: {int((want[name] != got[name]).sum())} of {want[name].size} differ, "
            f"{model.config.get(name)}"
        )
