"""A module of Brevitas as a Graph: its run is a QONNX model in memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from hwsim.frontends.onnx import qonnx
from hwsim.frontends.torch_modules.brevitas.exported import exported
from hwsim.frontends.torch_modules.brevitas.operators import OPERATORS
from hwsim.frontends.torch_modules.brevitas.pytorch import PYTORCH, ModuleImporter
from hwsim.frontends.torch_modules.brevitas.quantizers import proxies, untouched
from hwsim.frontends.torch_modules.trace import record
from hwsim.graph import Graph


def read(model: Any, inputs: Sequence[torch.Tensor], names: Sequence[str]) -> Graph:
    """The Graph of a module in evaluation mode, which is left as it was."""
    with untouched(model):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"brevitas\.")
            trace = record(model, inputs, proxies(model))
        return qonnx.read(exported(trace, OPERATORS, names), PYTORCH, ModuleImporter)
