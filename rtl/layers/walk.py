"""The pace of a parallel window."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.ops import Window

MAPS = 4  # after how many maps at most a walk comes home as it went


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How a parallel window goes over the positions of a padded map, one a cycle.

    `rows` rows of `windows` windows end; `step` positions lie between two windows of a row,
    `wrap` from the last of a row to the first of the next, `home` from the last of the map to the
    first of the next map.
    """

    rows: int
    windows: int
    step: int
    wrap: int
    home: int

    @classmethod
    def of(cls, window: Window, shape: tuple[int, ...]) -> Walk:
        """The walk of a window over a map of `shape` (height, width, channels)."""
        (kh, kw), (sh, sw) = window.kernel, window.stride
        top, left, bottom, right = window.padding
        height, width = shape[0] + top + bottom, shape[1] + left + right
        rows, windows = (height - kh) // sh + 1, (width - kw) // sw + 1
        across = (windows - 1) * sw
        return cls(
            rows=rows,
            windows=windows,
            step=sw,
            wrap=sh * width - across,
            home=height * width - (rows - 1) * sh * width - across,
        )

    def cycles(self, work: int, ahead: int) -> int:
        """Cycles from map to map where each window keeps its reader busy for `work` cycles.

        The reader takes the next window up to `ahead` cycles before it is done with the present
        one; the walk goes on once a window is taken. A long way between two windows is hidden as
        far as the walk is ahead of the reader by then.
        """
        if work >= max(self.step, self.wrap, self.home):
            return self.rows * self.windows * work
        lead, total = 0, 0
        for _ in range(MAPS):
            start, total = lead, 0
            for repeats, gap in ((self.rows - 1, self.wrap), (1, self.home)):
                taken, lead = self._rows(repeats, gap, work=work, ahead=ahead, lead=lead)
                total += taken
            if lead == start:
                break
        return total

    def times(self, work: int, ahead: int) -> list[int]:
        """When each window of two maps in a row is taken, after the walk has found its pace."""
        gaps = [self.step] * (self.windows - 1) + [self.wrap]
        gaps = gaps * (self.rows - 1) + gaps[:-1] + [self.home]
        taken, done = 0, work  # when the last window was taken, and when the next is worked on
        found = []
        for gap in gaps * (MAPS + 2):
            found.append(taken)
            taken = max(taken + gap, done - ahead)
            done = max(taken, done) + work
        return found[-2 * len(gaps) :]

    def _rows(self, repeats: int, gap: int, *, work: int, ahead: int, lead: int) -> tuple[int, int]:
        """Cycles of so many rows, each with `gap` behind it, and the lead that they leave."""
        total = 0
        for row in range(repeats):
            start, before = lead, total
            for times, way in ((self.windows - 1, self.step), (1, gap)):
                late = max(0, times * (way - work) - lead)
                lead = min(max(lead + times * (work - way), 0), ahead)
                total += times * work + late
            if lead == start:  # and so will all that follow
                return total + (repeats - row - 1) * (total - before), lead
        return total, lead
