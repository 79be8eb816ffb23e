"""Variables: VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, and CALL_ONCE that sets them at first."""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.model import LiteNode, LiteTensor, Subgraph
from hwsim.ops.base import IntArray


def call_once(run: LiteImporter, node: LiteNode) -> None:
    """The subgraph that runs before the first inference: constants assigned to variables."""
    number = int(node.options["subgraph"])
    if not 0 < number < len(run.model.subgraphs):
        raise HwsimError(f"{node}: its subgraph must be one of the model's others, not {number}")
    part = run.model.subgraphs[number]
    handles: dict[int, str] = {}
    for one in part.nodes:
        if one.op == "VAR_HANDLE" and one.outputs:
            handles[one.outputs[0]] = _name(one)
        elif one.op == "ASSIGN_VARIABLE":
            name, tensor = _assigned(part, one, handles)
            if tensor.data is None:
                raise HwsimError(f"{one}: variable {name!r} must begin with a constant")
            run.initial[name] = np.asarray(tensor.data).astype(np.int64)
        else:
            raise HwsimError(f"{one}: what runs once must only assign constants to variables")


def _assigned(part: Subgraph, node: LiteNode, handles: dict[int, str]) -> tuple[str, LiteTensor]:
    if len(node.inputs) != 2 or node.inputs[0] not in handles or node.inputs[1] < 0:
        raise HwsimError(f"{node}: it must assign a tensor to a variable")
    return handles[node.inputs[0]], part.tensors[node.inputs[1]]


def _name(node: LiteNode) -> str:
    """What tells a variable from the others."""
    return f"{node.options['container']}/{node.options['name']}".strip("/") or "variable"


def handle(run: LiteImporter, node: LiteNode) -> None:
    """A variable of that name, which other operators read and assign."""
    run.made(node)
    run.handles[node.outputs[0]] = _name(node)


def _variable(run: LiteImporter, node: LiteNode) -> str:
    index = node.inputs[0] if node.inputs else -1
    if index not in run.handles:
        raise HwsimError(f"{node}: its first input must be a variable")
    return run.handles[index]


def read(run: LiteImporter, node: LiteNode) -> None:
    """What the step before left, or the initial codes."""
    name, made = _variable(run, node), run.made(node)
    if name in run.assigned:
        run.edges[node.outputs[0]] = run.assigned[name]
        return
    kind = run.kind(made)
    if name not in run.variables:
        run.variables[name] = run.state(name, kind, initial(run, name, kind.shape))
    edge = run.variables[name]
    if run.types[edge] != kind:
        raise HwsimError(
            f"{node}: variable {name!r} must be read as {run.types[edge].shape} of "
            f"{run.types[edge].format} everywhere, not as {kind.shape} of {kind.format}"
        )
    run.edges[node.outputs[0]] = edge


def initial(run: LiteImporter, name: str, shape: tuple[int, ...]) -> IntArray | int:
    """The codes of a variable at the first step; those of 0 where nothing assigns any."""
    found = run.initial.get(name)
    if found is None:
        return 0
    if found.size != np.prod(shape, dtype=np.int64):
        raise HwsimError(f"variable {name!r} must begin with {shape} codes, not {found.shape}")
    return found.reshape(shape)


def assign(run: LiteImporter, node: LiteNode) -> None:
    """What the next step will read."""
    name = _variable(run, node)
    edge = run.edge(node, 1)
    if name not in run.variables:
        kind = run.types[edge]
        run.variables[name] = run.state(name, kind, initial(run, name, kind.shape))
    run.assigned[name] = edge
    run.carry(run.variables[name], edge)
