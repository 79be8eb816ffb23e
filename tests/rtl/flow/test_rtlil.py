"""Our RTLIL is Amaranth's own, letter by letter; a design is elaborated once for both netlists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from amaranth import Module, signed
from amaranth.back import rtlil as amaranth_rtlil
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from support import cases

from rtl.design import Design
from rtl.flow import rtlil, verilog
from rtl.plan.depths import with_depths
from rtl.plan.search import plan_for_cycles

SOME = [case for k, case in enumerate(cases.BUILT) if k % 9 == 0]


class Rom(wiring.Component):
    """A read-only memory of signed words."""

    def __init__(self, words: list[int]) -> None:
        self.words = words
        super().__init__({"address": In(3), "word": Out(signed(5))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.store = store = memory.Memory(shape=signed(5), depth=8, init=self.words)
        port = store.read_port()
        m.d.comb += [port.addr.eq(self.address), self.word.eq(port.data)]
        return m


def design(case: cases.Case, cycles: int) -> Design:
    graph = case.graph()
    return Design(graph, with_depths(graph, plan_for_cycles(graph, cycles)))


@pytest.mark.parametrize("cycles", [1 << 40, 1])
@pytest.mark.parametrize("case", SOME, ids=lambda case: case.id)
def test_the_text_of_a_design_is_amaranths(case, cycles):
    made = design(case, cycles)
    assert rtlil.convert(made, name="top") == amaranth_rtlil.convert(made, name="top")


@pytest.mark.parametrize("words", [[], [1, -1, -16, 15], [-3] * 8])
def test_the_text_of_a_memory_is_amaranths(words):
    rom = Rom(words)
    text = rtlil.convert(rom, name="top")
    assert text == amaranth_rtlil.convert(rom, name="top")
    assert text != rtlil.convert(Rom([2, *words[1:]]), name="top")


def test_ports_given_by_name_are_used():
    rom = Rom([4, 5])
    ports = [rom.address, rom.word]
    assert rtlil.convert(rom, name="top", ports=ports) == amaranth_rtlil.convert(
        rom, name="top", ports=ports
    )


@contextmanager
def elaborations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    seen: list[object] = []
    elaborate = Design.elaborate

    def counted(self: Design, platform: object) -> Module:
        seen.append(self)
        return elaborate(self, platform)

    monkeypatch.setattr(Design, "elaborate", counted)
    yield seen


def test_both_netlists_come_from_one_elaboration(monkeypatch):
    made = design(next(case for case in cases.BUILT if case.id == "dense-plain"), 1 << 40)
    with elaborations(monkeypatch) as seen:
        flat, readable = verilog.convert_both(made, name="top")
    assert len(seen) == 1
    assert flat == verilog.convert_files(made, name="top")
    assert readable == verilog.convert_files(made, name="top", readable=True)
    assert flat != readable
