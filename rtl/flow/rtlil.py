"""Amaranth component to RTLIL: Amaranth's own text, written faster where memories are large.

Amaranth makes an object of every bit that a memory holds, several times over; here the content
becomes text at once. `tests/rtl/flow/test_rtlil.py` holds the two texts equal.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Fragment
from amaranth.hdl._ast import SignalDict, Value, ValueCastable
from amaranth.hdl._ir import PortDirection, build_netlist
from amaranth.lib import wiring


def convert(component: Any, *, name: str, ports: Sequence[Any] | None = None) -> str:
    """The RTLIL of a component as `amaranth.back.rtlil.convert` writes it; `name` is the top's.

    `ports` is needed only where `component` is no `wiring.Component`.
    """
    with _collector_paused():
        found = _ports(component) if ports is None else ports
        netlist = build_netlist(Fragment.get(component, None), ports=found, name=name)
        empty = rtlil.EmptyModuleChecker(netlist)
        text, names = rtlil.Design(emit_src=True), SignalDict()
        for index, module in enumerate(netlist.modules):
            if empty.is_empty(index):
                continue
            part = text.module(".".join(module.name), src_loc=module.src_loc)
            if index == 0:
                part.attribute("top", 1)
            _Emitter(part, netlist, module, names, empty_checker=empty).emit()
        return str(text)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A netlist is millions of objects and hardly a cycle: looking for cycles takes a third."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _ports(component: Any) -> dict[str, Any]:
    """The ports of a component's signature, with their directions."""
    found = {}
    for path, member, port in component.signature.flatten(component):
        value = port.as_value() if isinstance(port, ValueCastable) else port
        if isinstance(value, Value):
            way = PortDirection.Input if member.flow == wiring.In else PortDirection.Output
            found["__".join(map(str, path))] = (value, way)
    return found


class _Emitter(rtlil.ModuleEmitter):
    """Amaranth's writer of one module, but for memories."""

    def emit_memory(self, cell_idx: int, cell: Any) -> None:
        memory, mask = self.memories[cell_idx], (1 << cell.width) - 1
        rows = [format(row & mask, f"0{cell.width}b") for row in reversed(cell.init)]
        self.builder.cell(
            "$meminit_v2",
            ports={
                "ADDR": self.sigspec(),
                "DATA": f"{cell.width * len(rows)}'{''.join(rows)}",
                "EN": f"{cell.width}'{'1' * cell.width}",
            },
            parameters={
                "MEMID": memory.memid,
                "ABITS": 0,
                "WIDTH": cell.width,
                "WORDS": cell.depth,
                "PRIORITY": 0,
            },
            src_loc=cell.src_loc,
        )
