"""Published TensorFlow Lite models in hwsim and in their runtimes, four kernel sets.

    python benchmarks/tflite_models.py MODEL.tflite ... [--inputs N] [--steps N] [--speech N]
        [--wav FILE] [--json FILE] [--page FILE]

A model without state gets random inputs. One with state (it hears 40 features of speech every 10
ms, as the wake words of pymicro-wakeword do) gets random steps as one sequence, and the features of
a spoken clip, again and again, as another. For each kernel set: how many codes are other than the
runtime's own, how long the model takes to load, and how long ten seconds of sound take. Exit status
1 where a code differs.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "examples" / "wake_word")]

import numpy as np  # noqa: E402
from common import (  # noqa: E402
    markdown,
    one_thread,
    provenance,
    rewritten,
    table,
    write_json,
)
from support.tflite_run import SETS, ran  # noqa: E402
from wake_word import CHUNK, RATE, features, read_wav  # noqa: E402

import hwsim  # noqa: E402
from hwsim.graph import Graph  # noqa: E402

SEED = 20261126
SECONDS = 10  # of sound, which are timed
BATCH = 200  # inputs at a time
ROUNDS = 5  # whose median is told
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model on one kind of input, like one kernel set; times in seconds of the processor."""

    model: str
    sha256: str
    inputs: str
    count: int
    like: str
    codes: int
    different: int
    load_seconds: float
    clip_steps: int | None = None
    clip_seconds: float | None = None


def noise(graph: Graph, count: int) -> Array:
    """Random codes: half of them anywhere, the rest around the zero point; the ends first."""
    rng, kind = np.random.default_rng(SEED), graph.inputs[0].type
    fmt, shape = kind.format, (count, *kind.shape)
    x = rng.integers(fmt.min, fmt.max + 1, shape)
    x[1::2] = np.clip(rng.normal(kind.zero_point, 25, x[1::2].shape), fmt.min, fmt.max)
    x[0], x[-1] = fmt.min, fmt.max
    return x.astype(graph.inputs[0].element)


def spoken(graph: Graph, frames: Array, steps: int) -> Array:
    """So many steps of a clip's features as codes; the clip begins anew where it ends."""
    port = graph.inputs[0]
    quant, fmt = port.type.quant, port.type.format
    assert quant is not None
    codes = np.rint(frames / np.float32(quant.scale[0]) + quant.zero_point)
    wanted = steps * port.type.shape[0]
    whole = np.resize(np.clip(codes, fmt.min, fmt.max), (wanted, *frames.shape[1:]))
    return whole.reshape(steps, *port.type.shape).astype(port.element)


def compared(path: Path, like: str, kind: str, x: Array) -> Row:
    """Codes of one kernel set for inputs, or steps of one sequence, in hwsim and in its runtime."""
    start = time.process_time()
    graph = hwsim.load(path, like=like)
    loaded = time.process_time() - start
    (port,) = graph.inputs
    if graph.state:
        got = np.asarray(hwsim.emulate(graph, x[None], codes=True))[0]
    else:
        parts = [
            hwsim.emulate(graph, x[k : k + BATCH], codes=True) for k in range(0, len(x), BATCH)
        ]
        got = np.concatenate([np.asarray(part) for part in parts])
    (want,) = ran(path.read_bytes(), like, {port.name: x})
    row = Row(
        model=path.stem,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        inputs=kind,
        count=len(x),
        like=like,
        codes=got.size,
        different=int((got.reshape(want.shape) != want).sum()),
        load_seconds=loaded,
    )
    return timed(row, graph, x) if graph.state else row


def timed(row: Row, graph: Graph, x: Array) -> Row:
    """The same with the time that ten seconds of sound take."""
    steps = SECONDS * RATE // (CHUNK * graph.inputs[0].type.shape[0])
    clip = np.resize(x, (1, steps, *x.shape[1:]))
    taken = []
    for _ in range(ROUNDS):
        start = time.process_time()
        hwsim.emulate(graph, clip, codes=True)
        taken.append(time.process_time() - start)
    return replace(row, clip_steps=steps, clip_seconds=statistics.median(taken))


def rows_of(path: Path, given: argparse.Namespace) -> list[Row]:
    """All rows of one model."""
    graph = hwsim.load(path)
    if not graph.state:
        return [compared(path, like, "random", noise(graph, given.inputs)) for like in SETS]
    frames = features(read_wav(given.wav))
    kinds = {"speech": spoken(graph, frames, given.speech), "random": noise(graph, given.steps)}
    return [compared(path, like, kind, x) for kind, x in kinds.items() for like in SETS]


HEAD = ["model", "SHA-256", "inputs", *(f"different, {like}" for like in SETS), "loads in",
        f"{SECONDS} s of sound"]  # fmt: skip


def lines(rows: list[Row]) -> list[list[str]]:
    """A line for each model and kind of input: its kernel sets side by side."""
    held: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        held.setdefault((row.sha256, row.inputs), []).append(row)
    made = []
    for group in held.values():
        first = group[0]
        unit = "inputs" if first.clip_steps is None else "steps"
        clips = [row.clip_seconds for row in group if row.clip_seconds is not None]
        made.append(
            [
                first.model,
                f"`{first.sha256[:12]}`",
                f"{first.count:,} {unit}, {first.inputs}",
                *(f"{row.different:,} of {row.codes:,}" for row in group),
                f"{max(row.load_seconds for row in group):.2f} s",
                f"{max(clips):.2f} s, {first.clip_steps} steps" if clips else "",
            ]
        )
    return made


def main() -> int:
    """Compare, print a table, write JSON and page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--inputs", type=int, default=2000, help="of a model without state")
    parser.add_argument("--steps", type=int, default=5000, help="random ones of one with state")
    parser.add_argument("--speech", type=int, default=500, help="steps of a spoken clip")
    parser.add_argument("--wav", type=Path, default=ROOT / "examples" / "wake_word" / "clip.wav")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--page", type=Path, help="a page whose table is written anew")
    given = parser.parse_args()
    rows: list[Row] = []
    for path in given.models:
        rows += rows_of(path, given)
    print(table(HEAD, lines(rows)))
    if given.json:
        facts = {"provenance": provenance("ai-edge-litert", "tflite-micro", "numpy"), "seed": SEED}
        write_json(given.json, facts | {"rows": [asdict(row) for row in rows]})
    if given.page:
        page = rewritten(given.page, "tflite_models.py", markdown(HEAD, lines(rows)))
        given.page.write_text(page, encoding="utf-8")
    return int(any(row.different for row in rows))


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
