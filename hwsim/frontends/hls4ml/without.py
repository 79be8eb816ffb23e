"""hls4ml layers that are not read, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "SimpleRNN": "hls4ml 1.3 has no C++ for it under Vivado and Vitis; an LSTM or a GRU has one",
    "MatMul": "in hls4ml 1.3 only a step on the way to Dense; an Einsum multiplies two tensors",
    "SymbolicExpression": "its C++ calls the functions of Vitis's math library",
    "TernaryTanh": "hls4ml 1.3 has C++ for it only behind a BatchNormalization",
    "DACombinational": "its C++ is generated from another project's program",
}
"""By class."""
