"""Run Yosys on a folder of Verilog: the top module's ports, and the cells of its netlist."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from rtl.flow import tools
from rtl.targets import Family, Port

_TIMEOUT = 3600.0
LOG = "yosys.log"


def read_ports(folder: Path, verilog: Sequence[str], top: str) -> tuple[Port, ...]:
    """Return the ports of module `top`; `verilog` are bare names of files in `folder`.

    Raises HwsimError, with exit status 1, where Yosys cannot read them or finds no such module.
    """
    script = f"{_read(verilog, top)}; blackbox *; write_json ports.json"
    tools.run(tools.yosys(), "-q", "-p", script, cwd=folder, timeout=_TIMEOUT)
    ports = _json(folder / "ports.json")["modules"][top]["ports"]
    return tuple(
        Port(name, len(port["bits"]), port["direction"] == "input") for name, port in ports.items()
    )


def synthesize(
    folder: Path, verilog: Sequence[str], top: str, family: Family, netlist: str
) -> dict[str, int]:
    """Write the netlist of `top` to `folder / netlist` as JSON; return the number of each cell.

    What Yosys says is kept in `folder / LOG`.

    Raises as `read_ports` does, and where nothing is left of the design.
    """
    script = (
        f"{_read(verilog, top)}; {family.synthesis} -top {top}; "
        f"tee -q -o cells.json stat -json; write_json {netlist}"
    )
    tools.run(tools.yosys(), "-q", "-l", LOG, "-p", script, cwd=folder, timeout=_TIMEOUT)
    # The design is flat now; a module without cells is left out.
    module = _json(folder / "cells.json")["modules"].get(f"\\{top}", {})
    found: dict[str, int] = {
        kind: number
        for kind, number in module.get("num_cells_by_type", {}).items()
        if not kind.startswith("$")  # notes such as $scopeinfo, no hardware
    }
    if not found:
        raise HwsimError(
            f"module {top!r} must have logic that its outputs depend on, not none", exit_status=1
        )
    return found


def _read(verilog: Sequence[str], top: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", top):
        raise HwsimError(f"the top module's name must be a Verilog identifier, not {top!r}")
    files = " ".join(f'"{name}"' for name in verilog)
    return f"read_verilog -sv {files}; hierarchy -check -top {top}"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
