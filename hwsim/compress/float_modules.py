"""Float PyTorch modules as ONNX models, by `torch.export`; nodes have the names of modules."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from hwsim.compress.float_model import EXTRA, WEIGHTED
from hwsim.errors import HwsimError
from hwsim.extras import library
from hwsim.frontends.torch_modules.read import PREPARED, QUANTIZED
from hwsim.frontends.unread import WRITTEN_OUT

WEIGHT = ".weight"
WHAT = "a PyTorch module"
SCOPES = "pkg.torch.onnx.name_scopes"
"""The property in which PyTorch's exporter keeps the modules that a node lies in."""
OPEN = ("GuardOnDataDependentSymNode", "UserError", "Unsupported", "DataDependentOutputException")
"""What PyTorch raises of branches and loops that depend on numbers."""


def module_proto(module: Any, example: Sequence[Any], what: str) -> Any:
    """The ModelProto of a float module in evaluation mode; `what` is what sentences call it.

    `example` holds arrays or tensors for the inputs, of at least one sample each; the batch stays
    free where the module lets it. Raises HwsimError for a module in training, of other numbers than
    float32, one that is quantized already, and for what PyTorch cannot export, all operators of it
    by their modules.
    """
    _expect_float(module, what)
    return program_proto(exported(module, example, what), what)


def exported(module: Any, example: Sequence[Any], what: str) -> Any:
    """The `torch.export.ExportedProgram` of a module, with a free batch where there can be one."""
    torch = library("torch", EXTRA, WHAT)
    place = next((p.device for p in (*module.parameters(), *module.buffers())), None)
    given = [torch.as_tensor(one).to(place or "cpu", torch.float32) for one in example]
    if any(not one.ndim or not len(one) for one in given):
        raise HwsimError(f"samples for {what} must have a batch of at least one, not none")
    pairs = tuple(one[:2] if len(one) > 1 else torch.cat([one, one]) for one in given)
    _run(torch, module, pairs, what)
    program = _traced(torch, module, pairs, ({0: torch.export.Dim.AUTO},) * len(pairs), what)
    if all(_free(program, name) for name in program.graph_signature.user_inputs):
        return program
    return _traced(torch, module, tuple(one[:1] for one in pairs), None, what)


def program_proto(program: Any, what: str) -> Any:
    """The ModelProto of an exported program of float32."""
    torch = library("torch", EXTRA, WHAT)
    _expect_plain(program, what)
    try:
        with _silent():
            made = torch.onnx.export(program, dynamo=True, verbose=False, external_data=False)
    except Exception as error:
        # Whatever the exporter raises: it has no list of what it does not know.
        listed = _unknown(program)
        if listed:
            raise HwsimError(
                f"{what} must have only operators that PyTorch's ONNX exporter knows, not "
                f"{', '.join(listed)}"
            ) from None
        raise HwsimError(
            f"{what} must be one that torch.onnx.export writes ({_first_line(error)})"
        ) from None
    proto = made.model_proto
    _rename(proto)
    return proto


def _run(torch: Any, module: Any, inputs: Any, what: str) -> None:
    """Run a module once, to be told of what does not fit in its own words."""
    shapes = ", ".join(str(tuple(one.shape)) for one in inputs)
    try:
        with _silent(), torch.no_grad():
            found = module(*inputs)
    except Exception as error:
        # Whatever a module raises of inputs that it does not take.
        raise HwsimError(
            f"{what} must run on its samples, of shape {shapes}, but raises "
            f"{type(error).__name__} ({_first_line(error)})"
        ) from None
    for one in found if isinstance(found, tuple | list) else (found,):
        if not isinstance(one, torch.Tensor) or one.shape[:1] != inputs[0].shape[:1]:
            told = tuple(one.shape) if isinstance(one, torch.Tensor) else type(one).__name__
            raise HwsimError(
                f"{what} must give tensors with a row for each sample, not {told} for samples of "
                f"shape {shapes}"
            )


def _traced(torch: Any, module: Any, inputs: Any, shapes: Any, what: str) -> Any:
    try:
        with _silent():
            return torch.export.export(module, inputs, dynamic_shapes=shapes)
    except Exception as error:
        # Whatever PyTorch raises of a module that has no one graph.
        kind = type(error).__name__
        why = f"; {WRITTEN_OUT}" if kind in OPEN else ""
        raise HwsimError(
            f"{what} must be one that torch.export.export takes with its samples, which raises "
            f"{kind} ({_first_line(error)}){why}"
        ) from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else "no reason given")[:200]


def is_quantized_module(module: Any) -> bool:
    """Whether a module has parts that a quantizer of PyTorch or Brevitas made."""
    kinds = {type(part).__module__ for part in module.modules()}
    return any(kind.startswith((*QUANTIZED, *PREPARED)) for kind in kinds)


def _expect_float(module: Any, what: str) -> None:
    """Raise HwsimError of what is no float module to be run as it is."""
    if is_quantized_module(module):
        raise HwsimError(
            f"{what} must be a float module, not one that is quantized already; "
            "hwsim.load(module, example=x) reads it"
        )
    trained = [name for name, part in module.named_modules() if part.training]
    if trained:
        where = f"its part {trained[0]!r}" if trained[0] else "it"
        raise HwsimError(
            f"{what} must be in evaluation mode, since batch norms and dropout are others in "
            f"training, but {where} is in training; call .eval() first"
        )
    held = [*module.named_parameters(), *module.named_buffers()]
    wide = [
        f"{name!r} of {_kind(tensor.dtype)}"
        for name, tensor in held
        if (tensor.is_floating_point() or tensor.is_complex()) and _kind(tensor.dtype) != "float32"
    ]
    if wide:
        raise HwsimError(
            f"{what} must be of float32 (module.float() makes it so), not have {', '.join(wide)}"
        )


def _expect_plain(program: Any, what: str) -> None:
    """Raise HwsimError of a program that changes itself, branches, or leaves float32."""
    changed = [*program.graph_signature.buffers_to_mutate.values()]
    if changed:
        raise HwsimError(
            f"{what} must not change its buffers, as it does {', '.join(map(repr, changed))}; call "
            ".eval() first, and give state in and out"
        )
    branches, others, random = [], [], []
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        named = f"{_operator(node)} {_path(node)!r}"
        if _operator(node).startswith("higher_order"):
            branches.append(named)
        if any(kind not in ("float32", "") for kind in _kinds(node.meta.get("val"))):
            others.append(f"{named} in {next(filter(None, _kinds(node.meta.get('val'))))}")
        if "dropout" in _operator(node) and any(a is True for a in node.args[1:]):
            random.append(named)
    if branches:
        raise HwsimError(f"{what} must have no {', '.join(branches)}: {WRITTEN_OUT}")
    if random:
        raise HwsimError(f"{what} must not drop numbers as in training, as {', '.join(random)} do")
    if others:
        raise HwsimError(f"{what} must compute in float32 alone, not {', '.join(others)}")


def _kinds(value: Any) -> Iterator[str]:
    """Names of the element types of what a node gives; those of whole numbers are empty."""
    for one in value if isinstance(value, list | tuple) else (value,):
        if hasattr(one, "is_floating_point"):
            real = one.is_floating_point() or one.is_complex()
            yield _kind(one.dtype) if real else ""


def _kind(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _operator(node: Any) -> str:
    """An operator without its overload: `aten.conv2d`."""
    if type(node.target).__name__ == "HigherOrderOperator" or not hasattr(node.target, "_schema"):
        space = getattr(node.target, "namespace", "")
        return f"{space}.{getattr(node.target, '__name__', node.target)}".strip(".")
    return ".".join(str(node.target).split(".")[:2])


def _path(node: Any) -> str:
    """The module that a node lies in, or where it lies in the outermost, its own name."""
    scopes = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(scopes[-1][0]) if scopes else ""
    return path or str(node.name)


def _free(program: Any, name: str) -> bool:
    """Whether an input has a free batch."""
    node = next(node for node in program.graph.nodes if node.name == name)
    return not isinstance(node.meta["val"].shape[0], int)


def _unknown(program: Any) -> list[str]:
    """Operators that the exporter has no rule for, with the modules they lie in."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:  # PyTorch's own, which may move
        return []
    with _silent():
        known = ONNXRegistry.from_torchlib()
        lowered = program.run_decompositions()
    return [
        f"{_operator(node)} {_path(node)!r}"
        for node in lowered.graph.nodes
        if node.op == "call_function"
        and hasattr(node.target, "_schema")
        and not known.is_registered(node.target)
    ]


def _rename(proto: Any) -> None:
    """Give nodes the names of their modules, as far as these tell them apart.

    The layer that reads a module's `weight` has the module's name, and so has the one layer or the
    one node of a module; the others have it before the exporter's.
    """
    nodes = list(proto.graph.node)
    held = {tensor.name for tensor in proto.graph.initializer}
    uses = Counter(name for node in nodes for name in node.input)
    paths = [_scope(node) for node in nodes]
    layers = [node.op_type in WEIGHTED and bool(held & set(node.input)) for node in nodes]
    alone = Counter(paths)
    weighted = Counter(path for path, layer in zip(paths, layers, strict=True) if layer)
    taken: set[str] = set()
    for node, path, layer in zip(nodes, paths, layers, strict=True):
        owned = [n for n in node.input if n.endswith(WEIGHT) and n in held and uses[n] == 1]
        plain = node.name.removeprefix("node_")
        if layer and owned:
            name = owned[0].removesuffix(WEIGHT)
        elif path and (alone[path] == 1 or (layer and weighted[path] == 1)):
            name = path
        else:
            name = f"{path}/{plain}" if path else plain
        node.name = f"{name}/{plain}" if name in taken else name
        taken.add(node.name)
        del node.metadata_props[:]


def _scope(node: Any) -> str:
    """The module that a node of ONNX lies in; empty for the outermost."""
    held = {one.key: one.value for one in node.metadata_props}.get(SCOPES, "[]")
    return next((str(one) for one in reversed(ast.literal_eval(held)[:-1]) if one), "")


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what PyTorch's exporter prints, logs and warns of on its way."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
