"""One small network in the form of each reader: convolutions, a sum, pools, a dense layer.

Weights are drawn and activations calibrated on random images, by each framework's own tools where
it has some.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import hwsim
from hwsim.graph import Graph
from support.onnx_nets import Net
from support.tensorrt_nets import Trt
from support.tflite_maker import Maker
from support.tflite_run import SETS

IMAGE = (2, 4, 4)
Load = Callable[[Path, int], Graph]


def tflite(like: str) -> Load:
    """TensorFlow Lite, by the schema's own tables."""

    def load(folder: Path, seed: int) -> Graph:
        m = Maker(np.random.default_rng(seed), powers=False, odd=True)
        same = {"padding": 0, "stride_w": 1, "stride_h": 1}
        x, w = m.x(4, 4, 2), m.weights((4, 3, 3, 2), 0, 4)
        first, second = m.y(4, 4, 4, top=6), m.y(4, 4, 4)
        m.node("CONV_2D", [x, w, m.bias(x, w, 4)], first, activation="RELU", **same)
        w = m.weights((1, 3, 3, 4), 3, 4)
        sources = [first, w, m.bias(first, w, 4)]
        m.node("DEPTHWISE_CONV_2D", sources, second, activation="RELU6", multiplier=1, **same)
        both, pooled = m.y(4, 4, 4, top=9), m.y(4, top=6)
        m.node("ADD", [first, second], both, activation="NONE")
        small = m.y(2, 2, 4, like=both)
        halved = {"padding": 1, "stride_w": 2, "stride_h": 2, "filter_w": 2, "filter_h": 2}
        m.node("MAX_POOL_2D", [both], small, activation="NONE", **halved)
        m.node("MEAN", [small, m.ints([1, 2])], pooled, keep_dims=False)
        w, scores = m.weights((3, 4), 0, 3), m.y(3, top=9)
        made = m.node(
            "FULLY_CONNECTED", [pooled, w, m.bias(pooled, w, 3)], scores, activation="NONE"
        )
        (folder / "m.tflite").write_bytes(m.lite.build(m.inputs, made))
        return hwsim.load(folder / "m.tflite", like=like)

    return load


def qdq(like: str) -> Load:
    """QDQ ONNX in the way of onnxruntime.quantization, or as TensorRT wants it."""

    def load(folder: Path, seed: int) -> Graph:
        n: Any = Trt(seed) if like == "tensorrt" else Net("uint8", seed)
        rounded = n.pair if like == "tensorrt" else lambda x, step: n.round(x, step)

        def conv(x: str, inputs: int, **how: Any) -> str:
            if like == "tensorrt":
                return str(n.convolved(x, inputs, 4, **how))
            shape = (4, inputs // how.get("group", 1), 3, 3)
            return str(n.do("Conv", x, n.kernel(shape, 0, 4), pads=[1, 1, 1, 1], **how))

        x = rounded(n.input("x", IMAGE), 0.03)
        x = rounded(n.do("Relu", conv(x, 2)), 0.03)
        y = rounded(n.do("Relu", conv(x, 4, group=4)), 0.04)
        x = rounded(n.do("Add", y, x), 0.06)
        x = n.do("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        x = rounded(n.do("GlobalAveragePool", x), 0.04)
        w = n.filters(3, 4) if like == "tensorrt" else n.kernel((3, 4), 0)
        x = rounded(n.do("Gemm", n.do("Flatten", x), w, transB=1), 0.05)
        path = folder / "m.onnx"
        path.write_bytes(n.model((x, 2, "float32")).SerializeToString())
        return hwsim.load(path, like=like)

    return load


def network(seed: int) -> Any:
    """The network in PyTorch."""
    import torch
    from torch import nn

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.deep = nn.Conv2d(4, 4, 3, padding=1, groups=4)
            self.pool, self.mean = nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)
            self.dense = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.norm(self.conv(x)))
            x = nn.functional.relu6(self.deep(x)) + x
            return self.dense(torch.flatten(self.mean(self.pool(x)), 1))

    torch.manual_seed(seed)
    made = Small().eval()
    nn.init.normal_(made.norm.running_mean, 0, 0.2)
    nn.init.uniform_(made.norm.running_var, 0.5, 1.5)
    return made


def nncf(folder: Path, seed: int) -> Graph:
    """OpenVINO's IR, from NNCF."""
    import nncf
    import openvino
    import torch

    found = openvino.convert_model(network(seed), example_input=torch.zeros(1, *IMAGE))
    found.reshape([-1, *IMAGE])
    rng = np.random.default_rng(seed)
    known = [rng.normal(size=(1, *IMAGE)).astype(np.float32) for _ in range(8)]
    found = nncf.quantize(found, nncf.Dataset(known), subset_size=8)
    openvino.save_model(found, folder / "m.xml", compress_to_fp16=False)
    return hwsim.load(folder / "m.xml")


def _program(seed: int) -> Any:
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.testing.pt2e._xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )

    example = (torch.randn(1, *IMAGE),)
    quantizer = XNNPACKQuantizer().set_global(
        get_symmetric_quantization_config(is_per_channel=True)
    )
    ready = prepare_pt2e(torch.export.export(network(seed), example).module(), quantizer)
    for _ in range(8):
        ready(torch.randn(1, *IMAGE))
    return torch.export.export(convert_pt2e(ready), example)


def pt2(like: str) -> Load:
    """A `.pt2` of PT2E."""

    def load(folder: Path, seed: int) -> Graph:
        import torch

        torch.export.save(_program(seed), folder / "m.pt2")
        return hwsim.load(folder / "m.pt2", like=like)

    return load


def pte(folder: Path, seed: int) -> Graph:
    """A `.pte` of the same program."""
    from support.executorch_run import lowered

    (folder / "m.pte").write_bytes(lowered(_program(seed)))
    return hwsim.load(folder / "m.pte")


def fx(engine: str) -> Load:
    """An FX module of one of PyTorch's engines, in memory."""

    def load(folder: Path, seed: int) -> Graph:
        import torch
        from torch.ao import quantization as tq
        from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

        from support import torch_modules

        with torch_modules.engine(engine):
            mapping = tq.get_default_qconfig_mapping(engine)
            ready = prepare_fx(network(seed), mapping, (torch.zeros(1, *IMAGE),))
            for _ in range(4):
                ready(torch.randn(8, *IMAGE))
            return hwsim.load(convert_fx(ready), example=(1, *IMAGE))

    return load


def brevitas(folder: Path, seed: int) -> Graph:
    """A module of Brevitas's layers, in memory."""
    from support import brevitas_networks

    made = brevitas_networks.trained("residual", seed)
    return hwsim.load(made, example=(1, *brevitas_networks.NETWORKS["residual"][1]))


ENGINES = ("fbgemm", "qnnpack", "onednn", "x86")
READERS: dict[str, tuple[Load, tuple[str, ...]]] = {
    **{f"tflite {like}": (tflite(like), ()) for like in SETS},
    **{f"onnx {like}": (qdq(like), ("onnx",)) for like in ("openvino", "tvm", "tensorrt")},
    "xml": (nncf, ("openvino", "nncf", "torch")),
    **{f"pt2 {like}": (pt2(like), ("torch", "torchao")) for like in ("executorch", "torch")},
    "pte": (pte, ("torch", "torchao", "executorch")),
    **{f"fx {engine}": (fx(engine), ("torch",)) for engine in ENGINES},
    "brevitas": (brevitas, ("torch", "brevitas")),
}
"""A maker for each reader and runtime, and the packages that it needs."""


def loaded(name: str, folder: Path, seed: int) -> Graph:
    """The network of that reader; what a runtime does not promise is said elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return READERS[name][0](folder, seed)
