"""The network of the compression table trained by Brevitas at w4a4, and read back.

The float network's batch norms are folded into its convolutions, as `hwsim quantize` does; weights
have 4 bits and a scale a channel, activations 4 bits and a learned scale, the image 8. Data, moves,
teacher, batches, epochs, rate and schedule are those of the case `w4a4`.
"""

from __future__ import annotations

import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compressed_cases import CASES
from compressed_float import (
    BATCH,
    FEWEST,
    Array,
    NormedNetwork,
    Samples,
    epochs_of,
    folded,
    moved,
    read_float,
    teacher,
)
from safetensors.torch import load_file, save
from torch import nn

import hwsim
from hwsim.compress.training.loss import LossShares, loss_of
from hwsim.graph import Graph
from hwsim.storage import write_atomically

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from brevitas import nn as qnn
    from brevitas import quant
    from brevitas.export import export_qonnx

BITS = 4
RISING = 0.1
PART = 500  # images at a time for QONNX's executor


def quantized(network: NormedNetwork) -> nn.Module:
    """Brevitas's layers with the float weights."""
    how = {
        "weight_bit_width": BITS,
        "weight_quant": quant.Int8WeightPerChannelFloat,
        "bias_quant": quant.Int32Bias,
        "return_quant_tensor": True,
    }
    layers: list[nn.Module] = [
        qnn.QuantIdentity(act_quant=quant.Uint8ActPerTensorFloat, return_quant_tensor=True)
    ]
    for one in folded(network):
        if isinstance(one, nn.Conv2d):
            sizes = one.in_channels, one.out_channels, one.kernel_size
            layers.append(qnn.QuantConv2d(*sizes, padding=1, bias=True, **how))
            layers[-1].load_state_dict(one.state_dict(), strict=False)
        elif isinstance(one, nn.Linear):
            how["return_quant_tensor"] = False
            layers.append(qnn.QuantLinear(one.in_features, one.out_features, bias=True, **how))
            layers[-1].load_state_dict(one.state_dict(), strict=False)
        elif isinstance(one, nn.ReLU):
            layers.append(qnn.QuantReLU(bit_width=BITS, return_quant_tensor=True))
        else:
            layers.append(one)
    return nn.Sequential(*layers)


def scores(module: nn.Module, x: Array) -> Array:
    """What it says of images, in parts."""
    with torch.no_grad():
        parts = [module(torch.from_numpy(x[at : at + 500])) for at in range(0, len(x), 500)]
    return np.concatenate([np.asarray(part) for part in parts])


def trained_by_brevitas(
    float_path: Path, data: Samples, seed: int, epochs: int, device: str
) -> nn.Module:
    """The network after so many epochs of training."""
    torch.manual_seed(seed)
    side, how = data.x.shape[-1], CASES["w4a4"]
    module = quantized(read_float(float_path, side)).to(device).train()
    teach, rng = teacher(float_path, side, device), np.random.default_rng(seed)
    with torch.no_grad():  # ranges of the activations begin at what they are seen to be
        for at in range(0, min(1024, len(data.x)), BATCH):
            module(torch.from_numpy(data.x[at : at + BATCH]).to(device))
    optimizer = torch.optim.AdamW(module.parameters(), how.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        how.rate,
        total_steps=max(epochs * -(-len(data.x) // BATCH), FEWEST),
        pct_start=RISING,
    )
    shares = LossShares(smoothing=0.0, distil=how.distil, temperature=how.temperature, features=0.0)
    for part in epochs_of(len(data.x), BATCH, epochs, rng, lambda epoch: print(epoch, flush=True)):
        batch = moved(data.x[part], rng)
        found = module(torch.from_numpy(batch).to(device))
        with torch.device(device):
            loss = loss_of(found, data.y[part], teach(batch), {}, shares)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return module.cpu().eval()


def beside(
    float_path: Path, data: Samples, seed: int, epochs: int, device: str, state: Path
) -> dict[str, Any]:
    """Accuracy in PyTorch, of the QONNX file in the emulator, and how many answers differ.

    A state that is there already is taken instead of a training.
    """
    if state.exists():
        module = quantized(read_float(float_path, data.x.shape[-1])).eval()
        module.load_state_dict(load_file(state))
    else:
        module = trained_by_brevitas(float_path, data, seed, epochs, device)
        write_atomically(state, save({k: v.contiguous() for k, v in module.state_dict().items()}))
    own = scores(module, data.xt)
    graph, by_qonnx = read_back(module, data.xt)
    read = np.asarray(hwsim.emulate(graph, data.xt)).reshape(own.shape)
    (port,) = graph.outputs
    step = np.asarray(graph.types()[port.tensor].scales())
    found: dict[str, Any] = {"images": len(data.yt), "epochs": epochs, "codes": int(own.size)}
    for name, said in (("", own), ("emulator_", read), ("qonnx_", by_qonnx)):
        if said is not None:
            right = int((said.argmax(1) == data.yt).sum())
            found |= {f"{name}right": right, f"{name}accuracy": right / len(data.yt)}
    for name, one, other in (
        ("pytorch_emulator", own, read),
        ("qonnx_emulator", by_qonnx, read),
        ("pytorch_qonnx", own, by_qonnx),
    ):
        if one is not None and other is not None:
            found |= {
                f"{name}_classes_differ": int((one.argmax(1) != other.argmax(1)).sum()),
                f"{name}_codes_differ": int((np.round((one - other) / step) != 0).sum()),
            }
    return found


def read_back(module: nn.Module, x: Array) -> tuple[Graph, Array | None]:
    """The QONNX export as a Graph, and what QONNX's executor says of images, if it is there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_qonnx(module, torch.from_numpy(x[:1]), str(path))
        graph = hwsim.load(path)
        if find_spec("qonnx") is None:
            return graph, None
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes

        size = next(n for n in range(PART, 0, -1) if len(x) % n == 0)
        export_qonnx(module, torch.from_numpy(x[:size]), str(path))
        model = ModelWrapper(str(path)).transform(InferShapes())
    (name,) = (port.name for port in model.graph.input)
    parts = (x[at : at + size] for at in range(0, len(x), size))
    return graph, np.concatenate(
        [next(iter(execute_onnx(model, {name: part}).values())) for part in parts]
    )
