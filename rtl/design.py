"""From a Graph and a Plan to a streaming design: a layer a node, one rule an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow, Rounding
from hwsim.forms.adders import SumForm, WeightedSum
from hwsim.forms.requantizers import Output
from hwsim.graph import Graph, Node, Port
from hwsim.ops import (
    Add,
    ArgMax,
    AvgPool,
    BatchNorm,
    Cast,
    Concat,
    Conv2D,
    Dense,
    Divide,
    Flatten,
    MaxPool,
    Op,
    Relu,
    Requantize,
    Reshape,
    ScaledAdd,
    Stepwise,
    Table,
    TensorType,
    Transpose,
    Weighted,
    Window,
)
from rtl.flow.instances import PartNames
from rtl.layers.cost import held_format
from rtl.layers.rescale import add_form, rescaler
from rtl.names import identifiers
from rtl.parts import pointwise, reduce, stream, window
from rtl.parts.axis import AxisIn, AxisOut, lane_bits
from rtl.parts.fifo import Fifo
from rtl.parts.lanes import Lanes
from rtl.parts.permute import Permute
from rtl.parts.products import Fold, Replay, StepRule, SumOfProducts
from rtl.parts.requantizer import Requantizer
from rtl.parts.stream import Beat, Fork, Slice
from rtl.plan.depths import edge_lanes
from rtl.plan.search import NodePlan, Plan, is_free, term_order


@dataclass(frozen=True, slots=True)
class Site:
    """Where a rule builds: the node, its plan, the types around it and the beats that reach it."""

    node: Node
    plan: NodePlan
    inputs: tuple[TensorType, ...]
    out: TensorType
    beats: tuple[Beat, ...]

    def beat(self, index: int = 0) -> Beat:
        """The plan's lanes of codes of one input."""
        return self.beats[index].with_lanes(self.plan.lanes)


class Layer(wiring.Component):
    """One node's hardware: a head that takes all inputs, then parts in series.

    Ports: `i[0..n-1]` (In), streams of `beats`; `o` (Out), a stream of `out`. Each part takes what
    the one before it gives; backpressure goes through them.
    """

    def __init__(
        self, beats: Sequence[Beat], out: Beat, parts: Sequence[Any], head: Any = None
    ) -> None:
        self.beats, self.out, self.parts, self.head = tuple(beats), out, list(parts), head
        ports = {"i": In(beats[0].stream).array(1)} if len(beats) == 1 else {}
        if len(beats) > 1:
            ports = {f"i{k}": In(beat.stream) for k, beat in enumerate(beats)}
        super().__init__({**ports, "o": Out(out.stream)})

    def input(self, index: int) -> Any:
        """The port of one input."""
        return self.i[0] if len(self.beats) == 1 else getattr(self, f"i{index}")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.head is None:
            source = wiring.flipped(self.input(0))
        else:
            m.submodules.head = self.head
            for k in range(len(self.beats)):
                wiring.connect(m, wiring.flipped(self.input(k)), self.head.input(k))
            source = self.head.o
        for k, part in enumerate(self.parts):
            m.submodules[f"{type(part).__name__.lower()}_{k}"] = part
            wiring.connect(m, source, part.i)
            source = part.o
        wiring.connect(m, source, wiring.flipped(self.o))
        return m


class Gathered(wiring.Component):
    """Inputs of a join brought to one number of lanes, then joined or interleaved by `part`.

    Ports: `i0`, `i1`, ... (In), streams of `beats`; `o` (Out), the stream of `part`, whose own
    inputs are `ports`.
    """

    def __init__(self, beats: Sequence[Beat], lanes: int, part: Any, ports: Sequence[Any]) -> None:
        self.beats, self.lanes, self.part, self.ports = tuple(beats), lanes, part, list(ports)
        super().__init__(
            {
                **{f"i{k}": In(beat.stream) for k, beat in enumerate(beats)},
                "o": Out(part.signature.members["o"].signature),
            }
        )

    def input(self, index: int) -> Any:
        """The port of one input."""
        return getattr(self, f"i{index}")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.part = self.part
        for k, (beat, port) in enumerate(zip(self.beats, self.ports, strict=True)):
            lanes = Lanes(beat, self.lanes)
            m.submodules[f"lanes_{k}"] = lanes
            wiring.connect(m, wiring.flipped(self.input(k)), lanes.i)
            wiring.connect(m, lanes.o, port)
        wiring.connect(m, self.part.o, wiring.flipped(self.o))
        return m


Rule = Callable[[Site], Layer]


def lower_weighted(site: Site) -> Layer:
    """Windows (serial or parallel), replay, and the folded sums."""
    op, x, fold = site.node.op, site.inputs[0], site.plan.fold
    assert isinstance(op, Weighted) and fold is not None
    weights, bias, rule = _constants(op, x)
    order = term_order(op, x)
    products = SumOfProducts(
        fmt=x.format,
        out=site.out.format,
        weight=held_format(op, x),
        fold=fold,
        weights=_by_group(op, weights if order is None else weights[list(order)]),
        bias=bias,
        rule=rule,
    )
    shape_window = op.window if isinstance(op, Conv2D) else Window((1, 1))
    if site.plan.parallel_window:
        parts = _parallel(site, op, fold, shape_window)
    else:
        lanes = fold.group_lanes * fold.simd
        parts = [Lanes(site.beats[0], lanes)]
        if fold.output_folds > 1 and not _moves(shape_window):
            # The next vector gathers here while the present one is replayed.
            parts.append(Fifo(products.in_beat, fold.group_folds * fold.term_folds))
        if _moves(shape_window):
            parts.append(
                window.SerialWindow(
                    site.beats[0].with_lanes(lanes),
                    x.shape,
                    shape_window,
                    pad_code=op.zero_point,
                    blocks=fold.group_folds,
                )
            )
    if fold.output_folds > 1:
        parts.append(Replay(products.in_beat, fold.term_folds, fold.output_folds))
    return Layer(site.beats, products.out_beat, [*parts, products])


def _constants(op: Weighted, x: TensorType) -> tuple[Any, Any, StepRule | None]:
    """Weights and biases as the accumulator takes them, and its rule if it has steps."""
    if not isinstance(op.accumulator, Stepwise):
        weights, bias, _ = op.aligned(x)
        return weights, bias, None
    steps = op.steps(x)
    rule = StepRule(acc=op.accumulator, drop=steps.drop, ordered=not is_free(op, x))
    return steps.weights, steps.bias, rule


def _parallel(site: Site, op: Weighted, fold: Fold, shape_window: Window) -> list[Any]:
    """A whole window a beat, dealt out in the order of the fold."""
    x, order = site.inputs[0], term_order(op, site.inputs[0])
    pixel = site.beats[0].with_lanes(x.channels)
    parts: list[Any] = [Lanes(site.beats[0], x.channels)]
    if _moves(shape_window):
        parts.append(window.ParallelWindow(pixel, x.shape, shape_window, pad_code=op.zero_point))
    per_group = x.channels // fold.groups
    deals = []
    for group_fold in range(fold.group_folds):
        for term_fold in range(fold.term_folds):
            lanes = []
            for g in range(fold.group_lanes):
                group = group_fold * fold.group_lanes + g
                for s in range(fold.simd):
                    term = term_fold * fold.simd + s
                    place, channel = divmod(term if order is None else order[term], per_group)
                    lanes.append(place * x.channels + group * per_group + channel)
            deals.append(tuple(lanes))
    whole = pixel.with_lanes(x.channels * shape_window.size)
    return [*parts, window.Deal(whole, tuple(deals))]


def _moves(shape_window: Window) -> bool:
    """Whether a window is more than the pixel itself."""
    return shape_window != Window((1, 1))


def _by_group(op: Weighted, weights: Any) -> Any:
    """Weights as (groups, terms, outputs of a group)."""
    groups = op.groups if isinstance(op, Conv2D) else 1
    return weights.reshape(len(weights), groups, -1).transpose(1, 0, 2)


def lower_pool(site: Site) -> Layer:
    """Windows, then a running maximum or sum; a window over the whole map needs no line memory."""
    op, x = site.node.op, site.inputs[0]
    assert isinstance(op, MaxPool | AvgPool)
    beat, lanes = site.beat(), site.plan.lanes
    largest = isinstance(op, MaxPool)
    parts: list[Any] = [Lanes(site.beats[0], lanes)]
    whole_map = op.window.kernel == x.shape[:2] and not any(op.window.padding)
    zero = 0 if isinstance(op, MaxPool) else op.zero_point
    if not whole_map:
        pad = x.format.min if isinstance(op, MaxPool) else zero
        parts.append(window.SerialWindow(beat, x.shape, op.window, pad_code=pad))
    out, overflow = Beat.of(lanes, site.out.format), Overflow.WRAP
    if isinstance(op, AvgPool) and isinstance(op.accumulator, Stepwise):
        acc = op.accumulator
        overflow = acc.overflow
        parts.append(
            pointwise.caster(
                lanes, src=x.format, dst=acc.format, rounding=acc.rounding, overflow=overflow
            )
        )
        beat = out
    parts.append(
        reduce.Reduce(
            beat,
            out,
            positions=op.window.size,
            channel_beats=x.channels // lanes,
            combine=reduce.Combine.MAX if largest else reduce.Combine.SUM,
            initial=-op.window.size * zero,
            overflow=overflow,
        )
    )
    return Layer(site.beats, out, parts)


def lower_rescaled(site: Site) -> Layer:
    """Each code times a constant: the cheapest integer form that is equal on the proven range."""
    x = site.inputs[0]
    found = rescaler(site.node.op, x)
    assert found is not None
    form, period = found
    part = Requantizer(
        form, lanes=site.plan.lanes, channels=period, in_format=x.format, in_range=(x.lo, x.hi)
    )
    return _map(site, part)


def lower_transpose(site: Site) -> Layer:
    """A memory of two tensors."""
    op, x = site.node.op, site.inputs[0]
    assert isinstance(op, Transpose)
    beat = site.beats[0].with_lanes(1)
    return Layer(site.beats, beat, [Lanes(site.beats[0], 1), Permute(beat, x.shape, op.axes)])


def lower_cast(site: Site) -> Layer:
    """A shift, its rounding and its overflow."""
    op, x = site.node.op, site.inputs[0]
    assert isinstance(op, Cast)
    part = pointwise.caster(
        site.plan.lanes, src=x.format, dst=op.out, rounding=op.rounding, overflow=op.overflow
    )
    return _map(site, part)


def lower_relu(site: Site) -> Layer:
    """Two comparisons."""
    op, x = site.node.op, site.inputs[0]
    assert isinstance(op, Relu)
    top = x.format.max if op.maximum is None else op.maximum
    return _map(site, pointwise.clipper(site.plan.lanes, fmt=x.format, lo=op.zero_point, hi=top))


def lower_table(site: Site) -> Layer:
    """A read-only memory a lane."""
    op, x = site.node.op, site.inputs[0]
    assert isinstance(op, Table)
    values = op.values.tolist()
    return _map(site, pointwise.Lookup(values, site.plan.lanes, in_format=x.format, out=op.out))


def _map(site: Site, part: Any) -> Layer:
    out = Beat.of(site.plan.lanes, site.out.format)
    return Layer(site.beats, out, [Lanes(site.beats[0], site.plan.lanes), part])


def lower_move(site: Site) -> Layer:
    """Row-major order is the stream's own order: nothing to do."""
    return Layer(site.beats, site.beats[0], [])


def lower_argmax(site: Site) -> Layer:
    """One code at a time against the best so far."""
    x, out = site.inputs[0], Beat.of(1, site.out.format)
    part = reduce.ArgMax(site.beats[0].with_lanes(1), x.channels, site.out.format)
    return Layer(site.beats, out, [Lanes(site.beats[0], 1), part])


def lower_add(site: Site) -> Layer:
    """Pairs of codes, their binary points aligned, added at full precision."""
    ma, mb = (1 << (site.out.format.frac_bits - x.format.frac_bits) for x in site.inputs)
    out = Output(format=site.out.format)
    form = WeightedSum(ma=ma, mb=mb, r=0, shift=0, rounding=Rounding.TRN, out=out)
    return _add(site, form)


def lower_scaled_add(site: Site) -> Layer:
    """Pairs of codes through the cheapest form that agrees on all of them."""
    op = site.node.op
    assert isinstance(op, ScaledAdd)
    form = add_form(op, *site.inputs)
    if form is None:
        raise HwsimError("a scaled add must have an integer form that agrees on all pairs of codes")
    return _add(site, form)


def _add(site: Site, form: SumForm) -> Layer:
    a, b = site.inputs
    part = pointwise.Adder(form, site.plan.lanes, a_format=a.format, b_format=b.format)
    head = Gathered(site.beats, site.plan.lanes, part, [part.a, part.b])
    return Layer(site.beats, part.target, [], head)


def lower_concat(site: Site) -> Layer:
    """Blocks of channels from each input in turn."""
    out = site.beat()
    blocks = [x.channels // site.plan.lanes for x in site.inputs]
    part = stream.Concat(out, blocks)
    head = Gathered(site.beats, site.plan.lanes, part, [part.i[k] for k in range(len(blocks))])
    return Layer(site.beats, out, [Slice(out)], head)


RULES: Mapping[type[Op], Rule] = {
    Add: lower_add,
    ArgMax: lower_argmax,
    AvgPool: lower_pool,
    BatchNorm: lower_rescaled,
    Cast: lower_cast,
    Concat: lower_concat,
    Conv2D: lower_weighted,
    Dense: lower_weighted,
    Divide: lower_rescaled,
    Flatten: lower_move,
    MaxPool: lower_pool,
    Relu: lower_relu,
    Requantize: lower_rescaled,
    Reshape: lower_move,
    ScaledAdd: lower_scaled_add,
    Table: lower_table,
    Transpose: lower_transpose,
}


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


def axis_ports(graph: Graph, plan: Plan) -> tuple[list[AxisPort], list[AxisPort]]:
    """The AXI4-Stream ports of a Design, inputs and outputs."""
    lanes, types = edge_lanes(graph, plan), graph.types()
    ins = prefixes([p.name for p in graph.inputs], "s_axis")
    outs = prefixes([p.name for p in graph.outputs], "m_axis")

    def port(p: Port, prefix: str) -> AxisPort:
        kind = types[p.tensor]
        beat = Beat.of(lanes[p.tensor], kind.format)
        reals = getattr(p, "reals", None)  # of an output only
        return AxisPort(p.name, prefix, p.tensor, kind, beat, p.element, reals)

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
            beats = tuple(self._beat(edge) for edge in node.inputs)
            layer = self._layer(node, beats)
            m.submodules[self.names.node(node.name)] = layer
            for index in range(len(node.inputs)):
                wiring.connect(m, taps[node.name, str(index)], layer.input(index))
            self._distribute(m, node.output, layer.o, self._beat(node.output), readers, taps)
        for p in self.outputs:
            axis_out = AxisOut(p.beat)
            m.submodules[self.names.output(p.name)] = axis_out
            wiring.connect(m, taps["", p.name], axis_out.i)
            self._wire_axis(m, p, axis_out)
        return m

    def _beat(self, edge: str) -> Beat:
        lanes = edge_lanes(self.graph, self.plan)[edge]
        return Beat.of(lanes, self.graph.types()[edge].format)

    def _layer(self, node: Node, beats: tuple[Beat, ...]) -> Layer:
        rule = RULES.get(type(node.op))
        if rule is None:
            raise HwsimError(f"node {node.name!r}: operator {node.op.kind} has no hardware")
        types = self.graph.input_types(node)
        site = Site(node, self.plan.nodes[node.name], types, self.graph.types()[node.output], beats)
        try:
            return rule(site)
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
                fifo = Fifo(beat, depth)
                m.submodules[self.names.fifo(node, int(index))] = fifo
                wiring.connect(m, end, fifo.i)
                end = fifo.o
            taps[node, index] = end

    def _wire_axis(self, m: Module, p: AxisPort, axis: Any) -> None:
        for signal in ("tdata", "tvalid", "tready", "tlast"):
            inside, outside = getattr(axis, signal), getattr(self, f"{p.prefix}_{signal}")
            inward = (signal == "tready") != isinstance(axis, AxisIn)
            m.d.comb += inside.eq(outside) if inward else outside.eq(inside)


def constant_bits(graph: Graph) -> int:
    """Bits of all weights and biases, for a look at what memories must hold."""
    total = 0
    for node in graph.nodes:
        if isinstance(node.op, Weighted):
            total += int(np.prod(node.op.weights.shape)) * node.op.weight_format.width
    return total
