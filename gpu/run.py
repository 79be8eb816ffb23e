"""Emulation of a Graph on a GPU."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from gpu.device import namespace
from gpu.kernels import KERNELS, REWRITES
from hwsim.emulator.run import Emulator
from hwsim.fixed import Array, Namespace
from hwsim.graph import Graph

CHUNK_BYTES = 1 << 28  # codes of the widest edge: enough to fill a GPU, small beside its memory

_PLANNED: weakref.WeakKeyDictionary[Graph, Emulator] = weakref.WeakKeyDictionary()


def planned(graph: Graph, xp: Namespace) -> Emulator:
    """The emulator of a graph with this package's kernels, planned once."""
    emulator = _PLANNED.get(graph)
    if emulator is None or emulator.xp is not xp:
        emulator = Emulator(graph, xp, KERNELS, CHUNK_BYTES, rewrites=REWRITES)
        _PLANNED[graph] = emulator
    return emulator


def emulate(graph: Graph, x: Any, codes: bool = False) -> Any:
    """As `hwsim.emulate`, on the GPU.

    `x` holds NumPy or CuPy arrays; the outputs are of the same kind. Raises HwsimError where there
    is no GPU or no CuPy, and for a wrong shape, dtype, NaN or code.
    """
    xp = namespace()
    emulator = planned(graph, xp)
    out = emulator.decode(emulator.run_chunked(emulator.encode(x, codes)), codes)
    return out if _on_device(xp, x) else _fetched(xp, out)


def step(
    graph: Graph, x: Any, state: Any = None, *, codes: bool = False
) -> tuple[Any, dict[str, Array]]:
    """As `hwsim.step`, on the GPU; the state is of the kind of `x`, and taken in either kind."""
    xp = namespace()
    out, after = planned(graph, xp).step(x, state, codes)
    return (out, after) if _on_device(xp, x) else (_fetched(xp, out), _fetched(xp, after))


def trace(graph: Graph, x: Any, codes: bool = False) -> dict[str, Array]:
    """As `hwsim.trace`, on the GPU."""
    xp = namespace()
    emulator = planned(graph, xp)
    edges = emulator.run(emulator.encode(x, codes), keep=True)
    whole = {edge: xp.astype(value, xp.int64) for edge, value in edges.items()}
    return whole if _on_device(xp, x) else {edge: xp.asnumpy(v) for edge, v in whole.items()}


def _on_device(xp: Namespace, x: Any) -> bool:
    arrays = x.values() if isinstance(x, Mapping) else (x,)
    return any(isinstance(array, xp.ndarray) for array in arrays)


def _fetched(xp: Namespace, out: Any) -> Any:
    return {k: xp.asnumpy(v) for k, v in out.items()} if isinstance(out, dict) else xp.asnumpy(out)
