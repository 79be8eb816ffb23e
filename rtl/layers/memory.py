"""A memory that hardware takes: words of bits, written or constant."""

from __future__ import annotations

from dataclasses import dataclass

BLOCKS = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))  # of a DP16KD
READ_ONLY_BITS = 2048  # for each block RAM: fewer bits become look-up tables
DISTRIBUTED = 20  # 16 x 4 memories for each block RAM: fewer stay distributed


@dataclass(frozen=True, slots=True)
class Memory:
    """Words of so many bits; `written` tells a memory from a table of constants."""

    words: int
    width: int
    written: bool

    @property
    def bits(self) -> int:
        """All bits."""
        return self.words * self.width

    @property
    def blocks(self) -> int:
        """Block RAMs of 18 kbit (ECP5's DP16KD) that Yosys takes for it; 0 where it takes none.

        An estimate: Yosys weighs a block against look-up tables or distributed memory, and its
        weights were found by trial (`tests/test_memories.py`).
        """
        whole = min(-(-self.words // d) * -(-self.width // w) for d, w in BLOCKS)
        if self.written:
            return whole if -(-self.words // 16) * -(-self.width // 4) > DISTRIBUTED * whole else 0
        return whole if self.bits > READ_ONLY_BITS * whole else 0


def fifo_memory(depth: int, bits: int) -> list[Memory]:
    """Beats of codes and the mark of a tensor's end; a single one is a register."""
    return [Memory(depth, bits + 1, written=True)] if depth > 1 else []
