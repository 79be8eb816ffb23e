"""An ONNX model of a Graph, in the form that is asked for, and its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends import as_graph
from hwsim.graph import Graph
from hwsim.onnx_export.onnx_draft import OnnxDraft
from hwsim.onnx_export.proof import check
from hwsim.onnx_export.qdq import written_as_qdq
from hwsim.onnx_export.qonnx import written_as_qonnx
from hwsim.onnx_export.write import written_as_integers
from hwsim.storage import write_atomically

SAMPLES = 16
"""On which what was written is compared with the Graph, unless said otherwise."""

FORMS: Mapping[str, Callable[..., OnnxDraft]] = {
    "integer": written_as_integers,
    "qdq": written_as_qdq,
    "qonnx": written_as_qonnx,
}
"""How a Graph is written, by what `--as` calls it."""


MIXED = ("qdq",)
"""Forms in which some nodes may be written as integer operators between the others."""


def to_model(
    model: Any,
    *,
    form: str = "integer",
    integers: bool = False,
    mixed: bool = False,
    samples: int = SAMPLES,
) -> tuple[Any, dict[str, Any]]:
    """The ModelProto of a model, and what there is to say of it.

    Raises HwsimError for what cannot be written, all nodes in one sentence.
    """
    if form not in FORMS:
        raise HwsimError(f"an ONNX file must be written as {' or '.join(FORMS)}, not as {form!r}")
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 0:
        raise HwsimError(f"the samples of a check must be a whole number from 0 on, not {samples}")
    graph: Graph = as_graph(model)
    if mixed and form not in MIXED:
        raise HwsimError(f"mixed (--mixed) must be left out of an ONNX file written as {form}")
    given = {"mixed": mixed} if form in MIXED else {}
    draft = FORMS[form](graph, integers=integers, **given)
    draft.metadata = {"hwsim.form": form, "hwsim.graph": graph.hash()}
    made = draft.proto(f"written by hwsim as {form}")
    facts: dict[str, Any] = {
        "form": form,
        "inputs": [_port(*port) for port in draft.inputs],
        "outputs": [_port(*port) for port in draft.outputs],
        "in_integers": draft.notes,
        "nodes": dict(Counter(node.op for node in draft.nodes).most_common()),
        "bytes": made.ByteSize(),
        "check": check(graph, draft, made, samples, form, integers=integers) if samples else None,
    }
    return made, facts


def write_model(model: Any, out: Path, **given: Any) -> dict[str, Any]:
    """Write the ONNX file of a model, whole or not at all; the keywords are those of `to_model`."""
    made, facts = to_model(model, **given)
    write_atomically(out, made.SerializeToString())
    return {"file": str(out), **facts}


def _port(name: str, element: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "type": element, "shape": ["N", *shape]}
