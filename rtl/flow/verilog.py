"""Amaranth component to Verilog: Amaranth writes RTLIL, Yosys turns it into Verilog."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from rtl.flow import rtlil, tools
from rtl.names import is_top_name

# Without `rename -hide` Yosys later stops on names such as `$1` that Amaranth gives to wires
# ("Assert `count_id(wire->name) == 0' failed", Yosys 0.60 to 0.70, as soon as abc runs).
# `proc` rids the netlist of `always @*` blocks, which start as X in Icarus. Plain passes go first,
# since `opt -full` repeats its long ones as long as any of them finds something.
_COMPACT = ("rename -hide", "proc", "flatten", "opt_clean", "opt", "opt -full", "clean")

_MEMORY_FILES = "write_verilog -noattr -extmem"

STYLE = '(* ram_style = "block" *)'  # the one attribute that synthesis must see
_STYLED = "styled.txt"  # the memories that have it, as Yosys lists them

NO_PART = "net"  # begins the names of what is in no part; Yosys itself takes `_<n>_` for some

# Keeps modules and every named net, for waveforms.
_READABLE = ("proc", "opt_clean")


def convert(
    component: Any, *, name: str, ports: Sequence[Any] | None = None, readable: bool = False
) -> str:
    """Return one self-contained Verilog text for an Amaranth component; memories are inline.

    `name` is the top module's. `ports` is needed only where `component` is no
    `wiring.Component`. `readable` keeps the hierarchy and every net's name, for waveforms;
    otherwise the netlist is flat, optimized and fast to simulate and synthesize, and a name says
    only which part of the top module it is of: `part_of`.
    Raises HwsimError where the name is no Verilog identifier, or Yosys is missing or fails.
    """
    text = _rtlil(component, name, ports)
    return _verilog(text, name, readable, "write_verilog -noattr")[f"{name}.v"]


def convert_files(
    component: Any, *, name: str, ports: Sequence[Any] | None = None, readable: bool = False
) -> dict[str, str]:
    """Return bare file name -> text: first `<name>.v`, then its memories `<name>-<n>.mem`.

    The Verilog reads each memory by `$readmemb` under its bare name, so that all files belong
    into one folder and a simulator or synthesizer runs there. Otherwise like `convert`.
    """
    return _verilog(_rtlil(component, name, ports), name, readable, _MEMORY_FILES)


def convert_both(component: Any, *, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """The files of the flat netlist and of the readable one, elaborated once, written at once."""
    text = _rtlil(component, name, None)
    with (
        _converting(text, name, False, _MEMORY_FILES) as flat,
        _converting(text, name, True, _MEMORY_FILES) as readable,
    ):
        return flat(), readable()


def _rtlil(component: Any, name: str, ports: Sequence[Any] | None) -> str:
    if not is_top_name(name):
        raise HwsimError(f"the top module's name must be a Verilog identifier, not {name!r}")
    return rtlil.convert(component, name=name, ports=ports)


def _verilog(text: str, name: str, readable: bool, write: str) -> dict[str, str]:
    with _converting(text, name, readable, write) as files:
        return files()


@contextmanager
def _converting(
    text: str, name: str, readable: bool, write: str
) -> Iterator[Callable[[], dict[str, str]]]:
    """Yosys at work on one netlist; the function given waits for its files."""
    passes = _READABLE if readable else _COMPACT
    commands = ["read_rtlil design.il", f"hierarchy -check -top {name}", *passes]
    if not readable:  # what is for waveforms is never synthesized
        commands.append(f"tee -q -o {_STYLED} select -list m:* a:ram_style=block %i")
    script = ";".join([*commands, f"{write}{'' if readable else ' -norename'} {name}.v"])
    with tempfile.TemporaryDirectory(prefix="hwsim-yosys-") as place:
        folder = Path(place)
        text = text if readable else _with_parts(name, text)
        (folder / "design.il").write_text(text, encoding="utf-8")
        with tools.started(tools.yosys(), "-q", "-p", script, cwd=folder, timeout=600) as output:

            def files() -> dict[str, str]:
                output()
                verilog = _undated((folder / f"{name}.v").read_text(encoding="utf-8"))
                if not readable:
                    listed = (folder / _STYLED).read_text(encoding="utf-8")
                    verilog = _named(_styled(verilog, listed.splitlines()))
                memories = sorted(folder.glob("*.mem"), key=_natural)
                return {f"{name}.v": verilog} | {
                    path.name: path.read_text(encoding="utf-8") for path in memories
                }

            yield files


def _with_parts(top: str, text: str) -> str:
    """RTLIL in which instances in the top module have private names that say which they are.

    `flatten` then begins the name of all that is inside with it, and `clean` may still remove it.
    """
    return re.sub(rf"^(  cell \\{top}\.(\w+)) \\\2$", r"\1 $part$\2", text, flags=re.MULTILINE)


def _styled(verilog: str, listed: Sequence[str]) -> str:
    """The flat netlist with the style of its memories, which are listed as `<module>/<name>`."""
    names = {line.partition("/")[2] for line in listed}
    return re.sub(
        r"^( +)(reg \[\d+:0\] \\?(\S+) +\[\d+:\d+\];)$",
        lambda m: f"{m[1]}{STYLE} {m[2]}" if m[3] in names else m[0],
        verilog,
        flags=re.MULTILINE,
    )


def _named(verilog: str) -> str:
    """Short names for private ones: `<part>__<n>_`, with the part of the top module or `net`."""
    found: dict[str, str] = {}

    def short(match: re.Match[str]) -> str:
        name = match[1]
        if name not in found:
            part = re.match(r"\$flatten\$part\$(\w+)\.", name)
            found[name] = f"{part[1] if part else NO_PART}__{len(found)}_"
        return f"{found[name]} "

    text = re.sub(r"\\(\$\S+) ", short, verilog)
    # The registers that Yosys adds for words read from memories: those of the memory's part.
    reads = dict(re.findall(r"^\s*(_\d+_) <= (\w+?)__\d+_ \[", text, re.MULTILINE))
    return re.sub(
        r"\b_(\d+)_(?=\W)",
        lambda m: f"{reads[m[0]]}__{len(found) + int(m[1])}_" if m[0] in reads else m[0],
        text,
    )


def part_of(name: str) -> str | None:
    """The part of a top module that a net or cell was in, by the name that tools made of it.

    Names of the flat netlist survive synthesis as beginnings of others. None for what belongs to no
    part, or lost its name.
    """
    match = re.search(r"(?:^|[.\\])([A-Za-z0-9]+(?:_[A-Za-z0-9]+)*)__\d+_", name)
    return match[1] if match and match[1] != NO_PART else None


def _undated(verilog: str) -> str:
    """Drop the banner with Yosys's version, so that the text depends on the design alone."""
    return re.sub(r"\A/\* Generated by .*?\*/\s*", "", verilog, count=1, flags=re.DOTALL)


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
