"""A float model by what it is: a file of ONNX or PyTorch, a ModelProto, a module or a program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.compress.float_model import FloatModel
from hwsim.errors import HwsimError
from hwsim.evaluation.reference import onnx_reference
from hwsim.frontends import as_graph, load
from hwsim.graph import Graph

MUST = (
    "the float model must be an ONNX file, a .pt2 file, a ModelProto, or a module or an exported "
    "program of PyTorch, not {kind}"
)
WHAT_PROGRAM = "the exported program"


def any_float(model: Any, data: Any = None) -> FloatModel:
    """The float model of a path, a ModelProto, or a module or program of PyTorch.

    A module is exported with the first samples of `data`: an array, arrays by input name, or
    batches of them. Raises HwsimError for anything else, for a module without data, and for what
    a file or a module has that is no float model.
    """
    if isinstance(model, str | Path):
        return _file(Path(model))
    kind = type(model).__name__
    if kind == "ModelProto":
        return FloatModel.of(model, Path("the ModelProto"))
    if kind == "ExportedProgram":
        from hwsim.compress.float_modules import program_proto

        return FloatModel.of(program_proto(model, WHAT_PROGRAM), Path(WHAT_PROGRAM))
    if is_module(model):
        from hwsim.compress.float_modules import module_proto

        what = f"the {kind}"
        if data is None:
            raise HwsimError(f"{what} must come with samples, with which PyTorch exports it")
        return FloatModel.of(module_proto(model, _samples(model, data), what), Path(what))
    raise HwsimError(MUST.format(kind=kind))


def float_reference(
    model: Any, graph: Graph, output: str, data: Any = None
) -> Callable[[Mapping[str, Any]], Any]:
    """A function from a batch by the Graph's input names to a float model's scores.

    `model` is what `any_float` takes; an ONNX file runs as it is, whatever it holds.
    Raises HwsimError as `any_float` and `onnx_reference`.
    """
    if isinstance(model, str | Path) and Path(model).suffix.lower() != ".pt2":
        return onnx_reference(Path(model), graph, output)
    found = any_float(model, data)
    return onnx_reference(found.path, graph, output, held=found.proto.SerializeToString())


def integer_graph(model: Any, data: Any) -> Graph:
    """A Graph as it is, and anything else as `load` reads it.

    A quantized module of PyTorch (Brevitas's, say), which says what it is as it runs, runs on the
    first samples of `data`.
    """
    if is_module(model) and type(model).__name__ != "ExportedProgram":
        return load(model, example=tuple(_samples(model, data)))
    return as_graph(model)


def is_float_object(model: Any) -> bool:
    """Whether an object in memory is one that `any_float` takes."""
    return type(model).__name__ == "ModelProto" or is_module(model)


def is_module(model: Any) -> bool:
    """Whether a model is a module of PyTorch, which need not be installed."""
    names = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(model).__mro__}
    return ("torch", "Module") in names or ("torch", "ExportedProgram") in names


def _file(path: Path) -> FloatModel:
    suffix = path.suffix.lower()
    if suffix == ".pt2":
        from hwsim.compress.float_programs import pt2_proto

        return FloatModel.of(pt2_proto(path), path)
    if suffix != ".onnx":
        raise HwsimError(
            f"{path} must be a float ONNX file (torch.onnx.export and tf2onnx write one) or a .pt2 "
            "of torch.export.save, not of another kind"
        )
    return FloatModel.read(path)


def _samples(module: Any, data: Any) -> Sequence[Any]:
    """A few samples for each input, in the order in which the module takes them."""
    if isinstance(data, Mapping):
        return [_few(data[name]) for name in _ordered(module, data)]
    if hasattr(data, "shape"):
        return [_few(data)]
    batches = data() if callable(data) else data
    if not isinstance(batches, Iterable) or isinstance(data, Iterator):
        raise HwsimError(
            "calibration data must be an array, arrays by input name, or batches of them that can "
            f"be gone through again, not {type(data).__name__}"
        )
    for batch in batches:
        return _samples(module, batch if isinstance(batch, Mapping) else np.asarray(batch))
    raise HwsimError("calibration data must have at least one sample, not none")


def _few(array: Any) -> Any:
    return np.ascontiguousarray(array[:2], np.float32)


def _ordered(module: Any, data: Mapping[str, Any]) -> list[str]:
    """The names of inputs in the order of `forward`; HwsimError for others."""
    import inspect

    known = [
        name
        for name, given in inspect.signature(module.forward).parameters.items()
        if given.kind in (given.POSITIONAL_ONLY, given.POSITIONAL_OR_KEYWORD)
    ]
    if any(name not in known for name in data) or known[: len(data)] != [
        name for name in known if name in data
    ]:
        raise HwsimError(f"inputs must be named {known[: len(data)]}, not {sorted(data)}")
    return known[: len(data)]
