"""The state of one import of an hls4ml model: a Builder that knows hls4ml's tensors by name."""

from __future__ import annotations

import math
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml.types import Precision, read_precision
from hwsim.frontends.shared.builder import Builder
from hwsim.ops import Op, Pad, Reshape, Stepwise, Window

SIDES = ("top", "left", "bottom", "right")


class LayerBuilder(Builder):
    """A Builder that knows the edge behind each of hls4ml's tensors, and its assignments.

    `stream` says that layers are joined by streams. `paddings` are those of zero paddings that a
    convolution behind them can take in.
    """

    def __init__(self, *, stream: bool) -> None:
        super().__init__()
        self.stream = stream
        self.edges: dict[str, str] = {}
        self.paddings: dict[str, tuple[int, ...]] = {}

    def edge(self, name: str) -> str:
        """The edge that holds hls4ml's tensor `name`."""
        if name in self.paddings:
            self.edges[name] = self.padded(name, self.edges[name], self.paddings.pop(name))
        if name not in self.edges:
            raise HwsimError(
                f"its input {name!r} must come from a layer before it, and not from within the "
                "time steps of a TimeDistributed"
            )
        return self.edges[name]

    def map(self, layer: Any) -> str:
        """The edge of a layer's input; a map in the rows in which the layer's C++ reads it.

        They are other rows where hls4ml has mistaken a map's height for its width, as it does in a
        Resize of ONNX.
        """
        source = self.edge(layer.inputs[0])
        kind = self.types[source]
        if len(kind.shape) != 3 or layer.get_attr("in_height") is None:
            return source
        rows = (int(layer.get_attr("in_height")), int(layer.get_attr("in_width")), kind.channels)
        if rows == kind.shape or math.prod(rows) != kind.size:
            return source
        return self.add(f"{layer.outputs[0]}/read", Reshape(shape=rows), source)

    def padded(self, edge: str, source: str, padding: tuple[int, ...], code: int = 0) -> str:
        """A line or map with a code around it; `padding` as in a Window."""
        rank = len(padding) // 2
        ends = {"before": (*padding[:rank], 0), "after": (*padding[rank:], 0)}
        return self.add(edge, Pad(**ends, code=code), source)

    def add(self, edge: str, op: Op, *inputs: str) -> str:
        """Append an operator whose output is `edge`, and whose node has that name."""
        return self.emit(edge, op, inputs, edge)

    def cast(self, edge: str, source: str, precision: Precision) -> str:
        """An assignment; nothing where the type is the same."""
        return source if self._is(source, precision) else self.add(edge, precision.cast(), source)

    def _is(self, edge: str, precision: Precision) -> bool:
        """Whether an assignment to that type changes nothing."""
        kind = self.types[edge]
        return kind.format == precision.format and kind.lo >= precision.least

    def finish(self, layer: Any, source: str) -> None:
        """The assignment to the layer's result; its edge carries the layer's own output name."""
        name, precision = layer.outputs[0], result(layer)
        self._check_size(layer, source)
        if not self._is(source, precision):
            source = self.add(name, precision.cast(), source)
        elif self.nodes and self.nodes[-1].output == source:
            renamed = self.rename(source, name)
            held = {tensor: renamed for tensor, edge in self.edges.items() if edge == source}
            self.edges.update(held)
            source = renamed
        self.edges[name] = source

    def _check_size(self, layer: Any, source: str) -> None:
        """Whether hls4ml's own idea of the output is what its wiring gives.

        Before a streamed line's convolution it may put a padding that other layers read too.
        """
        shape = tuple(int(n) for n in layer.variables[layer.outputs[0]].shape)
        found = self.types[source].shape
        if math.prod(shape) != math.prod(found):
            raise HwsimError(f"its output must be of shape {shape}, as hls4ml says, not {found}")


def result(layer: Any, name: str | None = None) -> Precision:
    """The precision of a layer's output variable."""
    variable = layer.variables[name or layer.outputs[0]]
    return read_precision("the precision 'result'", variable.type.precision)


def accumulator(layer: Any, order: Any = None) -> Stepwise:
    """The accumulator of a layer's sums."""
    precision = read_precision("the precision 'accum'", layer.get_attr("accum_t").precision)
    return Stepwise(
        format=precision.format,
        rounding=precision.rounding,
        overflow=precision.overflow,
        order=order,
    )


def sides_of(rank: int) -> tuple[str, ...]:
    """The sides of a line or a map, all that come before first."""
    return SIDES if rank == 2 else SIDES[1::2]


def window_of(layer: Any, what: str) -> Window:
    """The window of a convolution (`filt`) or pool (`pool`), of one axis where it has no height."""
    rank = len(layer.get_input_variable().shape) - 1
    axes, sides = ("height", "width")[-rank:], sides_of(rank)
    return Window(
        tuple(int(layer.get_attr(f"{what}_{axis}")) for axis in axes),
        tuple(int(layer.get_attr(f"stride_{axis}")) for axis in axes),
        tuple(int(layer.get_attr(f"pad_{side}", 0)) for side in sides),
    )
