"""An IR's layers as nodes of ONNX, which the reader of those knows already.

Constants are computed here. Weights keep their codes and scales: integers that the file converts to
floats, and floats behind a FakeQuantize, become a DequantizeLinear. A FakeQuantize of a computed
tensor stays one, as a node of the domain `openvino`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import Attribute, OnnxModel, OnnxNode, OnnxPort
from hwsim.frontends.openvino.model import IrLayer, IrModel, Source
from hwsim.frontends.unread import WRITTEN_OUT

Array = npt.NDArray[Any]
DOMAIN = "openvino"
CONTROL_FLOW = frozenset({"If", "Loop", "TensorIterator"})
OPSET = 21  # of the ONNX operators that layers become
DTYPES = {
    "f32": "float32", "f16": "float16", "f64": "float64", "i64": "int64", "i32": "int32",
    "i8": "int8", "u8": "uint8", "i16": "int16", "u16": "uint16", "boolean": "bool",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class IrConstant:
    """A constant tensor; `codes` and `scale`, which broadcasts, where it is codes times those.

    A zero point has been taken off the codes; `raw` says that the file has only converted them.
    """

    array: Array
    codes: npt.NDArray[np.int64] | None = None
    scale: npt.NDArray[np.float32] | None = None
    raw: bool = False

    def changed(
        self, change: Callable[[Array], Array], scale: Callable[[Array], Array]
    ) -> IrConstant:
        """With its elements moved."""
        if self.codes is None or self.scale is None:
            return IrConstant(change(self.array))
        return IrConstant(change(self.array), change(self.codes), scale(self.scale), self.raw)


@dataclass(slots=True)
class Lowering:
    """Nodes and constants so far."""

    path: Path
    nodes: list[OnnxNode] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    held: dict[Source, IrConstant] = field(default_factory=dict)
    names: dict[Source, str] = field(default_factory=dict)
    layers: dict[str, IrLayer] = field(default_factory=dict)
    inputs: list[OnnxPort] = field(default_factory=list)
    outputs: list[OnnxPort] = field(default_factory=list)
    renamed: dict[Source, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def unique(self, name: str) -> str:
        """A name that no tensor has yet."""
        chosen, number = name, 1
        while chosen in self._taken:
            number += 1
            chosen = f"{name}.{number}"
        self._taken.add(chosen)
        return chosen

    def shape(self, layer: IrLayer, position: int) -> tuple[int | None, ...]:
        """The whole shape of an input."""
        source, place = layer.inputs[position]
        return self.layers[source].outputs[place].shape

    def constant(self, layer: IrLayer, position: int) -> IrConstant | None:
        """A constant input; None where it is computed, or left out."""
        if position >= len(layer.inputs):
            return None
        return self.held.get(layer.inputs[position])

    def values(self, layer: IrLayer, position: int) -> Array:
        """The elements of an input that must be constant."""
        found = self.constant(layer, position)
        if found is None:
            raise HwsimError(f"{layer}: its input {position} must be constant")
        return found.array

    def integers(self, layer: IrLayer, position: int) -> list[int]:
        """A constant list of whole numbers."""
        return [int(value) for value in self.values(layer, position).ravel()]

    def new(self, layer: IrLayer, what: str, array: Any) -> str:
        """The name of a new constant of a layer."""
        name = self.unique(f"{layer.name}/{what}")
        self.constants[name] = np.asarray(array)
        return name

    def tensor(self, layer: IrLayer, position: int) -> str:
        """The name of an input, a constant in float32 where it is one."""
        source = layer.inputs[position]
        if source in self.held and source not in self.names:
            array = self.held[source].array
            kept = array.astype(np.float32) if array.dtype.kind == "f" else array
            self.names[source] = self.new(layer, f"input{position}", kept)
        return self.names[source]

    def made(self, layer: IrLayer, place: int = 0) -> str:
        """The name of an output that is computed."""
        source = (layer.id, place)
        if source not in self.names:
            plain = self.renamed.get(source, layer.name if place == 0 else f"{layer.name}:{place}")
            self.names[source] = self.unique(plain)
        return self.names[source]

    def node(
        self,
        layer: IrLayer,
        op: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        outputs: Sequence[str] | None = None,
        domain: str = "",
    ) -> str:
        """One more node, whose first output is given back."""
        made = tuple([self.made(layer)] if outputs is None else outputs)
        name = layer.name if made[0] == self.names.get((layer.id, 0)) else made[0]
        self.nodes.append(OnnxNode(name, op, domain, tuple(inputs), made, attributes or {}))
        return made[0]

    def between(self, layer: IrLayer, what: str) -> str:
        """The name of a tensor inside of a layer that becomes several nodes."""
        return self.unique(f"{layer.name}/{what}")

    def weights(self, layer: IrLayer, held: IrConstant, axis: int) -> str:
        """Quantized weights with one scale, or one for each index of `axis`; or plain floats."""
        codes, scale = held.codes, held.scale
        if codes is None or scale is None:
            return self.new(layer, "weights", held.array.astype(np.float32))
        along = [1] * codes.ndim
        along[axis] = codes.shape[axis]
        if scale.size == 1:
            scale = scale.reshape(1)
        elif scale.shape != tuple(along):
            return self.new(layer, "weights", held.array.astype(np.float32))
        dtype = "int8" if np.abs(codes).max(initial=0) < 128 else "int16"
        out, given = self.between(layer, "weights"), scale.ravel().astype(np.float32)
        parts = [
            self.new(layer, "codes", codes.astype(dtype)),
            self.new(layer, "scales", given[0] if given.size == 1 else given),
        ]
        return self.node(layer, "DequantizeLinear", parts, {"axis": axis}, outputs=[out])


Rule = Callable[[Lowering, IrLayer], None]


def lowered(model: IrModel, rules: Mapping[str, Rule]) -> OnnxModel:
    """The model in nodes of ONNX; HwsimError lists all layers that have no rule."""
    _refuse_unknown(model, rules)
    state = Lowering(model.path)
    state.layers = {layer.id: layer for layer in model.layers}
    for layer in model.layers:
        if layer.kind == "Result":
            _name_output(state, layer)
    for layer in model.layers:
        try:
            rules[layer.kind](state, layer)
        except HwsimError as error:
            raise HwsimError(f"{model.path}: {error}") from None
        except (ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
            raise HwsimError(f"{model.path}: {layer}: it must be valid ({error})") from None
    if not state.outputs:
        raise HwsimError(f"{model.path} must have a result")
    return OnnxModel(
        path=model.path,
        opset=OPSET,
        nodes=tuple(state.nodes),
        constants=state.constants,
        inputs=tuple(state.inputs),
        outputs=tuple(state.outputs),
    )


def _name_output(state: Lowering, layer: IrLayer) -> None:
    """A tensor that is a result has the first of its own names, as OpenVINO's users see it."""
    for source in layer.inputs:
        port = state.layers[source[0]].outputs[source[1]]
        if port.names and state.layers[source[0]].kind != "Parameter":
            state.renamed.setdefault(source, port.names[0])


def _refuse_unknown(model: IrModel, rules: Mapping[str, Rule]) -> None:
    missing: dict[str, list[str]] = {}
    for layer in model.layers:
        if layer.kind not in rules:
            missing.setdefault(layer.kind, []).append(layer.name)
    if missing:
        listed = ", ".join(f"{op} ({names[0]!r})" for op, names in sorted(missing.items()))
        helps = f"; what helps: {WRITTEN_OUT}" if missing.keys() & CONTROL_FLOW else ""
        raise HwsimError(
            f"{model.path} must use supported operations only, but has {listed}{helps}; "
            "docs/openvino.md lists what is supported"
        )
