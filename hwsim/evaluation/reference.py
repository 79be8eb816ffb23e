"""Another model beside the Graph, on the same samples: an ONNX file in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.extras import library
from hwsim.graph import Graph, InputPort

ELEMENTS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


def onnx_reference(
    path: Path, graph: Graph, output: str, *, held: bytes | None = None
) -> Callable[[Mapping[str, Any]], Any]:
    """A function from a batch by the Graph's input names to the model's scores.

    Inputs are matched by name, or by order where no name agrees. Integer codes of the Graph become
    reals where the model takes reals. `held` is the model where it lies in no file of that name.
    Raises HwsimError without ONNX Runtime, for a file that it cannot load, and for inputs or
    outputs that do not match.
    """
    runtime = library("onnxruntime", "onnxruntime", "--reference")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    if held is None and not path.is_file():
        raise HwsimError(f"the reference {path} must be an ONNX file that can be read")
    try:
        session = runtime.InferenceSession(
            held or str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's classes have no base of their own
        raise HwsimError(
            f"the reference {path} must be a model that ONNX Runtime loads ({_short(error)})"
        ) from None
    takes = _matched(path, session.get_inputs(), graph)
    gives = _output(path, session.get_outputs(), output)

    def run(batch: Mapping[str, Any]) -> Any:
        feeds = {
            node.name: _as_taken(batch[port.name], port, ELEMENTS.get(node.type, np.float32))
            for node, port in takes
        }
        fixed = takes[0][0].shape[0] if takes[0][0].shape else None
        try:
            return _in_batches(session, gives, feeds, fixed if isinstance(fixed, int) else None)
        except Exception as error:
            raise HwsimError(
                f"the reference {path} must run on the same samples ({_short(error)})"
            ) from None

    return run


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _matched(path: Path, nodes: Any, graph: Graph) -> list[tuple[Any, InputPort]]:
    ports = {port.name: port for port in graph.inputs}
    if len(nodes) != len(ports):
        raise HwsimError(
            f"the reference {path} must have {len(ports)} inputs as the model, not {len(nodes)}"
        )
    if all(node.name in ports for node in nodes):
        return [(node, ports[node.name]) for node in nodes]
    if len(nodes) > 1:
        raise HwsimError(
            f"the reference {path} must have inputs {', '.join(ports)}, not "
            f"{', '.join(node.name for node in nodes)}"
        )
    return [(nodes[0], graph.inputs[0])]


def _output(path: Path, nodes: Any, name: str) -> str:
    names = [node.name for node in nodes]
    if name in names or len(names) == 1:
        return name if name in names else str(names[0])
    raise HwsimError(
        f"the reference {path} must have one output, or one named {name!r}, not {', '.join(names)}"
    )


def _as_taken(array: Any, port: InputPort, kind: Any) -> Any:
    """The samples in the type that the reference takes; codes become reals where it takes reals."""
    given = np.asarray(array)
    if port.element is not None and given.dtype.kind in "iub" and np.dtype(kind).kind == "f":
        scale = np.float32(port.type.scales()[0])
        given = (given.astype(np.int64) - port.type.zero_point).astype(np.float32) * scale
    return np.ascontiguousarray(given.astype(kind, copy=False))


def _in_batches(session: Any, output: str, feeds: Mapping[str, Any], size: int | None) -> Any:
    """All samples at once, or in batches of the only size that the model takes, the last padded."""
    if size is None:
        return session.run([output], dict(feeds))[0]
    count, found = len(next(iter(feeds.values()))), []
    for start in range(0, count, size):
        places = np.minimum(np.arange(start, start + size), count - 1)
        part = session.run([output], {name: x[places] for name, x in feeds.items()})[0]
        found.append(part[: min(size, count - start)])
    return np.concatenate(found)
