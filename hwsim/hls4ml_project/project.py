"""hls4ml's ModelGraph of a Graph, and its project in a folder."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from hwsim.extras import library
from hwsim.frontends import as_graph
from hwsim.graph import Graph
from hwsim.hls4ml_project.draft import Draft
from hwsim.hls4ml_project.proof import check_again
from hwsim.hls4ml_project.strategy import EXACTLY, LATENCY, STRATEGIES, Strategy
from hwsim.hls4ml_project.write import drafted
from hwsim.notices import warn

BACKENDS = ("Vitis", "Vivado")
IO_TYPES = ("io_parallel", "io_stream")


def to_model(
    graph: Graph,
    output_dir: str | Path,
    *,
    backend: str = "Vitis",
    io_type: str = "io_parallel",
    strategy: str = "Latency",
    reuse_factor: int = 1,
    project_name: str = "myproject",
    integers: bool = False,
) -> Any:
    """hls4ml's ModelGraph of a graph: `write`, `compile` and `predict` it as any other.

    Raises HwsimError for what cannot be written, all nodes in one sentence.
    """
    _one_of("backend", backend, BACKENDS)
    _one_of("io_type", io_type, IO_TYPES)
    _one_of("strategy", strategy, STRATEGIES)
    if isinstance(reuse_factor, bool) or not isinstance(reuse_factor, int) or reuse_factor < 1:
        raise HwsimError(f"reuse_factor must be a whole number from 1 on, not {reuse_factor!r}")
    stream = io_type == "io_stream"
    chosen = Strategy(strategy, reuse_factor, stream)
    library("hls4ml", '"hwsim[hls]"', "to_hls4ml")
    if chosen.exactly:
        library("da4ml", '"hls4ml[da]"', f"the strategy {EXACTLY}")
    draft = drafted(graph, stream=stream, strategy=chosen, integers=integers)
    made = _model(draft, Path(output_dir), backend, io_type, project_name)
    if not chosen.exactly:  # hls4ml turns the weights into code
        check_again(graph, made)
    if draft.notes:
        warn("; ".join(draft.notes), OtherStrategy)
    return made


class OtherStrategy(UserWarning):
    """A layer has another strategy or reuse factor than was asked for."""


def _one_of(what: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        *first, last = known
        raise HwsimError(f"{what} must be {', '.join(first)} or {last}, not {value!r}")


def _model(draft: Draft, folder: Path, backend: str, io_type: str, project_name: str) -> Any:
    from hls4ml.model import ModelGraph
    from hls4ml.utils.config import create_config

    graph, strategy = draft.graph, draft.strategy
    config = create_config(
        output_dir=str(folder), project_name=project_name, backend=backend, io_type=io_type
    )
    config["HLSConfig"] = {
        "Model": {
            "Precision": "fixed<16,6>",
            "Strategy": LATENCY,
            "ReuseFactor": strategy.reuse,
            "BitExact": False,
        },
        "LayerName": draft.config,
    }
    inputs = [draft.names[port.tensor] for port in graph.inputs]
    outputs = [draft.names[draft.shown[port.name]] for port in graph.outputs]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Overriding attribute")  # by hls4ml's own passes
        return ModelGraph.from_layer_list(config, draft.layers, inputs, outputs)


def write_project(model: Any, folder: Path, **given: Any) -> dict[str, Any]:
    """Write the project of a model into a folder; what stands in it, layer by layer.

    Nothing is written where something cannot be. The keywords are those of `to_model`.
    """
    made = to_model(as_graph(model), folder, **given)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            made.write()
    except OSError as error:
        raise HwsimError(f"the folder {str(folder)!r} must be writable ({error})") from None
    layers = [
        {
            "name": layer.name,
            "layer": layer.get_attr("class_name") or type(layer).__name__,
            "result": str(layer.get_output_variable().type.precision),
            **_strategy(layer),
        }
        for layer in made.get_layers()
    ]
    return {"folder": str(folder), "backend": given["backend"], "layers": layers}


def _strategy(layer: Any) -> dict[str, Any]:
    """What a layer of products has of it."""
    name = layer.get_attr("strategy")
    if not name or not {"weight", "depthwise"} & {*layer.weights}:
        return {}
    return {"strategy": str(name), "reuse_factor": int(layer.get_attr("reuse_factor") or 1)}
