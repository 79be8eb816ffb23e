"""Arrays as `ModelGraph.predict` and `.trace` take and give them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.ops import TensorType

Reals = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs by name, `(samples, *shape)`, and the type in which results are wanted."""

    arrays: Mapping[str, Reals]
    samples: int
    dtype: np.dtype[Any]


def read_batch(graph: Graph, x: Any) -> Batch:
    """The arrays that `predict` was given, one or a list of one for each input, as a batch.

    hls4ml counts samples by size, so any shape of the right size will do, and one sample needs no
    batch axis. Raises HwsimError where hls4ml would raise, or would read past the end of an array.
    """
    several = len(graph.inputs) > 1
    given = list(x) if several and isinstance(x, Sequence) else [x]
    if len(given) != len(graph.inputs):
        names = ", ".join(p.name for p in graph.inputs)
        raise HwsimError(f"inputs must be a list of arrays for {names}, not {type(x).__name__}")
    counts = [
        _samples(port.name, array, port.type, batched=several)
        for port, array in zip(graph.inputs, given, strict=True)
    ]
    if len(set(counts)) > 1:
        raise HwsimError(f"all inputs must hold the same number of samples, not {counts}")
    first = given[0].dtype
    if any(array.dtype != first for array in given):
        raise HwsimError(f"all inputs must have one type, not {[str(a.dtype) for a in given]}")
    arrays = {
        port.name: array.reshape(counts[0], *port.type.shape)
        for port, array in zip(graph.inputs, given, strict=True)
    }
    return Batch(arrays, counts[0], first)


def _samples(name: str, array: Any, kind: TensorType, *, batched: bool) -> int:
    if not isinstance(array, np.ndarray):
        raise HwsimError(f"input {name!r} must be a numpy.ndarray, not {type(array).__name__}")
    if array.dtype not in (np.float32, np.float64):
        raise HwsimError(f"input {name!r} must be float32 or float64, not {array.dtype}")
    if not array.flags["C_CONTIGUOUS"]:
        raise HwsimError(
            f"input {name!r} must be C-contiguous (numpy.ascontiguousarray), not a view of another "
            "order"
        )
    count, rest = divmod(array.size, math.prod(kind.shape))
    one = count == 1 and not batched
    if rest or not (one or (array.ndim and len(array) == count)):
        shape = ", ".join(map(str, kind.shape))
        raise HwsimError(f"input {name!r} must have shape (samples, {shape}), not {array.shape}")
    return count


def predict(graph: Graph, x: Any) -> Any:
    """What `ModelGraph.predict` returns: flat samples of the inputs' type, a list for several."""
    batch, emulator = read_batch(graph, x), planned(graph)

    def piece(part: slice) -> list[Reals]:
        some = {name: array[part] for name, array in batch.arrays.items()}
        return _flat(graph, emulator.run(emulator.encode(some)), batch.dtype)

    pieces = emulator.in_pieces(piece, batch.samples)
    if len(pieces) == 1:
        return _as_hls4ml(pieces[0])
    return _as_hls4ml([np.concatenate(parts) for parts in zip(*pieces, strict=True)])


def trace(graph: Graph, x: Any, edges: Mapping[str, str]) -> tuple[Any, dict[str, Any]]:
    """What `ModelGraph.trace` returns: the prediction, and each layer's output by layer name.

    `edges` names the edge of each layer. A layer's array is `(samples, *shape)`.
    """
    batch = read_batch(graph, x)
    emulator = planned(graph)
    codes = emulator.run(emulator.encode(batch.arrays), keep=True)
    types = graph.types()
    layers = {name: reals(codes[e], types[e], batch.dtype) for name, e in edges.items()}
    return _as_hls4ml(_flat(graph, codes, batch.dtype)), layers


def _flat(graph: Graph, codes: Mapping[str, Any], dtype: np.dtype[Any]) -> list[Reals]:
    """Outputs as reals, (samples, codes of one sample) each."""
    types = [(port.tensor, graph.types()[port.tensor]) for port in graph.outputs]
    return [reals(codes[edge], kind, dtype).reshape(-1, kind.size) for edge, kind in types]


def _as_hls4ml(outputs: Sequence[Reals]) -> Any:
    """As hls4ml: one sample has no batch axis, and no samples have no axis for the outputs."""
    found = [out[0] if len(out) == 1 else out if len(out) else np.asarray([]) for out in outputs]
    return found if len(found) > 1 else found[0]


def reals(codes: Any, kind: TensorType, dtype: np.dtype[Any]) -> Reals:
    """Codes as reals, rounded once to the wanted type, as ap_fixed's own conversion does."""
    whole = np.asarray(codes)
    if kind.quant is not None:
        scaled: Reals = whole.astype(np.float64) * np.array(kind.scales())
        return scaled.astype(dtype)
    # A power of two scales exactly, so the only rounding is that to the type itself.
    out: Reals = np.ldexp(whole.astype(dtype), -kind.format.frac_bits)
    return out
