"""What a model is that no front end reads, and the way from there to one that is read."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ListedOperator:
    """A node of a model file: its name and operator; why no front end reads it, if none does."""

    name: str
    op: str
    why: str | None = None


NO_RULE = "no rule of it is known"
QUANTIZE = "onnxruntime.quantization.quantize_static on the ONNX file"
EXPORT_TORCH = "torch.onnx.export(module, (x,), 'float.onnx', dynamo=True)"
EXPORT_KERAS = "model.export('float.onnx', format='onnx')"

CHECKPOINT = (
    "a PyTorch file, a pickle",
    f"{EXPORT_TORCH} of the module, then {QUANTIZE}; or hwsim.load(module, example=x)",
)
KERAS = (
    "a Keras model",
    f"{EXPORT_KERAS}, then {QUANTIZE}; or hls4ml with backend='hwsim'",
)
SAVED_MODEL = (
    "a TensorFlow model",
    f"python -m tf2onnx.convert --saved-model FOLDER --output float.onnx, then {QUANTIZE}",
)
MOBILE = ("a program of PyTorch Mobile, a pickle", CHECKPOINT[1])
PICKLE = ("a pickle and is not opened", "the model in the file format of its framework")
ENGINE = (
    "an engine of TensorRT, made for one GPU",
    "the .onnx file that it was built from, with like='tensorrt'",
)
CORE_ML = ("a model of Core ML", f"the PyTorch or Keras model as ONNX, then {QUANTIZE}")
WRITTEN_OUT = (
    "branches and loops have no place in a fixed graph: the branch that is taken, alone, and the "
    "steps of a loop, written out, are read"
)
UNREAD: dict[str, tuple[str, str]] = {
    **dict.fromkeys((".pt", ".pth", ".ckpt"), CHECKPOINT),
    **dict.fromkeys((".ptl", ".ptm"), MOBILE),
    **dict.fromkeys((".pkl", ".pickle"), PICKLE),
    **dict.fromkeys((".engine", ".plan", ".trt"), ENGINE),
    **dict.fromkeys((".mlmodel", ".mlpackage"), CORE_ML),
    **dict.fromkeys((".keras", ".h5", ".hdf5"), KERAS),
    ".pb": SAVED_MODEL,
    ".ort": ("an optimized ONNX Runtime file", "the .onnx file that it was made from"),
    ".safetensors": ("a file of weights alone", f"{EXPORT_TORCH} of the module, then {QUANTIZE}"),
}
"""By suffix what a file is that no front end reads, and the way from it."""

SPELLED = {"onnx": "an ONNX", "hls4ml": "an hls4ml", "openvino": "an OpenVINO"}
"""Frameworks by package, as sentences spell them with their article."""


def unread_file(path: Path, suffixes: Iterable[str]) -> str:
    """Why a file is not read, in one sentence with the way to one that is."""
    must = f"a model must be a file that ends in {' or '.join(suffixes)}, not {str(path)!r}"
    known = UNREAD.get(path.suffix.lower())
    if known is None and (path / "saved_model.pb").is_file():
        known = SAVED_MODEL
    if known is None and path.suffix.lower() == ".bin" and path.with_suffix(".xml").is_file():
        known = ("the weights of an OpenVINO model", f"the file {path.stem}.xml beside it")
    if known is None:
        held = held_by(path)
        known = None if held is None else (held.what, held.way)
    return must if known is None else f"{must}, which is {known[0]}; the way: {known[1]}"


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a file holds by its first bytes: the suffix of such files, in words, and the way on."""

    suffix: str
    what: str
    way: str


def _named(suffix: str, what: str) -> FileKind:
    return FileKind(suffix, what, f"a name that ends in {suffix}")


MAGIC: tuple[tuple[int, bytes, FileKind], ...] = (
    (4, b"TFL3", _named(".tflite", "a TensorFlow Lite model")),
    (4, b"ET12", _named(".pte", "an ExecuTorch program")),
    (4, b"ORTM", FileKind(".ort", *UNREAD[".ort"])),
    (0, b"\x89HDF\r\n\x1a\n", FileKind(".h5", *KERAS)),
)
"""Files by some bytes at a place."""
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
SIZE_OF_HEADS = 64
TORCH_PICKLE = b"l\xfc\x9cF\xf9 j\xa8P\x19."
"""The number that `torch.save` puts first where it writes no zip, as a pickle."""


def held_by(path: Path) -> FileKind | None:
    """What a file holds by its first bytes, or by the names in a zip; None where nothing tells.

    Nothing is unpacked and nothing is executed.
    """
    if not path.is_file():  # a pipe would be waited for
        return None
    try:
        with path.open("rb") as file:
            head = file.read(SIZE_OF_HEADS)
    except OSError:
        return None
    if head.startswith(b"PK\x03\x04"):
        return _zipped(path)
    if head.startswith(PICKLES):
        torch = TORCH_PICKLE in head
        return FileKind(".pt", *CHECKPOINT) if torch else FileKind(".pkl", *PICKLE)
    return next((held for at, magic, held in MAGIC if head[at : at + len(magic)] == magic), None)


def _zipped(path: Path) -> FileKind | None:
    """What a zip is by its members' names."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return None
    if "bytecode.pkl" in names:
        return FileKind(".ptl", *MOBILE)
    if {"data.pkl", "constants.pkl"} & names:
        return FileKind(".pt", *CHECKPOINT)
    if {"archive_format", "serialized_exported_program.json"} & names:
        return _named(".pt2", "an exported program of PyTorch")
    if "model.weights.h5" in names:
        return FileKind(".keras", *KERAS)
    return None


def of_another_kind(path: Path) -> str | None:
    """Why a file is not what its suffix says, where its first bytes are those of another kind."""
    held, suffix = held_by(path), path.suffix.lower()
    if held is None or held.suffix == suffix:
        return None
    return f"{path} must be what its name says ({suffix}), not {held.what}; the way: {held.way}"


def spelled(name: str) -> str:
    """A class as sentences say it, from its package and name: `an ONNX ModelProto`."""
    package, _, kind = name.partition(".")
    return f"{SPELLED.get(package, f'a {package}')} {kind}"


def unread_object(model: Any, objects: Iterable[str]) -> str:
    """Why a Python object is not read, in one sentence with the way to one that is.

    `objects` are the classes that are read, as `onnx.ModelProto`.
    """
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(model).__mro__}
    *first, last = ("a file", *map(spelled, objects))
    must = f"a model must be {', '.join(first)} or {last}, not {type(model).__name__}"
    if any(kind.startswith(("keras.", "tf_keras.", "tensorflow.")) for kind in kinds):
        return f"{must}, which is {KERAS[0]}; the way: {KERAS[1]}"
    if any(kind.startswith("torch.onnx.") and kind.endswith(".ONNXProgram") for kind in kinds):
        return (
            f"{must}, which is PyTorch's export; the way: its save('float.onnx'), then {QUANTIZE}"
        )
    return must
