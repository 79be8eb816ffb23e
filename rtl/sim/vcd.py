"""Read handshakes on the edges of a design out of a waveform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

EDGE = "edge_"


@dataclass(slots=True)
class Handshakes:
    """The beats that passed one edge, of `bits` each: cycle and data as an unsigned word.

    `waiting` says that in the end a beat was offered and not taken.
    """

    bits: int
    cycles: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    waiting: bool = False


def handshakes(path: Path, clock: str = "clk") -> dict[str, Handshakes]:
    """All beats that passed each `edge_<name>_valid/_ready/_data` of the waveform at `path`.

    A beat passes at a rising clock edge at which both flags are 1. Cycles are those of the signal
    `cycle` of the test bench. Values are those before the edge, since registers change with it.
    """
    codes, widths = _declarations(path, clock)
    signals = {name: code for name, code in codes.items() if name.startswith(EDGE)}
    edges = [n[len(EDGE) : -len("_valid")] for n in signals if n.endswith("_valid")]
    found = {edge: Handshakes(widths[f"{EDGE}{edge}_data"]) for edge in edges}
    keys = {
        edge: (
            signals[f"{EDGE}{edge}_valid"],
            signals[f"{EDGE}{edge}_ready"],
            signals[f"{EDGE}{edge}_data"],
        )
        for edge in edges
    }
    wanted = {code for group in keys.values() for code in group}
    now: dict[str, int] = dict.fromkeys([*wanted, codes["cycle"]], 0)
    changed: dict[str, int] = {}
    rising, level = False, 0
    with path.open(encoding="ascii", errors="replace") as file:
        for line in file:
            if line[0] == "#":
                if rising:
                    _sample(found, keys, now, now[codes["cycle"]])
                now.update(changed)
                changed, rising = {}, False
                continue
            value, code = _change(line)
            if code == codes[clock]:
                rising, level = level == 0 and value == 1, value
            elif code in now:
                changed[code] = value
        if rising:
            _sample(found, keys, now, now[codes["cycle"]])
    now.update(changed)
    for edge, (valid, ready, _) in keys.items():
        found[edge].waiting = bool(now[valid] and not now[ready])
    return found


def _sample(
    found: Mapping[str, Handshakes],
    keys: Mapping[str, tuple[str, str, str]],
    now: Mapping[str, int],
    cycle: int,
) -> None:
    for edge, (valid, ready, data) in keys.items():
        if now[valid] and now[ready]:
            found[edge].cycles.append(cycle)
            found[edge].words.append(now[data])


def _declarations(path: Path, clock: str) -> tuple[dict[str, str], dict[str, int]]:
    """The code and the width of each wanted signal, the outermost of its name."""
    codes: dict[str, str] = {}
    widths: dict[str, int] = {}
    with path.open(encoding="ascii", errors="replace") as file:
        for line in file:
            words = line.split()
            if words[:1] == ["$enddefinitions"]:
                break
            if words[:1] == ["$var"]:
                width, code, name = int(words[2]), words[3], words[4]
                if (name in (clock, "cycle") or name.startswith(EDGE)) and name not in codes:
                    codes[name], widths[name] = code, width
    return codes, widths


def _change(line: str) -> tuple[int, str]:
    """The value and signal code of one line of changes; unknown bits read as 0."""
    head, rest = line[0], line[1:].strip()
    if head in "01":
        return int(head), rest
    if head in "bB":
        bits, _, code = rest.partition(" ")
        return int(bits.replace("x", "0").replace("z", "0"), 2), code
    return 0, rest
