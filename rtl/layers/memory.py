"""A memory that hardware takes: words of bits, written or constant."""

from __future__ import annotations

from dataclasses import dataclass

from rtl.targets import REFERENCE


@dataclass(frozen=True, slots=True)
class Memory:
    """Words of so many bits; `written` tells a memory from a table of constants.

    Constants that ask for `block` get block RAM, however few they are.
    """

    words: int
    width: int
    written: bool
    block: bool = False

    @property
    def bits(self) -> int:
        """All bits."""
        return self.words * self.width

    @property
    def blocks(self) -> int:
        """Block RAMs that Yosys takes for it, an estimate; 0 where it takes none."""
        ram = REFERENCE.block_ram
        if self.block:
            return ram.whole(self.words, self.width)
        return ram.blocks(self.words, self.width, written=self.written)


def fifo_memory(depth: int, bits: int) -> list[Memory]:
    """Beats of codes and the mark of a tensor's end; a single one is a register."""
    return [Memory(depth, bits + 1, written=True)] if depth > 1 else []
