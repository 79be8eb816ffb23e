"""What a model is that no front end reads, and the way from there to one that is read."""

from __future__ import annotations

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
UNREAD: dict[str, tuple[str, str]] = {
    **dict.fromkeys((".pt", ".pth", ".ckpt"), CHECKPOINT),
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
    return must if known is None else f"{must}, which is {known[0]}; the way: {known[1]}"


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
