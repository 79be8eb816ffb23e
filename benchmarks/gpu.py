"""The emulator on a GPU: are all integers NumPy's, and how fast is CuPy beside the CPU?

    python benchmarks/gpu.py tests [--out FOLDER] [pytest's options]
    python benchmarks/gpu.py speed [--out FOLDER] [--seconds N] [--codes N]

`tests` runs every case of the catalogue, chains, the example models and state in CuPy, and where
there is PyTorch the same in training (tests/gpu).
`speed` runs networks and one case of each operator in one process, in turns: the CPU with all its
cores and with one thread, the GPU with arrays from and to the host, and with arrays that are and
stay on the device; all results are compared before anything is timed. Each writes its part of
FOLDER/gpu-DEVICE.json (benchmarks/results). Exit status 1 where an integer differs or a test fails,
2 where there is no GPU that CuPy can use; then nothing is written.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from common import one_thread, provenance, table, write_json  # noqa: E402
from networks import resnet20, wide_layers  # noqa: E402

import gpu  # noqa: E402
import hwsim  # noqa: E402
from hwsim.emulator.threads import ENVIRONMENT, MOST_THREADS  # noqa: E402
from hwsim.graph import Graph, user_shape  # noqa: E402

PACKAGES = ("numpy", "pytest", "onnx", "threadpoolctl")
TESTS = ("test_gpu.py", "test_training_on_a_gpu.py")
MOST_CODES = 1 << 23  # of the widest edge in one batch
FEWEST_ROUNDS, MOST_ROUNDS = 3, 15
Results = dict[str, Any]


def device() -> Results:
    """The GPU and what drives it."""
    cupy = import_module("cupy")
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(0)
    return {
        "name": properties["name"].decode(errors="replace"),
        "memory_bytes": int(properties["totalGlobalMem"]),
        "cuda_runtime": runtime.runtimeGetVersion(),
        "cuda_driver": runtime.driverGetVersion(),
        "cupy": cupy.__version__,
    }


def versions() -> dict[str, str | None]:
    """Of what has a say in the figures; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "hwsim": hwsim.__version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def deliver(folder: Path, part: str, figures: Mapping[str, Any]) -> Path:
    """Write one part of the device's file, beside what the other command has written there."""
    about = device()
    name = re.sub(r"[^A-Za-z0-9]+", "-", about["name"]).strip("-") or "unknown"
    path = folder / f"gpu-{name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        whole = {}
    if not isinstance(whole, dict):
        whole = {}
    made = provenance() | {"device": about, "versions": versions()}
    write_json(path, {**whole, "device": about["name"], part: {**figures, "made": made}})
    return path


# Tests ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Recorder:
    """A pytest plugin that counts what passed, failed and was skipped."""

    outcomes: dict[str, str] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A failure of any phase counts, and so does a skip."""
        counts = report.failed or report.skipped or report.when == "call"
        if counts and self.outcomes.get(report.nodeid) != "failed":
            self.outcomes[report.nodeid] = report.outcome

    def figures(self) -> Results:
        """Counts; for each test with cases or models how many were equal, and which were not."""
        found: Results = dict.fromkeys(("passed", "failed", "skipped"), 0)
        compared: dict[str, dict[str, Any]] = {}
        for test, outcome in self.outcomes.items():
            found[outcome] += 1
            name, bracket, case = test.split("::")[-1].partition("[")
            if bracket and outcome != "skipped":
                counts = compared.setdefault(name, {"cases": 0, "equal": 0, "different": []})
                counts["cases"] += 1
                counts["equal"] += outcome == "passed"
                if outcome == "failed":
                    counts["different"].append(case.removesuffix("]"))
        failing = [test for test, outcome in self.outcomes.items() if outcome == "failed"]
        return {**found, "compared": compared, "failing": failing}


def run_tests(options: argparse.Namespace, more: list[str]) -> int:
    """All tests that a GPU can have."""
    import pytest

    recorder, start = Recorder(), time.perf_counter()
    given = ["-q", "-p", "no:cacheprovider", "--require=gpu", f"--rootdir={ROOT}"]
    tests = [str(ROOT / "tests" / "gpu" / name) for name in TESTS]
    status = pytest.main([*given, *tests, *more], plugins=[recorder])
    figures = recorder.figures() | {"seconds": time.perf_counter() - start}
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        print(f"error: pytest ended with status {int(status)}; nothing was written")
        return 2
    path = deliver(options.out, "tests", figures)
    print(f"{figures['passed']} passed, {figures['failed']} failed, written to {path}")
    return 0 if status == pytest.ExitCode.OK and figures["passed"] else 1


# Speed ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """A graph and so many samples for it."""

    name: str
    graph: Graph
    batch: int

    def inputs(self) -> dict[str, np.ndarray[Any, Any]]:
        """Random codes."""
        rng = np.random.default_rng(self.batch)
        return {
            p.name: rng.integers(
                p.type.lo, p.type.hi + 1, (self.batch, *user_shape(p.type, p)), np.int64
            )
            for p in self.graph.inputs
        }


def networks(codes: int) -> Iterator[Job]:
    """The example models and larger networks: one sample, some, many."""
    graphs = {path.stem: _loaded(path) for path in _models()}
    graphs |= {"resnet20": resnet20(), "conv 64 -> 64 x 4": wide_layers(64)}
    for name, graph in graphs.items():
        most = max(1, codes // max(kind.size for kind in graph.types().values()))
        for batch in sorted({min(batch, most) for batch in (1, 100, 10_000)}):
            yield Job(name, graph, batch)


def _models() -> list[Path]:
    folder = ROOT / "examples" / "models"
    return [path for path in sorted(folder.glob("*.onnx")) if not path.stem.endswith(".float")]


def _loaded(path: Path) -> Graph:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the runtime does otherwise is not the question here
        return hwsim.load(path)


def operators(codes: int) -> Iterator[Job]:
    """The first case of each operator, with so many codes."""
    from support.cases import CASES

    seen = set()
    for case in CASES:
        if type(case.op) not in seen:
            seen.add(type(case.op))
            graph = case.graph()
            widest = max(kind.size for kind in graph.types().values())
            yield Job(case.id, graph, max(1, codes // widest))


def on_cpu(threads: int, run: Callable[[], object]) -> Callable[[], object]:
    """A contender with so many threads of the emulator's own."""

    def timed() -> object:
        os.environ[ENVIRONMENT] = str(threads)
        return run()

    return timed


def contenders(job: Job, cores: int) -> dict[str, Callable[[], Any]]:
    """What is compared: each gives codes."""
    x, graph, xp = job.inputs(), job.graph, gpu.namespace()
    there = {name: xp.asarray(codes) for name, codes in x.items()}
    wait = xp.cuda.runtime.deviceSynchronize

    def resident() -> Any:
        out = gpu.emulate(graph, there, codes=True)
        wait()
        return out

    def cpu() -> Any:
        return hwsim.emulate(graph, x, codes=True)

    return {
        "cpu": on_cpu(cores, cpu),
        "cpu_one_thread": on_cpu(1, cpu),
        "gpu": lambda: gpu.emulate(graph, x, codes=True),
        "gpu_resident": resident,
    }


def unequal(first: Any, second: Any) -> int:
    """Codes that differ, of all outputs."""
    xp = gpu.namespace()
    pairs = zip(*(o.values() if isinstance(o, dict) else [o] for o in (first, second)), strict=True)
    return sum(int((xp.asnumpy(a) != xp.asnumpy(b)).sum()) for a, b in pairs)


def figures_of(job: Job, cores: int, seconds: float) -> Results:
    """Medians and ratios of one job, measured in turns for about so many seconds."""
    runs = contenders(job, cores)
    outputs = {name: run() for name, run in runs.items()}
    different = sum(unequal(outputs["cpu"], out) for out in outputs.values())
    taken: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    for rounds in range(MOST_ROUNDS):
        if rounds >= FEWEST_ROUNDS and time.perf_counter() > end:
            break
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    ms = {name: 1000 * statistics.median(times) for name, times in taken.items()}
    return {
        "name": job.name,
        "batch": job.batch,
        "different": different,
        "ms": ms,
        "cpu_over_gpu": ms["cpu"] / ms["gpu"],
        "cpu_over_gpu_resident": ms["cpu"] / ms["gpu_resident"],
        "one_thread_over_gpu_resident": ms["cpu_one_thread"] / ms["gpu_resident"],
    }


def run_speed(options: argparse.Namespace) -> int:
    """Networks and operators, within the seconds that were given."""
    one_thread()  # of BLAS: the emulator's own threads share the cores
    before = os.environ.get(ENVIRONMENT)
    cores = min(len(os.sched_getaffinity(0)), MOST_THREADS)
    jobs = {
        "networks": list(networks(options.codes)),
        "operators": list(operators(options.codes // 8)),
    }
    share = options.seconds / sum(map(len, jobs.values()))
    rows = {part: [figures_of(job, cores, share) for job in some] for part, some in jobs.items()}
    if before is None:
        os.environ.pop(ENVIRONMENT, None)
    every = [row for part in rows.values() for row in part]
    equal = sum(not row["different"] for row in every)
    different = [f"{row['name']}, batch {row['batch']}" for row in every if row["different"]]
    figures = {"threads": cores, "cases": len(every), "equal": equal, "different": different}
    path = deliver(options.out, "speed", figures | rows)
    print(report(every))
    print(f"{equal} of {len(every)} equal, written to {path}")
    return 1 if different else 0


def report(rows: list[Results]) -> str:
    """The figures as a table."""
    head = ["milliseconds", "batch", "CPU", "one thread", "GPU", "resident", "CPU / GPU", "/ res."]
    body = [
        [
            row["name"],
            f"{row['batch']:,}",
            *(f"{ms:.2f}" for ms in row["ms"].values()),
            f"{row['cpu_over_gpu']:.2f}",
            f"{row['cpu_over_gpu_resident']:.2f}",
        ]
        for row in rows
    ]
    return table(head, body)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("tests", "speed"))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--seconds", type=float, default=60, help="of timing (speed)")
    parser.add_argument("--codes", type=int, default=MOST_CODES, help="on the widest edge (speed)")
    options, more = parser.parse_known_args()
    lack = gpu.missing()
    if lack is not None:
        print(f"error: {lack}", file=sys.stderr)
        return 2
    if options.what == "tests":
        return run_tests(options, more)
    if more:
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    try:
        return run_speed(options)
    except hwsim.HwsimError as error:  # such as products that are rounded
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
