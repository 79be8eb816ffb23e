"""`fashion_network`'s CNN as a TensorFlow Lite file, in each kernel set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fashion_ways import Array, Module, Way
from support.tflite_models import Lite, Written
from support.tflite_run import SETS, ran

import hwsim


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
