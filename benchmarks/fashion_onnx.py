"""QDQ files of `fashion_network`'s CNN in ONNX Runtime, TVM and OpenVINO, and NNCF's IR."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from fashion_ways import Array, Module, Way, as_it_is, pieces
from onnxruntime import quantization
from support.onnx_run import session_of

import hwsim


def onnx_file(network: Module, folder: Path) -> Path:
    """The float network as ONNX, prepared for `quantize_static`."""
    path = folder / "float.onnx"
    if not path.exists():
        shape = {0: torch.export.Dim("batch")}
        raw = folder / "raw.onnx"
        torch.onnx.export(
            copy.deepcopy(network),
            (torch.zeros(2, 1, 28, 28),),
            raw,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=(shape,),
            dynamo=True,
            verbose=False,
        )
        quantization.quant_pre_process(raw, path)
    return path


class Calibration(quantization.CalibrationDataReader):
    """Images in batches, once."""

    def __init__(self, x: Array) -> None:
        self.batches = iter(np.split(x, len(x) // 100))

    def get_next(self) -> dict[str, Array] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch}


def quantized_onnx(network: Module, x: Array, path: Path, **options: Any) -> Path:
    """A QDQ file by ONNX Runtime's `quantize_static`, weights per channel."""
    source = onnx_file(network, path.parent)
    quantization.quantize_static(
        source,
        path,
        Calibration(x),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
        **options,
    )
    return path


def in_onnx_runtime(path: Path, x: Array) -> Array:
    """Logits of an ONNX file, all optimizations on."""
    session, _ = session_of(onnx.load(path), optimize=True)
    return np.concatenate([session.run(None, {"image": part})[0] for part in pieces(x)])


ONNX_UINT8 = "ONNX Runtime quantize_static, uint8"


def onnx_uint8(network: Module, x: Array, folder: Path) -> Path:
    """ONNX Runtime's quantizer, uint8 activations."""
    path = folder / "qdq.onnx"
    options = {"activation_type": quantization.QuantType.QUInt8}
    return path if path.exists() else quantized_onnx(network, x, path, **options)


def onnx_ways(network: Module, x: Array, folder: Path) -> Iterator[Way]:
    """ONNX Runtime's quantizer in ONNX Runtime."""
    path = onnx_uint8(network, x, folder)
    yield Way(
        toolchain=ONNX_UINT8,
        runtime=f"ONNX Runtime {ort.__version__}",
        graph=partial(hwsim.load, path),
        logits=partial(in_onnx_runtime, path),
        fed=as_it_is,
    )


def in_tvm(path: Path, x: Array) -> Array:
    """Logits of an ONNX file in Relax, compiled for batches of 100."""
    from support.tvm_run import compiled

    run = compiled(onnx.load(path), {"image": (100, *x.shape[1:])})
    return np.concatenate([next(iter(run({"image": part}).values())) for part in pieces(x)])


def tvm_ways(network: Module, x: Array, folder: Path) -> Iterator[Way]:
    """The same file in TVM."""
    from importlib.metadata import version

    path = onnx_uint8(network, x, folder)
    yield Way(
        toolchain=ONNX_UINT8,
        runtime=f"TVM {version('apache-tvm')}",
        graph=partial(hwsim.load, path, like="tvm"),
        logits=partial(in_tvm, path),
        fed=as_it_is,
    )


def in_openvino(path: Path, x: Array) -> Array:
    """Logits of an IR or ONNX file on the CPU, in float32."""
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(str(path), "CPU", hints)
    return np.concatenate([compiled([part])[0] for part in pieces(x)])


def openvino_ways(network: Module, x: Array, folder: Path) -> Iterator[Way]:
    """The same file in OpenVINO, and NNCF's post-training quantization."""
    from importlib.metadata import version

    import nncf
    import openvino

    runtime = f"OpenVINO {version('openvino')}"
    path = onnx_uint8(network, x, folder)
    yield Way(
        toolchain=ONNX_UINT8,
        runtime=runtime,
        graph=partial(hwsim.load, path, like="openvino"),
        logits=partial(in_openvino, path),
        fed=as_it_is,
    )
    source = openvino.Core().read_model(str(onnx_file(network, folder)))
    quantized = nncf.quantize(source, nncf.Dataset([one[None] for one in x]))
    ir = folder / "nncf.xml"
    openvino.save_model(quantized, str(ir), compress_to_fp16=False)
    yield Way(
        toolchain="NNCF post-training, IR",
        runtime=runtime,
        graph=partial(hwsim.load, ir),
        logits=partial(in_openvino, ir),
        fed=as_it_is,
    )


def tensorrt_ways(network: Module, x: Array, folder: Path) -> Iterator[Way]:
    """A file as TensorRT wants it: symmetric int8, float bias; run by TVM, as it has no GPU."""
    from importlib.metadata import version

    path = quantized_onnx(
        network,
        x,
        folder / "trt.onnx",
        activation_type=quantization.QuantType.QInt8,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
        },
    )
    yield Way(
        toolchain="as TensorRT wants it: symmetric int8, float bias",
        runtime=f"TVM {version('apache-tvm')}",
        graph=partial(hwsim.load, path, like="tensorrt"),
        logits=partial(in_tvm, path),
        fed=as_it_is,
    )
