"""Where a module quantizes its input, and where it gives reals again."""

from __future__ import annotations

import numpy as np
import torch

from hwsim.errors import HwsimError
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.values import Codes, RawInput
from hwsim.frontends.torch_modules.eager.functions import tabled
from hwsim.frontends.torch_modules.eager.importer import (
    FORMATS,
    Floats,
    QuantizedCodes,
    Rows,
    TorchImporter,
)
from hwsim.frontends.torch_modules.trace import Call
from hwsim.graph import InputPort, OutputPort
from hwsim.ops import Quant, TensorType
from hwsim.ports import channels_first


def read_input(run: TorchImporter, tensor: torch.Tensor, name: str) -> None:
    """An input of the module: reals, or codes that are quantized already."""
    shape = tuple(tensor.shape[1:])
    if tensor.dtype in FORMATS:
        run.values[id(tensor)] = _codes(run, tensor, name)
        return
    if tensor.dtype != torch.float32:
        raise HwsimError(f"input {name!r} must be of float32 or quantized, not {tensor.dtype}")
    run.values[id(tensor)] = RawInput(
        name, "float32", Arrangement.plain(shape), Arrangement.channels_last(shape)
    )


def _codes(run: TorchImporter, tensor: torch.Tensor, name: str) -> QuantizedCodes:
    shape, fmt = tuple(tensor.shape[1:]), FORMATS[tensor.dtype]
    if tensor.qscheme() != torch.per_tensor_affine:
        raise HwsimError(f"input {name!r} must be quantized with one scale")
    scale, zero = float(tensor.q_scale()), int(tensor.q_zero_point())
    layout = Arrangement.channels_last(shape)
    kind = TensorType(layout.physical, fmt, Quant((scale,), zero))
    axes = channels_first(3) if len(shape) == 3 else None
    element = "int8" if fmt.signed else "uint8"
    edge = run.input(InputPort(name=name, tensor=name, type=kind, axes=axes, element=element))
    return QuantizedCodes(Codes(edge, fmt, layout), scale, zero)


def quantize(run: TorchImporter, call: Call) -> None:
    """quantize_per_tensor of an input, or of reals that are functions of a code."""
    given, made = run.value(call, "self"), call.output
    if isinstance(given, QuantizedCodes):
        raise HwsimError(f"{call}: its input must be reals")
    if made.dtype not in FORMATS:
        raise HwsimError(f"{call}: it must give quint8 or qint8, not {made.dtype}")
    scale, zero = float(made.q_scale()), int(made.q_zero_point())
    if isinstance(given, Floats):
        dtype = made.dtype

        def kernel(codes: torch.Tensor) -> torch.Tensor:
            held: torch.Tensor = torch.quantize_per_tensor(
                given.function(codes), scale, zero, dtype
            )
            return held

        tabled(run, call, given.source, kernel, None)
        return
    fmt = FORMATS[made.dtype]
    kind = TensorType((), fmt, run.meant(call, scale, zero))
    codes = run.input_codes(given, kind, {"zero_point_first": True, "reciprocal": True}, given.name)
    run.values[id(made)] = QuantizedCodes(codes, scale, zero)


def dequantize(run: TorchImporter, call: Call) -> None:
    """Codes as the reals that they mean."""
    given = run.quantized(call, "self")
    run.values[id(call.output)] = Floats(given, torch.dequantize)


def output(run: TorchImporter, tensor: torch.Tensor, name: str) -> OutputPort:
    """The port of a tensor that the module gives."""
    value = run.values.get(id(tensor))
    if value is None or isinstance(value, RawInput):
        raise HwsimError(
            f"output {name!r} must be computed from the module's inputs by quantized operators"
        )
    if isinstance(value, QuantizedCodes):
        element = "int8" if value.codes.format.signed else "uint8"
        return run.output(name, value.codes, element=element)
    held, steps = (value.of, (value.step,)) if isinstance(value, Rows) else (value, ())
    return run.output(name, held.source.codes, reals=_reals(held), steps=steps)


def _reals(value: Floats) -> tuple[float, ...] | None:
    """What the codes of an output mean, where that is not just their steps times the scale."""
    source = value.source
    found = value.function(source.all_codes()).numpy().astype(np.float32)
    fmt = source.codes.format
    plain = np.arange(fmt.min, fmt.max + 1) - source.zero_point
    if np.array_equal(found, plain.astype(np.float32) * np.float32(source.scale)):
        return None
    return tuple(found.tolist())
