"""The runtimes of QDQ files."""

from __future__ import annotations

from hwsim.errors import HwsimError
from hwsim.frontends.onnx import tensorrt, tvm_functions
from hwsim.frontends.onnx.model import OnnxModel
from hwsim.frontends.onnx.ort.float_weights import with_integer_weights
from hwsim.frontends.onnx.ort.graph_copy import DQ
from hwsim.frontends.onnx.ort.kernels import choices
from hwsim.frontends.onnx.ort.moves import refuse_moved_rows
from hwsim.frontends.onnx.ort.pairs import merged_pairs
from hwsim.frontends.onnx.runtime import Prepared, Runtime
from hwsim.frontends.onnx.tvm_resizing import TvmAxis

SMALL = ("int2", "int4", "uint2", "uint4")


def _optimized(model: OnnxModel) -> Prepared:
    """As ONNX Runtime rewrites it, with the kernels that it then takes."""
    model, scales = merged_pairs(model)
    model = with_integer_weights(model)
    refuse_moved_rows(model, scales)
    return model, lambda: choices(model, scales)


def _as_it_is(model: OnnxModel) -> Prepared:
    """Every node by itself, in float32; codes of less than a byte have no constants in TVM."""
    for node in model.nodes:
        codes = model.constants.get(node.input(0))
        if node.op == DQ and codes is not None and codes.dtype.name in SMALL:
            raise HwsimError(
                f"{model.path}: {node}: TVM has no constants of so few bits: its codes must be "
                f"int8 or uint8, not {codes.dtype}; onnxruntime takes them"
            )
    return model, dict


ONNX_RUNTIME = Runtime(
    "onnxruntime",
    "ONNX Runtime",
    "adds in float32 here, not with its integer kernels",
    _optimized,
    moves=True,
)


def _symmetric(model: OnnxModel) -> Prepared:
    """As it is, where its quantizers are such as TensorRT takes."""
    try:
        tensorrt.refuse_others(model)
    except HwsimError as error:
        raise HwsimError(f"{error}; onnxruntime, openvino and tvm take it as it is") from None
    return model, dict


INTEGERS = frozenset({
    "MatMulIntegerToFloat", "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat",
    "QLinearConv", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMatMul", "QLinearMul",
    "QLinearSigmoid", "QLinearSoftmax",
})  # fmt: skip
"""Operators on codes, which ONNX Runtime alone has."""
TVM = Runtime(
    "tvm",
    "TVM",
    "adds in float32",
    _as_it_is,
    lacks=INTEGERS | {"Celu", "QuickGelu", "Swish", "Upsample"},
    functions=tvm_functions.FUNCTIONS,
    cubes=False,
    highest=True,
    at_ports=False,
    resized=TvmAxis,
    in_turn=True,
)
TENSORRT = Runtime(
    "tensorrt",
    "TensorRT",
    "promises no order of its float32 steps",
    _symmetric,
    lacks=INTEGERS,
    functions=tensorrt.ROUGH,
    cubes=False,
    at_ports=False,
    note="TensorRT chooses kernels by their speed, and NVIDIA's documentation promises no results "
    "to the bit: here sums of codes are exact, scales and biases float32, and codes rounded to "
    "nearest even",
)
RUNTIMES = {known.like: known for known in (ONNX_RUNTIME, TVM, TENSORRT)}


def runtime(like: str | None) -> Runtime:
    """The runtime of that name, ONNX Runtime where none is named; HwsimError lists those known."""
    found = ONNX_RUNTIME if like is None else RUNTIMES.get(like)
    if found is None:
        raise HwsimError(
            f"what the model is to be like must be one of {', '.join(RUNTIMES)}, not {like!r}"
        )
    return found
