"""The SystemVerilog around a generated top: a source or sink at every stream port."""

from __future__ import annotations

from hwsim.build_folder import Manifest, StreamPort

TOP = "hwsim_bench"
"""Name of the wrapper's module."""

# Only these few signals are visible to VPI: public signals cost Verilator its optimizations.
_READABLE = "/*verilator public_flat_rd*/"

_KNOBS = {"go": 1, "idle": 16, "backpressure": 16, "burst": 8, "seed": 32, "watchdog": 32} | {
    "drain": 32,
    "stop": 64,
}
"""Inputs that cocotb sets, and their bits."""


def wrapper(manifest: Manifest) -> str:
    """Return the SystemVerilog of `hwsim_bench`, the top of a simulation.

    Inputs: `clk` and the knobs. Outputs: `done` (the run ended), `stuck` (by the watchdog), `rst`,
    `last_attempt` (no reset will come) and `cycle` (64 bits, from the end of the last reset).
    It needs `cosim/streams.sv`.
    """
    sources, sinks = manifest.inputs, manifest.outputs
    moved = [f"{port}_moved" for port in _ids(manifest)]
    complete = [f"{port}_complete" for port in _ids(manifest)]
    restart = [f"s{n}_restart" for n in range(len(sources))]
    ports = [
        "    input clk",
        *(
            f"    input [{n - 1}:0] {name} /*verilator public_flat_rw*/"
            for name, n in _KNOBS.items()
        ),
        f"    output done {_READABLE}",
        f"    output stuck {_READABLE}",
        "    output rst",
        "    output last_attempt",
        f"    output [63:0] cycle {_READABLE}",
    ]
    lines = [
        f"module {TOP} (",
        ",\n".join(ports),
        ");",
        *(line for n, port in enumerate(sources) for line in _source(n, port)),
        *(line for n, port in enumerate(sinks) for line in _sink(n, port)),
        "  hwsim_control u_control (",
        "      .clk, .go, .watchdog, .drain, .stop, .rst, .done, .stuck, .last_attempt, .cycle,",
        f"      .moved({' | '.join(moved)}),",
        f"      .complete({' | '.join(complete)}),",
        f"      .restart({' | '.join(restart)})",
        "  );",
        *_design(manifest),
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def package(manifest: Manifest) -> str:
    """Return the SystemVerilog package `hwsim_dpi`: word size and imports of `cosim/dpi.cpp`."""
    # One width for all ports, so that a C function has one signature.
    word = max(-(-port.tdata_bits // 32) * 32 for port in manifest.inputs + manifest.outputs)
    return f"""package hwsim_dpi;
  parameter WORD = {word};
  import "DPI-C" function int hwsim_begin();
  import "DPI-C" function int hwsim_source(
      input int port, input int moved, input int want, input longint cycle,
      output bit [{word - 1}:0] word);
  import "DPI-C" function int hwsim_sink(
      input int port, input bit [{word - 1}:0] word, input int last, input longint cycle);
  import "DPI-C" function void hwsim_violation(
      input int port, input int kind, input longint cycle);
endpackage
"""


def _ids(manifest: Manifest) -> list[str]:
    sources = [f"s{n}" for n in range(len(manifest.inputs))]
    return sources + [f"m{n}" for n in range(len(manifest.outputs))]


def _wires(name: str, port: StreamPort) -> list[str]:
    return [
        f"  wire {name}_tvalid, {name}_tready, {name}_tlast, {name}_moved, {name}_complete;",
        f"  wire [{port.tdata_bits - 1}:0] {name}_tdata;",
    ]


def _stream_ports(name: str, rate: str) -> list[str]:
    signals = ("tvalid", "tready", "tdata", "tlast", "moved", "complete")
    wired = ", ".join(f".{signal}({name}_{signal})" for signal in signals)
    return [f"      .clk, .rst, .burst, .seed, .cycle, .rate({rate}),", f"      {wired}"]


def _source(number: int, port: StreamPort) -> list[str]:
    name = f"s{number}"
    body = _stream_ports(name, "idle")
    body[-1] += f", .restart({name}_restart)"
    return [
        *_wires(name, port),
        f"  wire {name}_restart;",
        f"  hwsim_source #(.PORT({number}), .WIDTH({port.tdata_bits})) u_{name} (",
        *body,
        "  );",
    ]


def _sink(number: int, port: StreamPort) -> list[str]:
    name = f"m{number}"
    return [
        *_wires(name, port),
        f"  hwsim_sink #(.PORT({number}), .WIDTH({port.tdata_bits})) u_{name} (",
        *_stream_ports(name, "backpressure"),
        "  );",
    ]


def _design(manifest: Manifest) -> list[str]:
    connections = [f"      .{manifest.clock}(clk)", f"      .{manifest.reset}(rst)"]
    for name, port in zip(_ids(manifest), manifest.inputs + manifest.outputs, strict=True):
        connections += [
            f"      .{port.prefix}_{signal}({name}_{signal})"
            for signal in ("tdata", "tvalid", "tready", "tlast")
        ]
    return [f"  {manifest.top} dut (", ",\n".join(connections), "  );"]
