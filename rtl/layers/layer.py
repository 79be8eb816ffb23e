"""The component of one node: its inputs brought together, then parts in series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.parts.stream import Beat


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

    def output(self, index: int) -> Any:
        """The port of one output; there is one."""
        return (self.o,)[index]

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


class Dealt(wiring.Component):
    """One node's hardware with several outputs: parts in series, then one that fans out.

    Ports: `i` (In), a stream of `beat`; `o0`, `o1`, ... (Out), streams of the last part's outputs
    `o[0..n-1]`.
    """

    def __init__(self, beat: Beat, parts: Sequence[Any], outputs: Sequence[Beat]) -> None:
        self.parts, self.outputs = list(parts), tuple(outputs)
        made = {f"o{k}": Out(out.stream) for k, out in enumerate(outputs)}
        super().__init__({"i": In(beat.stream), **made})

    def input(self, index: int) -> Any:
        """The port of one input; there is one."""
        return (self.i,)[index]

    def output(self, index: int) -> Any:
        """The port of one output."""
        return getattr(self, f"o{index}")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        source = wiring.flipped(self.i)
        for k, part in enumerate(self.parts):
            m.submodules[f"{type(part).__name__.lower()}_{k}"] = part
            wiring.connect(m, source, part.i)
            source = part.o
        for k in range(len(self.outputs)):
            wiring.connect(m, source[k], wiring.flipped(self.output(k)))
        return m


class Gathered(wiring.Component):
    """Inputs of a join brought to beats that fit, then joined or interleaved by `part`.

    Ports: `i0`, `i1`, ... (In), streams of `beats`; `o` (Out), the stream of `part`, whose own
    inputs are `ports`. `ways` are the parts in series that each input goes through first.
    """

    def __init__(
        self, beats: Sequence[Beat], ways: Sequence[Sequence[Any]], part: Any, ports: Sequence[Any]
    ) -> None:
        self.beats, self.ways, self.part, self.ports = tuple(beats), ways, part, list(ports)
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
        for k, (way, port) in enumerate(zip(self.ways, self.ports, strict=True)):
            source = wiring.flipped(self.input(k))
            for part in way:
                m.submodules[f"{type(part).__name__.lower()}_{k}"] = part
                wiring.connect(m, source, part.i)
                source = part.o
            wiring.connect(m, source, port)
        wiring.connect(m, self.part.o, wiring.flipped(self.o))
        return m
