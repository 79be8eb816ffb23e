"""Float programs of `torch.export` in `.pt2` files as ONNX models; nothing in a file is executed.

`torch.export.load` opens pickles and evaluates expressions. Here the file is read as plain values,
and a module is made of those of its calls that are PyTorch's own operators on tensors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hwsim.compress.float_model import EXTRA
from hwsim.compress.float_modules import WHAT, exported, program_proto
from hwsim.errors import HwsimError
from hwsim.extras import library
from hwsim.frontends.torch.program import ExportedGraph, ProgramNode, SizeName, TensorName
from hwsim.frontends.torch.pt2 import read_program
from hwsim.frontends.torch.read import QUANTIZED

BATCH = 2
SIZES: Mapping[str, Callable[..., Any]] = {
    f"_operator.{name}": getattr(operator, name)
    for name in ("add", "floordiv", "mul", "neg", "sub", "truediv")
}
"""Arithmetic on sizes that a program leaves open."""


def is_quantized(program: ExportedGraph) -> bool:
    """Whether a program has quantizers."""
    return any(node.op.startswith(QUANTIZED) for node in program.nodes)


def pt2_proto(path: Path) -> Any:
    """The ModelProto of a float program in a file.

    Raises HwsimError for a damaged file, a quantized program, operators that are none of PyTorch's
    own on tensors (all by name), and for sizes beside the batch that are left open.
    """
    program = read_program(path, str(path))
    if is_quantized(program):
        raise HwsimError(
            f"{path} must be a float program, not one that is quantized already; hwsim reads it as "
            "it is"
        )
    torch = library("torch", EXTRA, WHAT)
    made = exported(_module(torch, program), _samples(torch, program), str(path))
    _name_modules(made, program)
    return program_proto(made, str(path))


def _name_modules(made: Any, program: ExportedGraph) -> None:
    """Say again in which modules the calls lay; where calls became others, it stays unsaid."""
    calls = [node for node in made.graph.nodes if hasattr(node.target, "_schema")]
    ops = [".".join(str(node.target).split(".")[:2]) for node in calls]
    if ops != [node.op for node in program.nodes]:
        return
    for call, node in zip(calls, program.nodes, strict=True):
        if node.scope:
            call.meta["nn_module_stack"] = {node.scope: (node.scope, "torch.nn.Module")}


def _samples(torch: Any, program: ExportedGraph) -> list[Any]:
    """Zeros of the inputs' sizes, two of them where the batch is free."""
    made = []
    for name in program.inputs:
        meaning = program.meaning(name)
        if meaning.dtype != "float32":
            raise HwsimError(
                f"{program.place}: input {name!r} must be of float32, not {meaning.dtype}"
            )
        if any(isinstance(size, str) for size in meaning.sizes[1:]) or not meaning.sizes:
            raise HwsimError(
                f"{program.place}: input {name!r} must have a known shape behind its batch"
            )
        first = meaning.sizes[0]
        made.append(torch.zeros(BATCH if isinstance(first, str) else first, *meaning.sizes[1:]))
    return made


def _module(torch: Any, program: ExportedGraph) -> Any:
    """A module that makes the program's calls, its constants where they were in the original."""
    _expect_operators(torch, program)
    root, graph = torch.nn.Module(), torch.fx.Graph()
    values: dict[str, Any] = {name: graph.placeholder(name) for name in program.inputs}
    for name, array in program.constants.items():
        path = program.paths[name]
        _hold(torch, root, path, array)
        values[name] = graph.get_attr(path)
    for node in program.nodes:
        _call(torch, graph, values, node)
    try:
        outputs = tuple(values[name] for name in program.outputs)
    except KeyError as error:
        raise HwsimError(f"{program.place} must compute its output {error}") from None
    graph.output(outputs[0] if len(outputs) == 1 else outputs)
    return torch.fx.GraphModule(root, graph).eval()


def _hold(torch: Any, root: Any, path: str, array: Any) -> None:
    """Put a constant where the module had it."""
    *parts, name = path.split(".")
    place = root
    for part in parts:
        if part not in dict(place.named_children()):
            place.add_module(part, torch.nn.Module())
        place = place.get_submodule(part)
    tensor = torch.from_numpy(array.copy())
    if name not in dict(place.named_buffers(recurse=False)):
        place.register_buffer(name, tensor)


def _overload(torch: Any, node: ProgramNode) -> Any:
    """The operator that a call names, None where it is none of PyTorch's own on tensors."""
    space, _, name = node.op.partition(".")
    packet = getattr(torch.ops.aten, name, None) if space == "aten" else None
    found = getattr(packet, node.overload or "default", None)
    schema = getattr(found, "_schema", None)
    if schema is None:
        return None
    kinds = [str(each.type) for each in schema.arguments]
    reads_tensors = any("Tensor" in kind for kind in kinds)
    return found if reads_tensors or not any("str" in kind for kind in kinds) else None


def _expect_operators(torch: Any, program: ExportedGraph) -> None:
    unknown = [
        f"{node.op} {node.scope or node.name!r}"
        for node in program.nodes
        if node.op not in SIZES and _overload(torch, node) is None
    ]
    if unknown:
        raise HwsimError(
            f"{program.place} must have only PyTorch's own operators on tensors, not "
            f"{', '.join(unknown)}"
        )


def _call(torch: Any, graph: Any, values: dict[str, Any], node: ProgramNode) -> None:
    """Add a call to the graph, and what it gives to the values."""
    if node.op in SIZES:
        sizes = [_value(torch, values, node, value, "") for value in node.args.values()]
        values[node.output] = graph.call_function(SIZES[node.op], tuple(sizes))
        return
    found = _overload(torch, node)
    kinds = {each.name: str(each.type) for each in found._schema.arguments}
    strange = [name for name in node.args if name not in kinds]
    if strange:
        raise HwsimError(f"{node}: it must have no argument {strange[0]!r}")
    given = {
        name: _value(torch, values, node, value, kinds[name]) for name, value in node.args.items()
    }
    # What schemas call `self` is given by its place.
    first = [given.pop(each.name) for each in found._schema.arguments[:1] if each.name in given]
    made = graph.call_function(found, tuple(first), given)
    returns = [str(each.type) for each in found._schema.returns]
    if len(returns) == 1 and "List" not in returns[0]:
        values.update(dict.fromkeys(node.outputs[:1], made))
        return
    for place, name in enumerate(node.outputs):
        values[name] = graph.call_function(operator.getitem, (made, place))


def _value(torch: Any, values: Mapping[str, Any], node: ProgramNode, value: Any, kind: str) -> Any:
    """An argument in PyTorch's own types."""
    if isinstance(value, TensorName | SizeName):
        if value.name not in values:
            raise HwsimError(f"{node}: its argument {value.name!r} must come from an earlier call")
        return values[value.name]
    if isinstance(value, tuple):
        return [_value(torch, values, node, one, kind) for one in value]
    if isinstance(value, str) and ("ScalarType" in kind or kind.removeprefix("Optional[") == "int"):
        return getattr(torch, value, None)
    return value
