"""From a Graph and a Plan to a streaming design: a layer a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.float_steps import PortStep
from hwsim.graph import Graph, Node, Port
from hwsim.ops import TensorType
from rtl.flow.instances import PartNames
from rtl.layers.layer import Layer
from rtl.layers.table import check_supported, implementation
from rtl.names import identifiers
from rtl.parts import stream
from rtl.parts.axis import AxisIn, AxisOut, lane_bits
from rtl.parts.fifo import Fifo
from rtl.parts.lanes import Widen
from rtl.parts.stream import Beat, Fork
from rtl.plan.lanes import edge_lanes, fifo_lanes
from rtl.plan.plan import Plan


def prefixes(names: Sequence[str], base: str) -> list[str]:
    """AXI4-Stream prefixes: `base`, or `base_<name>` where there are several ports."""
    if len(names) == 1:
        return [base]
    return [f"{base}_{clean}" for clean in identifiers(names).values()]


@dataclass(frozen=True, slots=True)
class AxisPort:
    """One AXI4-Stream port of a design: the user's port, its prefix, its type and its beat."""

    name: str
    prefix: str
    tensor: str
    type: TensorType
    beat: Beat
    element: str | None = None
    reals: tuple[float, ...] | None = None
    steps: tuple[PortStep, ...] = ()


def axis_ports(graph: Graph, plan: Plan) -> tuple[list[AxisPort], list[AxisPort]]:
    """The AXI4-Stream ports of a Design, inputs and outputs."""
    lanes, types = edge_lanes(graph, plan), graph.types()
    ins = prefixes([p.name for p in graph.inputs], "s_axis")
    outs = prefixes([p.name for p in graph.outputs], "m_axis")

    def port(p: Port, prefix: str) -> AxisPort:
        kind = types[p.tensor]
        beat = Beat.of(lanes[p.tensor], kind.format)
        reals = getattr(p, "reals", None)  # of an output only
        return AxisPort(p.name, prefix, p.tensor, kind, beat, p.element, reals, p.steps)

    return (
        [port(p, prefix) for p, prefix in zip(graph.inputs, ins, strict=True)],
        [port(p, prefix) for p, prefix in zip(graph.outputs, outs, strict=True)],
    )


class Design(wiring.Component):
    """The whole network: AXI4-Stream in and out, one clock `clk`, one synchronous reset `rst`.

    Ports, for each of `inputs` and `outputs` with its prefix: `<prefix>_tdata`, `_tvalid`,
    `_tready`, `_tlast`. Input beats are counted; `tlast` of an input is not looked at. Every edge
    of the graph shows up as signals `edge_<name>_valid`, `_ready`, `_data` and `_last` for a
    waveform.
    """

    def __init__(self, graph: Graph, plan: Plan) -> None:
        check_supported(graph)
        self.graph, self.plan = graph, plan
        self.names = PartNames(graph)
        self.inputs, self.outputs = axis_ports(graph, plan)
        members: dict[str, Any] = {}
        for direction, other, ports in ((In, Out, self.inputs), (Out, In, self.outputs)):
            for p in ports:
                members[f"{p.prefix}_tdata"] = direction(p.beat.lanes * lane_bits(p.beat))
                members[f"{p.prefix}_tvalid"] = direction(1)
                members[f"{p.prefix}_tlast"] = direction(1)
                members[f"{p.prefix}_tready"] = other(1)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        readers = self._readers()
        taps: dict[tuple[str, str], Any] = {}
        for p in self.inputs:
            axis = AxisIn(p.beat, p.type.size // p.beat.lanes)
            m.submodules[self.names.input(p.name)] = axis
            self._wire_axis(m, p, axis)
            self._distribute(m, p.tensor, axis.o, p.beat, readers, taps)
        for node in self.graph.nodes:
            beats = tuple(self._reads(node, index) for index in range(len(node.inputs)))
            layer = self._layer(node, beats)
            m.submodules[self.names.node(node.name)] = layer
            for index in range(len(node.inputs)):
                wiring.connect(m, taps[node.name, str(index)], layer.input(index))
            for index, edge in enumerate(node.outputs):
                self._distribute(m, edge, layer.output(index), self._beat(edge), readers, taps)
        for p in self.outputs:
            axis_out = AxisOut(p.beat)
            m.submodules[self.names.output(p.name)] = axis_out
            wiring.connect(m, taps["", p.name], axis_out.i)
            self._wire_axis(m, p, axis_out)
        return m

    def _beat(self, edge: str) -> Beat:
        lanes = edge_lanes(self.graph, self.plan)[edge]
        return Beat.of(lanes, self.graph.types()[edge].format)

    def _reads(self, node: Node, index: int) -> Beat:
        """The beat that comes to an input of a node, behind its FIFO if it has one."""
        beat = self._beat(node.inputs[index])
        if (node.name, index) not in self.plan.fifos:
            return beat
        return beat.with_lanes(fifo_lanes(self.graph, self.plan, node, index, beat.lanes))

    def _layer(self, node: Node, beats: tuple[Beat, ...]) -> Layer:
        chosen = self.plan.nodes[node.name]
        try:
            return implementation(self.graph, node, chosen).lower(chosen, beats)
        except HwsimError as error:
            raise HwsimError(f"node {node.name!r}: {error}") from None

    def _readers(self) -> dict[str, list[tuple[str, str]]]:
        """Who reads each edge: (node, input index), or ("", output name)."""
        readers: dict[str, list[tuple[str, str]]] = {}
        for node in self.graph.nodes:
            for index, edge in enumerate(node.inputs):
                readers.setdefault(edge, []).append((node.name, str(index)))
        for p in self.outputs:
            readers.setdefault(p.tensor, []).append(("", p.name))
        return readers

    def _distribute(
        self,
        m: Module,
        edge: str,
        source: Any,
        beat: Beat,
        readers: Mapping[str, list[tuple[str, str]]],
        taps: dict[tuple[str, str], Any],
    ) -> None:
        """Show an edge to waveforms and hand it to its readers, by a fork and FIFOs as planned."""
        name = self.names.edges[edge]
        data = Signal(beat.lanes * beat.width, name=f"edge_{name}_data")
        valid, ready = Signal(name=f"edge_{name}_valid"), Signal(name=f"edge_{name}_ready")
        last = Signal(name=f"edge_{name}_last")
        m.d.comb += [
            valid.eq(source.valid),
            ready.eq(source.ready),
            last.eq(source.payload.last),
            data.eq(stream.flat(source.payload)),
        ]
        keys = readers.get(edge, [])
        if not keys:  # an edge that nobody reads is drained
            m.d.comb += source.ready.eq(1)
            return
        ends = [source]
        if len(keys) > 1:
            fork = Fork(beat, len(keys))
            m.submodules[self.names.fork(edge)] = fork
            wiring.connect(m, source, fork.i)
            ends = [fork.o[k] for k in range(len(keys))]
        for (node, index), end in zip(keys, ends, strict=True):
            depth = self.plan.fifos.get((node, int(index))) if node else None
            if depth is not None:
                end = self._held(m, node, int(index), end, beat, depth)
            taps[node, index] = end

    def _held(self, m: Module, node: str, index: int, source: Any, beat: Beat, depth: int) -> Any:
        """What leaves the FIFO in front of an input."""
        reader = self.graph.node(node)
        held = beat.with_lanes(fifo_lanes(self.graph, self.plan, reader, index, beat.lanes))
        fifo: Any = Fifo(held, depth)
        if held.lanes > beat.lanes:
            fifo = Layer((beat,), held, [Widen(beat, held.lanes), fifo])
        m.submodules[self.names.fifo(node, index)] = fifo
        wiring.connect(m, source, fifo.input(0) if isinstance(fifo, Layer) else fifo.i)
        return fifo.o

    def _wire_axis(self, m: Module, p: AxisPort, axis: Any) -> None:
        for signal in ("tdata", "tvalid", "tready", "tlast"):
            inside, outside = getattr(axis, signal), getattr(self, f"{p.prefix}_{signal}")
            inward = (signal == "tready") != isinstance(axis, AxisIn)
            m.d.comb += inside.eq(outside) if inward else outside.eq(inside)
