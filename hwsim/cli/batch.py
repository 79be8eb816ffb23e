"""What `emulate` and `verify` do with files: batches in, results out, memory bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.cli.arrays import assign, open_array, writing, writing_together
from hwsim.cli.console import Progress
from hwsim.cli.npz import INPUT_KEYS, is_npz
from hwsim.emulate import planned
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.reporting.folder import MANIFEST, VERIFY, read_graph, read_json
from hwsim.storage import write_atomically

PIECE = 1 << 22
"""Codes of the widest edge that are held at a time: some tens of megabytes."""


def emulate_files(
    graph: Graph,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    codes: bool,
    progress: Progress,
) -> tuple[int, dict[str, Any]]:
    """Emulate `.npy` files piece by piece; the number of samples, and what was written by output.

    `inputs` and `outputs` are paths, or NAME=PATH. Raises HwsimError, and then writes nothing.
    """
    arrays = open_inputs(graph, inputs)
    names = [p.name for p in graph.outputs]
    together = Path(outputs[0]) if len(outputs) == 1 and is_npz(Path(outputs[0])) else None
    targets = dict.fromkeys(names, together) if together else assign(outputs, names, "--output")
    if not together and len({path.absolute() for path in targets.values()}) < len(targets):
        raise HwsimError("--output must name another file for each output")
    samples = len(next(iter(arrays.values())))
    widest = max(kind.size for kind in graph.types().values())
    step = max(1, PIECE // widest)
    emulator = planned(graph)
    with ExitStack() as stack:
        if together:
            writers = stack.enter_context(writing_together(together, names, samples))
        else:
            writers = {
                name: stack.enter_context(writing(path, samples)) for name, path in targets.items()
            }
        for start in range(0, max(samples, 1), step):
            progress.update(f"emulating, {start:,} of {samples:,} samples")
            piece = {name: array[start : start + step] for name, array in arrays.items()}
            found = emulator.run_chunked(_encode(graph, piece, inputs, codes))
            result = emulator.decode(found, codes)
            named = result if len(targets) > 1 else {next(iter(targets)): result}
            for name, writer in writers.items():
                writer.append(named[name])
    written = {
        name: {"path": str(targets[name]), "shape": list(writer.shape), "dtype": writer.dtype}
        for name, writer in writers.items()
    }
    return samples, written


def open_inputs(graph: Graph, inputs: Sequence[str]) -> dict[str, Any]:
    """Mapped arrays by input name, all of one batch size and none of them a scalar."""
    names = [p.name for p in graph.inputs]
    if len(inputs) == 1 < len(names) and is_npz(Path(inputs[0])):
        paths = {name: Path(f"{inputs[0]}:{name}") for name in names}
    else:
        paths = assign(inputs, names, "--input")
    arrays = {name: open_array(path, (name, *INPUT_KEYS)) for name, path in paths.items()}
    for name, array in arrays.items():
        if array.ndim == 0:
            raise HwsimError(f"{paths[name]} must hold a batch of samples, not a single number")
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise HwsimError(f"inputs must have one batch size, not {counts}")
    return arrays


def _encode(graph: Graph, arrays: Mapping[str, Any], files: Sequence[str], codes: bool) -> Any:
    """The arrays as codes of the input edges; a refusal names the files."""
    try:
        return planned(graph).encode(dict(arrays), codes)
    except HwsimError as error:
        raise HwsimError(f"{', '.join(files)}: {error}") from None


def read_codes(folder: Path, inputs: Sequence[str]) -> dict[str, Any]:
    """Real data for the design in a build folder: int64 codes by input name, channels last."""
    graph = read_graph(folder)
    arrays = {name: np.asarray(array) for name, array in open_inputs(graph, inputs).items()}
    edges = _encode(graph, arrays, inputs, codes=False)
    found = {p.name: np.asarray(edges[p.tensor]).astype(np.int64) for p in graph.inputs}
    if not len(next(iter(found.values()))):
        raise HwsimError(f"{', '.join(inputs)} must hold at least one sample, not none")
    return found


def record_outcome(folder: Path, facts: Mapping[str, Any]) -> None:
    """Keep what `verify` found beside the design, with the design's hashes, for the report."""
    hashes = read_json(folder / MANIFEST).get("hashes")
    text = json.dumps({**facts, "hashes": hashes}, indent=2) + "\n"
    write_atomically(folder / VERIFY, text.encode())
