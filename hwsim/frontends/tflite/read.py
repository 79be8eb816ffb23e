"""TensorFlow Lite files: int8 and int16 models with the integers of a kernel set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hwsim.errors import HwsimError
from hwsim.frontends.tflite import ends, in_place, int16
from hwsim.frontends.tflite.file import read_file
from hwsim.frontends.tflite.folding import FOLDS, MOVES, folded
from hwsim.frontends.tflite.handlers import HANDLERS, MICRO_UINT8, NO_UINT8, check_kernel
from hwsim.frontends.tflite.importer import FLOATS, FORMATS, LiteImporter
from hwsim.frontends.tflite.kernels import KernelSet, kernel_set, only
from hwsim.frontends.tflite.model import LiteModel, LiteNode
from hwsim.frontends.unread import NO_RULE, WRITTEN_OUT, ListedOperator
from hwsim.graph import Graph

MOST_BITS = 16  # of what is computed with; indices of classes only move
LONG = (*MOVES, "ASSIGN_VARIABLE", "QUANTIZE")
LIKE = tuple(known.value for known in KernelSet)


def read(path: Path, like: str | None = None) -> Graph:
    """The Graph of a `.tflite` file; `like` names the kernel set, `tflm` where it is left out."""
    chosen = kernel_set(like)
    model = read_file(path)
    _check_operators(model)
    _check_quantized(model)
    run = LiteImporter(model, chosen)
    try:
        int16.check(model, chosen)
        in_place.check(model, chosen)
        run.read_inputs()
        for node in model.main.nodes:
            if not folded(run, node) and not ends.read_floats(run, node):
                _read(run, node)
        return run.graph_of([ends.output(run, index) for index in model.main.outputs])
    except HwsimError as error:
        place = f"{path}: "
        text = str(error)
        raise HwsimError(text if text.startswith(place) else place + text) from None


CONTROL_FLOW = frozenset({"IF", "WHILE"})
FULL_INTEGER = (
    "a representative_dataset and TFLITE_BUILTINS_INT8 for tf.lite.TFLiteConverter, or "
    "ai-edge-quantizer with activations of 8 bits"
)
READ = {*HANDLERS, *FOLDS, *ends.FLOAT_OPERATORS}
"""Operators that are read somewhere."""


def _read(run: LiteImporter, node: LiteNode) -> None:
    """An operator, if the kernel set has it."""
    check_kernel(run.like, node)
    indices = [index for index in (*node.inputs, *node.outputs) if index >= 0]
    unsigned = any(run.tensors[index].dtype == "uint8" for index in indices)
    if unsigned and run.like is KernelSet.TFLM and node.op not in MICRO_UINT8:
        raise only(f"{node} of uint8", [k for k in KernelSet if k is not KernelSet.TFLM])
    if unsigned and node.op in NO_UINT8:
        raise only(f"{node} of uint8", [])
    for index in node.inputs:
        wide = index in run.edges and run.types[run.edges[index]].format.width > MOST_BITS
        if wide and node.op not in LONG:
            run.format(run.tensors[index])  # names what codes may be of
            raise HwsimError(f"{node}: its input must be codes of at most {MOST_BITS} bits")
    if node.op not in HANDLERS:
        raise HwsimError(f"{node}: it must be of constants only")
    try:
        HANDLERS[node.op](run, node)
    except HwsimError as error:
        text = str(error)
        named = text.startswith((str(node), f"{run.model.path}"))
        raise HwsimError(text if named else f"{node}: {text}") from None


def _check_operators(model: LiteModel) -> None:
    """Raise HwsimError that lists all operators which are not read."""
    missing: dict[str, list[str]] = {}
    for node in model.main.nodes:
        if node.op not in READ:
            missing.setdefault(node.op, []).append(node.name.partition(";")[0])
    if missing:
        listed = ", ".join(f"{op} ({names[0]!r})" for op, names in sorted(missing.items()))
        helps = f"; what helps: {WRITTEN_OUT}" if missing.keys() & CONTROL_FLOW else ""
        raise HwsimError(
            f"{model.path} must use supported operators only, but has {listed}{helps}; "
            "docs/tflite.md lists what is supported"
        )


def _check_quantized(model: LiteModel) -> None:
    """Raise HwsimError where nothing that is computed has codes: a float or a hybrid model."""
    tensors = model.main.tensors
    made = [tensors[k] for node in model.main.nodes for k in node.outputs if k >= 0]
    floats = [tensor for tensor in made if tensor.dtype in FLOATS]
    given = [tensors[k] for k in model.main.inputs]
    if not floats or any(tensor.dtype in FORMATS for tensor in (*given, *made)):
        return
    hybrid = any(tensor.dtype in FORMATS and tensor.data is not None for tensor in tensors)
    found = "quantizes its weights alone" if hybrid else "computes in floats"
    raise HwsimError(
        f"{model.path} must be quantized, but {found}: tensor {floats[0].name!r} is "
        f"{floats[0].dtype}; the way: {FULL_INTEGER}"
    )


def outline(path: Path) -> Iterator[ListedOperator]:
    """The operators of a file, and which of them are not read."""
    for node in read_file(path).main.nodes:
        why = None if node.op in READ else NO_RULE
        yield ListedOperator(node.name.partition(";")[0], node.op, why)
