"""One kind of table for all commands: it fits any terminal and never cuts or drops a cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

FOLDED = ("node", "operator", "port", "", "what it did", "limit", "class")
"""Columns of names and sentences: where room is short their cells take several lines."""

ROOMY, NARROWEST = 22, 12
"""Characters below which a column of names is not folded: in one line a row, and in stacks."""

PLAIN = str.maketrans({"→": "->", "×": "x", "…": "...", "·": "|"})
"""What stands for our signs in a terminal without UTF-8, so that columns stay straight."""

GAP = 2
"""Spaces between two columns."""

Column = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table that chooses its form when it is printed, by the width that there is.

    One line a row where that fits, with folded names if need be; otherwise the columns of each
    stack below each other; otherwise every row as a record of labelled values. Numbers stay whole
    in all three. Cells are text and never markup.
    """

    title: str
    stacks: tuple[tuple[str, ...], ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[str, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        if options.ascii_only:
            rows = tuple(tuple(cell.translate(PLAIN) for cell in row) for row in self.rows)
            if rows != self.rows:
                yield replace(self, rows=rows)
                return
        if self.title:
            yield Text(self.title, style="italic", overflow="fold")
        flat = tuple((name,) for stack in self.stacks for name in stack)
        for stacks, narrowest in ((flat, ROOMY), (self.stacks, NARROWEST)):
            widths = self._widths(stacks, options.max_width, narrowest)
            if widths is not None:
                yield self._grid(stacks, widths)
                yield ""
                return
        yield from self._records(options.max_width, "|" if options.ascii_only else "·")
        yield ""

    def _columns(self, stacks: Sequence[Sequence[str]]) -> Iterator[list[list[str]]]:
        """For each stack its cells, the head first; a cell is a list of lines."""
        start = 0
        for stack in stacks:
            part = slice(start, start + len(stack))
            yield [_lines(stack, start), *(_lines(row[part], start) for row in self.rows)]
            start += len(stack)

    def _widths(
        self, stacks: Sequence[Sequence[str]], room: int, narrowest: int
    ) -> list[int] | None:
        """Widths of the columns within `room`, or None where numbers would have to be cut."""
        from rich.cells import cell_len

        natural, least = [], []
        for stack, cells in zip(stacks, self._columns(stacks), strict=True):
            lines = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
            natural.append(max(lines))
            least.append(
                max(
                    max(min(width, narrowest), cell_len(head)) if name in FOLDED else width
                    for name, head, width in zip(stack, cells[0], lines, strict=True)
                )
            )
        spare = room - GAP * (len(stacks) - 1) - sum(least)
        if spare < 0:
            return None
        widths = list(least)
        while spare and widths != natural:
            # One column at a time to the folded column that lacks most.
            lacks = [want - have for want, have in zip(natural, widths, strict=True)]
            widths[lacks.index(max(lacks))] += 1
            spare -= 1
        return widths

    def _grid(self, stacks: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
        from rich import box
        from rich.table import Table

        made = Table(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            show_edge=False,
            show_header=any(name for stack in stacks for name in stack),
            padding=(0, GAP - 1, 0, 0),  # the box adds one
        )
        columns = list(self._columns(stacks))
        for stack, column, width in zip(stacks, columns, widths, strict=True):
            made.add_column(
                _cell(column[0]),
                justify="right" if set(stack) <= set(self.right) else "left",
                overflow="fold",
                width=width,
            )
        for cells in zip(*(column[1:] for column in columns), strict=True):
            made.add_row(*map(_cell, cells))
        return made

    def _records(self, room: int, dot: str) -> Iterator[Text]:
        from rich.text import Text

        names = [name for stack in self.stacks for name in stack]
        for row in self.rows:
            head = f"{names[0]} {row[0]}" if names[0] in self.right else row[0]
            yield Text(head, style="bold", overflow="fold")
            pairs = zip(names[1:], row[1:], strict=True)
            values = [f"{name} {value}".strip() for name, value in pairs if value]
            yield from (Text("  " + x, overflow="fold") for x in _flow(values, room - 2, dot))


def table(
    title: str, columns: Sequence[Column], rows: Iterable[Sequence[str]], right: Sequence[str] = ()
) -> Sheet:
    """A table to print on a rich console.

    A column that is a tuple of names stands for several columns of `rows`, which go below each
    other where the terminal is narrow. `right` names those that hold numbers.
    """
    stacks = tuple((c,) if isinstance(c, str) else c for c in columns)
    cells = tuple(tuple(row) for row in rows)
    wanted = sum(len(stack) for stack in stacks)
    if any(len(row) != wanted for row in cells):
        raise ValueError(f"every row must have {wanted} cells")
    return Sheet(title, stacks, cells, tuple(right))


def _cell(lines: Sequence[str]) -> Text:
    """What is below the first line of a stack steps back a little."""
    from rich.text import Text

    return Text("\n").join(
        Text(line, style="dim" if number else "") for number, line in enumerate(lines)
    )


def _lines(cells: Sequence[str], start: int) -> list[str]:
    """Each cell as one line; in the first column all but the first are indented."""
    flat = [" ".join(cell.splitlines()) for cell in cells]
    return [f"  {line}" if number and not start else line for number, line in enumerate(flat)]


def _flow(values: Iterable[str], room: int, dot: str) -> Iterator[str]:
    """Values, `dot` between, on as few lines as hold them; none broken unless wider than all."""
    from rich.cells import cell_len

    line = ""
    for value in values:
        longer = f"{line} {dot} {value}" if line else value
        if line and cell_len(longer) > room:
            yield line
            longer = value
        line = longer
    if line:
        yield line
