"""`build.json`: what was asked for, what was planned, and what synthesis and placement reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hwsim.build_folder.entries import (
    NOT_WRITTEN,
    OPTIONAL,
    WrongEntry,
    decode,
    plain,
    read_json,
    write_json,
)
from hwsim.build_folder.names import BUILD
from hwsim.errors import HwsimError

Counts = Mapping[str, int]

NOT_CHOSEN = "not chosen"
"""What `pins` is where nobody located the ports, else `given`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowestNode:
    """The node that bounds the rate: its cycles for an inference, and why they are so many."""

    name: str
    cycles: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOutput:
    """One output of a node that has several."""

    name: str
    shape: tuple[int, ...]
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """What is planned for a node, and by which `implementation` of its operator.

    `shape` and `format` are of its first output; a node with several has `outputs` too. A fold
    (`group_lanes`, `pe`, `simd`) and `multipliers` are of sums of products alone, `bits` (of a
    code, a cycle) of what is serial; `constants` says where they were asked to lie; `fifos` are
    depths in beats by the input's number. `memory_bits` are None in folders that do not say.
    """

    node: str
    operator: str
    shape: tuple[int, ...]
    format: str
    lanes: int
    cycles: int
    macs: int
    outputs: tuple[RowOutput, ...] = field(default=(), metadata=OPTIONAL)
    implementation: str | None = field(default=None, metadata=OPTIONAL)
    memory_bits: int | None = None
    group_lanes: int | None = field(default=None, metadata=OPTIONAL)
    pe: int | None = field(default=None, metadata=OPTIONAL)
    simd: int | None = field(default=None, metadata=OPTIONAL)
    multipliers: int | None = field(default=None, metadata=OPTIONAL)
    bits: int | None = field(default=None, metadata=OPTIONAL)
    constants: str | None = field(default=None, metadata=OPTIONAL)
    fifos: Counts = field(default_factory=dict, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Implemented:
    """What the design takes of its target, and how fast it runs there.

    Counts are the target's (`available`, empty for a family), `layers` those by node; `estimate`
    marks counts of synthesis alone. The rest is None or empty without place and route: `fmax_mhz`
    of the slowest clock and `fmax_by_clock`, whether timing is met and the design fits, a clock
    that would be met, the slowest path, the seed, whether the pins are a byte-wide shell's, files
    of the folder, and whether its pins were given. `tools` holds versions, `tool_seconds` times.
    """

    part: str | None = None
    estimate: bool = False
    lut: int
    ff: int
    dsp: int
    bram: int
    io: int = 0
    other: Counts = field(default_factory=dict)
    available: Counts = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    tool_seconds: Mapping[str, float] = field(default_factory=dict)
    fmax_mhz: float | None = None
    fmax_by_clock: Mapping[str, float] = field(default_factory=dict)
    timing_met: bool | None = None
    critical_path: str = ""
    seed: int | None = None
    shell: bool = False
    constraints: str | None = None
    fits: bool | None = None
    suggested_clock_mhz: float | None = None
    pins: str | None = None
    layers: Mapping[str, Counts] = field(default_factory=dict)
    logs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """What `build.json` holds; `implementation` is None where the build stopped at the Verilog.

    `name` is what people call the model, `analytic_cycles` the plan's from one inference to the
    next, `planned_dsp` its multipliers as Yosys builds them; `bitstream` and `verilog` are files of
    the folder, `met` and `problem` say whether the target holds the design at its clock. What is
    None or 0 by default folders of older versions may lack.
    """

    name: str | None = None
    target: str
    clock_mhz: float | None = None
    top: str | None = None
    multipliers: int = 0
    planned_dsp: int = 0
    analytic_cycles: int = 0
    fps: float = 0.0
    bottleneck: SlowestNode
    plan: tuple[PlanRow, ...]
    verilog: str
    bitstream: str | None = None
    met: bool | None = None
    problem: str | None = None
    implementation: Implemented | None = field(default=None, metadata=NOT_WRITTEN)
    seconds: float = 0.0

    @property
    def device(self) -> str:
        """The part's name, or the target's where none is known."""
        return (self.implementation.part if self.implementation else None) or self.target

    @property
    def pins_not_chosen(self) -> bool:
        """Whether the design stands on pins that nobody chose."""
        return self.implementation is not None and self.implementation.pins == NOT_CHOSEN

    def to_dict(self) -> dict[str, Any]:
        """Plain values as `build.json` has them: the implementation's entries beside the rest."""
        found: dict[str, Any] = plain(self)
        return found if self.implementation is None else found | plain(self.implementation)

    def write(self, folder: Path) -> None:
        """Write the folder's `build.json`."""
        write_json(folder / BUILD, self.to_dict())

    @classmethod
    def read(cls, folder: Path) -> BuildFacts:
        """Read `build.json` of a build folder.

        Raises HwsimError, naming the file and the entry, as `Manifest.read` does.
        """
        path = folder / BUILD
        content = read_json(path)
        try:
            found = decode(cls, content)
            used = decode(Implemented, content) if "lut" in content else None
        except WrongEntry as error:
            raise HwsimError(f"{path} must be as `hwsim build` wrote it: {error}") from None
        return replace(found, implementation=used)
