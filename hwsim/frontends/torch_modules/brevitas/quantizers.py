"""Brevitas's quantizers: which parts of a module they are, and what each did in a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hwsim.errors import HwsimError
from hwsim.frontends.shared.literals import smallest
from hwsim.frontends.torch_modules.trace import Call

CACHES = ("_cached_act", "_cached_weight", "_cached_bias")
"""Where proxies keep what they last gave, which is put back after a run."""
ROUNDINGS = {"ROUND_TO_ZERO": "DOWN"}
"""Brevitas's names of roundings that QONNX has another one for."""
TENSORS = ("scale", "zero_point", "bit_width")


def proxies(model: Any) -> dict[int, Any]:
    """The parts of a module that quantize, by id: each with the proxy that it belongs to.

    Raises HwsimError of one that is disabled, or that only observes.
    """
    found: dict[int, Any] = {}
    for name, part in model.named_modules():
        proxy = type(part).__module__.startswith("brevitas.proxy.")
        if not proxy or not hasattr(part, "is_quant_enabled"):
            continue  # the fused part of one has no switch
        for owner in (part, getattr(part, "fused_activation_quant_proxy", None)):
            core = getattr(owner, "tensor_quant", None)
            if not isinstance(core, torch.nn.Module):
                continue
            if not part.is_quant_enabled:
                raise HwsimError(
                    f"the quantizer {name!r} must be enabled, but its disable_quant is set"
                )
            if getattr(core, "observer_only", False):
                raise HwsimError(
                    f"the quantizer {name!r} must quantize, but it only observes; set "
                    "observer_only of its tensor_quant to False (calibration_mode leaves it set "
                    "where two layers share a quantizer)"
                )
            found[id(core)] = part
    return found


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Leave nothing behind of what a run puts into a module's proxies."""
    held = [
        (part, name, getattr(part, name))
        for part in model.modules()
        for name in CACHES
        if hasattr(part, name)
    ]
    try:
        yield
    finally:
        for part, name, value in held:
            setattr(part, name, value)


@dataclass(frozen=True, slots=True, eq=False)
class QuantizerNode:
    """A quantizer as an operator of QONNX: its name, parameters in its order, attributes."""

    op: str
    parameters: tuple[npt.NDArray[np.float32], ...]
    attributes: Mapping[str, int | str]


def described(call: Call) -> QuantizerNode:
    """What a call of a proxy's part is in QONNX; HwsimError where it is nothing there."""
    proxy, made = call.op, call["made"]
    core = type(proxy).__name__
    if getattr(proxy, "is_groupwise", False):
        raise HwsimError(f"{call.place}: its quantizer must have a scale a channel, not a group")
    if not isinstance(made, tuple) or len(made) not in (4, 6, 9):
        raise HwsimError(f"{call.place}: its quantizer ({core}) must be one of whole numbers")
    if len(made) == 9:
        return _float(call)
    value, scale, zero, bits = made[:4]
    attributes: dict[str, int | str] = {
        "signed": int(bool(proxy.is_signed)),
        "narrow": int(bool(proxy.is_narrow_range)),
        "rounding_mode": _rounding(call, constant=value.grad_fn is None and _laid(call)),
    }
    parameters = tuple(_array(call, name, part, value) for name, part in
                       zip(TENSORS, (scale, zero, bits), strict=True))  # fmt: skip
    if core.startswith("Trunc"):
        return _trunc(call, parameters, attributes)
    if "Ternary" in type(_core(proxy)).__name__ and not _laid(call):
        _expect_half(call, proxy)
    if int(parameters[2].ravel()[0]) == 1 and attributes["signed"]:
        return QuantizerNode("BipolarQuant", parameters[:1], {})
    return QuantizerNode("Quant", parameters, attributes)


def _core(proxy: Any) -> Any:
    fused = getattr(proxy, "fused_activation_quant_proxy", None)
    return (fused or proxy).tensor_quant


def _laid(call: Call) -> bool:
    """Whether a call is of a weight or a bias, which holds quantized values by now."""
    return "parameter" in type(call.op).__module__


def _expect_half(call: Call, proxy: Any) -> None:
    threshold = float(_core(proxy).threshold)
    if threshold != 0.5:
        raise HwsimError(
            f"{call.place}: the threshold of a ternary activation must be 0.5, not {threshold}"
        )


def _rounding(call: Call, *, constant: bool) -> str:
    if constant:
        return "ROUND"  # of values that are whole steps
    name = str(call.op.rounding_mode or "ROUND").upper()
    return ROUNDINGS.get(name, name)


def _array(call: Call, name: str, part: Any, value: torch.Tensor) -> npt.NDArray[np.float32]:
    """A parameter with the fewest elements that broadcast to the tensor."""
    held = part.detach().cpu().numpy().astype(np.float32)
    try:
        wide = np.broadcast_to(held, tuple(value.shape))
    except ValueError:
        raise HwsimError(
            f"{call.place}: the {name} of its quantizer must broadcast to its tensor "
            f"{tuple(value.shape)}, not be of shape {held.shape}"
        ) from None
    least = smallest(wide)
    return np.array(least.reshape(()) if least.size == 1 else least, np.float32)


def _trunc(
    call: Call, made: tuple[npt.NDArray[np.float32], ...], attributes: Mapping[str, int | str]
) -> QuantizerNode:
    """Fewer bits of what is quantized already: scales and widths before and behind it."""
    before = [t.detach().cpu().numpy().astype(np.float32).ravel()[:1] for t in call["others"][:3]]
    scale, zero, bits = (array.reshape(()) for array in before)
    return QuantizerNode("Trunc", (scale, zero, bits, made[0], made[2]), attributes)


def _float(call: Call) -> QuantizerNode:
    """A minifloat."""
    proxy, made = call.op, call["made"]
    value, scale, _, exponent, mantissa, bias, saturating, infinity, nan = made
    largest = proxy.quant_injector.max_available_float
    parts = (scale, exponent, mantissa, bias, torch.as_tensor(float(largest)))
    names = ("scale", "exponent bits", "mantissa bits", "exponent bias", "largest value")
    held = tuple(
        _array(call, n, torch.as_tensor(p), value) for n, p in zip(names, parts, strict=True)
    )
    attributes: dict[str, int | str] = {
        "has_inf": int(infinity is not None),
        "has_nan": int(nan is not None),
        "has_subnormal": 1,
        "rounding_mode": _rounding(call, constant=_laid(call)),
        "saturation": int(bool(saturating)),
    }
    return QuantizerNode("FloatQuant", held, attributes)
