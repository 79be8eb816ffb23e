"""What the benchmarks share: interleaved timing, provenance, and a JSON file written whole."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def one_thread() -> None:
    """Start the script again with one thread a process, unless it runs so already.

    BLAS reads these variables when NumPy is imported, which has happened by now.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    if any(os.environ.get(name) != "1" for name in names):
        os.environ.update(dict.fromkeys(names, "1"))
        os.execv(sys.executable, [sys.executable, *sys.argv])


def interleaved(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, after one call to warm up; every round runs all of them once.

    Interleaving gives each the same share of whatever else the machine does.
    """
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def per_call(run: Callable[[], object], calls: int) -> Callable[[], None]:
    """A contender that makes so many calls."""

    def many() -> None:
        for _ in range(calls):
            run()

    return many


def provenance(*packages: str) -> dict[str, Any]:
    """Where and with what figures were measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
    }


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Under a temporary name first, so that a reader never sees half a file."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text in columns: the first to the left, the others to the right."""
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def rewritten(path: Path, script: str, rows: str) -> str:
    """A page with the table of a script replaced, which stands between two marks."""
    begin, end = f"<!-- rows: written by benchmarks/{script} -->", "<!-- end of rows -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, mark, after = rest.partition(end)
    if not mark:
        raise SystemExit(f"error: {path} must have the lines {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{rows}\n{end}{after}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:], ""])


def options(doc: str) -> argparse.ArgumentParser:
    """The options of a script that writes a table."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--page", type=Path, help="a page whose table is written anew")
    return parser


def tell(
    args: argparse.Namespace,
    script: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    facts: Mapping[str, Any],
) -> None:
    """Print a table, and write it where the call asks for: as JSON beside `facts`, in a page."""
    print(table(head, rows))
    if args.json:
        kept = [dict(zip(head, row, strict=True)) for row in rows]
        write_json(args.json, {**facts, "rows": kept})
    if args.page:
        page = rewritten(args.page, script, markdown(head, rows))
        args.page.write_text(page, encoding="utf-8")


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor()
