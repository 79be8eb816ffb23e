"""PyTorch as the runtime of a module's run: its own functions, and what it does at the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from hwsim.float_steps import FloatStep, PortStep
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxModel, OnnxNode
from hwsim.frontends.onnx.runtime import Prepared, Runtime
from hwsim.frontends.shared.values import FloatArray, Unary

F = torch.nn.functional
Maker = Callable[[OnnxNode], Unary]
LAST_BITS = "a {name} in float32 may have other last bits in PyTorch"


def _of(
    function: Callable[[torch.Tensor], torch.Tensor],
    *,
    rising: bool = False,
    step: str | None = None,
) -> Maker:
    """A function that PyTorch itself is asked for."""

    def asked(x: FloatArray) -> FloatArray:
        given = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        with torch.no_grad():
            return np.asarray(function(given).numpy(), np.float32).reshape(x.shape)

    return lambda node: Unary(str(node), asked, rising=rising, step=step)


def _elu(node: OnnxNode) -> Unary:
    alpha = node.real("alpha", 1.0)
    return _of(partial(F.elu, alpha=alpha), rising=alpha >= 0)(node)


def _celu(node: OnnxNode) -> Unary:
    return _of(partial(F.celu, alpha=node.real("alpha", 1.0)), rising=True)(node)


def _leaky_relu(node: OnnxNode) -> Unary:
    slope = node.real("alpha", 0.01)
    return _of(partial(F.leaky_relu, negative_slope=slope), rising=slope >= 0)(node)


def _gelu(node: OnnxNode) -> Unary:
    return _of(partial(F.gelu, approximate=node.text("approximate", "none")))(node)


FUNCTIONS: dict[str, Maker] = {
    "Celu": _celu,
    "Elu": _elu,
    "Erf": _of(torch.erf, rising=True),
    "Exp": _of(torch.exp, rising=True),
    "Gelu": _gelu,
    "HardSigmoid": _of(F.hardsigmoid, rising=True),
    "HardSwish": _of(F.hardswish),
    "LeakyRelu": _leaky_relu,
    "Log": _of(torch.log),
    "Mish": _of(F.mish),
    "Selu": _of(F.selu, rising=True),
    "Sigmoid": _of(torch.sigmoid, rising=True, step="sigmoid"),
    "Softplus": _of(F.softplus, rising=True),
    "Softsign": _of(F.softsign, rising=True),
    "Sqrt": _of(torch.sqrt),
    "Swish": _of(F.silu),
    "Tanh": _of(torch.tanh, rising=True, step="tanh"),
}
"""By the operator's name in ONNX; the rest are the same in both."""


def _as_it_is(model: OnnxModel) -> Prepared:
    """Every node by itself, in float32."""
    return model, dict


PYTORCH = Runtime(
    "torch",
    "PyTorch",
    "adds in float32",
    _as_it_is,
    functions=FUNCTIONS,
    cubes=False,
    at_ports=False,
)


class ModuleImporter(Importer):
    """The state of reading a module's run, of which sentences say what runs it."""

    def warn(self, node: str, text: str) -> None:
        """With PyTorch in the place of what executes QONNX files."""
        super().warn(node, text.replace("QONNX's executor", "PyTorch"))

    def note_port(self, steps: tuple[PortStep, ...], reals: tuple[float, ...] | None) -> None:
        """Functions and softmaxes of what no quantizer reads."""
        for step in steps:
            if not isinstance(step, FloatStep):
                name = str(step).partition("(")[0].partition(" ")[0]
                self.warn("output", LAST_BITS.format(name=name))
