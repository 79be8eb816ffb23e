"""Run a Graph bit-exactly on an array namespace: NumPy, CuPy or any that follows the array API."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np

from hwsim import saturation
from hwsim.emulator import streaming, threads
from hwsim.emulator.boundary import TIMED, UNTIMED, Boundary
from hwsim.emulator.fuse import REWRITES, Rewrite
from hwsim.emulator.kernels import Kernels
from hwsim.emulator.requantizers import KERNELS
from hwsim.emulator.steps import CARRIERS, Step, last_uses, plain_steps, read_as
from hwsim.fixed import Array, Namespace
from hwsim.graph import Graph
from hwsim.ops import Carrier
from hwsim.saturation import Clip

T = TypeVar("T")
Batch = Mapping[str, Array]
WINDOW_CHUNKS = 4  # of codes that are encoded at once where there is time
CHUNK_BYTES = 1 << 20  # codes of the widest edge that one pass holds: about a second-level cache


class Emulator:
    """A Graph planned for one array namespace; calling it runs a batch.

    `plan` lists the steps, one a node. Codes travel in the carrier that the node that made them
    gives and are converted only where the next one needs another. Where not every edge is asked
    for, `quick` runs: fewer steps, the same integers.

    The other arguments are what a backend has: `kernels` stand in for the `run` of some operators,
    `rewrites` make `quick` out of `plan`, one after the other, and `carriers` are the array types
    that it computes in, cheapest first. What is not named is that of the CPU. `chunk_bytes` of the
    widest edge go through at once. Raises HwsimError for a node that no carrier holds.
    """

    def __init__(
        self,
        graph: Graph,
        xp: Namespace = np,
        kernels: Kernels | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        *,
        rewrites: Sequence[Rewrite] = REWRITES,
        carriers: Sequence[Carrier] = CARRIERS,
    ) -> None:
        # Not the graph: `planned` keeps an emulator only for as long as its graph lives.
        self.xp, self.inputs, self.outputs = xp, graph.inputs, graph.outputs
        self.state = graph.state
        self.types = dict(graph.types())
        self._boundary = Boundary(xp, graph)
        self.plan = plain_steps(graph, xp, KERNELS if kernels is None else kernels, carriers)
        kept = {p.tensor for p in self.outputs} | {s.next for s in self.state}
        self.quick: Sequence[Step] = self.plan
        for rewrite in rewrites:
            self.quick = rewrite.apply(xp, self.quick, self.types, kept)
        self._kept, done = kept, last_uses(self.quick, kept)
        self._plain = [(step, read_as(xp, step)) for step in self.plan]
        self._quick = [(s, read_as(xp, s), d) for s, d in zip(self.quick, done, strict=True)]
        widest = max(t.size for t in self.types.values())
        self.chunk = max(1, chunk_bytes // (4 * widest))

    def run(self, codes: Batch, keep: bool = False) -> dict[str, Array]:
        """Codes of the output edges (with `keep`, of every edge) for codes of the input edges.

        Arrays are `(batch, *shape)`, or `(batch, time, *shape)` where the graph has state.
        """
        if not self.state:
            return self._step_once(codes, keep)
        carried = streaming.first(self.xp, self.state, _length(codes, 0))
        return self._go_on(codes, carried, keep)[0]

    def _go_on(
        self, codes: Batch, carried: Batch, keep: bool = False
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """As `run`, from the state that earlier steps left on; gives the state it leaves too."""
        shown = None if keep else list(dict.fromkeys(p.tensor for p in self.outputs))
        return streaming.in_turn(
            self.xp, self.state, codes, carried, lambda now: self._step_once(now, keep), shown
        )

    def _step_once(self, codes: Batch, keep: bool = False) -> dict[str, Array]:
        """Every edge that is asked for, of one time step; `codes` has the state's edges too."""
        edges = dict(codes)
        if keep:
            with threads.blas().one_thread() if self.xp is np else nullcontext():
                for step, kind in self._plain:
                    step.add_to(edges, self.xp, kind)
            return edges
        for step, kind, done in self._quick:
            step.add_to(edges, self.xp, kind)
            for edge in done:  # memory that is still in cache serves the next step
                del edges[edge]
        return {edge: edges[edge] for edge in self._kept}

    def step(self, x: Any, state: Any, codes: bool = False) -> tuple[Any, dict[str, Array]]:
        """What `hwsim.step` gives."""
        xp, clips = self.xp, list[Clip]()
        now = self._boundary.encode(x, UNTIMED, codes=codes, clips=clips)
        saturation.warn(self.inputs, clips)
        carried = streaming.given(xp, self.state, state, _length(now, 0))
        with threads.blas().one_thread() if xp is np else nullcontext():
            edges = self._step_once(now | {s.tensor: carried[s.name] for s in self.state})
        after = {s.name: xp.astype(edges[s.next], xp.int64) for s in self.state}  # copies
        return self.decode(edges, codes), after

    def predict(self, x: Any, codes: bool = False) -> Any:
        """What `emulate` gives; each piece of the batch is encoded, run and decoded in cache."""
        found, clips = self._predict(x, codes)
        saturation.warn(self.inputs, clips)
        return found

    def _predict(self, x: Any, codes: bool) -> tuple[Any, list[Clip]]:
        arrays = x if isinstance(x, Mapping) else {self.inputs[0].name: x}
        count, encode = _length(arrays, 0), self._boundary.encode

        def piece(part: slice) -> tuple[Any, list[Clip]]:
            some = x
            if count > self.chunk:
                some = {name: a[part, ...] for name, a in arrays.items()}
            clips: list[Clip] = []  # the piece's own, since a piece may be done twice
            if self.state:
                return self._through_time(some, codes, clips), clips
            edges = self._step_once(encode(some, UNTIMED, codes=codes, clips=clips))
            return self._boundary.decode(edges, codes), clips

        pieces = self.in_pieces(piece, count)
        return self._joined([p for p, _ in pieces]), [c for _, clips in pieces for c in clips]

    def _through_time(self, x: Any, codes: bool, clips: list[Clip]) -> Any:
        """What `emulate` gives for rows of a batch, so many time steps at once as stay in cache."""
        arrays = x if isinstance(x, Mapping) else {self.inputs[0].name: x}
        rows, steps = _length(arrays, 0), _length(arrays, 1)
        window = max(1, WINDOW_CHUNKS * self.chunk // max(rows, 1))
        carried: Batch | None = None
        found = []
        for at in range(0, max(steps, 1), window):
            some = x
            if steps > window:
                some = {name: a[:, at : at + window, ...] for name, a in arrays.items()}
            now = self.encode(some, codes, clips)
            if carried is None:
                carried = streaming.first(self.xp, self.state, _length(now, 0))
            shown, carried = self._go_on(now, carried)
            found.append(self.decode(shown, codes))
        return self._joined(found, axis=1)

    def run_chunked(self, codes: Batch) -> dict[str, Array]:
        """As `run`, in pieces of the batch that stay in cache."""
        count = next(iter(codes.values())).shape[0]
        pieces = self.in_pieces(
            lambda part: self.run({edge: x[part, ...] for edge, x in codes.items()}), count
        )
        joined: dict[str, Array] = self._joined(pieces)
        return joined

    def in_pieces(self, run: Callable[[slice], T], count: int) -> list[T]:
        """`run` of consecutive slices of a batch that stay in cache; on a CPU, threads share them.

        Off the CPU the pieces follow one another.
        """
        if self.xp is np:
            return threads.in_pieces(run, count, self.chunk)
        starts = range(0, max(count, 1), self.chunk)
        return [run(slice(at, min(at + self.chunk, count))) for at in starts]

    def _joined(self, pieces: Sequence[Any], axis: int = 0) -> Any:
        """One array, or one for each name, of those of all pieces."""
        if len(pieces) == 1:
            return pieces[0]
        if not isinstance(pieces[0], dict):
            return self.xp.concat(pieces, axis=axis)
        names = pieces[0]
        return {name: self.xp.concat([p[name] for p in pieces], axis=axis) for name in names}

    def encode(
        self, x: Any, codes: bool = False, clips: list[Clip] | None = None
    ) -> dict[str, Array]:
        """The user's arrays, one or a mapping by input name, as checked codes of input edges.

        How many reals lie outside of what a port takes is added to `clips`.
        """
        axes = TIMED if self.state else UNTIMED
        return self._boundary.encode(x, axes, codes=codes, clips=clips)

    def decode(self, codes: Batch, as_codes: bool = False) -> Any:
        """Output edges as `emulate` gives them: an array, or a dict of several."""
        return self._boundary.decode(codes, as_codes)


def _length(arrays: Mapping[str, Any], axis: int) -> int:
    """How long an axis of all arrays is; 0 where they differ, which `encode` will refuse."""
    counts = [a.shape[axis] if getattr(a, "ndim", 0) > axis else 0 for a in arrays.values()]
    return counts[0] if len(counts) == 1 or len(set(counts)) == 1 else 0


_PLANNED: weakref.WeakKeyDictionary[Graph, dict[int, Emulator]] = weakref.WeakKeyDictionary()


def planned(graph: Graph, xp: Namespace = np) -> Emulator:
    """The emulator of a graph, planned once for each namespace."""
    plans = _PLANNED.setdefault(graph, {})
    if id(xp) not in plans:
        plans[id(xp)] = Emulator(graph, xp)
    return plans[id(xp)]


def emulate(graph: Any, x: Any, xp: Namespace = np, codes: bool = False) -> Any:
    """Bit-exact outputs for a batch.

    `graph` is a Graph, or what `load` takes, such as the path of an ONNX file; that is read at each
    call, so load it once where there are many.
    `x` is `(batch, *shape)` in the order of the port's axes, or a dict of such arrays by input
    name. Gives an array, or a dict for several outputs, in the types that the model's own runtime
    takes and gives. A port of reals takes numbers of any type (pixels in uint8 are reals) and gives
    reals: float32, or float64 for formats over 24 bits. A port of integers (`port.element`, such as
    uint8) takes an array of any integer type as codes, a float array as reals to be quantized, and
    gives codes in its own type. With `codes` every port takes codes and gives them as int64.
    Of a graph with state `x` and the outputs are `(batch, time, *shape)`; each row begins with the
    initial values (`step` goes one time step at a time).
    Raises HwsimError for a wrong shape, dtype, NaN, or a code out of range.
    """
    return planned(_as_graph(graph), xp).predict(x, codes)


def trace(graph: Any, x: Any, xp: Namespace = np, codes: bool = False) -> dict[str, Array]:
    """Codes of every edge, `(batch, *shape)` channels last, for a batch as `emulate` takes it.

    Of a graph with state they are `(batch, time, *shape)`.
    """
    emulator = planned(_as_graph(graph), xp)
    clips: list[Clip] = []
    edges = emulator.run(emulator.encode(x, codes, clips), keep=True)
    saturation.warn(emulator.inputs, clips)
    return {edge: xp.astype(value, xp.int64) for edge, value in edges.items()}


def step(
    graph: Any, x: Any, state: Any = None, *, xp: Namespace = np, codes: bool = False
) -> tuple[Any, dict[str, Array]]:
    """One time step of a graph with state: its outputs, and the state for the next step.

    `x` is `(batch, *shape)`, or a dict of such arrays, as `emulate` takes it without the axis of
    time, and the outputs are as `emulate` gives them. `state` is what the step before gave, a dict
    of int64 codes `(batch, *shape)` by the names of `Graph.state`; None begins with the initial
    values. Steps in a row give what `emulate` gives of all of them at once. Raises HwsimError for
    what `emulate` refuses, and for the state of another graph or batch.
    """
    return planned(_as_graph(graph), xp).step(x, state, codes)


def _as_graph(model: Any) -> Graph:
    from hwsim.frontends import as_graph

    return as_graph(model)
