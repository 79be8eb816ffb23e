"""Run Yosys commands with pyosys as the `yosys` program would; an error there ends the process.

Options are those of `yosys` that this project uses: `-q`, `-l LOG`, `-s SCRIPT` and `-p COMMANDS`.
It is started as a file in a process of its own (see `rtl.flow.tools.yosys`), never imported.
"""

from __future__ import annotations

import argparse
import os


def main() -> None:
    """Read the command line, send the log where it says, and run the script, then the commands."""
    parser = argparse.ArgumentParser(prog="pyosys")
    parser.add_argument("-q", dest="quiet", action="store_true", help="log nothing to the output")
    parser.add_argument("-l", dest="log", help="write the log to this file instead")
    parser.add_argument("-s", dest="script", help="run the commands of this file")
    parser.add_argument("-p", dest="commands", action="append", default=[], help="run; these")
    options = parser.parse_args()

    if options.log is not None or options.quiet:
        # The library logs through C++ streams, so the descriptor itself has to be redirected.
        target = os.open(options.log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(target, 1)

    from pyosys import libyosys

    design = libyosys.Design()
    if options.script is not None:
        libyosys.run_pass(f"script {options.script}", design)
    for line in options.commands:
        for command in line.split(";"):
            libyosys.run_pass(command.strip(), design)


if __name__ == "__main__":
    main()
