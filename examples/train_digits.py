"""Train and quantize the three example models, and write them to ``examples/models``.

    python examples/train_digits.py [--out FOLDER]

Needs torch, onnx and onnxruntime (the extra ``train``); half a minute on one thread.
Each network is trained in float32 by the same function, written as a float ONNX file node by
node, and quantized by ``onnxruntime.quantization.quantize_static`` from training images alone:

* ``digits_cnn_int8``: symmetric int8 everywhere, per-channel weights (the style of TensorRT);
* ``digits_cnn_asym``: asymmetric uint8 activations, per-tensor weights, zero points as they fall;
* ``digits_dw_skip``: asymmetric uint8 activations, per-channel weights, with a depthwise
  convolution, a skip branch and a global average pool.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import digits
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import sklearn
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn
from torch.nn import functional

Array = npt.NDArray[Any]
HERE = Path(__file__).resolve().parent
EPOCHS, BATCH = 80, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One node of a network; its output carries the node's name.

    ``inputs`` are names of earlier nodes; none stands for the node just before.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    channels: tuple[int, int] = (0, 0)
    kernel: int = 0
    group: int = 1


def conv(name: str, channels: tuple[int, int], kernel: int = 3, group: int = 1) -> Layer:
    """A convolution, stride 1, that keeps the size of the image."""
    return Layer(name=name, op="Conv", channels=channels, kernel=kernel, group=group)


def activation(name: str, op: str = "Relu") -> Layer:
    return Layer(name=name, op=op)


def dense(name: str, features: int) -> Layer:
    return Layer(name=name, op="Gemm", channels=(features, 10))


PLAIN = (
    conv("conv1", (1, 8)),
    activation("relu1"),
    conv("conv2", (8, 16)),
    activation("relu2"),
    Layer(name="pool2", op="MaxPool", kernel=2),
    conv("conv3", (16, 32)),
    activation("relu3"),
    Layer(name="pool3", op="MaxPool", kernel=2),
    Layer(name="flatten", op="Flatten"),
    dense("logits", 128),
)
# A leaky ReLU keeps negative values, so that the second convolution pads with a zero point
# that is not the least code.
LEAKY = (PLAIN[0], activation("leaky1", "LeakyRelu"), *PLAIN[2:])
SKIP = (
    conv("stem", (1, 16)),
    activation("stem_relu"),
    conv("depthwise", (16, 16), group=16),
    activation("depthwise_relu"),
    conv("pointwise", (16, 16), kernel=1),
    Layer(name="add", op="Add", inputs=("pointwise", "stem_relu")),
    Layer(name="pool", op="MaxPool", kernel=2),
    conv("conv", (16, 32)),
    activation("conv_relu"),
    Layer(name="average", op="GlobalAveragePool"),
    Layer(name="flatten", op="Flatten"),
    dense("logits", 32),
)
SLOPE = 0.125  # of the leaky ReLU


class Network(nn.Module):  # type: ignore[misc]
    """The torch form of a tuple of layers."""

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        super().__init__()
        self.layers = layers
        self.weighted = nn.ModuleDict()
        for layer in layers:
            if layer.op == "Conv":
                self.weighted[layer.name] = nn.Conv2d(
                    *layer.channels, layer.kernel, padding=layer.kernel // 2, groups=layer.group
                )
            elif layer.op == "Gemm":
                self.weighted[layer.name] = nn.Linear(*layer.channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: dict[str, torch.Tensor] = {}
        for layer in self.layers:
            x = self.step(layer, *([values[name] for name in layer.inputs] or [x]))
            values[layer.name] = x
        return x

    def step(self, layer: Layer, x: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        match layer.op:
            case "Conv" | "Gemm":
                result: torch.Tensor = self.weighted[layer.name](x)
                return result
            case "Relu":
                return functional.relu(x)
            case "LeakyRelu":
                return functional.leaky_relu(x, SLOPE)
            case "MaxPool":
                return functional.max_pool2d(x, layer.kernel)
            case "GlobalAveragePool":
                return x.mean((2, 3), keepdim=True)
            case "Flatten":
                return x.flatten(1)
            case "Add":
                return x + more[0]
        raise ValueError(f"operator of layer {layer.name!r} must be known, not {layer.op!r}")


def train(layers: tuple[Layer, ...], data: digits.Digits, seed: int) -> Network:
    """Train on images moved by up to one pixel; the last epoch's weights, whatever they are."""
    torch.manual_seed(seed)
    network = Network(layers)
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            dy, dx = (int(v) for v in torch.randint(-1, 2, (2,)))
            moved = functional.pad(images[batch], (1 + dx, 1 - dx, 1 + dy, 1 - dy))[..., 1:-1, 1:-1]
            loss = functional.cross_entropy(network(moved), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    return network


def attributes(layer: Layer) -> dict[str, Any]:
    """The ONNX attributes of a layer."""
    k = [layer.kernel, layer.kernel]
    match layer.op:
        case "Conv":
            return {"kernel_shape": k, "pads": [layer.kernel // 2] * 4, "group": layer.group}
        case "MaxPool":
            return {"kernel_shape": k, "strides": k}
        case "Gemm":
            return {"transB": 1}
        case "LeakyRelu":
            return {"alpha": SLOPE}
    return {}


def float_model(name: str, network: Network) -> onnx.ModelProto:
    """The network as float32 ONNX: input ``image`` (N, 1, 8, 8), output ``logits`` (N, 10)."""
    state = {key: value.numpy() for key, value in network.weighted.state_dict().items()}
    nodes, previous = [], "image"
    for layer in network.layers:
        inputs = list(layer.inputs) or [previous]
        if layer.name in network.weighted:
            inputs += [f"{layer.name}.weight", f"{layer.name}.bias"]
        nodes.append(
            helper.make_node(layer.op, inputs, [layer.name], name=layer.name, **attributes(layer))
        )
        previous = layer.name
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])
    logits = helper.make_tensor_value_info(previous, TensorProto.FLOAT, ["N", 10])
    weights = [numpy_helper.from_array(value, key) for key, value in state.items()]
    graph = helper.make_graph(nodes, name, [image], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.producer_name = "hwsim examples/train_digits.py"
    onnx.checker.check_model(model, full_check=True)
    return onnx.shape_inference.infer_shapes(model)


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Hands training images to ``quantize_static``."""

    def __init__(self, images: Array) -> None:
        self.batches: Iterator[dict[str, Array]] = iter([{"image": images}])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.batches, None)


def run(model: onnx.ModelProto, images: Array, outputs: list[str] | None = None) -> list[Array]:
    """``outputs`` (the model's own, unless named) of a model in ONNX Runtime."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if outputs is not None:
        del copy.graph.output[:]
        copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    session = onnxruntime.InferenceSession(
        copy.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    results: list[Array] = session.run(None, {"image": images})
    return results


def shared_ranges(model: onnx.ModelProto, images: Array) -> dict[str, list[dict[str, Any]]]:
    """Give each convolution the symmetric range of the ReLU behind it.

    What a convolution saturates below that range the ReLU sets to zero anyway; the two then have
    one scale, and the ReLU is exact on codes.
    """
    pairs = [(n.input[0], n.output[0]) for n in model.graph.node if n.op_type == "Relu"]
    tops = [float(v.max()) for v in run(model, images, [relu for _, relu in pairs])]
    return {
        tensor: [{"rmin": np.float32(-top), "rmax": np.float32(top)}]
        for pair, top in zip(pairs, tops, strict=True)
        for tensor in pair
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one example model is made: the first ``calibration`` training images set the ranges."""

    name: str
    layers: tuple[Layer, ...]
    seed: int
    activations: QuantType
    per_channel: bool
    symmetric: bool = False
    calibration: int = 256


RECIPES = (
    Recipe(
        name="digits_cnn_int8",
        layers=PLAIN,
        seed=1,
        activations=QuantType.QInt8,
        per_channel=True,
        symmetric=True,
    ),
    Recipe(
        name="digits_cnn_asym",
        layers=LEAKY,
        seed=2,
        activations=QuantType.QUInt8,
        per_channel=False,
    ),
    Recipe(
        name="digits_dw_skip",
        layers=SKIP,
        seed=3,
        activations=QuantType.QUInt8,
        per_channel=True,
        calibration=900,
    ),
)


def quantize(recipe: Recipe, model: onnx.ModelProto, images: Array) -> onnx.ModelProto:
    """The model in QDQ form, int8 weights, int32 biases."""
    options: dict[str, Any] = {"ActivationSymmetric": recipe.symmetric}
    if recipe.symmetric:
        options["TensorQuantOverrides"] = shared_ranges(model, images)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        onnx.save(model, Path(folder, "float.onnx"))  # a model in memory would be changed
        quantize_static(
            Path(folder, "float.onnx"),
            path,
            Calibration(images),
            quant_format=QuantFormat.QDQ,
            per_channel=recipe.per_channel,
            activation_type=recipe.activations,
            weight_type=QuantType.QInt8,
            extra_options=options,
        )
        return onnx.load(path)


def accuracy(model: onnx.ModelProto, data: digits.Digits) -> float:
    (logits,) = run(model, data.test_images)
    return float(np.mean(logits.argmax(1) == data.test_labels))


def write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    sibling = path.with_name(f".{path.name}.{os.getpid()}")
    sibling.write_bytes(content)
    sibling.replace(path)


def make(recipe: Recipe, data: digits.Digits, out: Path) -> dict[str, Any]:
    """Train, quantize and write one model; returns its facts for ``digits.json``."""
    network = train(recipe.layers, data, recipe.seed)
    with torch.no_grad():
        logits = network(torch.from_numpy(data.test_images)).numpy()
    model = float_model(recipe.name, network)
    quantized = quantize(recipe, model, data.train_images[: recipe.calibration])
    facts: dict[str, Any] = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "float_accuracy": float(np.mean(logits.argmax(1) == data.test_labels)),
        "float_onnx_accuracy": accuracy(model, data),
        "quantized_accuracy": accuracy(quantized, data),
        "seed": recipe.seed,
        "calibration_images": recipe.calibration,
    }
    for suffix, proto in (("float.onnx", model), ("onnx", quantized)):
        content = proto.SerializeToString(deterministic=True)
        write(out / f"{recipe.name}.{suffix}", content)
        facts[f"sha256_{suffix.replace('.', '_')}"] = hashlib.sha256(content).hexdigest()
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=HERE / "models")
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    data = digits.load()
    out.mkdir(parents=True, exist_ok=True)
    models = {}
    for recipe in RECIPES:
        models[recipe.name] = make(recipe, data, out)
        print(recipe.name, json.dumps(models[recipe.name]), flush=True)
    facts = {
        "data": "scikit-learn digits",
        "held_out_images": digits.HELD_OUT,
        "held_out_sha256": digits.SPLIT_SHA256,
        "epochs": EPOCHS,
        "versions": {m.__name__: m.__version__ for m in (np, onnx, onnxruntime, sklearn, torch)},
        "models": models,
    }
    write(out / "digits.json", (json.dumps(facts, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
