"""Drive the streams of one component in Amaranth's simulator under random idle and backpressure."""

from __future__ import annotations

import gc
import random
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from amaranth.hdl import ClockDomain, Module, Signal, UnusedElaboratable
from amaranth.lib import data
from amaranth.sim import Simulator

from hwsim.errors import HwsimError

Beats = list[tuple[tuple[int, ...], int]]  # (codes, last) of each beat


@dataclass(slots=True)
class Run:
    """The payload words that left each output port; the cycle of each hand-over at any port."""

    words: dict[Any, list[int]] = field(default_factory=dict)
    cycles: dict[Any, list[int]] = field(default_factory=dict)


def pack(values: Sequence[int], width: int) -> int:
    """Codes as one vector, lane 0 lowest."""
    return sum((v & ((1 << width) - 1)) << (k * width) for k, v in enumerate(values))


def unpack(word: int, lanes: int, width: int, is_signed: bool) -> tuple[int, ...]:
    """The inverse of `pack`."""
    codes = [(word >> (k * width)) & ((1 << width) - 1) for k in range(lanes)]
    return tuple(c - (1 << width) if is_signed and c >> (width - 1) else c for c in codes)


def words(beats: Beats, layout: Any) -> list[int]:
    """Beats as the bits of their payload."""
    return [pack(c, layout.width) | last << (layout.lanes * layout.width) for c, last in beats]


def beats_of(codes: Sequence[int], lanes: int) -> Beats:
    """One tensor's codes, `lanes` a beat, `last` on the final one."""
    assert len(codes) % lanes == 0
    rows = [tuple(codes[k : k + lanes]) for k in range(0, len(codes), lanes)]
    return [(row, int(k == len(rows) - 1)) for k, row in enumerate(rows)]


def run(
    dut: Any,
    inputs: Mapping[Any, Sequence[int]],
    outputs: Mapping[Any, int],
    *,
    rng: random.Random,
    idle: float = 0.0,
    stall: float = 0.0,
    reset_at: int | None = None,
    limit: int = 20_000,
    surplus: int = 12,
) -> Run:
    """Feed payload words to input streams and gather the asked number from output streams.

    Keys are the stream interfaces of `dut`. With `reset_at`, the reset is raised for one cycle then
    and all inputs start again from their first word; only what follows is returned. Fails on a
    stream that changes its offer, on surplus output, and after `limit` cycles.
    """
    top = Module()  # some parts have no register: the domain is made here
    top.domains.sync = domain = ClockDomain()
    top.submodules.dut = dut
    sources = [(s, Signal.cast(s.payload), list(w)) for s, w in inputs.items()]
    sinks = [(s, data_bits(s.payload), n) for s, n in outputs.items()]
    got: list[list[int]] = [[] for _ in sinks]
    when: list[list[int]] = [[] for _ in sinks]
    taken: list[list[int]] = [[] for _ in sources]

    async def bench(ctx: Any) -> None:
        sent = [0] * len(sources)
        offered = [False] * len(sources)
        promised: list[int | None] = [None] * len(sinks)
        rest, cycle = surplus, 0
        while rest or (reset_at is not None and cycle <= reset_at):
            if all(len(g) >= n for g, (_, _, n) in zip(got, sinks, strict=True)):
                rest = max(rest - 1, 0)
            assert cycle < limit, f"no end after {limit} cycles: {[len(g) for g in got]} beats"
            for k, (port, bits, ws) in enumerate(sources):
                offered[k] = offered[k] or (sent[k] < len(ws) and rng.random() >= idle)
                ctx.set(port.valid, offered[k])
                ctx.set(bits, ws[sent[k]] if offered[k] else rng.getrandbits(len(bits)))
            ready = [rng.random() >= stall for _ in sinks]
            for (port, _, _), r in zip(sinks, ready, strict=True):
                ctx.set(port.ready, r)
            resetting = cycle == reset_at
            ctx.set(domain.rst, resetting)
            for k, (port, bits, n) in enumerate(sinks):
                valid, word = ctx.get(port.valid), ctx.get(bits)
                if promised[k] is not None:
                    assert valid and word == promised[k], f"offer changed at cycle {cycle}"
                promised[k] = word if valid and not ready[k] else None
                if valid and ready[k]:
                    got[k].append(word)
                    when[k].append(cycle)
                    assert len(got[k]) <= n or resetting or reset_at is not None, "surplus output"
            for k, (port, _, _) in enumerate(sources):
                if offered[k] and ctx.get(port.ready):
                    sent[k] += 1
                    taken[k].append(cycle)
                    offered[k] = False
            if resetting:
                rest = surplus
                sent, offered = [0] * len(sources), [False] * len(sources)
                promised = [None] * len(sinks)
                for log in (*got, *when, *taken):
                    log.clear()
            await ctx.tick()
            cycle += 1

    sim = Simulator(top)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    result = Run()
    for (port, _, n), g, w in zip(sinks, got, when, strict=True):
        assert len(g) == n, f"{len(g)} beats out, {n} expected"
        result.words[port], result.cycles[port] = g, w
    for (port, _, _), t in zip(sources, taken, strict=True):
        result.cycles[port] = t
    return result


def refused(build: Callable[[], Any], text: str) -> None:
    """Assert that `build` raises HwsimError with exactly `text`, and silence what is left of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        with pytest.raises(HwsimError, match=f"^{re.escape(text)}$"):
            build()
        gc.collect()  # the half-made component warns when it goes


def data_bits(payload: Any) -> Any:
    """A payload as plain bits."""
    return payload.as_value() if isinstance(payload, data.View) else payload
