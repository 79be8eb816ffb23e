"""Toolchains that quantize `fashion_network`'s CNN, each with the runtime of its own files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnxruntime import quantization
from support.onnx_run import session_of
from support.tflite_models import Lite, Written
from support.tflite_run import SETS, ran

import hwsim

Array = npt.NDArray[Any]
Module = torch.nn.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A quantized model in one runtime: `logits` are the runtime's, `graph` is hwsim's.

    Both take images as the model's file wants them, made from pixels by `fed`.
    """

    toolchain: str
    runtime: str
    graph: Callable[[], hwsim.Graph]
    logits: Callable[[Array], Array]
    fed: Callable[[Array], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """What must be installed, and the ways of one quantized model in a folder."""

    needs: tuple[str, ...]
    ways: Callable[[Module, Array, Path], Iterator[Way]]


def as_it_is(x: Array) -> Array:
    """Pixels (N, 1, 28, 28) as reals."""
    return x


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


def pieces(x: Array) -> list[Array]:
    """Samples in batches of 100."""
    return np.split(x, range(100, len(x), 100))


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


def float_lite(network: Any) -> bytes:
    """The network as a float TensorFlow Lite file, layer by layer."""
    lite = Lite(signature="serving_default")

    def made(name: str, *shape: int) -> int:
        return lite.add(Written(name, (1, *shape), "float32"))

    def conv(name: str, source: int, size: int, stride: int, activation: str) -> int:
        layer = getattr(network, name)
        weight = layer.weight.detach().numpy().transpose(0, 2, 3, 1)
        padded = source
        if stride == 2:  # SAME pads at the end alone, PyTorch on both sides
            sides = np.array([[0, 0], [1, 0], [1, 0], [0, 0]], np.int32)
            padded = made(f"{name} padded", 2 * size + 1, 2 * size + 1, weight.shape[3])
            lite.node("PAD", [source, lite.constant(f"{name} sides", sides)], [padded])
        held = [
            lite.constant(f"{name}.weight", np.ascontiguousarray(weight)),
            lite.constant(f"{name}.bias", layer.bias.detach().numpy()),
        ]
        result = made(name, size, size, weight.shape[0])
        lite.node(
            "CONV_2D",
            [padded, *held],
            [result],
            padding=int(stride == 2),
            stride_h=stride,
            stride_w=stride,
            activation=activation,
        )
        return result

    image = made("image", 28, 28, 1)
    second = conv("second", conv("first", image, 14, 2, "RELU"), 7, 2, "RELU")
    inner = conv("inner", second, 7, 1, "NONE")
    total, pooled = made("sum", 7, 7, 16), made("pooled", 3, 3, 16)
    lite.node("ADD", [inner, second], [total], activation="RELU")
    lite.node(
        "MAX_POOL_2D", [total], [pooled], padding=1, stride_h=2, stride_w=2, filter_h=2, filter_w=2
    )
    last = conv("last", pooled, 3, 1, "RELU")
    mean, logits = made("mean", 32), made("logits", 10)
    lite.node("MEAN", [last, lite.constant("axes", np.array([1, 2], np.int32))], [mean])
    weight, bias = network.dense.weight.detach().numpy(), network.dense.bias.detach().numpy()
    held = [lite.constant("dense.weight", weight), lite.constant("dense.bias", bias)]
    lite.node("FULLY_CONNECTED", [mean, *held], [logits])
    return lite.build([image], [logits])


def quantized_lite(network: Module, x: Array, folder: Path, recipe: str) -> Path:
    """An int8 file by ai-edge-quantizer."""
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer import recipe as recipes

    source = folder / "float.tflite"
    source.write_bytes(float_lite(network))
    tool = quantizer.Quantizer(str(source))
    tool.load_quantization_recipe(getattr(recipes, recipe)())
    samples = [{"image": one.transpose(1, 2, 0)[None]} for one in x]
    ranges = tool.calibrate({"serving_default": samples})
    path = folder / f"{recipe}.tflite"
    path.write_bytes(bytes(tool.quantize(ranges).quantized_model))
    return path


def lite_codes(graph: hwsim.Graph, x: Array) -> Array:
    """Pixels as the codes that an int8 or int16 file wants, channels last."""
    kind = graph.inputs[0].type
    assert kind.quant is not None
    codes = np.rint(x.transpose(0, 2, 3, 1) / kind.quant.scale[0]) + kind.quant.zero_point
    assert graph.inputs[0].element is not None
    return np.clip(codes, kind.format.min, kind.format.max).astype(graph.inputs[0].element)


def lite_ways(network: Module, x: Array, folder: Path) -> Iterator[Way]:
    """LiteRT's quantizer, in each kernel set."""
    from importlib.metadata import version

    path = quantized_lite(network, x, folder, "static_wi8_ai8")
    for like in SETS:
        package = "tflite-micro" if like == "tflm" else "ai-edge-litert"
        yield Way(
            toolchain="ai-edge-quantizer, int8",
            runtime=f"{like} ({package} {version(package)})",
            graph=partial(hwsim.load, path, like=like),
            logits=lambda x, like=like: ran(path.read_bytes(), like, {"image": x})[0],
            fed=partial(lite_codes, hwsim.load(path, like=like)),
        )


def in_torch(module: Any, x: Array, engine: str | None = None) -> Array:
    """Logits of a module or a program in memory."""
    if engine is not None:
        torch.backends.quantized.engine = engine
    with torch.no_grad():
        return np.concatenate([module(torch.from_numpy(part)).numpy() for part in pieces(x)])


def eager_ways(network: Module, x: Array, folder: Path) -> Iterator[Way]:
    """PyTorch's FX quantization, for each engine."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    example = torch.zeros(1, 1, 28, 28)
    for engine in ("fbgemm", "qnnpack", "onednn", "x86"):
        torch.backends.quantized.engine = engine
        mapping = get_default_qconfig_mapping(engine)
        prepared = prepare_fx(copy.deepcopy(network), mapping, (example,))
        in_torch(prepared, x)
        module = convert_fx(prepared)
        yield Way(
            toolchain="PyTorch FX quantization",
            runtime=f"PyTorch {torch.__version__.partition('+')[0]}, {engine}",
            graph=partial(hwsim.load, module, like=engine, example=example),
            logits=partial(in_torch, module, engine=engine),
            fed=as_it_is,
        )


def program(network: Module, x: Array) -> Any:
    """PyTorch's quantization of an exported program, for XNNPACK, and its batch of 100."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.testing.pt2e._xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )

    example = (torch.zeros(100, 1, 28, 28),)
    settings = get_symmetric_quantization_config(is_per_channel=True)
    quantizer = XNNPACKQuantizer().set_global(settings)
    prepared = prepare_pt2e(torch.export.export(network, example).module(), quantizer)
    in_torch(prepared, x)
    return torch.export.export(convert_pt2e(prepared), example)


def pt2e_ways(network: Module, x: Array, folder: Path) -> Iterator[Way]:
    """PyTorch's PT2E quantization, in PyTorch."""
    exported = program(network, x)
    path = folder / "pt2e.pt2"
    torch.export.save(exported, path)
    yield Way(
        toolchain="PT2E for XNNPACK",
        runtime=f"PyTorch {torch.__version__.partition('+')[0]}",
        graph=partial(hwsim.load, path, like="torch"),
        logits=partial(in_torch, exported.module()),
        fed=as_it_is,
    )


def executorch_ways(network: Module, x: Array, folder: Path) -> Iterator[Way]:
    """The same program in ExecuTorch, from the program and from the deployed file."""
    from importlib.metadata import version

    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    exported = program(network, x)
    saved, deployed = folder / "executorch.pt2", folder / "executorch.pte"
    torch.export.save(exported, saved)
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    deployed.write_bytes(lowered.to_executorch().buffer)

    def logits(x: Array) -> Array:
        method = Runtime.get().load_program(deployed).load_method("forward")
        return np.concatenate([method.execute([torch.from_numpy(p)])[0].numpy() for p in pieces(x)])

    for path in (saved, deployed):
        yield Way(
            toolchain=f"PT2E for XNNPACK, {path.suffix}",
            runtime=f"ExecuTorch {version('executorch')}",
            graph=partial(hwsim.load, path, like="executorch"),
            logits=logits,
            fed=as_it_is,
        )


def brevitas_ways(network: Module, x: Array, folder: Path) -> Iterator[Way]:
    """Brevitas's post-training quantization, the module itself."""
    from importlib.metadata import version

    from brevitas.graph.calibrate import calibration_mode
    from brevitas.graph.quantize import preprocess_for_quantize, quantize

    prepared = preprocess_for_quantize(copy.deepcopy(network))
    module = quantize(prepared).eval()
    with calibration_mode(module):
        in_torch(module, x)
    yield Way(
        toolchain="Brevitas, 8 bits",
        runtime=f"Brevitas {version('brevitas')}",
        graph=partial(hwsim.load, module, example=torch.zeros(1, 1, 28, 28)),
        logits=partial(in_torch, module),
        fed=as_it_is,
    )


TOOLCHAINS = (
    Toolchain(needs=(), ways=onnx_ways),
    Toolchain(needs=("tvm",), ways=tvm_ways),
    Toolchain(needs=("openvino", "nncf"), ways=openvino_ways),
    Toolchain(needs=("tvm",), ways=tensorrt_ways),
    Toolchain(needs=("ai_edge_quantizer", "ai_edge_litert", "tflite_micro"), ways=lite_ways),
    Toolchain(needs=("torchao",), ways=pt2e_ways),
    Toolchain(needs=("executorch",), ways=executorch_ways),
    Toolchain(needs=(), ways=eager_ways),
    Toolchain(needs=("brevitas",), ways=brevitas_ways),
)
