"""Teachers: a float ONNX model, or another Graph with the emulator's integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.compress.any_float import any_float, integer_graph, is_float_object
from hwsim.compress.float_modules import is_quantized_module
from hwsim.compress.float_programs import is_quantized
from hwsim.compress.training.heads import scores_graph
from hwsim.compress.training.loss import Lesson
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import choose_output
from hwsim.evaluation.reference import onnx_reference
from hwsim.frontends import as_graph
from hwsim.frontends.onnx.qonnx import DOMAINS
from hwsim.frontends.torch.pt2 import read_program
from hwsim.frontends.torch.read import QUANTIZED
from hwsim.graph import Graph

Said = Callable[[Any], Lesson]

ENDS = ("Softmax", "LogSoftmax", "ArgMax")
MOVED = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")


def any_teacher(
    teacher: Any,
    graph: Graph,
    output: str | None,
    features: Mapping[str, str],
    data: Any = None,
) -> Said:
    """A teacher by what it is: a float model as `any_float` takes it, or what `load` takes.

    A float module of PyTorch is exported with the first samples of `data`.
    """
    port = choose_output(graph, output)
    for edge in features:
        if edge not in graph.types():
            raise HwsimError(f"a feature must be an edge of the model, not {edge!r}")
    if _is_qonnx(teacher):  # ONNX Runtime does not know its operators, the emulator does
        return graph_teacher(as_graph(teacher), graph, features, port.name)
    if isinstance(teacher, str | Path) and Path(teacher).suffix.lower() == ".onnx":
        return onnx_teacher(Path(teacher), graph, port.name, features)
    if _is_float(teacher):
        found = any_float(teacher, data)
        return onnx_teacher(found.path, graph, port.name, features, proto=found.proto)
    whole = as_graph(teacher) if data is None else integer_graph(teacher, data)
    return graph_teacher(whole, graph, features, port.name)


def _is_qonnx(teacher: Any) -> bool:
    """Whether a teacher is an ONNX model with operators of QONNX."""
    if isinstance(teacher, str | Path):
        if Path(teacher).suffix.lower() != ".onnx":
            return False
        import onnx
        from google.protobuf.message import DecodeError

        try:
            teacher = onnx.load(str(teacher), load_external_data=False)
        except (OSError, DecodeError):
            return False  # told where it is run
    proto = type(teacher).__name__ == "ModelProto"
    return proto and any(node.domain in DOMAINS for node in teacher.graph.node)


def _is_float(teacher: Any) -> bool:
    """Whether a teacher is a float model of another kind than an ONNX file."""
    if isinstance(teacher, str | Path):
        path = Path(teacher)
        return path.suffix.lower() == ".pt2" and not is_quantized(read_program(path, str(path)))
    if type(teacher).__name__ == "ExportedProgram":
        return not any(str(node.target).startswith(QUANTIZED) for node in teacher.graph.nodes)
    proto = type(teacher).__name__ == "ModelProto"
    return proto or (is_float_object(teacher) and not is_quantized_module(teacher))


def onnx_teacher(
    path: Path,
    graph: Graph,
    output: str,
    features: Mapping[str, str],
    *,
    proto: Any = None,
) -> Said:
    """A float ONNX file as the teacher of a Graph: scores ahead of a softmax or an ArgMax, tensors.

    `features` gives, by edge of the Graph, the name of the teacher's tensor. `proto` is the model
    where no file of that name holds it. Raises HwsimError for
    a file that ONNX Runtime does not run on the Graph's samples, and for a tensor that it lacks.
    """
    held = None if proto is None else proto.SerializeToString()
    onnx_reference(path, graph, output, held=held)  # with a sentence where the file will not do
    import onnx

    proto = onnx.load(str(path)) if proto is None else proto
    makers = {out: node for node in proto.graph.node for out in node.output}
    for edge, tensor in features.items():
        if tensor not in makers:
            raise HwsimError(f"the teacher {path} must have a tensor {tensor!r} for edge {edge!r}")
    names = [port.name for port in proto.graph.output]
    scores = output if output in names else names[0]
    scores = _ahead_of_the_end(makers, scores)
    runs = {edge: _showing(proto, graph, tensor) for edge, tensor in features.items()}
    run = _showing(proto, graph, scores)

    def teach(batch: Any) -> Lesson:
        named = batch if isinstance(batch, Mapping) else {graph.inputs[0].name: batch}
        said = {edge: _as_edge(graph, edge, other(named)) for edge, other in runs.items()}
        return Lesson(np.asarray(run(named)), said)

    return teach


def _ahead_of_the_end(makers: Mapping[str, Any], tensor: str) -> str:
    """What a softmax or an ArgMax reads that gives a tensor, itself or moved; else the tensor."""
    found, edge = tensor, tensor
    while (maker := makers.get(edge)) is not None and maker.op_type in (*ENDS, *MOVED):
        edge = maker.input[0]
        if maker.op_type in ENDS:
            found = edge
    return found


def _as_edge(graph: Graph, edge: str, array: Any) -> Any:
    """A tensor of an ONNX model, channels first as its convolutions have them, channels last.

    One that only fits an edge as it stands is left so.
    """
    found, shape = np.asarray(array), graph.types()[edge].shape
    moved = np.moveaxis(found, 1, -1) if found.ndim > 2 else found
    return np.ascontiguousarray(found if moved.shape[1:] != shape == found.shape[1:] else moved)


def graph_teacher(teacher: Graph, graph: Graph, features: Mapping[str, str], output: str) -> Said:
    """Another Graph as the teacher: the emulator's scores, and edges of it as reals.

    Of several outputs it is the one of the name `output`.

    Raises HwsimError for another number of inputs, and for an edge that it lacks.
    """
    for edge, other in features.items():
        if other not in teacher.types():
            raise HwsimError(f"the teacher must have an edge {other!r} for edge {edge!r}")
    ports = [port.name for port in teacher.inputs]
    if len(ports) != len(graph.inputs):
        raise HwsimError(
            f"the teacher must have {len(graph.inputs)} inputs as the model, not {len(ports)}"
        )
    named = output if output in [port.name for port in teacher.outputs] else None
    shown = scores_graph(teacher, choose_output(teacher, named))
    emulator = planned(shown)

    def teach(batch: Any) -> Lesson:
        given = list(batch.values()) if isinstance(batch, Mapping) else [batch]
        codes = emulator.run(
            emulator.encode(dict(zip(ports, given, strict=True))), keep=bool(features)
        )
        said = {edge: _reals(teacher, other, codes[other]) for edge, other in features.items()}
        (port,) = shown.outputs
        if port.element is not None:  # codes for themselves: what they mean
            return Lesson(_reals(teacher, port.tensor, codes[port.tensor]), said)
        return Lesson(np.asarray(emulator.decode({port.tensor: codes[port.tensor]})), said)

    return teach


def _reals(graph: Graph, edge: str, codes: Any) -> Any:
    kind = graph.types()[edge]
    return ((np.asarray(codes) - kind.zero_point) * np.asarray(kind.scales())).astype(np.float32)


def _showing(proto: Any, graph: Graph, tensor: str) -> Callable[[Mapping[str, Any]], Any]:
    """A function from a batch to one tensor of a model."""
    import onnx

    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    kept = [port for port in shown.graph.output if port.name == tensor]
    del shown.graph.output[:]
    shown.graph.output.extend(kept or [onnx.ValueInfoProto(name=tensor)])
    return onnx_reference(Path("the teacher"), graph, tensor, held=shown.SerializeToString())
