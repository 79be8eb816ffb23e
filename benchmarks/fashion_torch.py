"""`fashion_network`'s CNN quantized in PyTorch: FX modules, programs, ExecuTorch, Brevitas."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fashion_ways import Array, Module, Way, as_it_is, pieces

import hwsim


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
