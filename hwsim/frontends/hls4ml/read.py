"""hls4ml 1.3 models (`ModelGraph`, backends Vivado, Vitis and hwsim) as Graphs equal to csim.

Every rule is that of the C++ which hls4ml compiles (`templates/vivado/nnet_utils` in its wheel);
the tests compare with it code by code. Edges carry the names of hls4ml's variables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml import layers
from hwsim.frontends.hls4ml.layers import Build
from hwsim.frontends.hls4ml.types import read_precision
from hwsim.graph import Graph, InputPort, OutputPort
from hwsim.ops import Flatten, TensorType

EXACT_BACKENDS = ("vivado", "vitis", "vivadoaccelerator", "hwsim")

RULES: Mapping[str, Callable[[Build, Any], None]] = {
    "Dense": layers.read_dense,
    "Conv2D": layers.read_conv,
    "PointwiseConv2D": layers.read_conv,
    "BatchNormalization": layers.read_batchnorm,
    "ApplyAlpha": layers.read_batchnorm,
    "Activation": layers.read_activation,
    "Pooling2D": layers.read_pool,
    "GlobalPooling2D": layers.read_pool,
    "Merge": layers.read_merge,
    "Concatenate": layers.read_concatenate,
    "Reshape": layers.read_reshape,
    "Repack": layers.read_reshape,
    "Transpose": layers.read_transpose,
    "Clone": layers.read_clone,
    "ZeroPadding2D": layers.read_zero_padding,
}


def is_model(model: object) -> bool:
    """Whether `model` is an hls4ml ModelGraph, without importing hls4ml."""
    names = {f"{c.__module__.partition('.')[0]}.{c.__name__}" for c in type(model).__mro__}
    return "hls4ml.ModelGraph" in names


def read(model: Any) -> Graph:
    """The Graph of an hls4ml model.

    Inputs and outputs are as `predict` takes and gives them: the shape of the input variable, and
    one axis of codes. Raises HwsimError for a backend with other types, for layers without a rule
    (all of them in one sentence), for precisions that are not fixed-point.
    """
    backend = type(model.config.backend).__name__.removesuffix("Backend")
    if backend.lower() not in EXACT_BACKENDS:
        raise HwsimError(
            "an hls4ml model must be of a backend with ap_fixed types (Vivado, Vitis or hwsim) "
            f"to be read exactly, not of {backend}"
        )
    nodes = [layer for layer in model.get_layers() if _kind(layer) not in ("Input", "Constant")]
    _check_supported(nodes)
    build = Build(stream=model.config.get_config_value("IOType") == "io_stream")
    inputs = []
    for variable in model.get_input_variables():
        inputs.append(_input(variable))
        build.types[variable.name] = inputs[-1].type
        build.edges[variable.name] = variable.name
    _name_inputs(model, build)
    for layer in nodes:
        try:
            RULES[_kind(layer)](build, layer)
        except HwsimError as error:
            raise HwsimError(f"layer {layer.name!r}: {error}") from None
    outputs = [_output(build, name) for name in model.outputs]
    return Graph(tuple(inputs), tuple(build.nodes), tuple(outputs))


def _kind(layer: Any) -> str:
    """The layer's class before backends derive their own from it."""
    for base in type(layer).__mro__:
        name = base.__name__.removeprefix("Vivado").removeprefix("Vitis")
        if name in RULES or name in ("Input", "Constant"):
            return name
    return type(layer).__name__


def _check_supported(nodes: list[Any]) -> None:
    unknown = [
        f"{layer.name} ({layer.get_attr('class_name') or type(layer).__name__})"
        for layer in nodes
        if _kind(layer) not in RULES
        or (_kind(layer) == "Activation" and layers.activation(layer) not in layers.ACTIVATIONS)
        or (_kind(layer) == "Merge" and layer.get_attr("op") != "add")
    ]
    if unknown:
        raise HwsimError(
            "the layers of an hls4ml model must all have a rule here, and these have none: "
            + ", ".join(unknown)
        )


def _input(variable: Any) -> InputPort:
    precision = read_precision(f"the precision of input {variable.name!r}", variable.type.precision)
    shape = tuple(int(n) for n in variable.shape)
    return InputPort(
        name=variable.name,
        tensor=variable.name,
        type=TensorType(shape, precision.format),
        rounding=precision.rounding,
        overflow=precision.overflow,
    )


def _name_inputs(model: Any, build: Build) -> None:
    """hls4ml's layers refer to an input by its layer's output name."""
    for layer in model.get_layers():
        if _kind(layer) == "Input":
            for output in layer.outputs:
                build.edges[output] = layer.variables[output].name


def _output(build: Build, name: str) -> OutputPort:
    edge = build.edge(name)
    if len(build.types[edge].shape) > 1:
        edge = build.add(f"{name}/flat", Flatten(), (edge,))
    return OutputPort(name=name, tensor=edge)


def codes(graph: Graph, predicted: Any) -> Any:
    """Values that `predict` returned, as codes of the graph's only output."""
    (port,) = graph.outputs
    frac = graph.types()[port.tensor].format.frac_bits
    return np.ldexp(np.asarray(predicted, np.float64), frac).astype(np.int64)
