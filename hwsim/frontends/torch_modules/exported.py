"""Modules that `torch.export` or `convert_pt2e` made: exported once more, and read as programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.torch.read import LIKE as LIKE
from hwsim.frontends.torch.read import read_object as read_program
from hwsim.graph import Graph

NEEDS_EXAMPLE = True
QUANTIZED = "quantized_decomposed."


def read_object(model: Any, like: str | None = None, example: Any = None) -> Graph:
    """The Graph of a module of exported operators; `example` is an input, or its shape."""
    if not is_exported(model):
        raise HwsimError(
            "what a PyTorch module is to be like must be left out or name an engine, not "
            f"{like!r}, which runs exported programs: this {type(model).__name__} has no "
            "operator that convert_pt2e made"
        )
    import torch

    from hwsim.frontends.torch_modules.examples import tensors

    inputs = tensors(model, example)
    try:
        program = torch.export.export(model, inputs)
    except Exception as error:
        # Whatever PyTorch raises where the module does not take such inputs.
        why = str(error).strip().partition("\n")[0]
        raise HwsimError(
            f"a PyTorch module must be exported by torch.export.export(module, (x,)) with its "
            f"example as x, which raises {type(error).__name__} ({why})"
        ) from error
    return read_program(program, like)


def is_exported(model: Any) -> bool:
    """Whether `torch.export` made the module, or one in it that PT2E has quantized."""
    return _traced(model) or any(
        str(node.target).startswith(QUANTIZED) for part in model.modules() for node in _calls(part)
    )


def _traced(model: Any) -> bool:
    """Whether the module itself is a graph of operators of PyTorch, as no other tracer makes it."""
    return any(type(node.target).__name__ == "OpOverload" for node in _calls(model))


def _calls(part: Any) -> Iterator[Any]:
    from torch.fx import GraphModule

    nodes = part.graph.nodes if isinstance(part, GraphModule) else ()
    return (node for node in nodes if node.op == "call_function")
