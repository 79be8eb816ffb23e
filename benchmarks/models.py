"""Published models: do they load, with the integers of which tool, and what hardware do they get?

    python benchmarks/models.py FOLDER ... [--source TEXT] [--inputs N] [--only WORD]
                                [--new] [--json FILE] [--page FILE]

A folder is searched for `.onnx` files, for Keras pairs (`NAME.json` with `NAME*_weights.h5`), for
whole Keras models (`.h5`) and for hls4ml's configurations (`.yml`), which name a model beside them.
A file with Quant nodes is compared with QONNX's executor, one with QuantizeLinear with ONNX
Runtime; a float file or a Keras model is read by hls4ml, and compared with the C++ that it
compiles. What cannot be read has a row that says so.
Rows are kept in the JSON file by the model's hash, so that each folder adds its own, and the page
is written from all of them. Exit status 1 where a code differs without a warning.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import model_oracles  # noqa: E402
from common import one_thread, provenance, rewritten, write_json  # noqa: E402

import hwsim  # noqa: E402
from hwsim.frontends.shared.builder import RuntimeDifference  # noqa: E402

SEED = 20261126
TARGET = "ecp5-85k"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Published:
    """A model of one file, or of one for the network and one for its weights.

    `configuration` is hls4ml's, where one was published with it.
    """

    name: str
    files: tuple[Path, ...]
    configuration: Path | None = None

    @property
    def sha256(self) -> str:
        """Of all its files, one after the other."""
        whole = hashlib.sha256()
        for path in (*self.files, *filter(None, [self.configuration])):
            whole.update(path.read_bytes())
        return whole.hexdigest()


UNREAD = (".keras", ".pt", ".pth", ".pb", ".tflite")
"""Models, too: hwsim says of each which way there is from it."""
CONFIGURED = ("KerasJson", "KerasH5", "OnnxModel")
"""Where one of hls4ml's configurations names the files of its model."""


def found(folder: Path) -> Iterator[Published]:
    """The models below a folder, each alone and with the configurations that name it."""
    models = [*_files(folder)]
    yield from models
    for path in sorted([*folder.rglob("*.yml"), *folder.rglob("*.yaml")]):
        named = _named(path)
        for model in models:
            if named and {file.name for file in model.files} == named:
                yield Published(path.stem, model.files, path)


def _files(folder: Path) -> Iterator[Published]:
    for path in sorted(folder.rglob("*.onnx")):
        yield Published(path.stem, (path,))
    for path in sorted(folder.rglob("*.json")):
        longer = [p.stem for p in path.parent.glob(f"{path.stem}?*.json")]
        for weights in sorted(path.parent.glob("*_weights.h5")):
            mine = weights.name.startswith(f"{path.stem}_")
            if mine and not any(weights.name.startswith(f"{other}_") for other in longer):
                yield Published(weights.stem.removesuffix("_weights"), (path, weights))
    for path in sorted(folder.rglob("*")):
        whole = path.suffix == ".h5" and not path.stem.endswith("_weights")
        if whole or path.suffix in UNREAD:
            yield Published(path.stem, (path,))


def _named(configuration: Path) -> set[str]:
    """The names of the files of a configuration's model; none where it is no such file."""
    import yaml

    try:
        given = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return set()
    if not isinstance(given, dict):
        return set()
    return {Path(str(given[key])).name for key in CONFIGURED if key in given}


def measured(model: Published, count: int) -> Row:
    """Everything about one model but its source."""
    row: Row = {"name": model.name, "sha256": model.sha256, "loads": False, "oracle": None}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            pair = model_oracles.open_model(model.files, Path(scratch), model.configuration)
        except hwsim.HwsimError as error:
            return row | {"refused": _short(str(error), model)}
        except Exception as error:  # a fault of ours: the run goes on, and the row says so
            return row | {"refused": _short(f"{type(error).__name__}: {error}", model)}
        row |= {"loads": True, "oracle": pair.oracle, "load_seconds": time.perf_counter() - start}
        row["warnings"] = sum(issubclass(w.category, RuntimeDifference) for w in said)
        row |= hardware(pair.graph)
        try:
            row |= model_oracles.compared(pair, count, SEED)
        except model_oracles.OracleError as error:
            row |= {"not_compared": _short(str(error), model)}
        except Exception as error:  # as above
            row |= {"not_compared": _short(f"hwsim: {type(error).__name__}: {error}", model)}
    return row


def hardware(graph: hwsim.Graph) -> Row:
    """What the plan that `hwsim build` takes by itself would give, or why there is none."""
    from rtl.build import Request, choose_plan
    from rtl.layers.table import unsupported
    from rtl.plan.cost import bottleneck, multiplier_cost

    lacking = unsupported(graph)
    if lacking:
        kinds = ", ".join(sorted({item.kind for item in lacking}))
        return {"hardware": None, "without_hardware": kinds}
    try:
        plan = choose_plan(graph, Request(target=TARGET))
    except hwsim.HwsimError as error:
        return {"hardware": None, "without_hardware": str(error)}
    found = {"cycles": bottleneck(graph, plan).cycles, "multipliers": multiplier_cost(graph, plan)}
    return {"hardware": TARGET, **found}


def _short(text: str, model: Published) -> str:
    for path in model.files:
        text = text.replace(str(path), path.name)
    text = " ".join(text.split())  # of a compiler or a runtime, it has lines
    return text if len(text) < 200 else text[:197] + "..."


def page(rows: list[Row]) -> str:
    """The table in Markdown."""
    head = (
        "| model | source | SHA-256 | compared with | inputs | codes | different | hardware | "
        "cycles |"
    )
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (row["source"], row["name"].lower())):
        start = f"| {row['name']} | {row['source']} | `{row['sha256'][:12]}` "
        if not row["loads"]:
            lines.append(f"{start}| refused: {_cell(row['refused'])} | | | | | |")
            continue
        built = row["hardware"] or f"none: {row['without_hardware']}"
        end = f"| {built} | {_number(row.get('cycles'))} |"
        if "not_compared" in row:
            lines.append(f"{start}| nothing: {_cell(row['not_compared'])} | | | {end}")
            continue
        told = f" ({row['warnings']} warnings)" if row["warnings"] else ""
        lines.append(
            f"{start}| {row['oracle']} | {row['inputs']:,} | {row['codes']:,} | "
            f"{row['different']:,}{told} {end}"
        )
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text that ends no cell of a table."""
    return text.replace("|", "\\|")


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def keep(path: Path, rows: list[Row]) -> None:
    """Write the rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = provenance("onnxruntime", "qonnx", "hls4ml", "numpy")
    write_json(path, {"made": made, "models": rows})


def main() -> int:
    """Measure, keep, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--source", default="", help="where the models of these folders are from")
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--only", default="", help="models whose name has this in it")
    parser.add_argument("--new", action="store_true", help="only models that have no row yet")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/models.json")
    parser.add_argument("--page", type=Path, help="rewrite the table of this page")
    options = parser.parse_args()
    one_thread()
    kept = (
        json.loads(options.json.read_text(encoding="utf-8"))["models"]
        if options.json.exists()
        else []
    )
    rows = {row["sha256"]: row for row in kept}
    wrong = 0
    for folder in options.folders:
        for model in found(folder):
            if options.only not in model.name or (options.new and model.sha256 in rows):
                continue
            row = measured(model, options.inputs) | {"source": options.source or folder.name}
            rows[row["sha256"]] = row
            print(json.dumps(row), flush=True)
            wrong += bool(row.get("different")) and not row["warnings"]
            keep(options.json, list(rows.values()))  # each: C++ that stops ends this process, too
    if options.page:
        whole = rewritten(options.page, "models.py", page(list(rows.values())))
        options.page.write_text(whole, encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
