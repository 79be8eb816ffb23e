"""Run a Graph bit-exactly on an array namespace: NumPy, CuPy or any that follows the array API."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np

from hwsim import saturation
from hwsim.emulator import ports, threads
from hwsim.emulator.fuse import REWRITES, Rewrite
from hwsim.emulator.kernels import Kernels
from hwsim.emulator.steps import CARRIERS, Step, last_uses, plain_steps
from hwsim.errors import HwsimError
from hwsim.fixed import Array, Namespace, is_float
from hwsim.graph import Graph, InputPort, user_shape
from hwsim.hints import shape_hint
from hwsim.ops import Carrier
from hwsim.saturation import Clip, Reach, clip

T = TypeVar("T")
Batch = Mapping[str, Array]
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
        self.types = dict(graph.types())
        self._reach: dict[str, Reach] = {}  # of inputs that came as reals
        self.plan = plain_steps(graph, xp, kernels or {}, carriers)
        outputs = {p.tensor for p in self.outputs}
        self.quick: Sequence[Step] = self.plan
        for rewrite in rewrites:
            self.quick = rewrite.apply(xp, self.quick, self.types, outputs)
        self._done = last_uses(self.quick, outputs)
        widest = max(t.size for t in self.types.values())
        self.chunk = max(1, chunk_bytes // (4 * widest))

    def run(self, codes: Batch, keep: bool = False) -> dict[str, Array]:
        """Codes of the output edges (with `keep`, of every edge) for codes of the input edges."""
        edges = dict(codes)
        if keep:
            with threads.blas().one_thread() if self.xp is np else nullcontext():
                for step in self.plan:
                    edges[step.output] = step.run(self._read(step, edges))
            return edges
        for step, done in zip(self.quick, self._done, strict=True):
            edges[step.output] = step.run(self._read(step, edges))
            for edge in done:  # memory that is still in cache serves the next step
                del edges[edge]
        return {p.tensor: edges[p.tensor] for p in self.outputs}

    def _read(self, step: Step, edges: Batch) -> list[Array]:
        if True not in step.convert:
            return [edges[edge] for edge in step.inputs]
        kind = getattr(self.xp, step.form.reads.value)
        return [self.xp.astype(edges[edge], kind, copy=False) for edge in step.inputs]

    def predict(self, x: Any, codes: bool = False) -> Any:
        """What `emulate` gives; each piece of the batch is encoded, run and decoded in cache."""
        found, clips = self._predict(x, codes)
        saturation.warn(self.inputs, clips)
        return found

    def _predict(self, x: Any, codes: bool) -> tuple[Any, list[Clip]]:
        arrays = x if isinstance(x, Mapping) else {self.inputs[0].name: x}
        counts = {a.shape[0] if getattr(a, "ndim", 0) else 0 for a in arrays.values()}
        count = counts.pop() if len(counts) == 1 else 0  # and `encode` will say what is wrong

        def piece(part: slice) -> tuple[Any, list[Clip]]:
            some = x
            if count > self.chunk:
                some = {name: a[part, ...] for name, a in arrays.items()}
            clips: list[Clip] = []  # the piece's own, since a piece may be done twice
            return self.decode(self.run(self.encode(some, codes, clips)), codes), clips

        pieces = self.in_pieces(piece, count)
        return self._joined([p for p, _ in pieces]), [c for _, clips in pieces for c in clips]

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

    def _joined(self, pieces: Sequence[Any]) -> Any:
        """One array, or one for each name, of those of all pieces."""
        if len(pieces) == 1:
            return pieces[0]
        if not isinstance(pieces[0], dict):
            return self.xp.concat(pieces, axis=0)
        return {name: self.xp.concat([p[name] for p in pieces], axis=0) for name in pieces[0]}

    def encode(
        self, x: Any, codes: bool = False, clips: list[Clip] | None = None
    ) -> dict[str, Array]:
        """The user's arrays, one or a mapping by input name, as checked codes of input edges.

        How many reals lie outside of what a port takes is added to `clips`.
        """
        inputs = self.inputs
        arrays = x if isinstance(x, Mapping) else {inputs[0].name: x}
        if set(arrays) != {p.name for p in inputs}:
            raise HwsimError(
                f"inputs must be named {sorted(p.name for p in inputs)}, not {sorted(arrays)}"
            )
        out = {p.tensor: self._encode_port(p, arrays[p.name], codes, clips) for p in inputs}
        counts = {v.shape[0] for v in out.values()}
        if len(counts) > 1:
            raise HwsimError(f"inputs must have one batch size, not {sorted(counts)}")
        return out

    def _encode_port(self, port: InputPort, x: Any, codes: bool, clips: list[Clip] | None) -> Array:
        xp, kind = self.xp, port.type
        array = ports.numbers(xp, port, x)
        shape = user_shape(kind, port)
        if array.ndim != len(shape) + 1 or tuple(array.shape[1:]) != shape:
            raise HwsimError(
                f"input {port.name!r} must have shape (batch, {', '.join(map(str, shape))}), not "
                f"{tuple(array.shape)}{shape_hint(shape, tuple(array.shape), port.axes)}"
            )
        if array.dtype == xp.bool:
            array = xp.astype(array, xp.int64)
        ends = ports.ends_of(xp, port, array)
        array = ports.from_user(xp, port, kind, array)
        if codes or (port.element is not None and not is_float(xp, array)):
            return ports.checked_codes(xp, port, array, ends)
        found = ports.quantize(xp, port, array, ends)
        if clips is not None and array.size:
            reach = self._reach.get(port.name) or self._reach.setdefault(port.name, Reach.of(port))
            clips.append(clip(xp, port, reach, array, ends))
        return found

    def decode(self, codes: Batch, as_codes: bool = False) -> Any:
        """Output edges as `emulate` gives them: an array, or a dict of several."""
        out = {
            p.name: ports.decode(self.xp, p, self.types[p.tensor], codes[p.tensor], as_codes)
            for p in self.outputs
        }
        return out if len(out) > 1 else next(iter(out.values()))


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
    Raises HwsimError for a wrong shape, dtype, NaN, or a code out of range.
    """
    return planned(_as_graph(graph), xp).predict(x, codes)


def trace(graph: Any, x: Any, xp: Namespace = np, codes: bool = False) -> dict[str, Array]:
    """Codes of every edge, `(batch, *shape)` channels last, for a batch as `emulate` takes it."""
    emulator = planned(_as_graph(graph), xp)
    clips: list[Clip] = []
    edges = emulator.run(emulator.encode(x, codes, clips), keep=True)
    saturation.warn(emulator.inputs, clips)
    return {edge: xp.astype(value, xp.int64) for edge, value in edges.items()}


def _as_graph(model: Any) -> Graph:
    from hwsim.frontends import as_graph

    return as_graph(model)
