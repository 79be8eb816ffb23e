"""What `emulate` does with files: batches in, results out, memory bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hwsim import saturation
from hwsim.cli.arrays import writing, writing_together
from hwsim.cli.console import Progress
from hwsim.data.arrays import open_array
from hwsim.data.by_port import assign
from hwsim.data.npz import INPUT_KEYS, is_npz
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import piece_of
from hwsim.graph import Graph


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
    first = next(iter(arrays.values()))
    step = piece_of(graph, first.shape[1] if graph.state and first.ndim > 1 else 1)
    emulator = planned(graph)
    clips: list[saturation.Clip] = []
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
            found = emulator.run_chunked(_encode(graph, piece, inputs, codes, clips))
            result = emulator.decode(found, codes)
            named = result if len(targets) > 1 else {next(iter(targets)): result}
            for name, writer in writers.items():
                writer.append(named[name])
    saturation.warn(graph.inputs, clips)
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


def _encode(
    graph: Graph,
    arrays: Mapping[str, Any],
    files: Sequence[str],
    codes: bool,
    clips: list[saturation.Clip],
) -> Any:
    """The arrays as codes of the input edges; a refusal names the files."""
    try:
        return planned(graph).encode(dict(arrays), codes, clips)
    except HwsimError as error:
        raise HwsimError(f"{', '.join(files)}: {error}") from None
