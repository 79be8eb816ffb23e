"""A Builder for models whose tensors may lie in other orders than a Graph's edges.

A `TensorBuilder` keeps account of where the elements of each tensor lie, lets ports show edges as
the user has them, and moves codes only where an operator needs another order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.float_steps import PortStep
from hwsim.frontends.shared.arrangement import Arrangement, View, moving, view_of
from hwsim.frontends.shared.builder import Builder
from hwsim.frontends.shared.values import (
    NO_PADDING,
    Codes,
    Level,
    Mean,
    RawInput,
    Source,
    Weighing,
)
from hwsim.graph import Graph, InputPort, OutputPort, user_shape
from hwsim.ops import Cast, Flatten, Relu, Requantize, Reshape, Table, TensorType
from hwsim.ports import channels_first

ELEMENTWISE = Cast | Relu | Requantize | Table


class Rearranged(Exception):
    """An input's port should show its edge in another way, so that no code has to move."""

    def __init__(self, name: str, view: View) -> None:
        super().__init__(name)
        self.name, self.view = name, view


class Gridded(Exception):
    """An input should have one port of so fine a format that several quantizers can follow it."""

    def __init__(self, name: str, format: Format) -> None:
        super().__init__(name)
        self.name, self.format = name, format


Read = Callable[[Mapping[str, View], Mapping[str, Format]], Graph]


def with_views(read: Read) -> Graph:
    """What `read` gives for what its own TensorBuilder asks for by `Rearranged` and `Gridded`."""
    views: dict[str, View] = {}
    grids: dict[str, Format] = {}
    while True:  # at most once more for each input, and for each quantizer of one
        try:
            return read(views, grids)
        except Rearranged as asked:
            views[asked.name] = asked.view
        except Gridded as asked:
            grids[asked.name] = asked.format


class TensorBuilder(Builder):
    """A Builder whose tensors lie on edges in arrangements of their own.

    `views` are how the ports of some inputs have to show their edges, `grids` the formats of those
    that several quantizers read. `made` and `sums` keep what
    was computed once, so that each further reader of the same tensor shares it, and `levels` what
    nothing has rounded as codes. `a_quantizer` is what sentences call the operator that rounds
    reals in the model's framework. With `exact_sums` those in units of a power of two are never
    rounded, however wide they are; otherwise as the runtime's float32 does.
    """

    a_quantizer: ClassVar[str] = "a quantizer"
    exact_sums: ClassVar[bool] = False

    def __init__(
        self,
        source: object = None,
        views: Mapping[str, View] | None = None,
        grids: Mapping[str, Format] | None = None,
    ) -> None:
        super().__init__(source)
        self.views, self.grids = dict(views or {}), dict(grids or {})
        self.made: dict[object, Codes] = {}
        self.sums: dict[Weighing | Mean, str] = {}
        self.levels: dict[Source, Level] = {}
        self.lines: dict[object, Level] = {}

    @property
    def computes_reals(self) -> bool:
        """Whether the model's runtime goes on in float32 with what no quantizer reads."""
        return False

    def input_codes(
        self, raw: RawInput, kind: TensorType, options: Mapping[str, Any], out: str
    ) -> Codes:
        """The codes of a graph input, whose port is made here with `options` as its fields."""
        layout, seen = self._seen(raw)
        kind = replace(kind, shape=layout.physical)
        port = InputPort(
            name=raw.name,
            tensor=out,
            type=kind,
            axes=seen.axes,
            shape=seen.shape,
            steps=raw.steps,
            **options,
        )
        known = self.inputs.get(raw.name)
        if known is None:
            self.input(port)
        elif replace(port, tensor=known.tensor) != known:
            raise HwsimError(
                f"input {raw.name!r} must be quantized in one way, not in several; a quantizer "
                "of its own before it is read or cut makes it one"
            )
        else:
            port = known
        return Codes(port.tensor, kind.format, layout, raw.padding)

    def lying(self, raw: RawInput) -> Arrangement:
        """How an input of the graph will lie on its edge."""
        return self._seen(raw)[0]

    def _seen(self, raw: RawInput) -> tuple[Arrangement, View]:
        """How the port of an input shows its edge, and where the tensor lies on it by now."""
        if raw.name in self.views:
            view = self.views[raw.name]
            return view.holds(raw.plain), view
        wanted = Arrangement.channels_last(raw.plain.shape).physical
        fits = raw.channels_last.physical == wanted or not raw.plain.standard
        if len(raw.channels_last.physical) == 3 and raw.channels_last.standard and fits:
            layout = raw.channels_last
            return layout, View(layout.physical, channels_first(3), None)
        return raw.plain, View(raw.plain.physical, None, None)

    def output(
        self,
        name: str,
        codes: Codes,
        *,
        element: str | None = None,
        reals: tuple[float, ...] | None = None,
        steps: tuple[PortStep, ...] = (),
    ) -> OutputPort:
        """The port that shows codes to the user; they are moved where no port can show them."""
        if codes.padding != NO_PADDING:
            raise HwsimError("a Pad must be followed by a convolution")
        layout = codes.layout
        if layout.standard and layout.shape:
            codes = self.standard(codes, "output")
        elif view_of(layout.walk, layout.physical, layout.shape) is None:
            codes = self.arranged(codes, Arrangement.plain(layout.shape), "output")
        seen = view_of(codes.layout.walk, codes.layout.physical, codes.layout.shape)
        assert seen is not None
        return OutputPort(
            name=name,
            tensor=codes.edge,
            axes=seen.axes,
            shape=seen.shape,
            element=element,
            reals=reals,
            steps=steps,
        )

    def standard(self, codes: Codes, node: object) -> Codes:
        """Codes in the order and shape that operators on `codes.layout.shape` expect."""
        return self.arranged(codes, Arrangement.channels_last(codes.layout.shape), node)

    def arranged(self, codes: Codes, wanted: Arrangement, node: object) -> Codes:
        """Codes in the order and shape of `wanted`, an arrangement of the same tensor.

        A graph input is shown in another way where that is enough (the import begins anew, see
        `Rearranged`); else a Transpose moves the codes.
        """
        if codes.layout.walk.same(wanted.walk):
            same = codes.layout.physical == wanted.physical
            return codes if same else self._reshaped(codes, wanted)
        self._ask_for_view(codes, wanted)
        ops = moving(codes.layout, wanted)
        if ops is None or len(self.types[codes.edge].scales()) > 1:
            raise HwsimError(
                f"{node}: its input must be in the order of its shape {codes.layout.shape}, or a "
                "Transpose away from it (with one scale for all channels)"
            )
        key = (codes.edge, wanted.physical, wanted.walk.key, codes.layout.walk.key)
        if key not in self.made:
            name = f"{codes.edge}.transpose"
            edge = self.chain(name, codes.edge, ops, name)
            self.made[key] = replace(codes, edge=edge, layout=wanted)
        # The same codes may have been moved under another shape, (96, 1) in the place of (1, 96).
        return replace(self.made[key], padding=codes.padding, layout=wanted)

    def _ask_for_view(self, codes: Codes, wanted: Arrangement) -> None:
        """Start anew where the port of a graph input could show its edge in the wanted order."""
        makers, edge = {edge: node for node in self.nodes for edge in node.outputs}, codes.edge
        while edge in makers and isinstance(makers[edge].op, ELEMENTWISE):
            (edge,) = makers[edge].inputs
        port = next((p for p in self.inputs.values() if p.tensor == edge), None)
        if port is None or port.name in self.views:
            return
        user = user_shape(port.type, port)
        now = View(port.type.shape, port.axes, port.shape)
        walk = wanted.walk.after(codes.layout.walk.inverse()).after(now.walk)
        view = view_of(walk, wanted.physical, user)
        if view is not None:
            raise Rearranged(port.name, view)

    def flat(self, codes: Codes) -> Codes:
        """Codes on a one-dimensional edge, in whatever order they lie."""
        if len(codes.layout.physical) == 1:
            return codes
        return self._reshaped(codes, replace(codes.layout, physical=(codes.layout.size,)))

    def _reshaped(self, codes: Codes, layout: Arrangement) -> Codes:
        op = Flatten() if len(layout.physical) == 1 else Reshape(shape=layout.physical)
        for node in self.nodes:  # another reader may have asked for it before
            same = isinstance(node.op, Flatten | Reshape) and node.inputs == (codes.edge,)
            if same and self.types[node.output].shape == layout.physical:
                return replace(codes, edge=node.output, layout=layout)
        edge = self.emit(f"{codes.edge}.{op.kind}", op, [codes.edge], f"{codes.edge}.{op.kind}")
        return replace(codes, edge=edge, layout=layout)
