"""What designs take: look-up tables, registers, multipliers, block RAMs and cycles.

    python benchmarks/area.py [MODEL ...] [--target T] [--rates FILE] [--json FILE]

Without models: the examples and MLPerf Tiny's networks in published shapes with random
weights. Each is built as `hwsim build` does by itself; with `--rates`, a JSON file that this script
wrote (with another version of hwsim, whose path is in PYTHONPATH), also for the rate that it had
there. Counts are Yosys's, without place and route. A network that cannot be planned or is over the
target is said.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import networks
from common import ROOT, provenance, table, write_json

import hwsim
from rtl.build import Request, build

try:
    from rtl.flow import synth
except ImportError:  # versions before the rooms
    from rtl import synth  # type: ignore[attr-defined, no-redef]

EXAMPLES = ("digits_cnn_int8", "digits_cnn_asym", "digits_dw_skip")
TINY = ("ds_cnn", "resnet8", "autoencoder")
KINDS = ("lut", "ff", "dsp", "bram")
HEAD = ("network", "LUT", "FF", "DSP", "EBR", "cycles")


def graphs(models: list[Path]) -> dict[str, Any]:
    """The graphs to build, by name."""
    if models:
        return {path.stem: hwsim.load(path) for path in models}
    found = {name: hwsim.load(ROOT / "examples/models" / f"{name}.onnx") for name in EXAMPLES}
    found["hls4ml_digits"] = hwsim.load(ROOT / "examples/hls4ml/digits.hwsim")
    return found | {name: getattr(networks, name)() for name in TINY}


def measure(graph: Any, request: Request) -> dict[str, Any]:
    """Counts and cycles of one design, or why there is none."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "out"
        try:
            facts = build(graph, folder, request)
        except hwsim.HwsimError as error:
            return {"problem": str(error)}
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files = [folder / name for name in (*manifest["sources"], *manifest["memories"])]
        used = synth.synthesize(files, request.top, request.target, out_dir=folder)
        counts = {kind: getattr(used, kind) for kind in KINDS}
    return {**counts, "cycles": manifest["cycles"]["interval"], "fps": _value(facts, "fps")}


def _value(facts: Any, name: str) -> Any:
    return facts[name] if isinstance(facts, dict) else getattr(facts, name)


def row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table."""
    if "problem" in found:
        return (name, found["problem"], "", "", "", "")
    return (name, *(f"{found[kind]:,}" for kind in (*KINDS, "cycles")))


def main() -> int:
    """Build, count, print and, where asked, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--target", default="ecp5-25k")
    parser.add_argument("--rates", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    before = json.loads(options.rates.read_text(encoding="utf-8")) if options.rates else {}
    figures: dict[str, Any] = {}
    rows = []
    for name, graph in graphs(options.models).items():
        found = {"default": measure(graph, Request(target=options.target, rtl_only=True))}
        rows.append(row(name, found["default"]))
        old = before.get("networks", {}).get(name, {}).get("default", {})
        if "fps" in old:
            request = Request(target=options.target, rtl_only=True, fps=old["fps"])
            found["same_rate"] = measure(graph, request)
            rows += [row("  before", old), row("  at its rate", found["same_rate"])]
        figures[name] = found
        print("\n".join("  ".join(line) for line in rows[-3:]), flush=True)
    print(table(HEAD, rows))
    if options.json:
        target = {"target": options.target, "networks": figures}
        write_json(options.json, target | provenance("numpy", "amaranth"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
