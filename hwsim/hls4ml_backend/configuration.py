"""Names in an hls4ml configuration that hls4ml would pass over in silence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hls4ml.backends import FPGABackend
from hls4ml.model.attributes import TypeAttribute, WeightAttribute
from hls4ml.model.layers import GarNet, layer_map
from hls4ml.utils.string_utils import convert_to_snake_case

from hwsim.errors import HwsimError
from hwsim.hls4ml_backend.options import is_near, nearest, refuse_unknown
from hwsim.notices import warn

Kinds = Mapping[str, type[Any]]  # classes of layers by name in lower case, as hls4ml compares them

SECTIONS = ("Flows", "InputShape", "LayerName", "LayerType", "Model", "Optimizers")
COMMON: tuple[str, ...] = (
    "Compression",
    "ConvImplementation",
    "Precision",
    "ReuseFactor",
    "Strategy",
)
COMMON += ("TargetCycles",)
LAYER = (*COMMON, "ParallelizationFactor", "Trace")
MODEL: tuple[str, ...] = (*COMMON, "AllowDAFallback", "AllowV2Fallback", "BitExact", "BramFactor")
MODEL += ("ChannelsLastConversion", "InputShape", "PipelineInterval", "PipelineStyle")
MODEL += ("TraceOutput", "TransposeOutputs")
STRATEGIES = ("Latency", "Resource", "Resource_Unrolled", "Distributed_Arithmetic", "DA")
SOFTMAX = ("Stable", "Argmax", "Legacy")  # hls4ml's own examples give softmax such a strategy
READ_THERE = ("accum", "result")
"""Types that hls4ml reads among the precisions although they have a default."""
PRECISIONS: tuple[str, ...] = ("default", "depthwise", "dw_output", "maximum", "pointwise")
PRECISIONS += ("pointwise_result", "recurrent")
ASKED_FOR: Mapping[type[Any], tuple[str, ...]] = {
    GarNet: ("edge_weight", "edge_weight_aggr", "aggr", "norm"),
}
"""Types that a layer's template asks the configuration for, by the layer's class."""


def check_keys(config: Mapping[str, Any], read: Kinds, made: Kinds) -> None:
    """Raise HwsimError for a key of an HLSConfig that hls4ml 1.3 does not read, with the nearest.

    A key may name a layer of the model as it was `read`, or one that passes `made` of it.
    """
    layers = {name: _classes(name, read, made) for name in (*read, *made)}
    refuse_unknown("a section of hls_config", config, (*SECTIONS, "SkipOptimizers"))
    model = config.get("Model") or {}
    refuse_unknown("a key of hls_config['Model']", model, MODEL)
    known = _types(kind for kinds in layers.values() for kind in kinds)
    _check_values("hls_config['Model']", model, known)
    for name, given in _of_layers(config.get("LayerName") or {}, layers):
        _check_layer(f"hls_config['LayerName'][{name!r}]", given or {}, layers[name.lower()])
    kinds = {name.lower(): kind for name, kind in layer_map.items()}
    for name, given in (config.get("LayerType") or {}).items():
        if name.lower() not in kinds:
            what = "a layer type in hls_config['LayerType'] must be one of hls4ml's"
            raise HwsimError(f"{what}, {nearest(name, layer_map)}")
        kind = kinds[name.lower()]
        same = [k for k in layers.values() if any(issubclass(c, kind) for c in k)]
        for classes in same or [[kind]]:
            _check_layer(f"hls_config['LayerType'][{name!r}]", given or {}, classes)


class NoSuchLayer(UserWarning):
    """Keys of a configuration for a layer that the model does not have."""


def _of_layers(
    section: Mapping[str, Any], layers: Mapping[str, Sequence[type[Any]]]
) -> Iterator[tuple[str, Any]]:
    """The entries of `LayerName` for layers that are there.

    Another is refused where it is near to a name that is there, as a slip of the pen, or where all
    are others. Among right ones it is told: published configurations name layers of the training.
    """
    there = any(name.lower() in layers for name in section)
    for name, given in section.items():
        if name.lower() in layers:
            yield name, given
            continue
        if is_near(name, layers) or not there:
            raise HwsimError(
                "a layer in hls_config['LayerName'] must be one of "
                f"{', '.join(sorted(layers))}, {nearest(name, layers)}"
            )
        warn(
            f"hls_config['LayerName'][{name!r}] counts for nothing: the model has no such layer, "
            f"but {', '.join(sorted(layers))}",
            NoSuchLayer,
        )


def _classes(name: str, read: Kinds, made: Kinds) -> list[type[Any]]:
    """What a layer was and became.

    `conv_0` of an ONNX file becomes `conv2d_conv_0`, say, and a separable `sep` two layers,
    `sep_depthwise` and `sep_pointwise`, which take its keys.
    """
    same = {name, f"{name}_depthwise", f"{name}_pointwise"}
    became = [kind for other, kind in made.items() if other in same or other.endswith(f"_{name}")]
    return [read[name], *became] if name in read else became


def _check_layer(where: str, given: Mapping[str, Any], kinds: Sequence[type[Any]]) -> None:
    attributes = [a for kind in kinds for a in kind.expected_attributes if a.configurable]
    types = _types(kinds) | _asked_for(kinds)
    plain = [a.config_name for a in attributes if not isinstance(a, TypeAttribute)]
    known = {*LAYER, *plain, *(f"{name}_t" for name in types)}
    snakes = {convert_to_snake_case(name) for name in known}
    unknown = [key for key in given if convert_to_snake_case(key) not in snakes]
    refuse_unknown(f"a key of {where}", unknown, known)
    _check_values(where, given, types)
    precision = given.get("Precision")
    if isinstance(precision, Mapping):
        _warn_of_passed_over(where, precision, attributes)


class PassedOverPrecision(UserWarning):
    """A precision that hls4ml does not read where it stands."""


def _warn_of_passed_over(
    where: str, precision: Mapping[str, Any], attributes: Sequence[Any]
) -> None:
    """Say so where a table's type is given among the precisions and is not the default.

    hls4ml's own `config_from_…` puts it there, and reads it only as a key of the layer.
    """
    held = {a.name for a in attributes if isinstance(a, WeightAttribute)}
    for attribute in attributes:
        name = attribute.name.removesuffix("_t")
        if not isinstance(attribute, TypeAttribute) or attribute.default is None:
            continue
        value = precision.get(name)
        if name in (*READ_THERE, *held) or value is None or str(value) == "auto":
            continue
        if str(FPGABackend.convert_precision_string(value)) != str(attribute.default):
            warn(
                f"{where}['Precision'][{name!r}] is passed over by hls4ml, which takes "
                f"{attribute.default}; give it as {where}['{name}_t']",
                PassedOverPrecision,
            )


def _check_values(where: str, given: Mapping[str, Any], types: set[str]) -> None:
    precision = given.get("Precision")
    if isinstance(precision, Mapping):
        refuse_unknown(f"a key of {where}['Precision']", precision, types | set(PRECISIONS))
    strategy = given.get("Strategy")
    strategies = {convert_to_snake_case(s) for s in (*STRATEGIES, *SOFTMAX)}
    if strategy is not None and convert_to_snake_case(str(strategy)) not in strategies:
        wanted = ", ".join(STRATEGIES)
        raise HwsimError(
            f"{where}['Strategy'] must be one of {wanted}, {nearest(strategy, STRATEGIES)}"
        )


def _asked_for(kinds: Iterable[type[Any]]) -> set[str]:
    """The precisions that the templates of such layers look for in the configuration."""
    return {
        name
        for kind in kinds
        for base, names in ASKED_FOR.items()
        if issubclass(kind, base)
        for name in names
    }


def _types(kinds: Iterable[type[Any]]) -> set[str]:
    """The names of the precisions that layers of these classes have."""
    return {
        a.name.removesuffix("_t")
        for kind in kinds
        for a in kind.expected_attributes
        if isinstance(a, TypeAttribute)
    }
