"""Bulk simulation under cocotb against a plain C++ harness of Verilator, on one design in one run.

    python benchmarks/bulk_simulation.py [FOLDER] [--beats N] [--repeat N] [--json FILE]

FOLDER is any build folder; without one a dense layer of 64 multipliers is used. Both sides stream
the same random codes with 25% pauses on every port, keep each output word, its `tlast` and its
cycle, and must give the same words. The plain harness drives the design's top directly, with no
wrapper, VPI, Python or protocol checks. Rates are cycles per second of processor time in the
simulation's loop, the best of `--repeat` runs that take turns; `whole` is wall time, with the start
of the process and all file work.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from amaranth import Cat, Module, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hwsim.build_folder import Manifest, StreamPort
from rtl.flow import tools, verilog
from rtl.sim.simulate import Simulation, Stall
from rtl.sim.words import Words, pack, word_size

SEED = 20261124
STALL = Stall(idle=0.25, backpressure=0.25, seed=SEED)


class Dense64(wiring.Component):
    """Dense layer 64 -> 8 of signed 8-bit codes on 8 x 8 multipliers, one beat of 8 lanes a cycle.

    Ports: `s_axis_*` (In) and `m_axis_*` (Out), 64-bit `tdata`. A multiplier, a product and an
    accumulator stage, then (sum + 64) >> 7, saturated. Latency 4 cycles after the eighth beat;
    any backpressure stops all stages.
    """

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights  # (8 positions, 8 outputs, 8 lanes)
        super().__init__(
            {
                "s_axis_tdata": In(64),
                "s_axis_tvalid": In(1),
                "s_axis_tlast": In(1),
                "s_axis_tready": Out(1),
                "m_axis_tdata": Out(64),
                "m_axis_tvalid": Out(1),
                "m_axis_tlast": Out(1),
                "m_axis_tready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        octets = (self.weights.astype(np.int64) & 0xFF).reshape(8, 64).tolist()
        rows = [sum(code << 8 * n for n, code in enumerate(row)) for row in octets]
        m.submodules.weights = store = memory.Memory(shape=512, depth=8, init=rows)
        port = store.read_port(domain="comb")
        position, stage1, stage2 = Signal(3), Signal(2), Signal(2)
        go = ~self.m_axis_tvalid | self.m_axis_tready
        m.d.comb += [self.s_axis_tready.eq(go), port.addr.eq(position)]
        with m.If(go):
            m.d.sync += self.m_axis_tvalid.eq(stage2[0] & stage2[1])
            # Bit 0: the stage holds a beat; bit 1: it is a sample's last.
            m.d.sync += [stage1.eq(Cat(self.s_axis_tvalid, position == 7)), stage2.eq(stage1)]
            with m.If(self.s_axis_tvalid):
                m.d.sync += position.eq(position + 1)
        m.d.comb += self.m_axis_tlast.eq(1)
        for unit in range(8):
            products = [Signal(signed(16), name=f"product_{unit}_{n}") for n in range(8)]
            beat_sum, total = Signal(signed(19)), Signal(signed(22))
            with m.If(go):
                for n, product in enumerate(products):
                    x = self.s_axis_tdata.word_select(n, 8).as_signed()
                    w = port.data.word_select(8 * unit + n, 8).as_signed()
                    m.d.sync += product.eq(x * w)
                m.d.sync += beat_sum.eq(sum(products))
                with m.If(stage2[0]):
                    m.d.sync += total.eq(total + beat_sum)
                    with m.If(stage2[1]):
                        m.d.sync += total.eq(0)
                        rounded = Signal(signed(16), name=f"rounded_{unit}")
                        m.d.comb += rounded.eq((total + beat_sum + 64) >> 7)
                        code = self.m_axis_tdata.word_select(unit, 8)
                        m.d.sync += code.eq(rounded)
                        with m.If(rounded > 127):
                            m.d.sync += code.eq(127)
                        with m.If(rounded < -128):
                            m.d.sync += code.eq(-128)
        return m


def write_dense(folder: Path, weights: np.ndarray) -> Path:
    """Write the build folder of `Dense64`."""
    files = verilog.convert_files(Dense64(weights), name="dense64")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    port = {"bits": 8, "signed": True, "lanes": 8, "lane_bits": 8, "scale": [1.0], "zero_point": 0}
    content = {
        "schema": 1,
        "top": "dense64",
        "sources": ["dense64.v"],
        "memories": [name for name in files if name.endswith(".mem")],
        "clock": "clk",
        "reset": "rst",
        "inputs": [{"name": "x", "prefix": "s_axis", "shape": [64]} | port],
        "outputs": [{"name": "y", "prefix": "m_axis", "shape": [8]} | port],
    }
    (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def dense_oracle(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What `Dense64` must give."""
    total = x @ weights.transpose(1, 0, 2).reshape(8, 64).T
    return np.clip((total + 64) >> 7, -128, 127)


HARNESS = """
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>
#include "Vtop.h"
#include "verilated.h"

using Words = std::vector<uint32_t>;

template <class T> void put(T& port, const uint32_t* w) { std::memcpy(&port, w, sizeof(T)); }
template <class T> void get(const T& port, uint32_t* w) { std::memcpy(w, &port, sizeof(T)); }

static Words load(const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    std::fseek(file, 0, SEEK_END);
    Words words(std::ftell(file) / 4);
    std::rewind(file);
    if (std::fread(words.data(), 4, words.size(), file) != words.size()) std::abort();
    std::fclose(file);
    return words;
}

static uint32_t state = 2463534242u;
static bool paused() {
    state ^= state << 13; state ^= state >> 17; state ^= state << 5;
    return (state & 0xFFFF) < @RATE@;
}

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop top(&context);
    uint64_t cycle = 0, outstanding = 0;
@DECLARE@
    top.rst = 1;
    for (int n = 0; n < 8; ++n) { top.clk = n & 1; top.eval(); }
    top.rst = 0;
    const std::clock_t begin = std::clock();
    while (outstanding != 0) {
        context.timeInc(5);
@BEFORE@
        top.clk = 1;
        top.eval();
        context.timeInc(5);
@AFTER@
        top.clk = 0;
        top.eval();
        ++cycle;
    }
    const double taken = double(std::clock() - begin) / CLOCKS_PER_SEC;
@SAVE@
    std::printf("%llu %.9f\\n", (unsigned long long)cycle, taken);
}
"""

_IN = {
    "@DECLARE@": """
    const Words in@N@ = load("s@N@.bin");
    const uint64_t beats@N@ = in@N@.size() / @W@;
    std::vector<uint64_t> accepted@N@(beats@N@);
    uint64_t next@N@ = 0, done@N@ = 0;
    outstanding += beats@N@;""",
    "@BEFORE@": """
        const bool moved_in@N@ = top.@P@_tvalid && top.@P@_tready;""",
    "@AFTER@": """
        if (moved_in@N@) { accepted@N@[done@N@++] = cycle; --outstanding; }
        if (moved_in@N@ || !top.@P@_tvalid) {
            top.@P@_tvalid = next@N@ < beats@N@ && !paused();
            if (top.@P@_tvalid) {
                put(top.@P@_tdata, &in@N@[next@N@++ * @W@]);
                top.@P@_tlast = next@N@ % @B@ == 0;
            }
        }""",
    "@SAVE@": "",
}
_OUT = {
    "@DECLARE@": """
    const uint64_t expected@N@ = @E@;
    Words out@N@(expected@N@ * @W@);
    std::vector<uint64_t> stamp@N@(expected@N@);
    std::vector<uint8_t> last@N@(expected@N@);
    uint64_t taken@N@ = 0;
    outstanding += expected@N@;""",
    "@BEFORE@": """
        if (top.@P@_tvalid && top.@P@_tready && taken@N@ < expected@N@) {
            get(top.@P@_tdata, &out@N@[taken@N@ * @W@]);
            last@N@[taken@N@] = top.@P@_tlast;
            stamp@N@[taken@N@++] = cycle;
            --outstanding;
        }""",
    "@AFTER@": """
        top.@P@_tready = !paused();""",
    "@SAVE@": """
    std::FILE* file@N@ = std::fopen("m@N@.bin", "wb");
    std::fwrite(out@N@.data(), 4, out@N@.size(), file@N@);
    std::fclose(file@N@);""",
}


def harness(manifest: Manifest, samples: int) -> str:
    """Return the plain C++ harness for a design."""
    text = HARNESS.replace("@RATE@", str(int(STALL.idle * 65536)))
    for place in ("@DECLARE@", "@BEFORE@", "@AFTER@", "@SAVE@"):
        parts = [_fill(_IN[place], n, port, samples) for n, port in enumerate(manifest.inputs)]
        parts += [_fill(_OUT[place], n, port, samples) for n, port in enumerate(manifest.outputs)]
        text = text.replace(place, "".join(parts))
    return text


def _fill(text: str, number: int, port: StreamPort, samples: int) -> str:
    name = f"_m{number}" if text in _OUT.values() else f"_s{number}"
    text = text.replace('"s@N@.bin"', f'"s{number}.bin"').replace('"m@N@.bin"', f'"m{number}.bin"')
    values = {"N": name, "P": port.prefix, "W": word_size(port), "B": port.beats}
    for key, value in (values | {"E": samples * port.beats}).items():
        text = text.replace(f"@{key}@", str(value))
    return text


def build_plain(manifest: Manifest, folder: Path, samples: int) -> Path:
    """Compile the plain harness in `folder`; return the program."""
    (folder / "harness.cpp").write_text(harness(manifest, samples), encoding="utf-8")
    for number, path in enumerate(manifest.sources):
        (folder / f"{number}_{path.name}").write_bytes(path.read_bytes())
    flags = "-cc --exe --build -O3 --x-assign fast --x-initial fast --no-assert --no-timing"
    tools.run(
        tools.verilator(),
        *flags.split(),
        *(
            "-Wno-fatal",
            "-Wno-lint",
            "-Wno-style",
            "--prefix",
            "Vtop",
            "-Mdir",
            "obj",
            "-o",
            "plain",
        ),
        *("--top-module", manifest.top),
        *(f"{number}_{path.name}" for number, path in enumerate(manifest.sources)),
        str(folder / "harness.cpp"),
        cwd=folder,
        timeout=1800,
        env=tools.environment(simulate=True) | {"MAKEFLAGS": "OPT_FAST=-O2 OPT_GLOBAL=-O2"},
    )
    for path in manifest.memories:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder / "obj" / "plain"


def run_plain(program: Path, folder: Path) -> tuple[int, float, float]:
    """Run the plain harness; return cycles, processor seconds of its loop, wall seconds."""
    begin = time.perf_counter()
    reply = subprocess.run(
        [program],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    cycles, seconds = reply.stdout.split()
    return int(cycles), float(seconds), time.perf_counter() - begin


def measure(simulation: Simulation, codes: dict[str, np.ndarray], repeat: int) -> dict[str, Any]:
    """Run both sides in turn; return their figures. Raises where their outputs differ."""
    manifest = simulation.manifest
    samples = len(next(iter(codes.values())))
    with tempfile.TemporaryDirectory(prefix="hwsim-bench-") as place:
        folder = Path(place)
        begin = time.perf_counter()
        program = build_plain(manifest, folder, samples)
        builds = {"plain": time.perf_counter() - begin}
        begin = time.perf_counter()
        simulation.build()
        builds["cocotb"] = time.perf_counter() - begin
        for number, port in enumerate(manifest.inputs):
            pack(codes[port.name], port).tofile(folder / f"s{number}.bin")
        rounds: dict[str, list[tuple[int, float, float]]] = {"plain": [], "cocotb": []}
        for _ in range(repeat):
            rounds["plain"].append(run_plain(program, folder))
            begin = time.perf_counter()
            result = simulation.run(codes, stall=STALL)
            whole = time.perf_counter() - begin
            result.check()
            rounds["cocotb"].append((result.simulated_cycles, result.cpu_seconds, whole))
        for number, port in enumerate(manifest.outputs):
            words: Words = np.fromfile(folder / f"m{number}.bin", np.uint32)
            if not (words == pack(result.codes[port.name], port).ravel()).all():
                raise SystemExit(f"the two simulations differ at output {port.name!r}")
    sides = {side: _figures(rows) | {"build_s": builds[side]} for side, rows in rounds.items()}
    ratio = sides["cocotb"]["cycles_per_s"] / sides["plain"]["cycles_per_s"]
    return {**sides, "ratio": ratio, "samples": samples, "outputs_equal": True}


def _figures(rows: list[tuple[int, float, float]]) -> dict[str, Any]:
    return {
        "cycles": rows[-1][0],
        "cycles_per_s": max(cycles / loop for cycles, loop, _ in rows),
        "cycles_per_s_whole": max(cycles / whole for cycles, _, whole in rows),
    }


def conditions() -> dict[str, Any]:
    """Versions, processor and date of a measurement."""
    cpu = Path("/proc/cpuinfo")
    names = cpu.read_text(encoding="utf-8").splitlines() if cpu.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in names if "model name" in line), "")
    compiler = subprocess.run(
        ["g++", "-dumpfullversion"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": {
            "verilator": tools.verilator().version,
            "g++": compiler.stdout.strip(),
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("cocotb", "numpy", "amaranth")},
        },
    }


def main() -> None:
    """Measure, print a line, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="a build folder")
    parser.add_argument("--beats", type=int, default=4_000_000, help="about so many input beats")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory(prefix="hwsim-dense64-") as place:
        weights = rng.integers(-128, 128, (8, 8, 8))
        own = options.folder is None
        simulation = Simulation(write_dense(Path(place), weights) if own else options.folder)
        ports = simulation.manifest.inputs
        samples = max(1, options.beats // max(port.beats for port in ports))
        codes = {
            port.name: rng.integers(*port.limits, (samples, *port.shape), endpoint=True)
            for port in ports
        }
        if own:
            few = {"x": codes["x"][:2000]}
            right = simulation.run(few, stall=STALL).output == dense_oracle(few["x"], weights)
            if not right.all():
                raise SystemExit("the design differs from NumPy")
        figures = measure(simulation, codes, options.repeat)
    figures = {"design": simulation.manifest.top, **figures, **conditions()}
    if options.json is not None:
        draft = options.json.with_name(f".{options.json.name}.draft")
        draft.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        draft.replace(options.json)
    print(
        f"{figures['design']}: plain {figures['plain']['cycles_per_s']:,.0f} cycles/s, cocotb"
        f" {figures['cocotb']['cycles_per_s']:,.0f} cycles/s, ratio {figures['ratio']:.2f}"
        f" (whole process {figures['cocotb']['cycles_per_s_whole']:,.0f} cycles/s)"
    )


if __name__ == "__main__":
    main()
