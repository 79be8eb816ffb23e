"""Small hand-written AXI4-Stream designs for the tests of the simulator, and their build folders.

`Faulty` breaks one rule at a time, as its second input asks, so that one compiled simulator serves
all tests of the protocol checks. Nothing here comes from the RTL generator.
"""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any

from amaranth import C, Cat, Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from rtl.flow import verilog


class Fault(enum.IntEnum):
    """What `Faulty` does wrong while its `fault` input holds this code."""

    NONE = 0
    DROP_VALID = 1
    CHANGE_DATA = 2
    LOSE_BEAT = 3  # swallows a beat that comes while the one before it waits
    NO_LAST = 4
    EARLY_LAST = 5
    DEADLOCK = 6
    SURPLUS = 7
    BAD_EXTENSION = 8
    KEEP_STATE = 9  # a register that the reset does not clear
    UNSET = 10  # codes depend on a register without an initial value
    WRONG_CODE = 11


def axis(prefix: str, tdata_bits: int, *, sender: bool) -> dict[str, Any]:
    """Members of a Component for one AXI4-Stream port."""
    forth, back = (Out, In) if sender else (In, Out)
    return {
        f"{prefix}_tdata": forth(tdata_bits),
        f"{prefix}_tvalid": forth(1),
        f"{prefix}_tlast": forth(1),
        f"{prefix}_tready": back(1),
    }


class Faulty(wiring.Component):
    """y = 3 * x + 1 for x of shape (2, 2, 3), unsigned 5 bits, 3 lanes; a fault for each sample.

    Inputs: `x` (s_axis), `fault` (s_axis_fault, shape (1,), unsigned 4 bits). Outputs: `y` (m_axis,
    unsigned 7 bits, 3 lanes), `echo` (m_axis_echo, the fault). One register stage; a sample starts
    when its fault code is there. The input `unset` becomes a register when the folder is written.
    """

    BEATS = 4

    def __init__(self) -> None:
        super().__init__(
            axis("s_axis", 24, sender=False)
            | axis("s_axis_fault", 8, sender=False)
            | axis("m_axis", 24, sender=True)
            | axis("m_axis_echo", 8, sender=True)
            | {"unset": In(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fault, armed, beat = Signal(4), Signal(), Signal(2)
        hidden, repeat, stale = Signal(), Signal(), Signal(reset_less=True)
        self._echo(m, fault, armed)

        last = beat == self.BEATS - 1
        waits = self.m_axis_tvalid & ~self.m_axis_tready
        room = ~waits & ~hidden & ~repeat
        swallow = waits & (fault == Fault.LOSE_BEAT) & (beat == 2)
        stuck = (fault == Fault.DEADLOCK) & (beat == 2)
        take = self.s_axis_tvalid & self.s_axis_tready
        m.d.comb += self.s_axis_tready.eq(armed & (room | swallow) & ~stuck)

        with m.If(~waits):
            m.d.sync += [self.m_axis_tvalid.eq(hidden | repeat), hidden.eq(0), repeat.eq(0)]
        with m.If(take):
            m.d.sync += beat.eq(beat + 1)
            with m.If(room):
                m.d.sync += [
                    self.m_axis_tvalid.eq(1),
                    self.m_axis_tdata.eq(self._codes(fault, last, stale)),
                    self.m_axis_tlast.eq(
                        Mux(fault == Fault.EARLY_LAST, beat == 1, last & (fault != Fault.NO_LAST))
                    ),
                ]
            with m.If(last):
                m.d.sync += [armed.eq(0), stale.eq(1), repeat.eq(fault == Fault.SURPLUS)]
        with m.If(waits & (fault == Fault.DROP_VALID)):
            m.d.sync += [self.m_axis_tvalid.eq(0), hidden.eq(1)]
        with m.If(waits & (fault == Fault.CHANGE_DATA)):
            m.d.sync += self.m_axis_tdata.eq(self.m_axis_tdata ^ 1)
        return m

    def _codes(self, fault: Signal, last: Any, stale: Signal) -> Any:
        parts = []
        flips = [
            (fault == Fault.KEEP_STATE) & stale,
            (fault == Fault.WRONG_CODE) & last,
            (fault == Fault.UNSET) & self.unset,
        ]
        for lane, flip in enumerate(flips):
            code = (3 * self.s_axis_tdata[8 * lane : 8 * lane + 5] + 1)[:7]
            parts += [code ^ flip, Mux(fault == Fault.BAD_EXTENSION, C(1, 1), C(0, 1))]
        return Cat(*parts)

    def _echo(self, m: Module, fault: Signal, armed: Signal) -> None:
        m.d.comb += self.s_axis_fault_tready.eq(~armed & ~self.m_axis_echo_tvalid)
        with m.If(self.m_axis_echo_tvalid & self.m_axis_echo_tready):
            m.d.sync += self.m_axis_echo_tvalid.eq(0)
        with m.If(self.s_axis_fault_tvalid & self.s_axis_fault_tready):
            m.d.sync += [
                armed.eq(1),
                fault.eq(self.s_axis_fault_tdata),
                self.m_axis_echo_tdata.eq(self.s_axis_fault_tdata),
                self.m_axis_echo_tlast.eq(1),
                self.m_axis_echo_tvalid.eq(1),
            ]


class Dot(wiring.Component):
    """Dot product of 16 signed 8-bit codes, 4 lanes, with weights in a memory.

    Input `x` (s_axis, shape (16,)), output `y` (m_axis, shape (1,), signed 20 bits in 24). An
    accumulator and a position in a memory make it sensitive to lost, doubled and stale beats.
    """

    def __init__(self, weights: list[int]) -> None:
        self.weights = weights
        super().__init__(axis("s_axis", 32, sender=False) | axis("m_axis", 24, sender=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = [
            sum((w & 0xFF) << 8 * n for n, w in enumerate(self.weights[k : k + 4]))
            for k in range(0, 16, 4)
        ]
        m.submodules.weights = store = memory.Memory(shape=32, depth=4, init=rows)
        port = store.read_port(domain="comb")
        total, position = Signal(signed(20)), Signal(2)
        room = ~self.m_axis_tvalid | self.m_axis_tready
        products = [
            self.s_axis_tdata.word_select(n, 8).as_signed()
            * port.data.word_select(n, 8).as_signed()
            for n in range(4)
        ]
        m.d.comb += [port.addr.eq(position), self.s_axis_tready.eq(room)]
        with m.If(room):
            m.d.sync += self.m_axis_tvalid.eq(0)
        with m.If(self.s_axis_tvalid & room):
            m.d.sync += [total.eq(total + sum(products)), position.eq(position + 1)]
            with m.If(position == 3):
                m.d.sync += [
                    total.eq(0),
                    self.m_axis_tdata.eq(total + sum(products)),
                    self.m_axis_tvalid.eq(1),
                    self.m_axis_tlast.eq(1),
                ]
        return m


def port(name: str, prefix: str, shape: list[int], bits: int, **more: Any) -> dict[str, Any]:
    """A port's entry in the manifest."""
    signed_, lanes = more.get("signed", False), more.get("lanes", 1)
    return {
        "name": name,
        "prefix": prefix,
        "shape": shape,
        "bits": bits,
        "signed": signed_,
        "lanes": lanes,
        "lane_bits": -(-bits // 8) * 8,
        "scale": [1.0],
        "zero_point": 0,
    }


def write_manifest(
    folder: Path,
    top: str,
    *,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    memories: tuple[str, ...] = (),
    readable: tuple[str, ...] = (),
) -> None:
    """Write `manifest.json` beside `<top>.v`."""
    content = {
        "schema": 1,
        "top": top,
        "sources": [f"{top}.v"],
        "memories": list(memories),
        "sources_readable": list(readable),
        "clock": "clk",
        "reset": "rst",
        "inputs": inputs,
        "outputs": outputs,
    }
    (folder / "manifest.json").write_text(json.dumps(content))


def write_faulty(folder: Path) -> Path:
    """Write the build folder of `Faulty`."""
    text = verilog.convert(Faulty(), name="faulty")
    # Amaranth initializes every register; this one must not be.
    header, body = text.split(";", 1)
    assert ", unset" in header or "unset, " in header
    header = header.replace(", unset", "", 1).replace("unset, ", "", 1)
    assert "  input unset;\n  wire unset;\n" in body
    body = body.replace("  input unset;\n  wire unset;\n", "  reg unset;\n")
    (folder / "faulty.v").write_text(f"{header};{body}")
    write_manifest(
        folder,
        "faulty",
        inputs=[
            port("x", "s_axis", [2, 2, 3], 5, lanes=3),
            port("fault", "s_axis_fault", [1], 4),
        ],
        outputs=[
            port("y", "m_axis", [2, 2, 3], 7, lanes=3),
            port("echo", "m_axis_echo", [1], 4),
        ],
    )
    return folder


def write_dot(folder: Path, weights: list[int]) -> Path:
    """Write the build folder of `Dot`, with its memory in a file and a readable Verilog."""
    files = verilog.convert_files(Dot(weights), name="dot")
    files["dot_readable.v"] = verilog.convert(Dot(weights), name="dot", readable=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    write_manifest(
        folder,
        "dot",
        inputs=[port("x", "s_axis", [16], 8, signed=True, lanes=4)],
        outputs=[port("y", "m_axis", [1], 20, signed=True)],
        memories=tuple(name for name in files if name.endswith(".mem")),
        readable=("dot_readable.v",),
    )
    return folder
