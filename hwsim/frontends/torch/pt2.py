"""Programs of `torch.export.save`: JSON and raw weights, of which plain values are made.

The sample inputs, which are a pickle, are not read, and weights that are one are refused. The names
of fields are those of PyTorch's `torch/_export/serde/schema.py`, version 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.torch.archive import Archive
from hwsim.frontends.torch.program import (
    ExportedGraph,
    ProgramNode,
    SizeName,
    Sizes,
    TensorMeaning,
    TensorName,
    printed,
)

SCHEMA = 8
DTYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
    28: "uint16",
}
"""Element types by their number."""
HELD = {"parameter": "parameter_name", "buffer": "buffer_name"}
FOLDERS = (("weights", "model_weights_config.json"), ("constants", "model_constants_config.json"))
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


def read_program(source: Path | BytesIO, place: str) -> ExportedGraph:
    """The program in an archive; HwsimError says what is wrong with it."""
    archive = Archive(source, place)
    try:
        return _program(archive)
    except UNREADABLE as error:
        raise archive.damaged(f"{type(error).__name__}: {error}") from None
    finally:
        archive.close()


def _program(archive: Archive) -> ExportedGraph:
    models = [name for name in archive.names("models") if name.endswith(".json")]
    if len(models) != 1:
        raise HwsimError(f"{archive.place} must hold one program, not {len(models)}")
    held = archive.json(models[0])
    version = held["schema_version"]["major"]
    if version != SCHEMA:
        raise HwsimError(
            f"{archive.place} must be of schema {SCHEMA} (torch 2.8 and later), not {version!r}"
        )
    module = held["graph_module"]
    graph, signature = module["graph"], module["signature"]
    stored = _stored(archive)
    inputs, constants, paths = _inputs(archive, signature["input_specs"], stored)
    meanings = {name: _meaning(value) for name, value in graph["tensor_values"].items()}
    nodes = tuple(_node(number, node) for number, node in enumerate(graph["nodes"]))
    outputs = tuple(_output(archive, spec) for spec in signature["output_specs"])
    return ExportedGraph(archive.place, inputs, outputs, nodes, constants, meanings, paths)


def _meaning(value: Mapping[str, Any]) -> TensorMeaning:
    dtype = DTYPES.get(value["dtype"], f"type {value['dtype']!r}")
    return TensorMeaning(dtype, _sizes(value), _sizes(value, "strides"))


def _sizes(value: Mapping[str, Any], name: str = "sizes") -> Sizes:
    found = []
    for size in value[name]:
        found.append(size["as_int"] if "as_int" in size else str(size["as_expr"]["expr_str"]))
    return tuple(size if isinstance(size, str) else int(size) for size in found)


def _stored(archive: Archive) -> dict[str, npt.NDArray[np.generic]]:
    """All weights and constants by their names in the module."""
    found: dict[str, npt.NDArray[np.generic]] = {}
    left = archive.size  # of bytes: one member may be named many times
    for folder, config in FOLDERS:
        if not archive.has(f"data/{folder}/{config}"):
            continue
        for name, entry in archive.json(f"data/{folder}/{config}")["config"].items():
            if entry.get("use_pickle"):
                raise HwsimError(
                    f"{archive.place}: tensor {name!r} must be stored as plain bytes, not as a "
                    "pickle, which could run code; keep to plain tensors on the CPU"
                )
            meta = entry.get("tensor_meta")
            if meta is not None:  # else an object of a class, which its reader refuses
                raw = archive.read(f"data/{folder}/{entry['path_name']}")
                found[name] = _tensor(archive, name, raw, meta)
                left -= found[name].nbytes
                if left < 0:
                    raise archive.damaged("its tensors must not be larger than it")
    return found


def _tensor(
    archive: Archive, name: str, raw: bytes, meta: Mapping[str, Any]
) -> npt.NDArray[np.generic]:
    """Elements of a storage, by their strides."""
    dtype = DTYPES.get(meta["dtype"])
    if dtype is None:
        raise HwsimError(
            f"{archive.place}: tensor {name!r} must be of {', '.join(DTYPES.values())}, not of "
            f"type {meta['dtype']}"
        )
    kind = np.dtype(dtype).newbyteorder("<")
    storage = np.frombuffer(raw, kind, len(raw) // kind.itemsize)
    shape = tuple(int(size["as_int"]) for size in meta["sizes"])
    strides = tuple(int(step["as_int"]) for step in meta["strides"])
    start = int(meta["storage_offset"]["as_int"])
    last = start + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    fits = min((*shape, *strides), default=0) >= 0 and start >= 0 and math.prod(shape) <= len(raw)
    if not fits or (0 not in shape and last >= len(storage)):
        raise archive.damaged(
            f"tensor {name!r} of {shape} and strides {strides} in {len(raw)} bytes"
        )
    if 0 in shape:
        return np.zeros(shape, kind)
    steps = tuple(step * kind.itemsize for step in strides)
    view = np.lib.stride_tricks.as_strided(storage[start:], shape, steps, writeable=False)
    return np.ascontiguousarray(view)


def _inputs(
    archive: Archive, specs: Any, stored: Mapping[str, npt.NDArray[np.generic]]
) -> tuple[tuple[str, ...], dict[str, npt.NDArray[np.generic]], dict[str, str]]:
    """Names of the user's tensors; constants, and their paths, by their name in the graph."""
    inputs: list[str] = []
    constants: dict[str, npt.NDArray[np.generic]] = {}
    paths: dict[str, str] = {}
    for spec in specs:
        ((kind, entry),) = spec.items()
        if kind == "user_input":
            inputs.append(str(entry["arg"]["as_tensor"]["name"]))
            continue
        key = HELD.get(kind, f"{kind}_name")
        if key not in entry or entry[key] not in stored:
            raise HwsimError(
                f"{archive.place}: its inputs must be tensors, parameters and buffers, not a "
                f"{kind!r}"
            )
        constants[str(entry["arg"]["name"])] = stored[entry[key]]
        paths[str(entry["arg"]["name"])] = str(entry[key])
    return tuple(inputs), constants, paths


def _output(archive: Archive, spec: Mapping[str, Any]) -> str:
    ((kind, entry),) = spec.items()
    if kind != "user_output":
        raise HwsimError(
            f"{archive.place} must not change its buffers or inputs ({kind!r}); export the module "
            "in eval()"
        )
    if "as_tensor" not in entry["arg"]:
        raise HwsimError(f"{archive.place}: each of its outputs must be a tensor")
    return str(entry["arg"]["as_tensor"]["name"])


def _node(number: int, node: Mapping[str, Any]) -> ProgramNode:
    parts = str(node["target"]).removeprefix("torch.ops.").split(".")
    op = ".".join(parts[:2])
    outputs = tuple(name for made in node["outputs"] for name in _made(made))
    name = node.get("name") or (outputs[0] if outputs else f"node {number}")
    args = {str(each["name"]): _argument(each["arg"]) for each in node["inputs"]}
    scope = _scope(str(node.get("metadata", {}).get("nn_module_stack", "")))
    overload = printed(".".join(parts[2:]))
    return ProgramNode(printed(op), printed(str(name)), args, outputs, overload, printed(scope))


def _scope(stack: str) -> str:
    """The innermost of the modules that a node lies in, each as `key,path,class`."""
    fields = stack.rpartition(";")[2].split(",")
    return fields[1] if len(fields) > 1 else ""


def _made(output: Mapping[str, Any]) -> list[str]:
    """Names of what a node gives."""
    ((kind, value),) = output.items()
    if kind == "as_none":
        return []
    if kind == "as_tensors":
        return [str(each["name"]) for each in value]
    if kind == "as_tensor":
        return [str(value["name"])]
    if kind in ("as_sym_int", "as_sym_bool", "as_sym_float"):
        return [str(value["as_name"])]
    raise ValueError(f"an output {kind}")


def _size(value: Mapping[str, Any]) -> int | SizeName:
    return int(value["as_int"]) if "as_int" in value else SizeName(str(value["as_name"]))


def _optional(value: Mapping[str, Any]) -> TensorName | None:
    return TensorName(str(value["as_tensor"]["name"])) if "as_tensor" in value else None


ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    "as_none": lambda value: None,
    "as_tensor": lambda value: TensorName(str(value["name"])),
    "as_tensors": lambda value: tuple(TensorName(str(each["name"])) for each in value),
    "as_optional_tensor": _optional,
    "as_optional_tensors": lambda value: tuple(_optional(each) for each in value),
    "as_int": int,
    "as_ints": lambda value: tuple(int(each) for each in value),
    "as_float": float,
    "as_floats": lambda value: tuple(float(each) for each in value),
    "as_bool": bool,
    "as_bools": lambda value: tuple(bool(each) for each in value),
    "as_string": str,
    "as_sym_int": _size,
    "as_sym_ints": lambda value: tuple(_size(each) for each in value),
    "as_scalar_type": lambda value: DTYPES.get(value, f"type {value!r}"),
    "as_memory_format": lambda value: None,
    "as_layout": lambda value: None,
    "as_device": lambda value: None,
}
"""What becomes of an argument by its kind."""


def _argument(arg: Mapping[str, Any]) -> Any:
    """An argument as a plain value; one of a kind that no operator here takes is its kind."""
    ((kind, value),) = arg.items()
    return ARGUMENTS[kind](value) if kind in ARGUMENTS else kind
