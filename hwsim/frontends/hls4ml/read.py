"""hls4ml 1.3 models (`ModelGraph`, backends Vivado, Vitis and hwsim) as Graphs equal to csim.

Every rule is that of the C++ which hls4ml compiles (`templates/vivado/nnet_utils` in its wheel);
the tests compare with it code by code. Edges carry the names of hls4ml's variables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml import (
    activations,
    elementwise,
    garnet,
    merge,
    norm,
    pool,
    products,
    quantized_tanh,
    quantizer,
    recurrent,
    resize,
    shape,
    softmax,
    time_distributed,
    weighted,
    without,
)
from hwsim.frontends.hls4ml.importer import LayerBuilder
from hwsim.frontends.hls4ml.types import read_precision
from hwsim.graph import Graph, InputPort, OutputPort
from hwsim.ops import Flatten, TensorType

EXACT_BACKENDS = ("vivado", "vitis", "vivadoaccelerator", "hwsim")

GATHERING = ("Dense", "Reshape", "Repack", "Clone")
"""What takes a stream's codes whatever its beats."""

NOT_STREAMED = ("Dot", "FixedPointQuantizer", "GarNet", "GarNetStack")
"""What hls4ml 1.3 has no streamed C++ for, beside the layers whose own rules say so."""

RULES: Mapping[str, Callable[[LayerBuilder, Any], None]] = {
    "Dense": weighted.read_dense,
    "Conv1D": weighted.read_conv,
    "Conv2D": weighted.read_conv,
    "PointwiseConv1D": weighted.read_conv,
    "PointwiseConv2D": weighted.read_conv,
    "DepthwiseConv1D": weighted.read_depthwise,
    "DepthwiseConv2D": weighted.read_depthwise,
    "BatchNormalization": elementwise.read_batchnorm,
    "ApplyAlpha": elementwise.read_batchnorm,
    **dict.fromkeys(
        ("Activation", "HardActivation", "ParametrizedActivation", "PReLU"),
        activations.read_activation,
    ),
    "BatchNormalizationQuantizedTanh": quantized_tanh.read_quantized_tanh,
    "UnaryLUT": activations.read_unary_lut,
    "Softmax": softmax.read_softmax,
    "Pooling1D": pool.read_pool,
    "Pooling2D": pool.read_pool,
    "GlobalPooling1D": pool.read_pool,
    "GlobalPooling2D": pool.read_pool,
    "Dot": merge.read_dot,
    "Merge": merge.read_merge,
    "Concatenate": shape.read_concatenate,
    "Reshape": shape.read_reshape,
    "Repack": shape.read_reshape,
    "Transpose": shape.read_transpose,
    "Clone": shape.read_clone,
    "LSTM": recurrent.read_recurrent,
    "GRU": recurrent.read_recurrent,
    "Bidirectional": recurrent.read_bidirectional,
    "GarNet": garnet.read_garnet,
    "GarNetStack": garnet.read_garnet,
    "LayerNormalization": norm.read_layernorm,
    "Embedding": products.read_embedding,
    "Einsum": products.read_einsum,
    "EinsumDense": products.read_einsum_dense,
    "Broadcast": resize.read_broadcast,
    "Cropping1D": resize.read_cropping,
    "Cropping2D": resize.read_cropping,
    "Resize": resize.read_resize,
    "ZeroPadding1D": resize.read_zero_padding,
    "ZeroPadding2D": resize.read_zero_padding,
    "FixedPointQuantizer": quantizer.read_quantizer,
}


def read_object(model: Any) -> Graph:
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
    build = LayerBuilder(stream=model.config.get_config_value("IOType") == "io_stream")
    words = products.vocabularies(model)
    for variable in model.get_input_variables():
        build.edges[variable.name] = build.input(_input(variable, words.get(variable.name)))
    _name_inputs(model, build)
    for first, *rest in time_distributed.blocks(nodes):
        if rest:
            time_distributed.read_time_distributed(build, [first, *rest], _read)
        else:
            _read(build, first)
    return build.graph([_output(build, name) for name in model.outputs])


def _read(build: LayerBuilder, layer: Any) -> None:
    """One layer, by its rule."""
    try:
        if build.stream:
            _check_streamed(layer)
            _check_beats(layer)
        RULES[_kind(layer)](build, layer)
    except HwsimError as error:
        raise HwsimError(f"layer {layer.name!r}: {error}") from None


def _check_streamed(layer: Any) -> None:
    if _kind(layer) in NOT_STREAMED:
        raise HwsimError(f"a {_kind(layer)} must be in io_parallel: hls4ml 1.3 has no other")


def _check_beats(layer: Any) -> None:
    """HwsimError for a streamed layer that would take a flatten's beats for longer ones.

    hls4ml passes them on as they were, through clones too; a dense layer gathers them, a Repack
    splits them anew.
    """
    if _kind(layer) in GATHERING:
        return
    for name in layer.inputs:
        variable, node = layer.get_input_variable(name), layer.get_input_node(name)
        while node is not None and _kind(node) == "Clone":
            variable, node = node.get_input_variable(), node.get_input_node()
        held = getattr(variable, "input_var", variable)
        if held.shape[-1] != variable.shape[-1]:
            raise HwsimError(
                "a flatten in io_stream must be followed by a dense layer: hls4ml leaves the "
                f"stream in beats of {held.shape[-1]} codes, not {variable.shape[-1]}"
            )


def _kind(layer: Any) -> str:
    """The layer's class before backends derive their own from it."""
    for base in type(layer).__mro__:
        name = base.__name__.removeprefix("Vivado").removeprefix("Vitis")
        if name in RULES or name in ("Input", "Constant", time_distributed.KIND, *without.REASONS):
            return name
    return type(layer).__name__


def _check_supported(nodes: list[Any]) -> None:
    unknown = [f"{layer.name} ({_told(layer)})" for layer in nodes if not _has_rule(layer)]
    if unknown:
        raise HwsimError(
            "the layers of an hls4ml model must all have a rule here, and these have none: "
            + ", ".join(unknown)
        )


def _has_rule(layer: Any) -> bool:
    """Whether the layer's class can be read, and what it computes."""
    kind = _kind(layer)
    if RULES.get(kind) is activations.read_activation:
        return activations.function(layer) in activations.KNOWN
    if kind == time_distributed.KIND:
        return True
    return kind in RULES and (kind != "Merge" or merge.merged(layer) in merge.MERGED)


def _told(layer: Any) -> str:
    """What a layer computes: its class, with a reason if one is known, or its function."""
    reason = without.REASONS.get(layer.class_name)
    if reason is not None:
        return f"{layer.class_name}: {reason}"
    function = layer.get_attr("activation") or layer.get_attr("op")
    return str(function or layer.get_attr("class_name") or type(layer).__name__)


def _input(variable: Any, codes: int | None) -> InputPort:
    """The port of an input, which takes the first `codes` codes from 0 on, or all of its type."""
    precision = read_precision(f"the precision of input {variable.name!r}", variable.type.precision)
    kind = TensorType(tuple(int(n) for n in variable.shape), precision.format)
    if codes is not None and kind.lo <= 0:
        kind = kind.with_range(0, min(codes - 1, kind.hi))
    return InputPort(
        name=variable.name,
        tensor=variable.name,
        type=kind,
        rounding=precision.rounding,
        overflow=precision.overflow,
    )


def _name_inputs(model: Any, build: LayerBuilder) -> None:
    """hls4ml's layers refer to an input by its layer's output name."""
    for layer in model.get_layers():
        if _kind(layer) == "Input":
            for output in layer.outputs:
                build.edges[output] = layer.variables[output].name


def _output(build: LayerBuilder, name: str) -> OutputPort:
    edge = build.edge(name)
    if len(build.types[edge].shape) > 1:
        edge = build.add(f"{name}/flat", Flatten(), edge)
    return OutputPort(name=name, tensor=edge)
