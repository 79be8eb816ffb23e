"""Memories of constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.lib import memory


def constant_memory(shape: Any, rows: Sequence[int], *, block: bool) -> memory.Memory:
    """A memory that is never written: one word a row.

    With `block` synthesis must take block RAM, whatever the size (Yosys and Vivado know the
    attribute); otherwise it chooses.
    """
    attrs = {"ram_style": "block"} if block else {}
    return memory.Memory(shape=shape, depth=len(rows), init=rows, attrs=attrs)
