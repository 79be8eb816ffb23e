"""The state of one import of a model that OpenVINO runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwsim.fixed import Format
from hwsim.float_steps import FloatStep, PortStep
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxModel
from hwsim.frontends.onnx.runtime import Runtime
from hwsim.frontends.openvino.announcements import NEAR_TIES
from hwsim.frontends.openvino.residual import ClippedSum, ClippingEnds, QuantizedScale
from hwsim.frontends.openvino.shown import is_followed, shown
from hwsim.frontends.shared.arrangement import View
from hwsim.frontends.shared.values import FloatArray, Level, Pair, Real, Unary, Weighing
from hwsim.graph import Graph, OutputPort

LAST_BITS = (
    "OpenVINO computes what nothing quantizes in float32, so that its reals may differ in their "
    "last bits (by about 1e-6 of the largest)"
)
SUMMED = (
    LAST_BITS + "; codes of a layer in this sum may be a step off where scales are powers of two"
)
NARROW = 8
MOVERS = ("Concat", "Flatten", "Gather", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
MOVING = ("flatten", "maxpool", "pad", "relu", "reshape", "select", "split", "transpose")


@dataclass(frozen=True, slots=True)
class TwoPaths:
    """Which of two tensors is brought to the other's codes, and which nothing else reads."""

    full: int
    alone: tuple[bool, bool]


class OvImporter(Importer):
    """An Importer that knows what OpenVINO takes for the place of 0 of quantized tensors.

    `meanings` are these and the scales, by edge. `clipped`
    are sums of a convolution and a tensor, by the tensor of the sum; `clipping` are the
    quantizers that only clip, by what they make. `pairs` are two tensors that meet, by what
    is made of them. `between` are tensors of elements between others, interpolated.
    `together` are the reals of quantizers that stay whole, by the edge of their codes.
    `zeros` are what dense layers' sums hold more than those of reals, by the tensor of the sum.
    `near` counts, by layer, thresholds that float32's roundings decide, and all.
    """

    a_quantizer: ClassVar[str] = "a FakeQuantize"

    def __init__(
        self,
        model: OnnxModel,
        views: Mapping[str, View] | None = None,
        grids: Mapping[str, Format] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__(model, views, grids, runtime)
        self.meanings: dict[str, QuantizedScale] = {}
        self.clipped: dict[str, ClippedSum] = {}
        self.pairs: dict[str, TwoPaths] = {}
        self.clipping: dict[str, ClippingEnds] = {}
        self.between: set[str] = set()
        self.zeros: dict[str, FloatArray] = {}
        self.together: dict[str, Unary] = {}
        self.near: dict[str, tuple[int, int]] = {}

    @property
    def computes_reals(self) -> bool:
        """It does: what nothing quantizes goes on in float32."""
        return True

    def note(self, name: str, text: str, **values: object) -> None:
        """Nothing: what is said of other runtimes' float32 sums is not true of whole numbers."""

    def shown(self, real: Real) -> Real:
        """Reals of codes; where more than a clamp is computed of them, other last bits are told."""
        source = real.source
        if not isinstance(source, Level) or source.fine or source.codes.format.width > NARROW:
            return real
        if not is_followed(real):
            self.warn("output", LAST_BITS)
        if source.scales is not None or self.of_onnx:
            return real
        edge = self._made(source)
        return shown(real, self.meaning(source), self.together.get(edge))

    def graph(self, outputs: Sequence[OutputPort], *, inputs: Sequence[str] | None = None) -> Graph:
        """The Graph; how many thresholds of layers float32's roundings decide is told once."""
        found, count = (sum(pair[k] for pair in self.near.values()) for k in (0, 1))
        if found:
            first = next(name for name, (some, _) in self.near.items() if some)
            self.warn(first, NEAR_TIES.format(found=found, count=count))
        return super().graph(outputs, inputs=inputs)

    @property
    def of_onnx(self) -> bool:
        """Whether the model is an ONNX file's."""
        return any("codes" in node.attributes for node in self.model.nodes)

    def note_end(self, real: Real) -> None:
        """Say that reals may have other last bits, of what is neither codes nor a layer's sum."""
        source = real.source
        interpolated = isinstance(source, Weighing) and source.tensor in self.between
        if isinstance(source, Pair):
            self.warn("output", SUMMED)
        elif interpolated or not isinstance(source, Weighing | Level) or self._cut(real):
            self.warn("output", LAST_BITS)

    def note_port(self, steps: tuple[PortStep, ...], reals: tuple[float, ...] | None) -> None:
        """Functions at the end have other last bits; sums and products with constants have not."""
        if any(not isinstance(step, FloatStep) for step in steps):
            self.warn("output", LAST_BITS)

    def _cut(self, real: Real) -> bool:
        """Whether an ONNX model moves a quantized tensor at its end, whose meaning is moved too."""
        if not isinstance(real.source, Level) or not self.of_onnx:
            return False
        makers = {name: node.op for node in self.model.nodes for name in node.outputs}
        return any(makers.get(port.name) in MOVERS for port in self.model.outputs)

    def meaning(self, level: Level) -> QuantizedScale:
        """What codes mean to the plugin, those too that were moved from where it is known."""
        plain = QuantizedScale(np.float32(level.scale), np.float32(level.zero_point), 0)
        return self.meanings.get(self._made(level), plain)

    def _made(self, level: Level) -> str:
        """The edge of codes as a quantizer has made them, before they moved."""
        makers = {edge: node for node in self.nodes for edge in node.outputs}
        edge = level.codes.edge
        while edge not in self.meanings and edge in makers and makers[edge].op.kind in MOVING:
            edge = makers[edge].inputs[0]
        return edge
