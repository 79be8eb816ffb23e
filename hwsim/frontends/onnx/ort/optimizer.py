"""What ONNX Runtime 1.32 makes of a QDQ graph on x86-64: its optimizer's rewrites, on a copy.

Only the rewrites that decide which nodes become integer kernels are made, in the runtime's order.
Sources: `graph_transformer_utils.cc` (the order), `matmul_add_fusion.cc`, `qdq_propagation.cc`,
`weight_bias_quantization.cc`, `qdq_s8_to_u8.cc`, `qdq_util.cc` of ONNX Runtime, and experiments
(docs/frontends.md). `kernels.py` holds the last step, the choice of kernels.
"""

from __future__ import annotations

from hwsim.frontends.onnx.model import OnnxModel
from hwsim.frontends.onnx.ort.graph_copy import Copy, copy_of
from hwsim.frontends.onnx.ort.products import integer_biases, products_with_bias
from hwsim.frontends.onnx.ort.quantizers import (
    as_unsigned,
    cancelled,
    dequantizers_forward,
    quantizers_backward,
    repeated_clamps,
    unique_dequantizers,
)
from hwsim.frontends.onnx.ort.tidying import folded, known_shapes, nothings, padding, shared

MOST_ROUNDS = 10  # in which the runtime repeats its first level
FIRST_LEVEL = (  # in this order
    nothings, padding, shared, products_with_bias, known_shapes,
    quantizers_backward, dequantizers_forward, integer_biases, unique_dequantizers,
)  # fmt: skip


def optimized(model: OnnxModel) -> Copy:
    """The graph just before kernels are chosen."""
    copy = copy_of(model)
    folded(copy)
    unique_dequantizers(copy)  # before the first level too, which so merges no readers of one
    for _ in range(MOST_ROUNDS):
        before = _print(copy)
        for rewrite in FIRST_LEVEL:
            rewrite(copy)
        if _print(copy) == before:
            break
    cancelled(copy)
    unique_dequantizers(copy)
    repeated_clamps(copy)
    as_unsigned(copy)
    return copy


def _print(copy: Copy) -> list[tuple[str, int]]:
    return [(step.op, step.reads) for step in copy.steps]
