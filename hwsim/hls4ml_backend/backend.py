"""The backend's class: hls4ml's Vitis backend up to the point where it would write C++."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from hls4ml.backends import FPGABackend
from hls4ml.backends.vitis.vitis_backend import VitisBackend
from hls4ml.model.flow import get_flow, register_flow
from hls4ml.model.optimizer import model_optimizer
from hls4ml.model.types import UnspecifiedPrecisionType
from hls4ml.writer.writers import Writer

from hwsim.errors import HwsimError
from hwsim.frontends import load
from hwsim.graph import Graph
from hwsim.hls4ml_backend import arrays, configuration, options

NAME = "hwsim"

# These flows write C++ into the layers, or turn weights round for it,
CPLUSPLUS = ("vivado:specific_types", "vivado:apply_templates", "vitis:apply_templates")
# and so do these passes of the flow that also infers precisions.
OPTIMIZE = "vivado:optimize"
WRITES_SOURCE = (
    "vivado:distributed_arithmetic_codegen",
    "vivado:distributed_arithmetic_einsum_codegen",
    "vivado:fuse_quantizer_into_d_a_layers",
    "vivado:process_fixed_point_quantizer_layer",
)


class HwsimWriter(Writer):
    """Writes a converted model as one file, `PROJECT.hwsim`, that every hwsim command reads."""

    def write_hls(self, model: Any) -> None:
        """Write the file into the model's output folder, whole or not at all."""
        save(lowered(model), model)


def save(graph: Graph, model: Any) -> None:
    """Write `graph` where the model's project goes."""
    folder = Path(model.config.get_output_dir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        graph.save(folder / f"{model.config.get_project_name()}.hwsim")
    except OSError as error:
        raise HwsimError(f"the output folder {str(folder)!r} must be writable ({error})") from None


def lowered(model: Any) -> Graph:
    """The model as it stands, as a Graph; HwsimError names what hwsim cannot represent."""
    return load(model)


def layer_edges(model: Any, graph: Graph) -> dict[str, str]:
    """The edge of each layer but the inputs, by the layer's name, in the model's order."""
    types = graph.types()
    return {
        layer.name: layer.outputs[0]
        for layer in model.get_layers()
        if layer.outputs[0] in types and layer.name not in model.inputs
    }


@dataclass(frozen=True, slots=True)
class Read:
    """A model before any pass: the classes of its layers, and its HLSConfig."""

    layers: configuration.Kinds
    config: Mapping[str, Any]


def _classes(model: Any) -> dict[str, type[Any]]:
    return {layer.name.lower(): type(layer) for layer in model.get_layers()}


class HwsimBackend(VitisBackend):
    """`backend="hwsim"`: a model as under Vitis, without its compiler.

    Layers, attributes, inferred precisions and weights are those of the Vitis backend before its
    C++ is written. `compile` takes milliseconds; `predict` equals Vitis's compiled simulation.
    """

    def __init__(self) -> None:
        FPGABackend.__init__(self, NAME)  # VitisBackend's own takes no name
        self._graphs: WeakKeyDictionary[Any, Graph] = WeakKeyDictionary()
        self._read: WeakKeyDictionary[Any, Read] = WeakKeyDictionary()
        self._register_layer_attributes()
        self._register_flows()

    def _init_file_optimizers(self) -> dict[str, Any]:
        return {}  # Vitis's, which are registered under its own name

    def _register_flows(self) -> None:
        vitis = get_flow("vitis:ip").requires
        passes = [one for one in get_flow(OPTIMIZE).optimizers if one not in WRITES_SOURCE]
        ours = register_flow(
            "optimize", passes, requires=get_flow(OPTIMIZE).requires, backend=self.name
        )
        requires = [ours if one == OPTIMIZE else one for one in vitis if one not in CPLUSPLUS]
        first = register_flow(
            "read", [f"{NAME}:remember_layers", f"{NAME}:list_regions"], backend=self.name
        )
        last = register_flow(
            "check", [f"{NAME}:check_config", f"{NAME}:attach_trace"], backend=self.name
        )
        self._default_flow = register_flow(
            "ip", None, requires=[first, *requires, last], backend=self.name
        )
        self._writer_flow = register_flow(
            "write",
            ["make_stamp", f"{NAME}:write_hls"],
            requires=[self._default_flow],
            backend=self.name,
        )

    @model_optimizer()
    def remember_layers(self, model: Any) -> None:
        """Keep what passes change: the layers as read, and the configuration as given."""
        self._read[model] = Read(_classes(model), deepcopy(model.config.config["HLSConfig"]))

    @model_optimizer()
    def list_regions(self, model: Any) -> None:
        """Make lists of the empty regions of ONNX's Resize.

        hls4ml 1.3 asks whether they are true, which NumPy says of no empty array from 2.2 on.
        """
        for layer in model.get_layers():
            if layer.class_name == "Constant" and np.size(layer.get_attr("value")) == 0:
                layer.set_attr("value", [])

    @model_optimizer()
    def check_config(self, model: Any) -> None:
        """Refuse configuration keys that hls4ml would pass over in silence."""
        read = self._read[model]
        configuration.check_keys(read.config, read.layers, _classes(model))

    @model_optimizer()
    def attach_trace(self, model: Any) -> None:
        """Give this one model a `trace` that asks its backend; hls4ml's asks a C++ library."""
        model.trace = functools.partial(self.trace, model)

    @classmethod
    def convert_precision_string(cls, precision: Any) -> Any:
        """A precision as hls4ml's type; HwsimError for text that is none."""
        try:
            made = super().convert_precision_string(precision)
        except Exception:  # whatever its pattern matching runs into
            raise HwsimError(
                "a precision must be text such as fixed<16,6>, ufixed<8,4,RND,SAT>, int<8> or "
                f"auto, not {precision!r}"
            ) from None
        if not isinstance(made, UnspecifiedPrecisionType) and made.width < 1:
            raise HwsimError(f"a precision must have a width of at least 1 bit, not {precision!r}")
        return made

    def create_initial_config(self, **given: Any) -> dict[str, Any]:
        """The configuration of a conversion: Vitis's, with hwsim's target and clock."""
        chosen = options.convert_options(given)
        taken = {key: given[key] for key in given if key not in ("target", "clock", "board")}
        config: dict[str, Any] = super().create_initial_config(**taken)
        return config | {"Target": chosen.target, "Clock": chosen.request_clock()}

    def compile(self, model: Any) -> None:
        """Make the emulator's Graph from the model as it stands; no compiler runs.

        Returns None where hls4ml expects the path of a library, which makes it open none.
        """
        self._graphs[model] = lowered(model)
        self.attach_trace(model)

    def compiled(self, model: Any) -> Graph:
        """The Graph that `compile` made; HwsimError where it was not called."""
        if model not in self._graphs:
            raise HwsimError("the model must be compiled first: call hls_model.compile()")
        return self._graphs[model]

    def predict(self, model: Any, x: Any) -> Any:
        """What the Vitis backend's compiled simulation returns, code for code.

        `x` is one float32 or float64 array, or a list of them for several inputs.
        """
        return arrays.predict(self.compiled(model), x)

    def trace(self, model: Any, x: Any) -> tuple[Any, dict[str, Any]]:
        """The prediction and the output of every layer by name, of the model as it stands."""
        graph = lowered(model)
        self._graphs[model] = graph
        return arrays.trace(graph, x, layer_edges(model, graph))

    def build(self, model: Any, **given: Any) -> Mapping[str, Any]:
        """Verilog, bitstream and a report dict in hls4ml's manner; see `BuildOptions`.

        Raises HwsimError for an option that is not known or cannot be met.
        """
        from hwsim.hls4ml_backend import build as report

        graph = self._graphs[model] if model in self._graphs else lowered(model)
        config: Mapping[str, Any] = model.config.config
        defaults = {"target": config.get("Target"), "clock": config.get("Clock")}
        chosen = options.build_options({**defaults, **given})
        folder = Path(model.config.get_output_dir()) / model.config.get_project_dir()
        return report.build(graph, chosen, folder, model.config.get_project_name())
