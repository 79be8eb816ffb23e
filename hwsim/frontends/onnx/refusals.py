"""Why an ONNX model is not read, in one sentence with what helps."""

from __future__ import annotations

from collections.abc import Iterable, Set

from hwsim.frontends.onnx.file import CONTROL_FLOW
from hwsim.frontends.unread import QUANTIZE, WRITTEN_OUT

DYNAMIC = ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul")
"""ONNX operators of models whose scales are found anew for each input."""
WHOLE_NUMBERS = ("ConvInteger", "MatMulInteger")
"""Those of them that are as well in models of whole numbers alone, which no quantizer makes."""

FUSED = (
    "Attention", "BiasAdd", "BiasGelu", "BiasSoftmax", "EmbedLayerNormalization", "FusedConv",
    "FusedGemm", "FusedMatMul", "FusedMatMulActivation", "GemmFastGelu", "GroupQueryAttention",
    "MultiHeadAttention", "NhwcConv", "NhwcFusedConv", "NhwcMaxPool", "QAttention",
    "QEmbedLayerNormalization", "ReorderInput", "ReorderOutput", "SkipGroupNorm",
    "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "TransposeMatMul",
)  # fmt: skip
"""Operators of models that an optimizer of ONNX Runtime has written."""
LAYOUTS = ("com.microsoft.nchwc.", "com.ms.internal.nhwc.")
WEIGHTS = (
    "GatherBlockQuantized", "GemmFloat8", "MatMulBlockQuantizedFp4Weight",
    "MatMulBlockQuantizedFp8Weight", "MatMulBnb4", "MatMulFpQ4", "MatMulNBits", "MatMulNBitsMlp",
    "MatMulNBitsQLoRA", "MatMulNBitsQkv", "QMoE",
)  # fmt: skip
QLINEAR = (
    "DequantizeBFP", "MatMulInteger16", "MulInteger", "QLinearConv", "QLinearReduceMean",
    "QLinearWhere", "QuantizeBFP", "ReduceSumInteger",
)  # fmt: skip
ORDERED = (
    "DequantizeWithOrder", "QOrderedAttention", "QOrderedGelu", "QOrderedLayerNormalization",
    "QOrderedLongformerAttention", "QOrderedMatMul", "QuantizeWithOrder",
)  # fmt: skip

NAMED = 5
"""Nodes of one unsupported operator that are named; the others are counted."""

RECURRENT = ("LSTM", "GRU", "RNN")
STEP_BY_STEP = (
    "a recurrent layer has no kernel of whole numbers in ONNX Runtime: write its steps out in "
    "Linear, Sigmoid, Tanh and Mul before quantize_static, or let hls4ml convert the PyTorch or "
    "Keras model, whose LSTM and GRU are read"
)
OWN_FUSIONS = (
    "what ONNX Runtime's optimizers write (fused nodes, attention in one node, other layouts) is "
    "read as it was before: quantize the model as it was exported, and give that file"
)
WEIGHTS_ALONE = f"weights alone are quantized in such a model; {QUANTIZE} quantizes activations too"
AS_QDQ = "in the format QuantFormat.QDQ the same quantizer writes operators that are read"
NO_CPU = "it has no kernel on a CPU to be compared with; the model before it was lowered is read"
IN_PARTS = "PyTorch and tf2onnx write it as MatMul, Mul, Transpose and ReduceSum, which are read"
LEFT_OUT = "what comes after the scores can be done outside of the model"
STATIC = f"scales that are found anew for each input become fixed ones by {QUANTIZE}"
ADVICE: dict[str, str] = {
    **dict.fromkeys(DYNAMIC, STATIC),
    **dict.fromkeys(("TopK", "NonMaxSuppression"), LEFT_OUT),
    **dict.fromkeys(FUSED, OWN_FUSIONS),
    **dict.fromkeys(WEIGHTS, WEIGHTS_ALONE),
    **dict.fromkeys(QLINEAR, AS_QDQ),
    **dict.fromkeys(ORDERED, NO_CPU),
    "Einsum": IN_PARTS,
    **dict.fromkeys(CONTROL_FLOW, WRITTEN_OUT),
    **dict.fromkeys((*RECURRENT, "DynamicQuantizeLSTM"), STEP_BY_STEP),
}
"""What helps where a node of that operator is in the way."""

CUT = "onnx.utils.extract_model cuts out the part between two tensors"


def unsupported(name: object, nodes: Iterable[tuple[str, str]]) -> str:
    """Why a model is not read, from (operator, node's name) of each node without a rule."""
    nodes = list(nodes)
    found = dict.fromkeys(op if op.isprintable() else repr(op) for op, _ in nodes)
    plain = ["FusedConv" if op.startswith(LAYOUTS) else op.rpartition(".")[2] for op in found]
    advice = [*dict.fromkeys(ADVICE[op] for op in plain if op in ADVICE), CUT]
    return (
        f"{name} must use supported operators only, but has {_listed(nodes)}; what helps: "
        f"{'; '.join(advice)}; docs/frontends.md lists what is supported"
    )


def not_of(name: object, runtime: str, nodes: Iterable[tuple[str, str]]) -> str:
    """Why another runtime's model is not read, from (operator, node's name) of each node."""
    listed = _listed(nodes)
    return (
        f"{name} must use operators that {runtime} has, but has {listed}; ONNX Runtime has them: "
        "leave out what the model is to be like, or say 'onnxruntime'"
    )


def of_qonnx(name: object, like: str) -> str:
    """Why a file with QONNX's quantizers is like no other runtime."""
    return (
        f"{name}: what the model is to be like must be left out, not {like!r}: its Quant nodes "
        "mean what QONNX's own executor makes of them"
    )


def _listed(nodes: Iterable[tuple[str, str]]) -> str:
    found: dict[str, list[str]] = {}
    for op, node in nodes:
        found.setdefault(op if op.isprintable() else repr(op), []).append(repr(node))
    return "; ".join(f"{op} ({_some(names)})" for op, names in found.items())


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def whole_numbers(name: object) -> str:
    """Why a model that computes on whole numbers in plain operators is not read."""
    return (
        f"{name} must say by QuantizeLinear, QLinear or Quant operators what its numbers mean, but "
        "has whole numbers in plain operators, which are not read back; of what hwsim to-onnx "
        "writes, --as qdq and --as qonnx are read, and Graph.save keeps a Graph"
    )


def unquantized(name: object, operators: Set[str]) -> str:
    """Why an ONNX model without a static quantizer is not read, with what would quantize it."""
    dynamic = sorted(set(DYNAMIC) & operators)
    if dynamic and not set(dynamic) - set(WHOLE_NUMBERS):
        return whole_numbers(name)
    if dynamic:
        return (
            f"{name} must be quantized with fixed scales, but {', '.join(dynamic)} finds them anew"
            f" for each input; instead of quantize_dynamic use {QUANTIZE}, with some typical inputs"
        )
    return (
        f"{name} must be quantized, but has no QuantizeLinear, QLinear operator or Quant node;"
        f" hwsim quantize, {QUANTIZE} or Brevitas (QONNX export) can quantize it"
        + ("; " + STEP_BY_STEP if set(RECURRENT) & operators else "")
        + ("; " + WRITTEN_OUT if set(CONTROL_FLOW) & operators else "")
    )
