"""Synthesis and bitstreams: counts, timing, what does not fit, and the byte-wide shell."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from support.seeds import seeded

from hwsim.errors import HwsimError
from rtl.flow import cells, nextpnr, shell, synth, tools, yosys
from rtl.flow.clock import parse_clock
from rtl.flow.workplace import ToolLog, Workplace
from rtl.targets import TARGETS, Port, ecp5, find_target, lpf

PLACES = pytest.mark.needs("yosys", "nextpnr-ecp5", "ecppack")
SYNTHESIZES = pytest.mark.needs("yosys")

# A multiply-accumulate whose weights come from a memory file: one DSP, one block RAM.
MAC = """
module mac(input clk, input rst, input signed [7:0] x, output reg signed [23:0] y);
  reg signed [7:0] weights [0:1023]; initial $readmemh("weights.mem", weights);
  reg [9:0] at; reg signed [7:0] w, a; reg signed [15:0] p;
  always @(posedge clk) begin
    at <= rst ? 0 : at + 1; w <= weights[at]; a <= x; p <= w * a; y <= rst ? 0 : y + p;
  end
endmodule
"""
WIDE = """
module wide(input clk, input rst,
  input [159:0] s_axis_tdata, input s_axis_tvalid, output s_axis_tready, input s_axis_tlast,
  output reg [159:0] m_axis_tdata, output reg m_axis_tvalid, input m_axis_tready,
  output reg m_axis_tlast);
  assign s_axis_tready = !m_axis_tvalid | m_axis_tready;
  integer k;
  always @(posedge clk) begin
    if (s_axis_tready) begin
      m_axis_tvalid <= s_axis_tvalid; m_axis_tlast <= s_axis_tlast;
      for (k = 0; k < 20; k = k + 1) m_axis_tdata[8*k +: 8] <= s_axis_tdata[8*k +: 8] + k;
    end
    if (rst) m_axis_tvalid <= 0;
  end
endmodule
"""


@pytest.fixture
def mac(tmp_path: Path) -> list[Path]:
    """The sources of `MAC`."""
    rng = random.Random(seeded(3))
    words = "\n".join(f"{rng.randrange(256):02x}" for _ in range(1024))
    (tmp_path / "weights.mem").write_text(words)
    (tmp_path / "mac.v").write_text(MAC)
    return [tmp_path / "mac.v", tmp_path / "weights.mem"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


# --- targets and clocks


@pytest.mark.parametrize(
    ("text", "mhz"),
    [
        ("50MHz", 50.0),
        ("12.5 MHz", 12.5),
        ("80e6", 80.0),
        ("20ns", 50.0),
        (" 48mhz ", 48.0),
        ("100 kHz", 0.1),
        ("25000000 Hz", 25.0),
        ("0.1us", 10.0),
        (".5GHz", 500.0),
        ("1e3 MHz", 1000.0),
    ],
)
def test_a_clock_is_a_frequency_or_a_period(text: str, mhz: float) -> None:
    assert parse_clock(text) == mhz


@pytest.mark.parametrize(
    "text",
    ["", "fast", "MHz", "50", "0MHz", "-5MHz", "nan", "inf", "nanMHz", "1e400", "0ns", "0x32MHz"],
)
def test_a_clock_that_cannot_be_read_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(HwsimError) as caught:
        parse_clock(text)
    assert str(caught.value) == (
        "clock must be a frequency such as 50MHz or a period such as 20ns,"
        f" from 0.01 to 1000 MHz, not {text!r}"
    )


def test_a_number_is_no_clock_since_it_has_no_unit() -> None:
    with pytest.raises(HwsimError, match=r"such as 50MHz or .*, not 50$"):
        parse_clock(50)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("ecp5", " (did you mean ecp5-25k?)"), ("XC7", " (did you mean xc7?)"), ("zynq", "")],
)
def test_an_unknown_target_names_the_known_ones(name: str, hint: str) -> None:
    with pytest.raises(HwsimError) as caught:
        find_target(name)
    known = "ecp5-25k, ecp5-85k, xc7, xcup"
    assert str(caught.value) == f"target must be one of {known}, not {name!r}{hint}"


# --- counts


def test_cells_are_counted_as_the_vendors_count_them() -> None:
    lattice = {"LUT4": 10, "CCU2C": 3, "TRELLIS_DPR16X4": 2, "TRELLIS_FF": 7, "PFUMX": 4}
    assert cells.count(lattice | {"MULT18X18D": 5, "DP16KD": 6}, ecp5.FAMILY) == (
        {"lut": 10 + 3 * 2 + 2 * 6, "ff": 7, "dsp": 5, "bram": 6},
        {"PFUMX": 4},
    )
    xilinx = {"LUT2": 1, "LUT6": 2, "SRL16E": 3, "RAM64M": 1, "INV": 9, "FDRE": 5, "FDSE": 1}
    assert cells.count(
        xilinx | {"DSP48E1": 2, "RAMB36E1": 1, "RAMB18E1": 3}, TARGETS["xc7"].family
    ) == (
        {"lut": 1 + 2 + 3 + 4, "ff": 6, "dsp": 2, "bram": 3},
        {},
    )


def test_a_design_that_does_not_fit_names_each_resource_and_the_device_that_has_it() -> None:
    used = {"lut": 24289, "ff": 100, "dsp": 30, "bram": 56, "io": 20}
    with pytest.raises(HwsimError) as caught:
        nextpnr.check_fit(TARGETS["ecp5-25k"], used)
    assert str(caught.value) == (
        "the design must fit ecp5-25k (LFE5U-25F-6BG381), not need 24289 lut of 24288 (1 too many)"
        " and 30 dsp of 28 (2 too many); ecp5-85k has enough"
    )
    assert caught.value.exit_status == 1
    nextpnr.check_fit(TARGETS["ecp5-25k"], used | {"lut": 24288, "dsp": 28})
    nextpnr.check_fit(TARGETS["xc7"], used)
    nodes = {"a": {"dsp": 1}, "b": {"dsp": 20}, "c": {"dsp": 0}, "": {"dsp": 9}}
    with pytest.raises(nextpnr.TooLarge, match=r"; most dsp: 'b' 20, 'a' 1$") as too_large:
        nextpnr.check_fit(TARGETS["ecp5-25k"], used | {"lut": 9}, nodes)
    assert too_large.value.used["dsp"] == 30


@SYNTHESIZES
@pytest.mark.parametrize(("target", "bram"), [("ecp5-25k", 1), ("xc7", 0), ("xcup", 0)])
def test_synthesis_alone_counts_a_multiplier_and_a_memory(
    target: str, bram: int, mac: list[Path]
) -> None:
    """Yosys puts this memory of 8 kbit into LUTs on Xilinx devices."""
    used = synth.synthesize(mac, "mac", target)
    assert (used.dsp, used.bram, used.io) == (1, bram, 34)
    assert used.estimate
    assert used.bitstream is None
    assert used.timing_met is None
    assert used.lut >= 10
    assert used.tools.keys() == used.seconds.keys() == {"yosys"}
    json.dumps(used.to_dict())


@SYNTHESIZES
def test_too_many_multipliers_are_refused_before_placement(out: Path) -> None:
    ports = "".join(f", input signed [7:0] a{k}" for k in range(30))
    sums = "".join(
        f" reg signed [15:0] p{k}; always @(posedge clk) p{k} <= a{k} * b;" for k in range(30)
    )
    total = " ^ ".join(f"p{k}" for k in range(30))
    text = f"""module many(input clk, input signed [7:0] b{ports}, output reg [15:0] y);
      {sums} always @(posedge clk) y <= {total}; endmodule"""
    source = write(out.parent, "many.v", text)
    with pytest.raises(HwsimError, match=r"not need 30 dsp of 28 \(2 too many\)") as caught:
        synth.synthesize(source, "many", "ecp5-25k")
    assert caught.value.exit_status == 1


MULTIPLIERS = """
module mults(input [17:0] a, input [17:0] b, output [36:0] su, output [35:0] ss, output [35:0] uu,
             output [15:0] s8);
  assign su = $signed({1'b0, a}) * $signed(b);
  assign ss = $signed(a) * $signed(b);
  assign uu = a * b;
  assign s8 = $signed(a[7:0]) * $signed(b[7:0]);
endmodule
"""
A_MODEL = ", ".join(f"A{k}" for k in reversed(range(18)))
B_MODEL = A_MODEL.replace("A", "B")
C_MODEL = A_MODEL.replace("A", "C")
P_MODEL = ", ".join(f"P{k}" for k in reversed(range(36)))
# Lattice FPGA-TN-02205: each operand is signed where its SIGNED input is high.
MULT18X18D = f"""
module MULT18X18D(input {A_MODEL}, {B_MODEL}, {C_MODEL}, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
                  output {P_MODEL});
  wire signed [36:0] a = {{{{19{{SIGNEDA & A17}}}}, {A_MODEL}}};
  wire signed [36:0] b = {{{{19{{SIGNEDB & B17}}}}, {B_MODEL}}};
  wire signed [36:0] p = a * b;
  assign {{{P_MODEL}}} = p[35:0];
endmodule
"""


@SYNTHESIZES
@pytest.mark.parametrize("mutant", [False, True], ids=["as synthesized", "mutant"])
def test_multipliers_of_either_sign_become_one_dsp_and_stay_exact(
    mutant: bool, tmp_path: Path, seed: int
) -> None:
    write(tmp_path, "mults.v", MULTIPLIERS)
    model = MULT18X18D.replace("SIGNEDB & B17", "B17") if mutant else MULT18X18D
    write(tmp_path, "model.v", model)
    found = yosys.synthesize(tmp_path, ["mults.v"], "mults", ecp5.FAMILY, "netlist.json")
    assert found == {"MULT18X18D": 4}

    rng = random.Random(seed)
    edges = [0, 1, 2**17 - 1, 2**17, 2**18 - 1]
    pairs = [(a, b) for a in edges for b in edges]
    pairs += [(rng.getrandbits(18), rng.getrandbits(18)) for _ in range(30)]
    evals = "; ".join(
        f"tee -q -a out.txt eval -set a {a} -set b {b} -show su -show ss -show uu -show s8"
        for a, b in pairs
    )
    script = (
        "read_json netlist.json; delete =MULT18X18D; read_verilog model.v;"
        f" hierarchy -top mults; proc; flatten; opt_clean; {evals}"
    )
    tools.run(tools.yosys(), "-q", "-p", script, cwd=tmp_path, timeout=120)
    lines = [s for s in (tmp_path / "out.txt").read_text().splitlines() if s.startswith("Eval")]
    got = [int(line.rsplit("'", 1)[1].rstrip("."), 2) for line in lines]

    def signed(value: int, bits: int) -> int:
        low = value % (1 << bits)
        return low - (1 << bits) if low >> (bits - 1) else low

    want = []
    for a, b in pairs:
        sa, sb = signed(a, 18), signed(b, 18)
        want += [a * sb % 2**37, sa * sb % 2**36, a * b, signed(a, 8) * signed(b, 8) % 2**16]
    assert len(got) == len(want)
    assert (got == want) is not mutant


# --- constraints

ONE = (Port("clk", 1, True), Port("d", 2, True), Port("q", 1, False))


def test_ports_without_a_pins_file_take_pins_of_their_own_and_the_clock_a_clock_pin() -> None:
    text = ecp5.constraints(ONE, "clk", 12.5)
    assert 'LOCATE COMP "clk" SITE "G2";' in text
    assert 'LOCATE COMP "d[1]" SITE "P2";' in text
    assert text.endswith('FREQUENCY PORT "clk" 12.5 MHZ;\n')
    sites = [line.split('"')[3] for line in text.splitlines() if line.startswith("LOCATE")]
    assert len(sites) == len(set(sites)) == 4


def located(**sites: str) -> str:
    return "".join(f'LOCATE COMP "{port}" SITE "{site}";\n' for port, site in sites.items())


@pytest.mark.parametrize(
    ("pins", "clock", "message"),
    [
        (
            located(clk="G2", q="P1"),
            "clk",
            "the pins file must locate every port, and lacks d[0], d[1]",
        ),
        (
            located(clk="G2", q="P1", **{"d[0]": "P2", "d[1]": "P1"}),
            "clk",
            "the pins file must give each port its own pin, not P1 to both d[1] and q",
        ),
        (None, "clock", "the clock must be an input of one bit, not 'clock'"),
        (None, "q", "the clock must be an input of one bit, not 'q'"),
    ],
)
def test_pins_that_do_not_fit_the_ports_are_refused(
    pins: str | None, clock: str, message: str
) -> None:
    with pytest.raises(HwsimError) as caught:
        ecp5.constraints(ONE, clock, 50, pins)
    assert str(caught.value) == message


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b'FREQUENCY PORT "clk" 5 MHZ;\n'])
def test_a_pins_file_that_cannot_be_read_or_locates_nothing_is_refused(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "board.lpf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HwsimError, match=r"the pins file '.*board.lpf' must "):
        lpf.read_pins(path)


# --- bitstreams


@PLACES
def test_a_bitstream_meets_its_clock_on_the_users_pins(mac: list[Path], out: Path) -> None:
    names = ["clk", "rst"] + [f"x[{k}]" for k in range(8)] + [f"y[{k}]" for k in range(24)]
    sites = ["G2", *reversed(ecp5.CABGA381.free)]
    pins = write(out.parent, "board.lpf", located(**dict(zip(names, sites, strict=False))))
    said: list[str] = []
    used = synth.bitstream(
        mac, "mac", "ecp5-25k", clock_mhz=50, out_dir=out, pins=pins, log=said.append
    )
    assert sorted(path.name for path in out.iterdir()) == ["logs", "mac.bit", "mac.lpf"]
    assert used.logs == ("logs/nextpnr-1.json", "logs/nextpnr-1.log", "logs/yosys.log")
    assert all((out / name).stat().st_size > 1000 for name in used.logs)
    assert "Max frequency" in (out / "logs/nextpnr-1.log").read_text()
    assert "synth_ecp5 -top mac" in (out / "logs/yosys.log").read_text()
    assert used.bitstream == out / "mac.bit"
    assert b"Part: LFE5U-25F-6CABGA381" in used.bitstream.read_bytes()[:200]
    assert pins.read_text() in (out / "mac.lpf").read_text()
    assert (used.dsp, used.bram, used.io, used.shell) == (1, 1, 34, False)
    assert (used.fits, used.pins, used.suggested_clock_mhz) == (True, "given", None)
    assert not used.estimate
    assert used.timing_met
    assert used.fmax_mhz.keys() == {"clk"}
    assert used.fmax_mhz["clk"] >= 50
    assert "ns" in used.critical_path
    assert [text.split()[0] for text in said] == ["synthesizing", "placing", "writing"]
    assert used.tools.keys() == used.seconds.keys() == {"yosys", "nextpnr-ecp5", "ecppack"}


@PLACES
def test_a_clock_that_is_missed_says_by_how_much_and_leaves_the_logs_and_no_bitstream(
    mac: list[Path], out: Path
) -> None:
    with pytest.raises(synth.Unmet) as caught:
        synth.bitstream(mac, "mac", "ecp5-25k", clock_mhz=500, out_dir=out)
    assert caught.value.exit_status == 1
    used = caught.value.used
    assert (used.timing_met, used.fits, used.bitstream, used.dsp) == (False, True, None, 1)
    text = str(caught.value)
    assert text.startswith("the design must run at 500 MHz on ecp5-25k, not at ")
    reached = float(text.split("not at ")[1].split(",")[0])
    assert f"{500 - reached:.1f} MHz too slow (best of 1 try; slowest path: " in text
    assert sorted(path.name for path in out.iterdir()) == ["logs", "mac.lpf"]
    assert sorted(path.name for path in (out / "logs").iterdir()) == [
        "nextpnr-1.json", "nextpnr-1.log", "yosys.log",
    ]  # fmt: skip
    slower = used.suggested_clock_mhz
    assert slower is not None and 0.9 * reached < slower < reached
    assert text.endswith(f"; {slower:g} MHz should fit")
    again = synth.bitstream(mac, "mac", "ecp5-25k", clock_mhz=slower, out_dir=out)
    assert again.timing_met and again.bitstream == out / "mac_pins_not_chosen.bit"


def _placement(seed: int, mhz: float) -> nextpnr.Placement:
    return nextpnr.Placement(seed, {}, {"clk": mhz, "fast": 400.0}, f"path of {seed}")


@pytest.mark.parametrize(
    ("reached", "seed"),
    [([100.0], 1), ([99.9, 101.0], 2), ([86.0, 85.0, 100.5], 3)],
)
def test_seeds_are_tried_until_one_meets_the_clock(
    reached: list[float], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _meet(reached, monkeypatch).seed == seed


@pytest.mark.parametrize(
    ("reached", "tries", "best"),
    [([84.0, 100.0], "1 try", 1), ([99.0, 99.5, 98.0, 200.0], "3 tries", 2)],
)
def test_a_missed_clock_reports_the_best_seed_and_gives_up_early_when_far_off(
    reached: list[float], tries: str, best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HwsimError) as caught:
        _meet(reached, monkeypatch)
    miss = 100 - reached[best - 1]
    assert f"{miss:.1f} MHz too slow (best of {tries}; slowest path: path of {best})" in str(
        caught.value
    )


def _meet(reached: list[float], monkeypatch: pytest.MonkeyPatch) -> nextpnr.Placement:
    fake = tools.Tool("nextpnr-ecp5", (), "0", tools.Origin.PATH)
    monkeypatch.setattr(tools, "find", lambda _: fake)
    monkeypatch.setattr(nextpnr, "run", lambda *_, seed, parts: _placement(seed, reached[seed - 1]))
    work = Workplace(Path(), [])
    steps = ToolLog(None)
    return synth._meet(work, TARGETS["ecp5-25k"], "x.lpf", 100.0, synth.SEEDS, steps)


NEXTPNR_FULL = """Info: Device utilisation:
Info: \t          TRELLIS_IO:      36/    197    18%
Info: \t          TRELLIS_FF:     690/  24288     2%
Info: \t        TRELLIS_COMB:   24290/  24288   100%
Info: \t        TRELLIS_RAMW:       0/   3036     0%

ERROR: Unable to place cell 'x', no BELs remaining to implement cell type 'TRELLIS_COMB'
"""


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (NEXTPNR_FULL, "not need 24290 lut of 24288 (2 too many); ecp5-85k has enough"),
        (
            NEXTPNR_FULL.replace("24290", "24200").replace(
                "Unable to place cell 'x', no BELs",
                "Unable to find legal placement for all cells, design is probably at limit",
            ),
            "room to place its cells, and fills it too far: 24200 of 24288 lut, 690 of 24288 ff,",
        ),
        ("ERROR: something else", "something else"),
    ],
)
def test_a_failed_placement_names_the_resource(
    log: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is nextpnr's of a design that was too large, with other numbers."""
    script = f"open('nextpnr.log', 'w').write({log!r}); raise SystemExit({log.splitlines()[-1]!r})"
    fake = tools.Tool(
        "nextpnr-ecp5", (shutil.which("python3") or "", "-c", script), "0", tools.Origin.PATH
    )
    monkeypatch.setattr(tools, "find", lambda _: fake)
    with pytest.raises(HwsimError) as caught:
        nextpnr.run(tmp_path, "n.json", "x.lpf", TARGETS["ecp5-25k"], seed=1)
    assert message in str(caught.value)
    assert caught.value.exit_status == 1


@PLACES
def test_a_design_with_more_ports_than_pins_is_built_in_a_byte_wide_shell(out: Path) -> None:
    source = write(out.parent, "wide.v", WIDE)
    used = synth.bitstream(source, "wide", "ecp5-85k", clock_mhz=50, out_dir=out)
    assert sorted(p.name for p in out.iterdir()) == [
        "logs", "wide.lpf", "wide_pins_not_chosen.bit", "wide_shell.v",
    ]  # fmt: skip
    assert used.pins == "not chosen"
    assert used.shell
    assert used.io == 24
    assert used.ff > 160


BENCH = """
module bench(input clk, output reg [15:0] good, output reg bad);
  reg [15:0] noise = 16'hACE1; reg [3:0] age = 0; reg [11:0] sent = 0, taken = 0;
  wire rst = age < 3; wire s_ready, m_valid, m_last; wire [7:0] m_data;
  wire s_valid = !rst & held | noise[3]; reg held = 0;
  function [7:0] byte_of(input [11:0] n); byte_of = n * 7 + (n >> 5); endfunction
  wide_shell dut(.clk(clk), .rst(rst), .s_axis_tdata(byte_of(sent)), .s_axis_tvalid(s_valid),
    .s_axis_tready(s_ready), .s_axis_tlast(sent % 60 == 59), .m_axis_tdata(m_data),
    .m_axis_tvalid(m_valid), .m_axis_tready(noise[7]), .m_axis_tlast(m_last));
  wire [7:0] want = byte_of(taken) + taken % 20;
  initial begin good = 0; bad = 0; end
  always @(posedge clk) begin
    noise <= {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};
    if (rst) age <= age + 1;
    held <= s_valid & !s_ready;
    if (!rst & s_valid & s_ready) sent <= sent + 1;
    if (!rst & m_valid & noise[7]) begin
      taken <= taken + 1; good <= good + 1;
      if (m_data != want | m_last != (taken % 60 == 59)) bad <= 1;
    end
  end
endmodule
"""


@SYNTHESIZES
@pytest.mark.parametrize(
    ("old", "new", "bad"),
    [
        ("", "", 0),
        ("s_axis_tlast, s_axis_tdata", "s_axis_tlast, s_axis_tdata ^ 8'd1", 1),
        ("s_axis_tlast, s_axis_tdata", "~s_axis_tlast, s_axis_tdata", 1),
        ("+ k", "+ 19 - k", 1),
    ],
    ids=["as written", "mutant: a bit", "mutant: last", "mutant: lanes reversed"],
)
def test_the_shell_carries_the_same_bytes_in_the_same_order(
    old: str, new: str, bad: int, tmp_path: Path
) -> None:
    write(tmp_path, "wide.v", WIDE)
    ports = yosys.read_ports(tmp_path, ["wide.v"], "wide")
    text = shell.wrap("wide", ports, name="wide_shell", clock="clk", reset="rst") + WIDE
    assert old in text
    write(tmp_path, "all.v", (text.replace(old, new, 1) if old else text) + BENCH)
    script = (
        "read_verilog -sv all.v; hierarchy -top bench; proc; flatten; opt; memory;"
        " sim -q -clock clk -n 700 -zinit -w; write_json after.json"
    )
    tools.run(tools.yosys(), "-q", "-p", script, cwd=tmp_path, timeout=120)
    nets = json.loads((tmp_path / "after.json").read_text())["modules"]["bench"]["netnames"]
    after = {name: int(nets[name]["attributes"]["init"], 2) for name in ("good", "bad")}
    assert after["bad"] == bad
    assert after["good"] >= 240  # of at most 350: m_ready is low in half of the cycles


@SYNTHESIZES
def test_a_wide_design_with_other_ports_is_refused_by_their_names(out: Path) -> None:
    text = WIDE.replace("input rst,", "input rst, input [7:0] mode,")
    source = write(out.parent, "wide.v", text)
    with pytest.raises(HwsimError, match=r"AXI4-Streams of whole bytes, not mode$"):
        synth.bitstream(source, "wide", "ecp5-25k", clock_mhz=50, out_dir=out)
    assert list(out.iterdir()) == []


# --- what is refused at once


def _bitstream(sources: list[Path], out: Path, **changes: object) -> None:
    arguments = {"top": "mac", "target": "ecp5-25k", "clock_mhz": 50.0} | changes
    synth.bitstream(sources, out_dir=out, **arguments)  # type: ignore[arg-type]


@SYNTHESIZES
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "xc7"}, "a bitstream's target must be an ECP5 device, not 'xc7'"),
        ({"target": "ecp5-45k"}, "target must be one of"),
        ({"clock_mhz": float("nan")}, "clock must be .* not nan"),
        ({"clock_mhz": 0.0}, "clock must be .* not 0.0"),
        ({"top": "other"}, "Module `other' not found"),
        ({"top": "a b"}, "the top module's name must be a Verilog identifier, not 'a b'"),
        ({"clock": "ck"}, "the clock must be an input of one bit, not 'ck'"),
        ({"pins": Path("none.lpf")}, "the pins file 'none.lpf' must be readable"),
    ],
)
def test_a_bad_call_is_refused_and_leaves_nothing(
    changes: dict[str, object], message: str, mac: list[Path], out: Path
) -> None:
    with pytest.raises(HwsimError, match=message):
        _bitstream(mac, out, **changes)
    assert list(out.iterdir()) == []


@SYNTHESIZES
def test_sources_that_cannot_be_used_are_refused(mac: list[Path], out: Path) -> None:
    with pytest.raises(HwsimError, match=r"the source '.*none.v' must be readable: No such file"):
        _bitstream([out / "none.v"], out)
    with pytest.raises(HwsimError, match=r"Can not open file `weights.mem`"):
        _bitstream(mac[:1], out)
    with pytest.raises(
        HwsimError, match=r"the output folder must exist and be writable, not '.*x'"
    ):
        _bitstream(mac, out / "x")
    empty = write(out.parent, "empty.v", "module mac(input clk, output y); endmodule")
    with pytest.raises(HwsimError, match="module 'mac' must have logic that its outputs depend on"):
        _bitstream([empty], out)
    assert list(out.iterdir()) == []
