"""Node data for Model Explorer: a number for each node, and colours from the least to the most.

Source of the format: `node_data_builder.py` of ai-edge-model-explorer 0.1.34.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim import defaults
from hwsim.emulator.ports import dequantize
from hwsim.emulator.run import trace
from hwsim.errors import HwsimError
from hwsim.explorer.model_graph import GRAPH_ID
from hwsim.extras import hardware, library
from hwsim.graph import Graph
from hwsim.reporting.facts import describe

GRADIENT = [{"stop": 0, "bgColor": "#f7fbff"}, {"stop": 1, "bgColor": "#d94801"}]
QUANTIZED = ("_QuantizeLinear_Output", "_quantized", ".codes")
"""Ends of the names that quantizers give to what they make of a float tensor."""

Values = Mapping[str, float]


def node_data(
    graph: Graph,
    *,
    x: Any = None,
    reference: str | Path | None = None,
    target: str = defaults.TARGET,
    clock: str = defaults.CLOCK,
) -> dict[str, dict[str, Any]]:
    """Data by what they say, each as Model Explorer reads it from a file.

    Of the Graph alone: `bits` of what a node makes, `range` (which share of its format's codes can
    occur, in percent), `macs`, `weight_bits`, and `cycles` of the plan that `hwsim build` takes for
    a target, where every node has hardware. With samples `x`: `saturated`, the share of codes at
    either end of their format, in percent. With a float ONNX model as `reference` too:
    `difference`, the mean distance of an edge's reals from those of the float tensor of its name,
    in percent of that tensor's mean magnitude.
    """
    facts = describe(graph)["nodes"]
    found: dict[str, tuple[str, Values]] = {
        "bits": ("bits of a code", {row["name"]: row["bits"] for row in facts}),
        "range": ("codes that can occur (%)", {row["name"]: _share(row) for row in facts}),
        "macs": ("multiply-accumulates", {row["name"]: row["macs"] for row in facts}),
        "weight_bits": ("bits of weights", {row["name"]: row["weight_bits"] for row in facts}),
    }
    cycles = cycles_of(graph, target, clock)
    if cycles is not None:
        found["cycles"] = (f"cycles on {target}", cycles)
    if x is not None:
        edges = trace(graph, x)
        found["saturated"] = ("codes at the ends (%)", dict(_saturated(graph, edges)))
        if reference is not None:
            floats = dict(_differences(graph, edges, x, Path(reference)))
            found["difference"] = ("difference to float (%)", floats)
    elif reference is not None:
        raise HwsimError("a reference must come with samples, on which both are run")
    return {key: _data(name, values) for key, (name, values) in found.items()}


def _data(name: str, values: Values) -> dict[str, Any]:
    results = {node: {"value": round(float(value), 4)} for node, value in values.items()}
    return {GRAPH_ID: {"results": results, "name": name, "gradient": GRADIENT}}


def _share(row: Mapping[str, Any]) -> float:
    low, high = map(int, row["range"])
    return 100 * (high - low + 1) / 2.0 ** int(row["bits"])


def cycles_of(graph: Graph, target: str, clock: str) -> dict[str, float] | None:
    """Cycles of each node in the plan of `hwsim build`; None where something has no hardware.

    Raises HwsimError for a target that is not known, and for a clock that is none.
    """
    try:
        build, targets = hardware("rtl.build"), hardware("rtl.targets")
        clocks, table = hardware("rtl.flow.clock"), hardware("rtl.layers.table")
    except HwsimError:  # its libraries are an extra
        return None
    known, mhz = targets.find_target(target).name, clocks.parse_clock(clock)
    if table.unsupported(graph):
        return None
    try:
        request = build.Request(target=known, clock_mhz=mhz, rtl_only=True)
        rows = build.describe(graph, build.choose_plan(graph, request))
    except HwsimError:
        return None
    return {row["node"]: float(row["cycles"]) for row in rows}


def _saturated(
    graph: Graph, edges: Mapping[str, npt.NDArray[np.int64]]
) -> Iterator[tuple[str, float]]:
    for node in graph.nodes:
        kind, codes = graph.types()[node.outputs[0]], edges[node.outputs[0]]
        ends = (codes == kind.format.min) | (codes == kind.format.max)
        yield node.name, 100 * float(ends.mean()) if codes.size else 0.0


def _differences(
    graph: Graph, edges: Mapping[str, npt.NDArray[np.int64]], x: Any, reference: Path
) -> Iterator[tuple[str, float]]:
    floats = _float_tensors(graph, x, reference)
    for node in graph.nodes:
        edge = node.outputs[0]
        theirs = floats.get(_float_name(edge, floats))
        if theirs is None:
            continue
        kind = graph.types()[edge]
        ours = np.asarray(dequantize(np, kind, edges[edge]), np.float64)
        views = [ours, np.moveaxis(ours, -1, 1)]  # where windows are, ONNX has the channels first
        size = float(np.abs(theirs).mean())
        apart = [float(np.abs(v - theirs).mean()) for v in views if v.shape == theirs.shape]
        if apart and size:
            yield node.name, 100 * min(apart) / size


def _float_name(edge: str, floats: Mapping[str, Any]) -> str:
    """The float tensor that an edge stands for, by its name."""
    names = [edge, *(edge.removesuffix(end) for end in QUANTIZED)]
    return next((name for name in names if name in floats), edge)


def _float_tensors(graph: Graph, x: Any, reference: Path) -> dict[str, npt.NDArray[Any]]:
    """Every tensor of a float ONNX model, by ONNX Runtime without its optimizations."""
    import onnx
    from onnx import helper

    runtime = library("onnxruntime", "onnxruntime", "--reference")
    try:
        model = onnx.load(reference)
        names = [name for node in model.graph.node for name in node.output if name]
        known = {port.name for port in model.graph.output}
        for name in names:
            if name not in known:
                model.graph.output.append(helper.make_empty_tensor_value_info(name))
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        arrays = x if isinstance(x, Mapping) else {graph.inputs[0].name: x}
        given = session.get_inputs()
        feeds = {
            port.name: np.asarray(arrays.get(port.name, next(iter(arrays.values()))), np.float32)
            for port in given
        }
        return dict(zip(names, session.run(names, feeds), strict=True))
    except Exception as error:  # ONNX Runtime's classes have no base of their own
        text = " ".join(str(error).split())[:200]
        raise HwsimError(
            f"the reference {reference} must be a float ONNX model that runs on the same samples "
            f"({text})"
        ) from None
