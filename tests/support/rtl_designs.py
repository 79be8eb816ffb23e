"""Run a whole lowered design in Amaranth's simulator, codes in and codes out."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.graph import Graph
from rtl.design import Design
from rtl.parts.axis import lane_bits
from rtl.plan.depths import with_depths
from rtl.plan.plan import Plan
from support import rtl_bench


class Streams(wiring.Component):
    """A design's AXI4-Stream ports as Amaranth streams of words."""

    def __init__(self, design: Design) -> None:
        self.design = design
        members = {}
        for ports, way in ((design.inputs, In), (design.outputs, Out)):
            for p in ports:
                layout = data.StructLayout({"data": p.beat.lanes * lane_bits(p.beat), "last": 1})
                members[p.prefix] = way(stream.Signature(layout))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.design = design = self.design
        for ports, inward in ((design.inputs, True), (design.outputs, False)):
            for p in ports:
                port = getattr(self, p.prefix)
                pairs = [
                    (getattr(design, f"{p.prefix}_tdata"), port.payload.data),
                    (getattr(design, f"{p.prefix}_tlast"), port.payload.last),
                    (getattr(design, f"{p.prefix}_tvalid"), port.valid),
                ]
                ready = (port.ready, getattr(design, f"{p.prefix}_tready"))
                for inner, outer in [*pairs, ready]:
                    m.d.comb += inner.eq(outer) if inward else outer.eq(inner)
        return m


def simulate(
    graph: Graph,
    plan: Plan,
    codes: Mapping[str, Any],
    *,
    seed: int = 0,
    stall: float = 0.0,
    reset_at: int | None = None,
    design: Design | None = None,
    limit: int = 200_000,
) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Codes of every output (samples, *shape) and the cycle of each of its beats.

    `codes` are (samples, *shape) by input name. FIFO depths come from `plan`; where it has none and
    the graph has joins, the proven ones are used.
    """
    if not plan.fifos:
        plan = with_depths(graph, plan)
    dut = Streams(design or Design(graph, plan))
    count = len(next(iter(codes.values())))
    inputs, outputs = {}, {}
    for p in dut.design.inputs:
        flat = np.asarray(codes[p.name]).reshape(-1).tolist()
        bits, lanes, per = lane_bits(p.beat), p.beat.lanes, p.type.size
        rows = []
        for k in range(0, len(flat), lanes):
            last = (k + lanes) % per == 0
            rows.append(rtl_bench.pack(flat[k : k + lanes], bits) | last << (lanes * bits))
        inputs[getattr(dut, p.prefix)] = rows
    for p in dut.design.outputs:
        outputs[getattr(dut, p.prefix)] = count * p.type.size // p.beat.lanes
    run = rtl_bench.run(
        dut,
        inputs,
        outputs,
        rng=random.Random(seed),
        idle=stall,
        stall=stall,
        reset_at=reset_at,
        limit=limit,
    )
    found, cycles = {}, {}
    for p in dut.design.outputs:
        port = getattr(dut, p.prefix)
        bits, lanes = lane_bits(p.beat), p.beat.lanes
        got = []
        for k, word in enumerate(run.words[port]):
            got += rtl_bench.unpack(word, lanes, bits, p.type.format.signed)
            beats = p.type.size // lanes
            assert word >> (lanes * bits) == int(k % beats == beats - 1), f"last at beat {k}"
        found[p.name] = np.array(got, np.int64).reshape(count, *p.type.shape)
        cycles[p.name] = run.cycles[port]
    return found, cycles
