"""What the flow and the plans ask of a family of devices, and what one device has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

Cost = Mapping[str, int | Fraction]


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the top module."""

    name: str
    width: int
    is_input: bool

    @property
    def bits(self) -> tuple[str, ...]:
        """The name of each bit, as constraint files write it."""
        if self.width == 1:
            return (self.name,)
        return tuple(f"{self.name}[{k}]" for k in range(self.width))


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """The file that tells a family's tools the clock, and which pin a port is on.

    `write` takes the ports, the clock's port, MHz and the text of the user's pins, if there is one;
    `read_pins` gives that text of a file, or is None where pins cannot be chosen.
    """

    suffix: str
    write: Callable[[Sequence[Port], str, float, str | None], str]
    read_pins: Callable[[Path], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program of a family: on PATH from version `minimum` on, else `function` of a `package`.

    The package is one of YoWASP's.
    """

    name: str
    minimum: tuple[int, ...]
    package: str
    function: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceAndRoute:
    """How nextpnr and the packer of a family are called, and how to read what nextpnr reports.

    `constraints` and `result` are nextpnr's options for the constraints and for the routed design,
    `packing` the packer's before its two files, `bitstream`
    the suffix of what it writes. `bels` are nextpnr's names of what a target counts, `clock_net`
    matches a net that a clock's port (its group) feeds, and `added` what tools add to the name of
    the signal that a cell was named for.
    """

    nextpnr: Program
    packer: Program
    constraints: str
    result: str
    packing: tuple[str, ...]
    bitstream: str
    bels: Mapping[str, Mapping[str, int]]
    clock_net: re.Pattern[str]
    added: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRam:
    """How Yosys puts memories into a family's block RAMs: an estimate.

    `shapes` are words and bits that one block can be. Yosys weighs a block against look-up tables
    or distributed memory, and its weights were found by trial
    (`tests/rtl/layers/test_memories.py`): a table of at most `table_bits` for each block becomes
    look-up tables, and a memory of at most `distributed_count` pieces of
    the shape `distributed` for each block stays distributed.
    """

    shapes: tuple[tuple[int, int], ...]
    table_bits: int
    distributed: tuple[int, int]
    distributed_count: int

    def whole(self, words: int, width: int) -> int:
        """Blocks for a memory that asks for them."""
        return self._cover(words, width, self.shapes)

    def blocks(self, words: int, width: int, *, written: bool) -> int:
        """Blocks for a memory that is written, or for a table of constants; 0 where none is."""
        whole = self.whole(words, width)
        if written:
            pieces = self._cover(words, width, (self.distributed,))
            return whole if pieces > self.distributed_count * whole else 0
        return whole if words * width > self.table_bits * whole else 0

    @staticmethod
    def _cover(words: int, width: int, shapes: Sequence[tuple[int, int]]) -> int:
        return min(-(-words // d) * -(-width // w) for d, w in shapes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Primitives:
    """The hard parts that designs are cut to.

    A multiplier takes two signed operands of `multiplier_bits`.
    """

    multiplier_bits: int
    block_ram: BlockRam

    @property
    def limb_bits(self) -> int:
        """Bits of an unsigned operand that one multiplier takes."""
        return self.multiplier_bits - 1

    @property
    def operand_bits(self) -> tuple[int, int]:
        """Bits of an unsigned operand that one and two multipliers take, beside a signed one."""
        return self.limb_bits, 2 * self.limb_bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of devices: all that the flow does differently for it.

    `title` is what people call it, `synthesis` Yosys's command without the top module, `cells` what
    each cell of its netlist takes of `lut`, `ff`, `dsp` and `bram`. Without `constraints` no such
    file is written; without `route` there are counts alone, and no bitstream; without `primitives`
    plans estimate no block RAMs.
    """

    name: str
    title: str
    synthesis: str
    cells: Mapping[str, Cost]
    constraints: Constraints | None = None
    route: PlaceAndRoute | None = None
    primitives: Primitives | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One device, and what it has.

    `part` is the vendor's name of the device in its package. `available` counts `lut`, `ff`, `dsp`
    and `bram` as the family's cells are counted, and `io`, the package's pins that configuration
    does not need; it is empty for a family, where no device is chosen. `place` holds nextpnr's
    arguments.
    """

    name: str
    family: Family
    part: str
    available: Mapping[str, int]
    place: tuple[str, ...] = ()

    @property
    def estimate(self) -> bool:
        """Whether counts are only Yosys's, with neither placement, timing nor a bitstream."""
        return self.family.route is None
