"""The page in a build folder, for someone who has it and nothing else."""

from __future__ import annotations

from hwsim.build_folder import BuildFacts
from rtl.design import Design
from rtl.parts.axis import lane_bits

NOT_CHOSEN = (
    "nobody chose the pins of this bitstream: on a board they may drive against what is soldered"
    " to them and damage it; give the board's own with --pins FILE before any device is programmed"
)


def readme(design: Design, facts: BuildFacts) -> str:
    """A page for someone who has this folder and nothing else."""
    lines = [
        f"# {facts.top}",
        "",
        "A neural network as a streaming design, written by hwsim. One clock `clk`, one",
        "synchronous, active-high reset `rst`, AXI4-Stream ports (Arm IHI 0051). `manifest.json`",
        "says all of this for programs; `*.mem` are the memories, read by bare name from here.",
        "",
        *_warnings(facts),
        "| port | direction | tensor | model's type | codes | a beat | tdata bits | real value |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for p, way in [(p, "in") for p in design.inputs] + [(p, "out") for p in design.outputs]:
        beat, scales = p.beat, p.type.scales()
        real = f"(code - {p.type.zero_point}) * {scales[0]:.9g}"
        if len(scales) > 1:
            real = "one scale a channel: see manifest.json"
        lines.append(
            f"| `{p.prefix}_*` | {way} | {p.name} {list(p.type.shape)} | {p.element or 'real'} "
            f"| {p.type.format} | {beat.lanes} | {beat.lanes * lane_bits(beat)} | {real} |"
        )
    lines += [
        "",
        *_steps(design),
        "A tensor is sent row-major, channels innermost, lane 0 in the lowest bits, each code",
        "extended to whole bytes; `tlast` is high on its final beat. Beats move when `tvalid` and",
        "`tready` are both high; any pattern of idle and backpressure is allowed.",
        "",
        f"Bottleneck: {facts.bottleneck.name}, {facts.analytic_cycles} cycles each",
        f"({facts.bottleneck.why}).",
    ]
    return "\n".join(lines) + "\n"


def _steps(design: Design) -> list[str]:
    """What the model computes of reals at its ends, which the hardware does not."""
    found = []
    for p in design.inputs + design.outputs:
        if p.steps:
            told = ", then ".join(f"`{step}`" for step in p.steps)
            when = "before they become codes" if p in design.inputs else "of its codes afterwards"
            found += [f"Reals of `{p.name}` go through float32 steps {when}: {told}.", ""]
    return found


def _warnings(facts: BuildFacts) -> list[str]:
    """What must be known before anything else."""
    found = []
    if facts.problem:
        found += [f"**Not met, no bitstream:** {facts.problem}.", ""]
    if facts.implementation is not None and facts.pins_not_chosen:
        what = NOT_CHOSEN.replace("this bitstream", f"`{facts.bitstream}`")
        if not facts.bitstream:
            file = facts.implementation.constraints
            what = f"nobody chose the pins in `{file}`: they are no board's"
        found += [f"**Warning:** {what}.", ""]
    return found
