"""A shell of byte-wide AXI4-Streams around a design whose ports outnumber a package's pins.

Each stream of the design becomes one of 8 data bits with the same bytes in the same order, lane 0
first, so that 11 pins carry a stream of any width; a beat of n bytes then takes n cycles.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.errors import HwsimError
from rtl.flow import verilog
from rtl.parts.lanes import Narrow, Widen
from rtl.parts.stream import Beat
from rtl.targets import Port

_BYTE = Beat(1, 8, False)
_DATA = "_tdata"


def narrowed(ports: Sequence[Port]) -> tuple[Port, ...]:
    """Return the ports of the shell of a design with these ports."""
    return tuple(
        Port(port.name, 8, port.is_input) if port.name.endswith(_DATA) else port for port in ports
    )


def placed(ports: Sequence[Port], pins: int) -> tuple[Port, ...]:
    """Return the ports that go on a package's pins: the design's own, or else its shell's."""
    few = sum(port.width for port in ports) <= pins
    return tuple(ports) if few else narrowed(ports)


def wrap(top: str, ports: Sequence[Port], *, name: str, clock: str, reset: str) -> str:
    """Return the Verilog of a module `name` around `top`, with the parts that it needs.

    Raises HwsimError where `ports` are not one clock, one reset and AXI4-Streams of whole bytes.
    """
    kinds = {port.name: port for port in ports}
    streams = [port for port in ports if port.name.endswith(_DATA)]
    prefixes = {port.name.removesuffix(_DATA): port for port in streams}
    known = {clock, reset} | {
        prefix + suffix for prefix in prefixes for suffix in (_DATA, "_tvalid", "_tready", "_tlast")
    }
    wide = [port for port in streams if port.width % 8]
    if set(kinds) != known or wide:
        odd = sorted(set(kinds) ^ known) or [wide[0].name]
        raise HwsimError(
            f"a design with more ports than the package has pins must have only {clock}, {reset}"
            f" and AXI4-Streams of whole bytes, not {', '.join(odd)}"
        )
    outside = ", ".join(_declare(port) for port in narrowed(ports))
    lines = [f"module {name}({outside});"]
    connect = [f".{clock}({clock})", f".{reset}({reset})"]
    sizes = {True: set[int](), False: set[int]()}
    for prefix, port in prefixes.items():
        connect += [f".{prefix}{suffix}(i_{prefix}{suffix})" for suffix in _SUFFIXES]
        sizes[port.is_input].add(port.width // 8)
        lines += _converter(prefix, port, clock, reset)
    lines += [f"  {top} design ({', '.join(connect)});", "endmodule", ""]
    parts = [
        verilog.convert(part(size), name=f"hwsim_shell_{word}_{size}")
        for is_input, word, part in ((True, "widen", _widen), (False, "narrow", _narrow))
        for size in sorted(sizes[is_input])
    ]
    return "\n".join([*lines, *parts])


_SUFFIXES = (_DATA, "_tvalid", "_tready", "_tlast")


def _widen(size: int) -> Widen:
    return Widen(_BYTE, size)


def _narrow(size: int) -> Narrow:
    return Narrow(_BYTE.with_lanes(size), 1)


def _declare(port: Port) -> str:
    direction = "input" if port.is_input else "output"
    return f"{direction} {port.name}" if port.width == 1 else f"{direction} [7:0] {port.name}"


def _converter(prefix: str, port: Port, clock: str, reset: str) -> list[str]:
    """The wires of one stream of the design, and the part between them and the pins."""
    word, size = ("widen" if port.is_input else "narrow"), port.width // 8
    outer, inner = prefix, f"i_{prefix}"
    source, sink = (outer, inner) if port.is_input else (inner, outer)
    return [
        f"  wire [{port.width - 1}:0] {inner}_tdata;",
        f"  wire {inner}_tvalid, {inner}_tready, {inner}_tlast;",
        f"  hwsim_shell_{word}_{size} {prefix}_bytes (.clk({clock}), .rst({reset}),",
        f"    .i__payload({{{source}_tlast, {source}_tdata}}), .i__valid({source}_tvalid),",
        f"    .i__ready({source}_tready), .o__payload({{{sink}_tlast, {sink}_tdata}}),",
        f"    .o__valid({sink}_tvalid), .o__ready({sink}_tready));",
    ]
