"""What was written is read again, by the rules of hls4ml's C++, and must give the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import piece_of
from hwsim.fixed import Overflow
from hwsim.frontends import as_graph
from hwsim.graph import Graph, user_shape
from hwsim.hls4ml_project.precision import units
from hwsim.ops import TensorType

SAMPLES = 64
"""Of random codes on which both are compared, or what one piece of a batch holds."""


def check_again(graph: Graph, made: Any) -> None:
    """Raise HwsimError unless hls4ml's C++ runs the ModelGraph `made`, and gives `graph`'s codes.

    What csim stops at is refused by the reader of hls4ml's models in a sentence.
    """
    again = as_graph(made)
    samples, rng = max(1, min(SAMPLES, piece_of(graph))), np.random.default_rng(0)
    codes, reals = {}, {}
    for port, other in zip(graph.inputs, again.inputs, strict=True):
        kind, symmetric = port.type, port.overflow is Overflow.SAT_SYM
        low = max(kind.lo, -kind.format.max) if symmetric and kind.format.signed else kind.lo
        codes[port.tensor] = rng.integers(low, kind.hi + 1, (samples, *kind.shape))
        # hls4ml leaves out a transpose that keeps the numbers' order, as of maps of one channel
        reals[other.name] = _reals(codes[port.tensor], kind).reshape(
            samples, *user_shape(other.type, other)
        )
    want = planned(graph).run(codes)
    emulator = planned(again)
    got = emulator.run(emulator.encode(reals))
    for shown, theirs_shown in zip(graph.outputs, again.outputs, strict=True):
        ours = _reals(want[shown.tensor], graph.types()[shown.tensor])
        theirs = _reals(got[theirs_shown.tensor], again.types()[theirs_shown.tensor])
        wrong = int(np.count_nonzero(ours.reshape(samples, -1) != theirs.reshape(samples, -1)))
        if wrong:
            raise HwsimError(
                f"output {shown.name!r} must have its codes in hls4ml too, and {wrong:,} of "
                f"{ours.size:,} are others there: please report this model"
            )


def _reals(codes: Any, kind: TensorType) -> Any:
    """What codes are as hls4ml's numbers."""
    whole = np.asarray(codes).astype(np.float64) - kind.zero_point
    return np.ldexp(whole, -np.array(units(kind)))
