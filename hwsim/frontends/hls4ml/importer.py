"""The state of one import of an hls4ml model: a Builder that knows hls4ml's tensors by name."""

from __future__ import annotations

from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml.types import Precision, read_precision
from hwsim.frontends.shared.builder import Builder
from hwsim.ops import Op, Stepwise, Window

SIDES = ("top", "left", "bottom", "right")


class LayerBuilder(Builder):
    """A Builder that knows the edge behind each of hls4ml's tensors, and its assignments.

    `stream` says that layers are joined by streams. `paddings` are those of zero paddings that the
    convolution behind them takes in.
    """

    def __init__(self, *, stream: bool) -> None:
        super().__init__()
        self.stream = stream
        self.edges: dict[str, str] = {}
        self.paddings: dict[str, tuple[int, ...]] = {}

    def edge(self, name: str) -> str:
        """The edge that holds hls4ml's tensor `name`."""
        if name in self.paddings:
            raise HwsimError(f"the zero padding {name!r} must be followed by a convolution")
        return self.edges[name]

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
        if not self._is(source, precision):
            source = self.add(name, precision.cast(), source)
        elif self.nodes and self.nodes[-1].output == source:
            renamed = self.rename(source, name)
            held = {tensor: renamed for tensor, edge in self.edges.items() if edge == source}
            self.edges.update(held)
            source = renamed
        self.edges[name] = source


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


def window_of(layer: Any, what: str) -> Window:
    """The window of a convolution (`filt`) or pool (`pool`), of one axis where it has no height."""
    rank = 2 if f"{what}_height" in layer.attributes else 1
    axes, sides = ("height", "width")[-rank:], SIDES if rank == 2 else SIDES[1::2]
    return Window(
        tuple(int(layer.get_attr(f"{what}_{axis}")) for axis in axes),
        tuple(int(layer.get_attr(f"stride_{axis}")) for axis in axes),
        tuple(int(layer.get_attr(f"pad_{side}", 0)) for side in sides),
    )
