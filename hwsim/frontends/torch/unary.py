"""Functions of each element, in float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.values import Constant, FloatArray, RawInput, Unary
from hwsim.frontends.torch.importer import ProgramImporter
from hwsim.frontends.torch.program import ProgramNode

F32 = np.float32
Maker = Callable[[ProgramNode], Unary]


@dataclass(frozen=True, slots=True, eq=False)
class CodeClamp(Unary):
    """A clamp whose bounds are codes of the quantizer behind it, as the delegate has them."""


def after(x: FloatArray, functions: Sequence[Unary]) -> FloatArray:
    """Functions one after the other."""
    for function in functions:
        x = function.function(x)
    return x


def unary(run: ProgramImporter, node: ProgramNode) -> None:
    """A function of a tensor."""
    argument = "self" if "self" in node.args else "input"
    step = FUNCTIONS[node.op](node)
    if node.name in run.whole and step.clamp:
        step = CodeClamp(step.name, step.function, rising=True, low=step.low, high=step.high)
    run.values[node.output] = run.real(node, argument).then(step)


def identity(run: ProgramImporter, node: ProgramNode) -> None:
    """What gives its input again."""
    argument = "self" if "self" in node.args else "input"
    value = run.value(node, argument)
    if node.flag("train") and "dropout" in node.op and node.real("p", 0.5):
        raise HwsimError(
            f"{node}: it must not drop anything: export the module in eval(), or call "
            "torchao.quantization.pt2e.move_exported_model_to_eval"
        )
    dtype = node.args.get("dtype")
    held = value.dtype if isinstance(value, RawInput) else "float32"
    if dtype is not None and not isinstance(value, Constant) and dtype != held:
        raise HwsimError(f"{node}: its input must stay {held}, not become {dtype}")
    run.values[node.output] = value


def _clamp(name: str, low: float | None, high: float | None) -> Unary:
    lowest, highest = (
        F32(-math.inf if low is None else low),
        F32(math.inf if high is None else high),
    )
    if not lowest <= highest:
        raise HwsimError(f"{name}: its minimum must not be above its maximum")
    return Unary(name, lambda x: np.clip(x, lowest, highest), rising=True, low=low, high=high)


def _limit(node: ProgramNode, name: str) -> float | None:
    return None if node.args.get(name) is None else node.real(name)


def in_float64(function: Callable[[Any], Any], *, rising: bool = False) -> Maker:
    """A function that is rounded to float32 once."""

    def of(x: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            out: FloatArray = function(x.astype(np.float64)).astype(F32)
        return out

    return lambda node: Unary(str(node), of, rising=rising, rough=True)


def _leaky_relu(node: ProgramNode) -> Unary:
    slope = F32(node.real("negative_slope", 0.01))
    return Unary(str(node), lambda x: np.where(x > 0, x, x * slope), rising=bool(slope >= 0))


def _elu(node: ProgramNode) -> Unary:
    alpha, scale, inner = (node.real(name, 1.0) for name in ("alpha", "scale", "input_scale"))

    def of(x: FloatArray) -> FloatArray:
        wide = x.astype(np.float64)
        below = alpha * np.expm1(np.minimum(wide, 0) * inner)
        out: FloatArray = (np.where(wide > 0, wide, below) * scale).astype(F32)
        return out

    return Unary(str(node), of, rising=alpha >= 0 and scale >= 0, rough=True)


def _gelu(node: ProgramNode) -> Unary:
    approximate = node.args.get("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise HwsimError(f"{node}: 'approximate' must be none or tanh, not {approximate!r}")
    function = _gelu_tanh if approximate == "tanh" else _gelu_erf
    return in_float64(function)(node)


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _gelu_erf(x: Any) -> Any:
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _gelu_tanh(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _sigmoid64(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _hardswish(x: Any) -> Any:
    return x * np.clip(x + 3, 0, 6) / 6


def _mish(x: Any) -> Any:
    return x * np.tanh(np.logaddexp(0, x))


FUNCTIONS: dict[str, Maker] = {
    "aten.abs": lambda node: Unary(str(node), np.abs, rising=False),
    "aten.clamp": lambda node: _clamp(str(node), _limit(node, "min"), _limit(node, "max")),
    "aten.elu": _elu,
    "aten.exp": in_float64(np.exp, rising=True),
    "aten.gelu": _gelu,
    "aten.hardsigmoid": in_float64(lambda x: np.clip(x + 3, 0, 6) / 6, rising=True),
    "aten.hardswish": in_float64(_hardswish),
    "aten.hardtanh": lambda node: _clamp(
        str(node), node.real("min_val", -1.0), node.real("max_val", 1.0)
    ),
    "aten.leaky_relu": _leaky_relu,
    "aten.log": in_float64(np.log),
    "aten.mish": in_float64(_mish),
    "aten.neg": lambda node: Unary(str(node), np.negative, rising=False),
    "aten.reciprocal": lambda node: Unary(str(node), lambda x: F32(1) / x, rising=False),
    "aten.relu": lambda node: _clamp(str(node), 0.0, None),
    "aten.relu6": lambda node: _clamp(str(node), 0.0, 6.0),
    "aten.rsqrt": in_float64(lambda x: 1 / np.sqrt(x)),
    "aten.sigmoid": in_float64(_sigmoid64, rising=True),
    "aten.silu": in_float64(lambda x: x * _sigmoid64(x)),
    "aten.softplus": in_float64(lambda x: np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20))))),
    "aten.sqrt": lambda node: Unary(str(node), np.sqrt, rising=False),
    "aten.tanh": in_float64(np.tanh, rising=True),
}
"""What makes the function of each operator."""
IN_PLACE = ("relu", "relu6", "hardtanh", "clamp", "sigmoid", "tanh", "hardswish", "hardsigmoid",
            "silu", "leaky_relu", "elu", "mish")  # fmt: skip
FUNCTIONS |= {f"aten.{name}_": FUNCTIONS[f"aten.{name}"] for name in IN_PLACE}
