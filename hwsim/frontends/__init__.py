"""Models to Graphs: a table of file suffixes and a table of models in memory.

A front end is a module with `read(path)` for files of its suffix, `read_object(model)` for objects
of its framework's class, or both; it is imported when a model asks for it. A package that is
installed beside hwsim adds its own by entry points of the group `hwsim.frontends`, whose names are
such suffixes or classes (docs/adding-a-front-end.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from hwsim.errors import HwsimError
from hwsim.frontends.unread import (
    ListedOperator,
    of_another_kind,
    unread_file,
    unread_object,
)
from hwsim.graph import Graph


class FileReader(Protocol):
    """A module that reads model files."""

    def read(self, path: Path, /) -> Graph:
        """The Graph in the file; HwsimError names the file, node and tensor that do not fit."""


class LikeReader(Protocol):
    """One that knows several runtimes of the same files, whose names its `LIKE` holds."""

    def read(self, path: Path, like: str, /) -> Graph:
        """The Graph in the file, with the integers of that runtime."""


class ObjectReader(Protocol):
    """A module that reads a framework's models in memory."""

    def read_object(self, model: Any, /) -> Graph:
        """The Graph of the object; HwsimError names the node and tensor that do not fit."""


class LikeObjectReader(Protocol):
    """One that knows several runtimes of the same models in memory, as `LikeReader` of files."""

    def read_object(self, model: Any, like: str, /) -> Graph:
        """The Graph of the object, with the integers of that runtime."""


class ExampleReader(Protocol):
    """One of models that say what they are only when they run, with a `NEEDS_EXAMPLE`."""

    def read_object(self, model: Any, like: str | None, example: Any, /) -> Graph:
        """The Graph of the object, which runs once on the example."""


NO_EXAMPLE = "an example must be left out: the model says itself what it takes"
GROUP = "hwsim.frontends"
FILES = {
    ".onnx": "hwsim.frontends.onnx.read",
    ".hwsim": "hwsim.frontends.saved",
    ".tflite": "hwsim.frontends.tflite.read",
    ".xml": "hwsim.frontends.openvino.read",
    ".pt2": "hwsim.frontends.torch.read",
    ".pte": "hwsim.frontends.torch.read_pte",
}
"""The reader of a file by its suffix, in lower case."""

OBJECTS = {
    "onnx.ModelProto": "hwsim.frontends.onnx.read",
    "hls4ml.ModelGraph": "hwsim.frontends.hls4ml.read",
    "openvino.Model": "hwsim.frontends.openvino.read",
    "torch.Module": "hwsim.frontends.torch_modules.read",
    "torch.ExportedProgram": "hwsim.frontends.torch.read",
}
"""The reader of an object by its class, or one that it derives from: top-level package and name."""

RUNTIMES: dict[str, tuple[str, ...]] = {
    ".onnx": ("hwsim.frontends.openvino.read_onnx",),
    "onnx.ModelProto": ("hwsim.frontends.openvino.read_onnx",),
    "torch.Module": ("hwsim.frontends.torch_modules.exported",),
}
"""Further readers of a suffix or a class, each with runtimes of its own in its `LIKE`."""


def load(model: str | Path | object, *, like: str | None = None, example: Any = None) -> Graph:
    """The Graph in a model file; HwsimError names the file, node and tensor that do not fit.

    `.onnx`: ONNX with QuantizeLinear/DequantizeLinear, QLinear operators, or QONNX quantizers;
    `like` names the runtime of a file of the first kind: `onnxruntime` (the default), `openvino`,
    `tensorrt` or `tvm`.
    `.tflite`: TensorFlow Lite of int8; `like` names the kernel set whose integers are wanted:
    `tflm` (the default), `reference`, `builtin` or `xnnpack`. Other readers that know several
    runtimes take theirs.
    `.xml`: OpenVINO's IR, its `.bin` beside it, with quantizers (FakeQuantize); an `openvino.Model`
    is taken as it is.
    `.pt2`: a program of `torch.export` that PT2E quantized, and a `torch.export.ExportedProgram`;
    `like` is `executorch` (the default: its XNNPACK delegate) or `torch`. `.pte`: ExecuTorch's.
    `.hwsim`: a Graph written by `Graph.save`. An hls4ml `ModelGraph` and an ONNX `ModelProto` are
    taken as they are. A PyTorch module that Brevitas or PyTorch's own eager or FX quantization has
    quantized needs an `example` of its input, batch first: an array, a tensor or a shape, or a
    tuple with one for each input; `like` names an engine (`fbgemm`, `qnnpack`, `onednn`, `x86`).
    A module that `convert_pt2e` made needs one too, and is exported and read as a `.pt2`.
    Model files are read as untrusted data: nothing in them is executed, and memory is bounded by
    their size.
    """
    if not isinstance(model, str | Path):
        return _read_object(model, like, example)
    path = Path(model)
    if example is not None:
        raise HwsimError(f"{path}: {NO_EXAMPLE}")
    suffix = path.suffix.lower()
    known = FILES if suffix in FILES else FILES | _installed(files=True)
    if suffix not in known:
        raise HwsimError(unread_file(path, known))
    try:
        if like is None:
            return cast(FileReader, _reader(known, suffix, "read")).read(path)
        return cast(LikeReader, _like(known, suffix, "read", like, str(path))).read(path, like)
    except HwsimError:
        why = of_another_kind(path) if suffix in FILES else None
        if why is None:
            raise
        raise HwsimError(why) from None


def operators_of(path: str | Path) -> tuple[ListedOperator, ...]:
    """What nodes a model file has, whether it is read or not; none where the file itself is not.

    A reader lists them by its function `outline(path)`, if it has one.
    """
    file = Path(path)
    name = FILES.get(file.suffix.lower())
    outline = None if name is None else getattr(import_module(name), "outline", None)
    try:
        return () if outline is None else tuple(outline(file))
    except (HwsimError, OSError):
        return ()


def _read_object(model: object, like: str | None, example: Any) -> Graph:
    """A model in memory, by the first of its classes that a reader is known for."""
    classes = list(_classes(model))
    known = OBJECTS if OBJECTS.keys() & set(classes) else OBJECTS | _installed(files=False)
    name = next((name for name in classes if name in known), None)
    if name is None:
        raise HwsimError(unread_object(model, known))
    if like is None:
        reader = _reader(known, name, "read_object")
    else:
        reader = _like(known, name, "read_object", like, name)
    if getattr(reader, "NEEDS_EXAMPLE", False):
        return cast(ExampleReader, reader).read_object(model, like, example)
    if example is not None:
        raise HwsimError(f"{name}: {NO_EXAMPLE}")
    if like is None:
        return cast(ObjectReader, reader).read_object(model)
    return cast(LikeObjectReader, reader).read_object(model, like)


def _like(known: Mapping[str, str], name: str, function: str, like: str, what: str) -> ModuleType:
    """The module that knows this runtime of such files or objects; HwsimError lists those known."""
    ways: list[str] = []
    for module in (known[name], *RUNTIMES.get(name, ())):
        reader = _reader({name: module}, name, function)
        own: tuple[str, ...] = getattr(reader, "LIKE", ())
        if like in own:
            return reader
        ways += own
    must = f"one of {', '.join(ways)}" if ways else "left out: there is one way to read it"
    raise HwsimError(f"{what}: what the model is to be like must be {must}, not {like!r}")


def _reader(known: Mapping[str, str], name: str, function: str) -> ModuleType:
    """The module for a suffix or a class; HwsimError where an installed package's is none."""
    if name in FILES or name in OBJECTS:
        return import_module(known[name])
    what = f"the entry point {name!r} of {GROUP}"
    try:
        module = import_module(known[name])
    except Exception as error:
        raise HwsimError(
            f"{what} must name a module that can be imported, not {known[name]!r} "
            f"({type(error).__name__}: {error})"
        ) from error
    if not callable(getattr(module, function, None)):
        raise HwsimError(f"{what} must name a module with {function!r}, not {known[name]!r}")
    return module


def _classes(model: object) -> Iterator[str]:
    """What the table of objects may call a model, without an import of its framework."""
    for kind in type(model).__mro__:
        yield f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def _installed(*, files: bool) -> dict[str, str]:
    """Readers of packages that are installed beside hwsim: of suffixes, or of objects."""
    from importlib.metadata import entry_points  # takes a while, and is seldom needed

    found = {point.name: point.value for point in entry_points(group=GROUP)}
    return {name: module for name, module in found.items() if name.startswith(".") is files}


def as_graph(model: object) -> Graph:
    """A Graph as it is, and anything else as `load` reads it."""
    return model if isinstance(model, Graph) else load(model)
