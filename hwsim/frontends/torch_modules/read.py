"""PyTorch modules in memory: which of the two front ends reads one."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.torch_modules import exported
from hwsim.frontends.torch_modules.eager.engines import Engine, engine_of, running
from hwsim.frontends.unread import EXPORT_TORCH, QUANTIZE
from hwsim.graph import Graph

NEEDS_EXAMPLE = True
LIKE = tuple(engine.value for engine in Engine)
BREVITAS = "brevitas."
QUANTIZED = ("torch.ao.nn.", BREVITAS)
"""How the names of packages begin that have quantized modules."""
PREPARED = (
    "torch.ao.quantization.observer",
    "torch.ao.quantization.fake_quantize",
    "torchao.quantization.pt2e.observer",
    "torchao.quantization.pt2e.fake_quantize",
)
CONVERTED = (
    "torch.ao.nn.",
    "torch.nn.modules.linear",
    "torch.nn.modules.activation",
    "torch.nn.modules.container",
    "torch.nn.modules.module",
)
"""Modules that compute the same in both modes, and that `convert` makes or leaves in training.

`convert_fx` holds what lies in a submodule by a plain `torch.nn.Module`, which has no forward.
"""
RECURRENT = ("GRU", "LSTM", "RNN")
DEPRECATED = "torch.quantize_per_tensor"
"""How PyTorch begins to say that its quantized tensors will go, which is not the user's matter."""


def read_object(model: Any, like: str | None = None, example: Any = None) -> Graph:
    """The Graph of a quantized module; `example` is an input, or its shape."""
    kinds = {type(part).__module__ for part in model.modules()}
    if any(kind.startswith(PREPARED) for kind in kinds):
        raise HwsimError(
            f"a PyTorch module must be converted, not only prepared as this {type(model).__name__} "
            "is; torch.ao.quantization.convert(module), convert_fx or convert_pt2e does it"
        )
    if exported.is_exported(model):
        return exported.read_object(model, like, example)
    if not any(kind.startswith(QUANTIZED) for kind in kinds) and (example is None):
        raise _float(model)
    _expect_evaluation(model)
    _expect_feed_forward(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=DEPRECATED)
        return _read(model, like, example)


def _read(model: Any, like: str | None, example: Any) -> Graph:
    # PyTorch takes its time, and need not be there to say what can be read.
    from hwsim.frontends.torch_modules.brevitas.read import read as read_brevitas
    from hwsim.frontends.torch_modules.eager.read import read
    from hwsim.frontends.torch_modules.examples import tensors
    from hwsim.frontends.torch_modules.trace import record

    inputs = tensors(model, example)
    if any(type(part).__module__.startswith(BREVITAS) for part in model.modules()):
        if like is not None:
            raise HwsimError(
                "what a module of Brevitas is to be like must be left out: its own forward pass "
                f"says it, not {like!r}"
            )
        return read_brevitas(model, inputs, _names(model, len(inputs)))
    with running(None if like is None else engine_of(like)):  # which decides how tensors lie
        trace = record(model, inputs)
    names = [call.name for call in trace.calls]
    if any(name.startswith("quantized::") and "dynamic" in name for name in names):
        raise HwsimError(
            f"a PyTorch module must be quantized with fixed scales, not as this "
            f"{type(model).__name__}, which finds scales anew for each input; instead of "
            "quantize_dynamic use prepare and convert"
        )
    if not any(t.is_quantized for call in trace.calls for t in call.outputs):
        raise _float(model)
    return read(trace, like, _names(model, len(inputs)))


def _float(model: Any) -> HwsimError:
    return HwsimError(
        f"a PyTorch module must be quantized (torch.ao.quantization, Brevitas), not a float "
        f"{type(model).__name__}; the way: hwsim.quantize(module, images), or {EXPORT_TORCH}, then "
        f"{QUANTIZE}"
    )


def _expect_evaluation(model: Any) -> None:
    """Raise HwsimError of a module in training; what `convert` put into it has no mode."""
    parts = model.named_modules()
    found = next((n for n, part in parts if part.training and (not n or _trains(part))), None)
    if found is not None:
        what = f"its part {found!r}" if found else "it"
        raise HwsimError(
            f"a module must be in evaluation mode, but {what} is in training; module.eval() does it"
        )


def _expect_feed_forward(model: Any) -> None:
    """Raise HwsimError of a recurrent layer, by its name."""
    for name, part in model.named_modules():
        kind = type(part).__name__
        if kind.removeprefix("Quant").removesuffix("Cell") in RECURRENT:
            what = f"its part {name!r} is one" if name else "it is one"
            raise HwsimError(f"a module must have no recurrent layer, but {what} ({kind})")


def _trains(part: Any) -> bool:
    """Whether a module computes something else in training."""
    return not type(part).__module__.startswith(CONVERTED)


def _names(model: Any, count: int) -> Sequence[str]:
    """What the module's forward calls its inputs."""
    try:
        known = [
            name
            for name, given in inspect.signature(model.forward).parameters.items()
            if given.kind in (given.POSITIONAL_ONLY, given.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        known = []
    fits = len(known) >= count
    return known[:count] if fits else [f"input{i}" if i else "input" for i in range(count)]
